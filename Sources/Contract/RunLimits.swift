// What an operator may ask of a run, at its start and at any time after it.
//
// A change is the one form in which limits come from outside: from the options of a command,
// and through the control socket. It is checked here, so that no limit that a run meets needs
// a second look.

public struct RunLimits: Hashable, Sendable, Codable {
    /// Primary records that the scan reads in a second, at the most; nil: as many as it can.
    /// Other phases read no primary records: `share` is what bounds them.
    public var recordsPerSecond: Int?
    /// The part of the time, in percent, that each thread of the run may work, in every phase.
    public var share = 100
    /// Primary records of a window, at the most.
    public var windowRecords: Int
    /// Bytes of entries that are collected before they are sorted.
    public var sortBytes: Int
    /// Bytes in the queue from which on writers and scanners wait.
    public var queueBytes: Int
    /// Discrepancies at which the run stops; nil: it goes on to the end.
    public var stopAfter: Int?
    /// Seconds after which the run stops, pauses included; nil: never.
    public var maximumSeconds: Double?
    /// Whether the run gives way to writers wherever they are at work.
    public var isBackground = false
    /// Whether the run rests: hooks stay in force, and the queue is kept empty.
    public var isPaused = false

    public init(windowRecords: Int, sortBytes: Int, queueBytes: Int, stopAfter: Int? = nil) {
        self.windowRecords = windowRecords
        self.sortBytes = sortBytes
        self.queueBytes = queueBytes
        self.stopAfter = stopAfter
    }

    /// Bytes that the run collects, sorting included, which takes as much again.
    public var memoryBytes: Int { 2 * sortBytes + queueBytes }
}

/// What is to be changed of the limits. Nil leaves as it is; 0 takes a limit away that can be
/// none.
public struct LimitChange: Hashable, Sendable, Codable {
    public var speedLimit: Int?
    public var share: Int?
    public var window: Int?
    /// Bytes for sorting and the queue together: a quarter is the queue's, unless `queue` says
    /// otherwise.
    public var memory: Int?
    public var queue: Int?
    public var stopAfter: Int?
    public var maximumSeconds: Double?
    public var background: Bool?

    public init() {}

    public var isEmpty: Bool { self == LimitChange() }

    /// Bytes of memory, and of the queue, at the least.
    public static let leastMemory = 1 << 20, leastQueue = 64 << 10

    /// What can't be done, in words.
    public struct Refusal: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String
    }

    /// The limits with the change made.
    public func applied(to limits: RunLimits) throws(Refusal) -> RunLimits {
        var limits = limits
        if let speedLimit {
            try check(speedLimit, 0...1_000_000_000, "the speed limit", "records a second, or none")
            limits.recordsPerSecond = speedLimit == 0 ? nil : speedLimit
        }
        if let share {
            try check(share, 1...100, "the share of time", "percent")
            limits.share = share
        }
        if let window {
            try check(window, 1...(1 << 20), "the window", "records")
            limits.windowRecords = window
        }
        if let stopAfter {
            try check(stopAfter, 0...Int.max, "stop after", "discrepancies, or none")
            limits.stopAfter = stopAfter == 0 ? nil : stopAfter
        }
        if let maximumSeconds {
            guard maximumSeconds >= 0, maximumSeconds <= 1e9 else {
                throw Refusal(description: "the duration is up to 1,000,000,000 seconds, or none")
            }
            limits.maximumSeconds = maximumSeconds == 0 ? nil : maximumSeconds
        }
        if let background { limits.isBackground = background }
        try divideMemory(&limits)
        return limits
    }

    private func divideMemory(_ limits: inout RunLimits) throws(Refusal) {
        let most = 1 << 40
        if let queue {
            try check(queue, LimitChange.leastQueue...most, "the queue", "bytes")
            limits.queueBytes = queue
        }
        guard let memory else { return }
        try check(memory, LimitChange.leastMemory...most, "the memory", "bytes")
        if queue == nil { limits.queueBytes = memory / 4 }
        guard limits.queueBytes <= memory * 3 / 4 else {
            throw Refusal(
                description: "the queue takes more than three quarters of the memory; give it "
                    + "less, or more memory")
        }
        limits.sortBytes = (memory - limits.queueBytes) / 2
    }

    private func check(
        _ value: Int, _ range: ClosedRange<Int>, _ name: String, _ unit: String
    ) throws(Refusal) {
        guard range.contains(value) else {
            let most = range.upperBound == .max ? "or more" : "to \(range.upperBound)"
            throw Refusal(description: "\(name) is \(range.lowerBound) \(most) \(unit)")
        }
    }
}
