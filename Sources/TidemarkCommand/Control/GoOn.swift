// Whoever serves a volume goes on with the runs that a crash, or a closing, has interrupted, beside
// everything else, with the limits that they had, and giving way to programs; not with those that
// somebody has stopped.

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
            var tried: Set<UInt64> = []
            while !desk.isClosing,
                let record = (try? volume.interruptedRuns)?.first(where: {
                    !tried.contains($0.number)
                })
            {
                // Others may have begun meanwhile, and what was interrupted may have given way.
                desk.waitUntilFree(record.indexes)
                tried.insert(record.number)
                do {
                    try goOn(record.number, output)
                } catch {
                    logger.error(
                        "run \(record.number) could not go on: \(explanation(of: error))")
                }
            }
            do { try finishReaping(volume, output) } catch {
                logger.error("\(explanation(of: error))")
            }
            output.flush()
        }
    }

    private func goOn(_ number: UInt64, _ output: Output) throws {
        guard let record = try volume.interruptedRuns.first(where: { $0.number == number })
        else { return }
        output.note("run \(record.number) was interrupted, and goes on")
        let limits = RunLimits.usual(on: self, from: record.limits ?? RunLimits())
        let report = try desk.seated(limits) { seat in
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
