// `tidemark simulate`: scenarios, orders, faults and crashes that seeds choose.

internal import ArgumentParser
internal import Reports
internal import Scenarios

/// What a simulation is played on.
enum SimulatedStore: String, ExpressibleByArgument, CaseIterable {
    case tree, unlocked

    var kind: StoreDescription.Kind {
        switch self {
        case .tree: .tree
        case .unlocked: .unlocked
        }
    }
}

struct Simulate: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract:
            "Play scenarios that seeds choose, with faults and crashes, for as long as asked.",
        discussion: """
            For each seed: a tree, damage, one or two runs with their options, writers, an order \
            of steps, calls that fail and moments at which the store crashes. In the first phase \
            anything may fail at any time, and after every step separate code checks all \
            invariants. In the second nothing fails any more: every run must end, and a new one \
            must succeed: all exact, if it repairs. Some seeds are also played on a real volume \
            (--volume-every).

            The first seed that fails ends the simulation. It is written as a scenario to be \
            replayed, and printed as SEED=N; --seeds N-N reproduces it.

            With --store unlocked the store is one that nobody can lock: writers hold locks of \
            single objects, events come late from several buffers and are lost, and the \
            index moves while it is read.

            Exit status: 0 nothing found; 1 a seed failed.

            Example: tidemark simulate --seeds 1-1000000 --minutes 60
            """)

    @Option(help: "Which seeds: a range, or the first of a thousand.")
    var seeds: SeedRange

    @Option(
        help: ArgumentHelp(
            "What they are played on: tree, or unlocked, a store that nobody can lock.",
            valueName: "store"))
    var store = SimulatedStore.tree

    @Option(help: "For how long at the most.")
    var minutes: Double?

    @Option(help: "Play every so many seeds on a real volume; 0: none.")
    var volumeEvery = 50

    @Option(
        help: ArgumentHelp("Where a failure is written.", valueName: "directory"),
        transform: Arguments.path)
    var output = "."

    @OptionGroup var common: CommonOptions

    var target: String { "seeds \(seeds.first)-\(seeds.last)" }

    func validate() throws {
        guard minutes ?? 1 > 0 else { throw ValidationError("--minutes is above 0.") }
        guard volumeEvery >= 0 else { throw ValidationError("--volume-every is 0 or more.") }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        try ScenarioFiles.checkFolder(self.output)
        let runner = ScenarioRunner(directory: ScenarioFiles.temporaryDirectory)
        let progress = Progress(output)
        let result = runner.simulate(
            store.kind, seeds: seeds.first...seeds.last,
            seconds: minutes.map { $0 * 60 } ?? .infinity,
            volumeEvery: store == .tree ? volumeEvery : 0
        ) { done in
            if done % 64 == 0 {
                progress.show("simulating", UInt64(done), of: UInt64(seeds.count), "seeds")
            }
        }
        progress.finish()
        var path: String?
        if let failure = result.failure {
            path = "\(self.output)/failure-seed-\(failure.seed).yaml"
            try ScenarioFiles.write(ScenarioWriter.write(failure.scenario), to: path ?? "")
            output.line("SEED=\(failure.seed) failed: \(failure.text)")
            output.line("written to \(path ?? ""); see it with: tidemark replay --trace FILE")
        }
        output.line(
            "\(result.seeds) seeds, \(result.failure == nil ? 0 : 1) failed: "
                + "\(short(Double(result.steps))) steps, \(result.crashes) crashes, "
                + "\(result.faults) faults, \(result.refused) transactions refused in "
                + "\(decimal(result.seconds, 1)) s")
        if output.isJSON { output.json(document(members(result, path))) }
        return result.failure == nil ? .success : .uncorrected
    }

    private func members(_ result: SimulationResult, _ path: String?) -> [(String, JSONValue)] {
        [
            ("seeds", .integer(result.seeds)), ("steps", .integer(result.steps)),
            ("crashes", .integer(result.crashes)), ("faults", .integer(result.faults)),
            ("refused", .integer(result.refused)), ("seconds", .number(result.seconds)),
            (
                "failure",
                result.failure.map {
                    .object([
                        ("seed", .unsigned($0.seed)), ("text", .string($0.text)),
                        ("file", .optional(path)),
                    ])
                } ?? .null
            ),
        ]
    }
}
