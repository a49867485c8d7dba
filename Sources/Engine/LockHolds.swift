// How long a run has held the owner's locks: the number that tells whether it was a good
// neighbour.

internal import Histogram
internal import Synchronization

package final class LockHoldRecorder: Sendable {
    /// The histogram is made when the first hold is recorded: it takes some hundred KiB.
    private let state = Mutex<(histogram: Histogram<UInt64>?, total: UInt64)>((nil, 0))

    /// - Parameter nanoseconds: how long one hold lasted; 0 where time stands still.
    package func record(_ nanoseconds: UInt64) {
        guard nanoseconds > 0 else { return }
        state.withLock { state in
            if state.histogram == nil {
                state.histogram = Histogram(
                    highestTrackableValue: 600_000_000_000, numberOfSignificantValueDigits: .two)
            }
            _ = state.histogram?.record(nanoseconds)
            state.total += nanoseconds
        }
    }

    package var report: RunReport.LockHolds {
        state.withLock { state in
            guard let histogram = state.histogram else { return RunReport.LockHolds() }
            var holds = RunReport.LockHolds()
            holds.maximum = histogram.max
            holds.percentile999 = histogram.valueAtPercentile(99.9)
            holds.percentile99 = histogram.valueAtPercentile(99)
            holds.total = state.total
            holds.count = Int(histogram.totalCount)
            return holds
        }
    }
}
