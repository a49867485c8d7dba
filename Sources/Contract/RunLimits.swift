// What an operator may ask of a run, at its start and at any time after it.
//
// A change is the one form in which limits come from outside: from the options of a command,
// and through the control socket. It is checked here, so that no limit that a run meets needs
// a second look.

public struct RunLimits: Hashable, Sendable, Codable {
    /// Primary records that the scan reads in a second, at the most; nil: as many as it can.
    /// Other phases read no primary records: `share` is what bounds them.
    public var speedLimit: Int?
    /// The part of the time, in percent, that each thread of the run may work, in every phase.
    public var share = 100
    /// Primary records of a window, at the most.
    public var window = 32768
    /// Bytes of entries that are collected before they are sorted and written out as a run.
    /// Sorting takes about as much again.
    public var sortBytes = 24 << 20
    /// Bytes in the queue from which on writers and scanners wait.
    public var queueBytes = 16 << 20
    /// Discrepancies at which the run stops; nil: it goes on to the end.
    public var stopAfter: Int?
    /// Seconds after which the run stops, pauses included; nil: never.
    public var maximumSeconds: Double?
    /// Whether the run gives way to writers wherever they are at work.
    public var isBackground = false
    /// Whether the run rests: hooks stay in force, and the queue is kept empty.
    public var isPaused = false

    /// The names in a run's record.
    private enum CodingKeys: String, CodingKey {
        case speedLimit = "recordsPerSecond", window = "windowRecords", share, sortBytes, queueBytes
        case stopAfter, maximumSeconds, isBackground, isPaused
    }

    /// The limits that a run begins with, where nobody asks for others.
    public init() {}

    /// Whether a run can keep to them: what comes from a disk is asked first.
    public var isWithinBounds: Bool {
        let bytes = 0...(1 << 40)
        return (0...1_000_000_000).contains(speedLimit ?? 0) && (1...100).contains(share)
            && (1...(1 << 20)).contains(window) && bytes.contains(sortBytes)
            && bytes.contains(queueBytes) && stopAfter ?? 0 >= 0
            && (0...1e9).contains(maximumSeconds ?? 0)
    }

    /// Bytes that the run collects, sorting included, which takes as much again.
    public var memoryBytes: Int { 2 * sortBytes + queueBytes }
}

/// What is to be changed of the limits, by their names. Nil leaves as it is; 0 takes a limit away
/// that can be none.
public struct LimitChange: Hashable, Sendable, Codable {
    public var speedLimit: Int?
    public var share: Int?
    public var window: Int?
    /// Bytes for sorting and the queue together: a quarter is the queue's, unless
    /// `queueBytes` says otherwise.
    public var memoryBytes: Int?
    public var queueBytes: Int?
    public var stopAfter: Int?
    public var maximumSeconds: Double?
    public var isBackground: Bool?

    /// The names in a request, which are those of the command's options.
    private enum CodingKeys: String, CodingKey {
        case speedLimit, share, window, memoryBytes = "memory", queueBytes = "queue"
        case stopAfter, maximumSeconds, isBackground = "background"
    }

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
            limits.speedLimit = speedLimit == 0 ? nil : speedLimit
        }
        if let share {
            try check(share, 1...100, "the share of time", "percent")
            limits.share = share
        }
        if let window {
            try check(window, 1...(1 << 20), "the window", "records")
            limits.window = window
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
        if let isBackground { limits.isBackground = isBackground }
        try divideMemory(&limits)
        return limits
    }

    private func divideMemory(_ limits: inout RunLimits) throws(Refusal) {
        let most = 1 << 40
        if let queueBytes {
            try check(queueBytes, LimitChange.leastQueue...most, "the queue", "bytes")
            limits.queueBytes = queueBytes
        }
        guard let memoryBytes else { return }
        try check(memoryBytes, LimitChange.leastMemory...most, "the memory", "bytes")
        if queueBytes == nil { limits.queueBytes = memoryBytes / 4 }
        guard limits.queueBytes <= memoryBytes * 3 / 4 else {
            throw Refusal(
                description: "the queue takes more than three quarters of the memory; give it "
                    + "less, or more memory")
        }
        limits.sortBytes = (memoryBytes - limits.queueBytes) / 2
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
