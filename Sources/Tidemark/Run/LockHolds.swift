// How long a run has held the owner's locks: the number that tells whether it was a good
// neighbour.

internal import Histogram
internal import Synchronization

final class LockHoldRecorder: Sendable {
    private let histogram = Mutex(
        Histogram<UInt64>(
            highestTrackableValue: 600_000_000_000, numberOfSignificantValueDigits: .two))

    /// - Parameter nanoseconds: how long one hold lasted.
    func record(_ nanoseconds: UInt64) {
        _ = histogram.withLock { $0.record(max(nanoseconds, 1)) }
    }

    var report: RunReport.LockHolds {
        histogram.withLock {
            guard $0.totalCount > 0 else { return RunReport.LockHolds() }
            return RunReport.LockHolds(
                maximum: $0.max, percentile999: $0.valueAtPercentile(99.9),
                percentile99: $0.valueAtPercentile(99), count: Int($0.totalCount))
        }
    }
}
