// How long a run has held the owner's locks: the number that tells whether it was a good
// neighbour.

internal import Meters
internal import Synchronization

package final class LockHoldRecorder: Sendable {
    /// Made when the first hold is recorded: where time stands still there is none.
    private let holds = Mutex<Latencies?>(nil)

    package init() {}

    /// - Parameter nanoseconds: how long one hold lasted; 0 where time stands still.
    package func record(_ nanoseconds: UInt64) {
        guard nanoseconds > 0 else { return }
        holds.withLock { holds in
            if holds == nil { holds = Latencies() }
            holds?.record(nanoseconds)
        }
    }

    package var report: RunReport.LockHolds {
        guard let latencies = holds.withLock({ $0 }) else { return RunReport.LockHolds() }
        var report = RunReport.LockHolds()
        report.maximum = latencies.maximum
        report.percentile999 = latencies.percentile(99.9)
        report.percentile99 = latencies.percentile(99)
        report.total = latencies.sum
        report.count = latencies.count
        return report
    }
}
