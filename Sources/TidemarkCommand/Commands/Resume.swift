// `tidemark resume`: a run that was stopped, or whose process has died, goes on from its last
// checkpoint.

internal import ArgumentParser
internal import Tidemark
internal import Volume

struct Resume: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Go on with a run that was interrupted.",
        discussion: """
            A repair that was stopped, or whose process or machine died, is remembered by the \
            volume with its position, and so is everything that has changed since. It goes on \
            from there: what was read is not read again. Where the position can't be used (the \
            side file is gone or damaged, or so much has changed that the volume has given the \
            position up), that is said, and the run starts again from the beginning.

            Without RUN it is the last one that was interrupted. `tidemark status` lists them.

            Exit status: that of the run, as for `tidemark repair`; 4 also where there is nothing \
            to go on with.

            Example: tidemark resume /tmp/v
            """)

    @Argument(help: ArgumentHelp("The volume's directory.", valueName: "target"))
    var target: String

    @Argument(help: ArgumentHelp("The number of the run.", valueName: "run"))
    var run: UInt64?

    @Option(help: "Write each discrepancy as a line of JSON to this file.", completion: .file())
    var list: String?

    @OptionGroup var common: CommonOptions

    func execute(_ output: Output) throws -> ExitStatus {
        let list = try LineList(path: list)
        return try withVolume(target, .readWrite, output) { volume in
            let record = try interrupted(volume)
            var execution = RunExecution(volume: volume, of: record, output: output)
            execution.onDiscrepancy = reporter(list, volume, output)
            let report = try execution.resume(record)
            output.json(
                ifAsked: document([("run", .integer(Int(record.number)))] + report.members))
            report.print(target, isDryRun: record.isDryRun, to: output)
            try list.finish()
            if !record.isDryRun, report.outcome.isDone { try finishReaping(volume, output) }
            return report.outcome.status
        }
    }

    private func interrupted(_ volume: Volume) throws -> RunRecord {
        let runs = try volume.runs()
        guard let run else {
            guard let last = runs.last(where: \.state.isResumable) else {
                throw CommandFailure(
                    "\(target): no run was interrupted; `tidemark repair` begins one")
            }
            return last
        }
        guard let record = runs.first(where: { $0.number == run }) else {
            throw CommandFailure(
                "\(target) knows of no run \(run); `tidemark status` lists those it knows")
        }
        guard record.state.isResumable else {
            throw CommandFailure(
                "run \(run) has ended (\(record.state.rawValue)); `tidemark repair` begins another")
        }
        return record
    }
}

extension RunExecution {
    /// What goes on with `record`, or starts it again.
    init(volume: Volume, of record: RunRecord, output: Output) {
        let slots = volume.indexes.indices.filter {
            record.indexes.contains(volume.indexes[$0].name)
        }
        self.init(volume: volume, slots: slots.map { IndexSlot($0) }, output: output)
        options.strategy = record.strategy
        options.isDryRun = record.isDryRun
    }
}

extension RunReport.Outcome {
    /// Whether the run came to its end.
    var isDone: Bool {
        switch self {
        case .clean, .repaired, .corrupt: true
        case .incomplete, .aborted, .stopped: false
        }
    }
}
