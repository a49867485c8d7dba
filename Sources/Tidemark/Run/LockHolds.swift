// How long a run has held the owner's locks: the number that tells whether it was a good
// neighbour.

internal import Histogram
internal import Synchronization

final class LockHoldRecorder: Sendable {
    /// Made when the first hold is recorded: it takes some hundred KiB.
    private let histogram = Mutex<Histogram<UInt64>?>(nil)

    /// - Parameter nanoseconds: how long one hold lasted; 0 where time stands still.
    func record(_ nanoseconds: UInt64) {
        guard nanoseconds > 0 else { return }
        histogram.withLock { histogram in
            if histogram == nil {
                histogram = Histogram(
                    highestTrackableValue: 600_000_000_000, numberOfSignificantValueDigits: .two)
            }
            _ = histogram?.record(nanoseconds)
        }
    }

    var report: RunReport.LockHolds {
        histogram.withLock {
            guard let histogram = $0 else { return RunReport.LockHolds() }
            return RunReport.LockHolds(
                maximum: histogram.max, percentile999: histogram.valueAtPercentile(99.9),
                percentile99: histogram.valueAtPercentile(99), count: Int(histogram.totalCount))
        }
    }
}
