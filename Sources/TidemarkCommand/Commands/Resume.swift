// `tidemark resume`: a run that rests goes on, and so does one that was stopped, or whose process
// has died, from its last checkpoint.

internal import ArgumentParser
internal import Tidemark
internal import Volume

struct Resume: ServableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Go on with a run that was paused, stopped, or interrupted.",
        discussion: """
            Where a process is at work on the volume, its run that was paused goes on there.

            A repair that was stopped, or whose process or machine died, is remembered by the \
            volume with its position, and so is everything that has changed since. It goes on \
            from there: what was read is not read again. Where the position can't be used (the \
            side file is gone or damaged, or so much has changed that the volume has given the \
            position up), that is said, and the run starts again from the beginning.

            It has the limits that it had, but for a number of discrepancies to stop after; those \
            that are given here come in their place. A duration begins anew. On a mount it gives \
            way to programs, whether it did before or not, unless --no-background is given.

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

    @OptionGroup(title: "Limits, which `tidemark set` can change") var limits: LimitOptions
    @OptionGroup var common: CommonOptions

    func execute(_ output: Output) throws -> ExitStatus {
        if let desk = output.served?.desk {
            let live = desk.endPause(run.map { Int(clamping: $0) })
            if let live { return tell(live, output) }
        } else if let live = try liveStatus(target) {
            return try endPause(live, output)
        }
        let list = try LineList(path: list, output)
        return try withVolume(target, .readWrite, output) { volume in
            let record = try interrupted(volume)
            let limits = try limits.limits(from: allowed(record, output))
            let report = try withSeat(volume, Resume._commandName, limits, output) { seat in
                var execution = try RunExecution(
                    volume: volume, of: record, seat: seat, output: output)
                execution.onDiscrepancy = reporter(list, volume, output)
                return try execution.resume(record)
            }
            output.json(
                ifAsked: document([("run", .integer(Int(record.number)))] + report.members))
            report.print(target, isDryRun: record.isDryRun, to: output)
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

    /// The limits that the run had. It rests no longer, and is not stopped again by what it found
    /// before.
    private func allowed(_ record: RunRecord, _ output: Output) -> RunLimits {
        var limits = RunLimits.usual(on: output.served, from: record.limits ?? RunLimits())
        limits.isPaused = false
        limits.stopAfter = nil
        return limits
    }

    private func interrupted(_ volume: Volume) throws -> RunRecord {
        let runs = try volume.runs()
        guard let run else {
            guard let last = runs.last(where: { $0.state.isResumable && !$0.state.isWorking })
            else {
                throw CommandFailure(
                    "\(target): no run was interrupted; `tidemark repair` begins one")
            }
            return last
        }
        guard let record = runs.first(where: { $0.number == run }) else {
            throw CommandFailure(
                "\(target) knows of no run \(run); `tidemark status` lists those it knows")
        }
        guard !record.state.isWorking else {
            throw CommandFailure("run \(run) is at work and does not rest")
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
    init(volume: Volume, of record: RunRecord, seat: RunSeat, output: Output) throws {
        let slots = volume.indexes.indices.filter {
            record.indexes.contains(volume.indexes[$0].name)
        }
        self.init(
            volume: volume, slots: slots.map { IndexSlot($0) }, seat: seat, output: output)
        options.strategy = record.strategy
        options.isDryRun = record.isDryRun
        options.keepsOld = record.keepsOld
        guard let text = record.scope else { return }
        guard let scope = VolumeScope(text) else {
            throw CommandFailure(
                "run \(record.number) is limited to \"\(text)\", which this version does not know; "
                    + "`tidemark repair` begins another")
        }
        self.scope = scope
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
