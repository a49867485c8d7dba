// Whoever serves a store resumes the runs that a crash, or the end of their process, has
// interrupted, beside everything else, with the limits that they had, and giving way to programs;
// not those that somebody has stopped.

public import Threads
public import Tidemark

/// What became of a run that was resumed by itself.
public struct ResumedRun {
    public let record: RunRecord
    public let result: Result<RunReport, any Error>
}

extension RunRecord {
    /// The limits that the run is resumed with on somebody's request: those that it had, but it is
    /// neither paused nor stopped again by what it found before.
    public func resumeLimits(with registry: RunRegistry?) -> RunLimits {
        var limits = limits ?? RunLimits()
        limits = registry?.defaultLimits(from: limits) ?? limits
        limits.isPaused = false
        limits.stopAfter = nil
        return limits
    }
}

extension RunRegistry {
    /// Begins to resume them, one after the other, on a thread of its own, and returns what is
    /// left to reap afterwards. It ends early when the registry is closed.
    /// - Parameters:
    ///   - willResume: called before each.
    ///   - onResult: called after each.
    ///   - onEnd: called at the end, with what reaping has thrown.
    public func resumeInterrupted(
        _ observer: RunObserver, willResume: @escaping @Sendable (RunRecord) -> Void,
        onResult: @escaping @Sendable (ResumedRun) -> Void,
        onEnd: @escaping @Sendable ((any Error)?) -> Void
    ) -> DedicatedThread {
        DedicatedThread(name: "resumed-runs") { [self] in
            var tried: Set<UInt64> = []
            while !isClosing, let record = nextInterrupted(besides: tried) {
                // Others may have begun meanwhile, and what was interrupted may have given way.
                waitUntilFree(record.indexes)
                tried.insert(record.number)
                guard let record = nextInterrupted(number: record.number) else { continue }
                willResume(record)
                let result = Result {
                    try withHandle(defaultLimits(from: record.limits ?? RunLimits())) { handle in
                        var execution = RunExecution(handle, of: record)
                        execution.observer = observer
                        return try execution.resume(record)
                    }
                }
                onResult(ResumedRun(record: record, result: result))
            }
            do {
                _ = try store.finishReaping { isClosing }
                onEnd(nil)
            } catch {
                onEnd(error)
            }
        }
    }

    private func nextInterrupted(besides tried: Set<UInt64>) -> RunRecord? {
        (try? store.interruptedRuns())?.first { !tried.contains($0.number) }
    }

    private func nextInterrupted(number: UInt64) -> RunRecord? {
        (try? store.interruptedRuns())?.first { $0.number == number }
    }
}
