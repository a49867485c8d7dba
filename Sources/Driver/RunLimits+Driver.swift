// Limits as a driver reads them.

package import Contract

extension RunLimits {
    /// Seconds of reading between two looks at the limits, where the speed is limited.
    private static let glance = 0.05

    /// Records to be read at once: few where a limit is small, so that it is kept evenly, and
    /// few where the queue is small, so that no window fills it. An entry takes about 64 bytes.
    package func recordsAtOnce(indexes: Int) -> Int {
        let fitting = max(1, queueBytes / (64 * max(indexes, 1)))
        let even = speedLimit.map { max(1, Int(Double($0) * RunLimits.glance)) } ?? .max
        return min(window, fitting, even)
    }
}
