// Whoever serves a volume goes on with the runs that a crash, or a closing, has interrupted, beside
// everything else; not with those that somebody has stopped.

internal import Logging
internal import Threads
internal import Tidemark
internal import Volume

extension ServedVolume {
    /// Begins to go on with them, one after the other, on a thread of its own. What becomes of them
    /// is logged. It ends early when the desk is closed.
    func goOn(_ logger: Logger) -> DedicatedThread {
        DedicatedThread(name: "served-runs") {
            let output = Output(
                form: .text, isQuiet: false, isVerbose: false, channel: LogChannel(logger),
                served: self)
            do {
                for record in try volume.interruptedRuns { try goOn(record, output) }
                try finishReaping(volume, output)
            } catch {
                logger.error("an interrupted run could not go on: \(explanation(of: error))")
            }
            output.flush()
        }
    }

    private func goOn(_ record: RunRecord, _ output: Output) throws {
        output.note("run \(record.number) was interrupted, and goes on")
        let report = try desk.seated(RunLimits()) { seat in
            try RunExecution(volume: volume, of: record, seat: seat, output: output)
                .resume(record)
        }
        report.print("run \(record.number)", isDryRun: record.isDryRun, to: output)
        output.flush()
    }
}

extension Volume {
    /// The runs that whoever serves the volume goes on with.
    var interruptedRuns: [RunRecord] {
        get throws { try runs().filter { $0.state == .crashed || $0.state == .paused } }
    }
}

/// Each line becomes one of the log.
private struct LogChannel: Channel {
    let logger: Logger

    init(_ logger: Logger) { self.logger = logger }

    func write(_ text: String) -> Bool {
        tell(text)
        return true
    }

    func tell(_ text: String) {
        for line in text.split(separator: "\n") { logger.info("\(line)") }
    }

    var progressColumns: Int? { nil }
    func draw(_ line: String) {}
    var list: (@Sendable (String) -> Bool)? { nil }
}
