// How long things take, counted where they happen: any thread records, any thread reads, and
// nobody waits for anybody. A record is one addition to the bucket of its size, one to the sum,
// and a comparison with the longest.
//
// A bucket is a thirty-second of a power of two wide: what is reported is at most 3.2 % too long.

internal import Synchronization
internal import Threads
#if canImport(Glibc)
internal import Glibc
#endif

/// Where a duration is counted.
enum Bucket {
    /// Buckets to a power of two, and their binary logarithm.
    static let parts = 1 << bits, bits = 5
    /// Durations below the first, 2^9 ns, and above the last power, 2^38 ns (275 s), are counted
    /// with the next ones.
    static let lowest = 9, highest = 38
    static let count = (highest - lowest) * parts

    static func index(of nanoseconds: UInt64) -> Int {
        guard nanoseconds >> lowest > 0 else { return 0 }
        let power = 63 - nanoseconds.leadingZeroBitCount
        guard power < highest else { return count - 1 }
        let part = Int(truncatingIfNeeded: nanoseconds >> (power - bits)) & (parts - 1)
        return (power - lowest) * parts + part
    }

    /// The first duration beyond a bucket.
    static func end(of index: Int) -> UInt64 {
        let power = lowest + index / parts
        return UInt64(parts + index % parts + 1) << (power - bits)
    }
}

@safe public final class LatencyRecorder: @unchecked Sendable {
    /// Of each bucket, then the sum, then the longest.
    private let values: UnsafeMutablePointer<Atomic<UInt64>>
    private static let sum = Bucket.count, longest = Bucket.count + 1

    public init() {
        unsafe values = .allocate(capacity: Bucket.count + 2)
        for index in 0..<(Bucket.count + 2) {
            unsafe (values + index).initialize(to: Atomic(0))
        }
    }

    deinit {
        unsafe values.deinitialize(count: Bucket.count + 2)
        unsafe values.deallocate()
    }

    public func record(_ nanoseconds: UInt64) {
        _ = unsafe values[Bucket.index(of: nanoseconds)].add(1, ordering: .relaxed)
        _ = unsafe values[LatencyRecorder.sum].add(nanoseconds, ordering: .relaxed)
        if unsafe nanoseconds > values[LatencyRecorder.longest].load(ordering: .relaxed) {
            _ = unsafe values[LatencyRecorder.longest].max(nanoseconds, ordering: .relaxed)
        }
    }

    /// Records what has passed since `start`, a moment of `monotonicNanoseconds`.
    public func record(since start: UInt64) {
        let now = monotonicNanoseconds()
        record(now > start ? now - start : 0)
    }

    /// What was recorded so far. What is recorded meanwhile may be in some of its numbers.
    public var latencies: Latencies {
        var result = Latencies()
        for index in 0..<Bucket.count {
            result.counts[index] = unsafe values[index].load(ordering: .relaxed)
        }
        result.sum = unsafe values[LatencyRecorder.sum].load(ordering: .relaxed)
        result.longest = unsafe values[LatencyRecorder.longest].load(ordering: .relaxed)
        return result
    }
}

/// Durations that were recorded, in nanoseconds.
public struct Latencies: Sendable {
    var counts = [UInt64](repeating: 0, count: Bucket.count)
    public fileprivate(set) var sum: UInt64 = 0
    fileprivate var longest: UInt64 = 0

    public init() {}

    public mutating func record(_ nanoseconds: UInt64) {
        counts[Bucket.index(of: nanoseconds)] &+= 1
        sum &+= nanoseconds
        longest = max(longest, nanoseconds)
    }

    public var count: Int { Int(clamping: counts.reduce(0, &+)) }

    /// The longest: exact since the beginning, of a part of the time at most 3.2 % too long.
    public var maximum: UInt64 {
        counts.lastIndex { $0 > 0 }.map { min(Bucket.end(of: $0), longest) } ?? 0
    }

    /// The duration that so many percent did not exceed; 0 where there are none.
    public func percentile(_ percent: Double) -> UInt64 {
        let count = count
        guard count > 0 else { return 0 }
        let wanted = max(1, UInt64((Double(count) * percent / 100).rounded(.up)))
        var passed: UInt64 = 0
        for index in 0..<Bucket.count {
            passed &+= counts[index]
            if passed >= wanted { return min(Bucket.end(of: index), longest) }
        }
        return maximum
    }

    /// What was recorded since `earlier`.
    public func since(_ earlier: Latencies) -> Latencies {
        var result = self
        for index in 0..<Bucket.count { result.counts[index] &-= earlier.counts[index] }
        result.sum &-= earlier.sum
        return result
    }

    public mutating func add(_ other: Latencies) {
        for index in 0..<Bucket.count { counts[index] &+= other.counts[index] }
        sum &+= other.sum
        longest = max(longest, other.longest)
    }

    /// How many took no longer than each power of four nanoseconds, from a microsecond to a
    /// minute: for histograms that others add up.
    public var cumulative: [(nanoseconds: UInt64, count: Int)] {
        stride(from: 10, through: 36, by: 2).map { power in
            let end = (power - Bucket.lowest) * Bucket.parts
            return (1 << UInt64(power), Int(clamping: counts[..<end].reduce(0, &+)))
        }
    }
}
