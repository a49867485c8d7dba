// `tidemark explore`: the interleavings, crashes and faults of scenarios.

internal import ArgumentParser
internal import Reports
internal import RunService
internal import Scenarios

struct Explore: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Try every order of a scenario's lanes, a crash at every state, every fault.",
        discussion: """
            The order in a file is ignored: all orders of its lanes are tried, in memory, by the \
            code that checks and repairs volumes. Equal states are continued once, so the number \
            of interleavings, which is that of the paths through the graph of states, is far \
            larger than that of executions. At every state the store crashes, as if the process \
            had died and as if the machine had, is opened again, and the run restarts. Every call \
            that can fail fails once, for one cause after the other, in three orders. If a \
            scenario has too many states (--states), random walks follow; SEED= is printed with \
            what they find. --volume also makes random walks on a real volume.

            A failing scenario is shrunk and written to be replayed.

            With --all-situations it is also a failure if a situation of the suite was reached by \
            none of the files.

            Exit status: 0 nothing found; 1 something failed; 4 a file could not be understood.

            Example: tidemark explore Scenarios/names --seeds 1-1000
            """)

    @Argument(
        help: ArgumentHelp("Scenario files, or folders of them.", valueName: "file"),
        transform: Arguments.path)
    var files: [String]

    @Option(help: "Seeds of the walks at random: a range, or the first of a thousand.")
    var seeds: SeedRange?

    @Option(help: "States of a scenario at the most, before walks at random take over.")
    var states = 200_000

    @Option(help: "Seconds for a scenario at the most.")
    var seconds: Double?

    @Flag(inversion: .prefixedNo, help: "Crash the store at every state.")
    var crashes = true

    @Flag(inversion: .prefixedNo, help: "Make every call that can fail fail.")
    var faults = true

    @Option(help: ArgumentHelp("Walks at random on a real volume.", valueName: "walks"))
    var volume = 0

    @Flag(help: "Fail where a situation is met by none of the files.")
    var allSituations = false

    @Option(
        help: ArgumentHelp("Where failures are written.", valueName: "directory"),
        transform: Arguments.path)
    var output = "."

    @OptionGroup var common: CommonOptions

    var target: String { files.joined(separator: " ") }

    func validate() throws {
        guard states > 0 else { throw ValidationError("--states is 1 or more.") }
        guard seconds ?? 1 > 0 else { throw ValidationError("--seconds is above 0.") }
        guard volume >= 0 else { throw ValidationError("--volume is 0 or more.") }
    }

    private var options: ExploreOptions {
        var options = ExploreOptions()
        options.states = states
        options.seconds = seconds ?? .infinity
        options.crashes = crashes
        options.faults = faults
        if let seeds {
            options.seed = seeds.first
            options.walks = seeds.count
            options.alwaysWalks = true
        }
        return options
    }

    func execute(_ output: Output) throws -> ExitStatus {
        try ScenarioFiles.checkFolder(self.output)
        let runner = ScenarioRunner(directory: ScenarioFiles.temporaryDirectory)
        var total = ExplorationSum()
        var documents: [JSONValue] = []
        let found = try ScenarioFiles.find(files)
        let progress = Progress(output)
        for (place, file) in found.enumerated() {
            progress.show("exploring", UInt64(place), of: UInt64(found.count), "scenarios")
            let scenario = try ScenarioFiles.read(file)
            var parts: [(String, Exploration)] = []
            parts.append(("memory", try runner.explore(scenario, options)))
            if volume > 0, scenario.store.kind == .tree {
                let walked = runner.sample(scenario, walks: volume, seed: options.seed)
                parts.append(("volume", walked))
            }
            for (stage, part) in parts {
                total.add(part)
                show(file, stage, part, output)
                for failure in part.failures { try report(failure, file, stage, runner, output) }
                documents.append(document(file, stage, part))
            }
        }
        let unmet = total.unmet
        conclude(total, unmet, output)
        if output.isJSON {
            output.json(
                document(
                    total.members
                        + [
                            ("unmet", .array(unmet.map { .string($0) })),
                            ("files", .array(documents)),
                        ]))
        }
        return total.failures > 0 || allSituations && !unmet.isEmpty ? .uncorrected : .success
    }

    private func show(_ file: String, _ stage: String, _ part: Exploration, _ output: Output) {
        output.channel.draw("")
        let words = [
            "\(short(part.interleavings)) interleavings", "\(part.states) states",
            "\(part.crashes) crashes", "\(part.faults) faults",
            part.walks > 0 ? "\(part.walks) walks" : nil,
            part.isExhaustive || stage == "volume" ? nil : "not all orders",
            part.areFaultsComplete || stage == "volume" || !faults ? nil : "not all faults",
            "\(decimal(part.seconds, 2)) s",
        ]
        output.line(
            "\(part.failures.isEmpty ? "ok  " : "FAIL")  \(file) on \(stage): "
                + words.compactMap { $0 }.joined(separator: ", "))
    }

    /// Says what failed, makes it small, and writes it.
    private func report(
        _ failure: Exploration.Failure, _ file: String, _ stage: String,
        _ runner: ScenarioRunner, _ output: Output
    ) throws {
        output.line("      \(failure.text)")
        var found = failure.scenario
        if let smaller = runner.shrink(failure.scenario, options) { found = smaller.scenario }
        let name = file.split(separator: "/").last.map(String.init) ?? "scenario.yaml"
        let path = "\(self.output)/failure-\(stage)-\(name)"
        try ScenarioFiles.write(ScenarioWriter.write(found), to: path)
        output.line("      written to \(path); see it with: tidemark replay --trace \(path)")
    }

    private func conclude(_ total: ExplorationSum, _ unmet: [String], _ output: Output) {
        output.line(
            "\(total.scenarios) explored, \(total.failures) failed: "
                + "\(short(total.interleavings)) interleavings, \(total.states) states, "
                + "\(total.crashes) crashes, \(total.faults) faults, \(total.walks) walks in "
                + "\(decimal(total.seconds, 1)) s (\(short(total.interleavings / total.seconds)) "
                + "interleavings and \(short(Double(total.steps) / total.seconds)) steps a second)")
        guard !unmet.isEmpty, allSituations || common.verbose else { return }
        for name in unmet { output.line("never met: \(name)") }
    }

    private func document(_ file: String, _ stage: String, _ part: Exploration) -> JSONValue {
        var sum = ExplorationSum()
        sum.add(part)
        return .object(
            [("file", .string(file)), ("stage", .string(stage))] + sum.members + [
                ("exhaustive", .bool(part.isExhaustive)),
                ("faultsComplete", .bool(part.areFaultsComplete)),
                ("found", .array(part.failures.map { .string($0.text) })),
                (
                    "situations",
                    .object(
                        zip(Situation.allCases, part.situations).filter { $0.1 > 0 }
                            .map { ($0.0.rawValue, .integer($0.1)) })
                ),
            ])
    }
}

