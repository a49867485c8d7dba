// What a watcher remembers of what it has seen: the last minutes, for curves and rates.

internal import Meters
internal import RunService
internal import Tidemark

struct WatchHistory {
    struct Sample {
        /// Seconds of a clock that only goes on.
        let time: Double
        let operationsPerSecond: Double
        /// Seconds; 0 where nothing was done.
        let latency: Double
        /// Of the run with this number.
        let run: Int?
        let applied: Int
        let elided: Int
    }

    private(set) var samples: [Sample] = []
    private static let limit = 300

    mutating func note(_ live: LiveStatus, at time: Double) {
        let run = live.runs.first
        if samples.count == WatchHistory.limit { samples.removeFirst() }
        samples.append(
            Sample(
                time: time, operationsPerSecond: live.writers?.perSecond ?? 0,
                latency: live.writers?.percentile99 ?? 0, run: run?.number,
                applied: run?.progress.applied ?? 0, elided: run?.progress.elided ?? 0))
    }

    /// Hook events in a second, between the last two looks at the run; nil: not known yet.
    func rates(of run: Int) -> (applied: Double, elided: Double)? {
        guard samples.count > 1 else { return nil }
        let last = samples[samples.count - 1], before = samples[samples.count - 2]
        let seconds = last.time - before.time
        guard last.run == run, before.run == run, seconds > 0 else { return nil }
        return (
            Double(max(0, last.applied - before.applied)) / seconds,
            Double(max(0, last.elided - before.elided)) / seconds
        )
    }
}
