// Limits as a driver reads them.

public import Contract
public import Engine

extension RunLimits {
    /// The limits that a run of these options begins with.
    public init(_ options: RunOptions = RunOptions()) {
        self.init(
            windowRecords: options.windowRecords, sortBytes: options.sortBudget,
            queueBytes: options.queueBytes, stopAfter: options.stopAfter)
    }

    /// Seconds of reading between two looks at the limits, where the speed is limited.
    private static let glance = 0.05

    /// Records to be read at once: few where a limit is small, so that it is kept evenly, and
    /// few where the queue is small, so that no window fills it. An entry takes about 64 bytes.
    package func recordsAtOnce(indexes: Int) -> Int {
        let fitting = max(1, queueBytes / (64 * max(indexes, 1)))
        let even = recordsPerSecond.map { max(1, Int(Double($0) * RunLimits.glance)) } ?? .max
        return min(windowRecords, fitting, even)
    }
}
