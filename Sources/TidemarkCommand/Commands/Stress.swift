// `tidemark stress`: writers at full speed, and repairs meanwhile.

internal import ArgumentParser
internal import Reports
internal import RunService
internal import Scenarios
internal import Tidemark
internal import Volume

struct Stress: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Write at full speed; with --index, repair those indexes meanwhile.",
        discussion: """
            Writers create, write, extend, truncate, punch, rename, link, exchange and delete: in \
            directories of their own, in one that they share, and, without touching contents, with \
            what is in the volume already. Everything that they create is below the directory \
            stress-SEED and stays. With --index these indexes are repaired repeatedly, with pauses \
            as long as the runs, and operations per second and latencies are reported with and \
            without a run in progress. Check the result with `tidemark verify`.

            With --record the operations, and the order in which they and the steps of the repairs \
            happened, are written to a file as a scenario, which `tidemark replay` plays to the \
            same end. Contents and extended attributes are omitted, everything is of whole blocks, \
            and the volume must be small at the start: a fresh one is best. Phases of runs and \
            holds of the commit lock are then not timed.

            Operations that may fail in such a mix (a name that exists, no space) are counted; any \
            other failure ends the stress.

            Exit status: 0 all runs ended clean or repaired; 1 a run left discrepancies; 4 a run \
            was aborted or incomplete, or an operation failed that must not.

            Example: tidemark stress /tmp/v --seconds 20 --writers 4 --index rmap --damage 100
            """)

    @Argument(
        help: ArgumentHelp("The volume's directory.", valueName: "volume"),
        transform: Arguments.path)
    var volume: String

    @Option(help: "How long. A run that is in progress at the end is waited for.")
    var seconds: Double

    @Option(help: "How many writers, each a thread.")
    var writers = 1

    @Option(help: "What chooses the operations; without it: anything.")
    var seed: UInt64?

    @Option(
        help:
            "An index to repair meanwhile: rmap, parents, quota, links. May be given several times."
    )
    var index: [IndexName] = []

    @Option(help: "How the indexes are repaired.")
    var strategy = StrategyArgument.rebuild

    @Option(help: "Make this many mixed discrepancies in each index before each run.")
    var damage = 0

    @Option(
        help: ArgumentHelp("Write what happened to this file, as a scenario.", valueName: "file"),
        transform: Arguments.path)
    var record: String?

    @OptionGroup(title: "Limits, which `tidemark set` can change") var limits: LimitOptions
    @OptionGroup var common: CommonOptions

    var target: String { volume }

    func validate() throws {
        guard seconds > 0, seconds <= 1e6 else {
            throw ValidationError("--seconds is above 0, and at most a million.")
        }
        guard (1...256).contains(writers) else { throw ValidationError("--writers is 1 to 256.") }
        guard damage >= 0 else { throw ValidationError("--damage is 0 or more.") }
        guard damage == 0 || !index.isEmpty else {
            throw ValidationError("--damage goes with --index.")
        }
        guard record == nil || limits.change.isEmpty else {
            throw ValidationError(
                "Limits and --record don't go together: a scenario knows no time.")
        }
        guard damage == 0 || !index.contains(where: { $0.name == "links" }) else {
            throw ValidationError(
                "--damage is not for links: a file with a wrong count that loses a name "
                    + "is orphaned, or freed too early, and no repair brings it back.")
        }
        guard damage == 0 || record == nil else {
            throw ValidationError(
                "--damage and --record don't go together: a scenario damages before its runs only.")
        }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        try withVolume(volume, .readWrite, output) { opened in
            try finishReaping(opened, output)
            var options = StressOptions(seconds: seconds, writers: writers)
            options.seed = seed ?? .random(in: 0..<1_000_000)
            options.slots = index.isEmpty ? [] : index.slots
            options.strategy = strategy.strategy
            options.damage = damage
            options.isRecorded = record != nil
            // Where it can't be written that is better known before the stress than after it.
            if let record {
                try ScenarioFiles.write("# The recording did not come to its end.\n", to: record)
            }
            let result = try withHandle(opened, limits, output) {
                try StressCoordinator(opened, options, $0, output).run()
            }
            if let record, let scenario = result.scenario {
                try ScenarioFiles.write(ScenarioWriter.write(scenario), to: record)
            }
            try finishReaping(opened, output)
            output.json(ifAsked: document(result.members(options)))
            result.print(volume, options, to: output)
            return result.status
        }
    }
}
