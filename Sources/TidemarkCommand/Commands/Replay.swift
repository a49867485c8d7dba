// `tidemark replay`: scenario files, each played in its own order.

internal import ArgumentParser
internal import HostFiles
internal import Reports
internal import Scenarios
internal import Tidemark

struct Replay: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Play scenario files: one line each, then how many passed and failed.",
        discussion: """
            A scenario is a race as a file: a store, a run, concurrent writers, an order of steps, \
            and the expected result. It is played step by step by the code that checks and repairs \
            volumes, in memory and on a temporary volume. After each step separate code checks the \
            invariants. Docs/scenarios.md describes the language.

            Folders are searched for files that end in .yaml.

            Exit status: 0 all passed; 1 some failed; 4 a file could not be read, understood or \
            played; both: 5.

            Example: tidemark replay Scenarios/names/rename-file-ahead.yaml --trace
            """)

    @Argument(
        help: ArgumentHelp("Scenario files, or folders of them.", valueName: "file"),
        transform: Arguments.path)
    var files: [String]

    @Option(help: "Play on: memory, volume, or both.")
    var on = StageChoice.both

    @Flag(help: "Draw the lanes side by side, with the cursor's position.")
    var trace = false

    @Option(
        help: ArgumentHelp("Where volumes are made.", valueName: "directory"),
        transform: Arguments.path)
    var directory: String?

    @OptionGroup var common: CommonOptions

    var target: String { files.joined(separator: " ") }

    func execute(_ output: Output) throws -> ExitStatus {
        let runner = ScenarioRunner(directory: directory ?? ScenarioFiles.temporaryDirectory)
        var passed = 0, failed = 0, unread = 0, unplayed = 0
        var documents: [JSONValue] = []
        for file in try ScenarioFiles.find(files) {
            let scenario: Scenario
            do {
                scenario = try ScenarioFiles.read(file)
            } catch {
                output.error("\(error)")
                unread += 1
                documents.append(
                    .object([("file", .string(file)), ("error", .string("\(error)"))]))
                continue
            }
            let results = on.kinds(for: scenario).map {
                runner.replay(scenario, on: $0, isTraced: trace)
            }
            if results.contains(where: { !$0.failures.isEmpty }) {
                failed += 1
            } else if results.allSatisfy(\.isPassed) {
                passed += 1
            } else {
                unplayed += 1
            }
            show(file, results, output)
            documents.append(document(file, results))
        }
        output.line(
            "\(passed) passed, \(failed) failed" + (unread > 0 ? ", \(unread) not understood" : "")
                + (unplayed > 0 ? ", \(unplayed) not played" : ""))
        if output.isJSON {
            output.json(
                document([
                    ("passed", .integer(passed)), ("failed", .integer(failed)),
                    ("unread", .integer(unread)), ("unplayed", .integer(unplayed)),
                    ("files", .array(documents)),
                ]))
        }
        var status = ExitStatus.success
        if failed > 0 { status.insert(.uncorrected) }
        if unread + unplayed > 0 { status.insert(.operational) }
        return status
    }

    private func show(_ file: String, _ results: [ReplayResult], _ output: Output) {
        let hasFailed = results.contains { !$0.failures.isEmpty }
        let word = hasFailed ? "FAIL" : results.allSatisfy(\.isPassed) ? "pass" : "----"
        let steps = results.map(\.steps).max() ?? 0
        output.line("\(word)  \(file)  (\(steps) steps)")
        for result in results {
            for failure in result.failures { output.line("      on \(result.stage): \(failure)") }
            if let obstacle = result.obstacle {
                output.line("      on \(result.stage): not played: \(obstacle)")
            }
        }
        guard trace, let first = results.first(where: { !$0.isPassed }) ?? results.first else {
            return
        }
        for line in first.trace { output.line("  " + line) }
        output.line()
    }

    private func document(_ file: String, _ results: [ReplayResult]) -> JSONValue {
        .object([
            ("file", .string(file)),
            ("passed", .bool(results.allSatisfy(\.isPassed))),
            (
                "stages",
                .array(
                    results.map { result in
                        .object(
                            [
                                ("stage", .string(result.stage)),
                                ("passed", .bool(result.isPassed)),
                                ("steps", .integer(result.steps)),
                                ("seconds", .number(result.seconds)),
                                ("failures", .array(result.failures.map { .string($0) })),
                                ("obstacle", .optional(result.obstacle)),
                                ("situations", .array(result.situations.map { .string($0) })),
                            ] + (trace ? [("trace", .array(result.trace.map { .string($0) }))] : [])
                        )
                    })
            ),
        ])
    }
}

enum StageChoice: String, ExpressibleByArgument, CaseIterable {
    case memory, volume, both

    /// A catalogue lies in memory, wherever it is asked for.
    func kinds(for scenario: Scenario) -> [StageKind] {
        if scenario.store.kind != .tree { return [.memory] }
        switch self {
        case .memory: return [.memory]
        case .volume: return [.volume]
        case .both: return [.memory, .volume]
        }
    }
}
