// How long a run has held the owner's locks: the number that tells whether it was a good
// neighbour.

internal import Histogram
internal import Synchronization

final class LockHoldRecorder: Sendable {
    /// The histogram is made when the first hold is recorded: it takes some hundred KiB.
    private let state = Mutex<(histogram: Histogram<UInt64>?, total: UInt64)>((nil, 0))

    /// - Parameter nanoseconds: how long one hold lasted; 0 where time stands still.
    func record(_ nanoseconds: UInt64) {
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

    var report: RunReport.LockHolds {
        state.withLock { state in
            guard let histogram = state.histogram else { return RunReport.LockHolds() }
            return RunReport.LockHolds(
                maximum: histogram.max, percentile999: histogram.valueAtPercentile(99.9),
                percentile99: histogram.valueAtPercentile(99), total: state.total,
                count: Int(histogram.totalCount))
        }
    }
}
