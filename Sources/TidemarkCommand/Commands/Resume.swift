// `tidemark resume`: a run that rests goes on, and so does one that was stopped, or whose process
// has died, from its last checkpoint.

internal import ArgumentParser
internal import Reports
internal import RunService
internal import Tidemark
internal import Volume

struct Resume: ServableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Resume a run that was paused, stopped, or interrupted.",
        discussion: """
            If a process is at work on the volume, this ends the pause of its run.

            The volume records a repair that was stopped, or whose process or machine died, with \
            its position and with everything that has changed since. The repair resumes from \
            there: what was read is not read again. If the position can't be used (the side file \
            is gone or damaged, or so much has changed that the volume has discarded the \
            position), the command says so, and the run restarts from the beginning.

            The run keeps its limits, except --stop-after; limits that are given here replace \
            them. A maximum duration starts anew. On a mount it yields to programs, whether it did \
            before or not, unless --no-background is given.

            Without RUN the last interrupted run is resumed. `tidemark status` lists them.

            Exit status: that of the run, as for `tidemark repair`; 4 also if there is nothing to \
            resume.

            Example: tidemark resume /tmp/v
            """)

    @Argument(
        help: ArgumentHelp("The volume's directory.", valueName: "target"),
        transform: Arguments.path)
    var target: String

    @Argument(help: ArgumentHelp("The number of the run.", valueName: "run"))
    var run: UInt64?

    @Option(
        help: "Write each discrepancy as a line of JSON to this file.", completion: .file(),
        transform: Arguments.path)
    var list: String?

    @OptionGroup(title: "Limits, which `tidemark set` can change") var limits: LimitOptions
    @OptionGroup var common: CommonOptions

    func execute(_ output: Output) throws -> ExitStatus {
        if let registry = output.served?.registry {
            let live = registry.endPause(run.map { Int(clamping: $0) })
            if let live { return tell(live, output) }
        } else if let live = try liveStatus(target) {
            return try endPause(live, output)
        }
        let list = try LineList(path: list, output)
        return try withVolume(target, .readWrite, output) { volume in
            let record = try volume.resumableRun(run)
            let report = try withHandle(
                volume, limits, output, from: { record.resumeLimits(with: $0) }
            ) { handle in
                var execution = RunExecution(handle, of: record)
                execution.observer = observer(list, volume, output)
                return try execution.resume(record)
            }
            output.json(
                ifAsked: document([("run", .integer(Int(record.number)))] + report.members))
            output.show(report, of: target, isDryRun: record.isDryRun)
            try list.finish()
            if !record.isDryRun, report.outcome.isDone { try finishReaping(volume, output) }
            return report.outcome.status
        }
    }

    private func endPause(_ live: LiveStatus, _ output: Output) throws -> ExitStatus {
        // A number that is none is refused by whoever serves the volume.
        guard live.limits.isPaused || run != nil else {
            throw CommandFailure(
                "\(target): \(live.command), process \(live.process), is at work on it and not "
                    + "paused; `tidemark status` shows what it does")
        }
        return try steer(RunVerbs.resume, SteerRequest(run: run.map { Int(clamping: $0) }), output)
    }
}

extension RunReport.Outcome {
    /// Whether the run came to its end.
    var isDone: Bool {
        switch self {
        case .clean, .repaired, .corrupt: true
        case .incomplete, .aborted, .stopped, .unsettled: false
        }
    }
}