/// What several explorations come to.
struct ExplorationSum {
    private(set) var scenarios = 0, failures = 0, states = 0, crashes = 0, faults = 0, walks = 0
    private(set) var steps = 0, executions = 0
    private(set) var interleavings = 0.0, seconds = 0.0
    private var situations = [Int](repeating: 0, count: Situation.allCases.count)

    mutating func add(_ part: Exploration) {
        scenarios += 1
        failures += part.failures.count
        states += part.states
        crashes += part.crashes
        faults += part.faults
        walks += part.walks
        steps += part.steps
        executions += part.executions
        interleavings += part.interleavings
        seconds += part.seconds
        for (place, count) in part.situations.enumerated() { situations[place] += count }
    }

    /// Situations that were never met.
    var unmet: [String] {
        zip(Situation.allCases, situations).filter { $0.1 == 0 }.map(\.0.rawValue)
    }

    var members: [(String, JSONValue)] {
        [
            ("failures", .integer(failures)), ("interleavings", .number(interleavings)),
            ("states", .integer(states)), ("executions", .integer(executions)),
            ("steps", .integer(steps)), ("crashes", .integer(crashes)),
            ("faults", .integer(faults)), ("walks", .integer(walks)),
            ("seconds", .number(seconds)),
        ]
    }
}

/// `A-B`, or `A` for a thousand from there.
struct SeedRange: ExpressibleByArgument {
    let first: UInt64
    let count: Int
    var last: UInt64 { first + UInt64(count - 1) }

    init?(argument: String) {
        let parts = argument.split(separator: "-", omittingEmptySubsequences: false)
        guard let first = parts.first.flatMap({ UInt64($0) }), parts.count <= 2 else { return nil }
        self.first = first
        guard parts.count == 2 else {
            count = 1000
            guard first <= .max - 999 else { return nil }
            return
        }
        guard let last = UInt64(parts[1]), last >= first, last - first < 1 << 40 else { return nil }
        count = Int(last - first) + 1
    }
}

/// A count for people: 1234, 56.7 k, 8.9 M.
func short(_ number: Double) -> String {
    switch number {
    case ..<10_000: "\(Int(number))"
    case ..<1e6: "\(decimal(number / 1e3, 1)) k"
    case ..<1e9: "\(decimal(number / 1e6, 1)) M"
    case ..<1e12: "\(decimal(number / 1e9, 1)) G"
    case ..<1e15: "\(decimal(number / 1e12, 1)) T"
    default: exponential(number)
    }
}

/// 7.7e15, for counts that nobody reads digit by digit.
private func exponential(_ number: Double) -> String {
    var mantissa = number, exponent = 0
    while mantissa >= 10 {
        mantissa /= 10
        exponent += 1
    }
    return "\(decimal(mantissa, 1))e\(exponent)"
}
