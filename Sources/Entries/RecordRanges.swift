// Many disjoint ranges of primary keys, kept close together: a scope may have a hundred
// thousand of them.

internal import Bytes

/// Sorted, disjoint ranges of primary keys.
public struct RecordRanges: Sendable, Hashable {
    /// All bounds one behind the other: the lower and the upper one of each range, in turn.
    package private(set) var bytes: [UInt8] = []
    /// Where each bound ends. An odd number of them: the last range has no end.
    package private(set) var ends: [Int] = []

    /// Where to look for a key among the bounds; nil: among all of them.
    private var buckets: Buckets?

    /// Bounds by the number that their first eight bytes are: a pass over an index asks for
    /// millions of keys, and most of a search through many bounds is waiting for memory.
    private struct Buckets: Sendable, Hashable {
        /// The number of the first bound.
        var base: UInt64
        /// Numbers that fall into one bucket, as a power of two.
        var shift: UInt64
        /// How many bounds lie below each bucket, and at the end all of them.
        var below: [Int32]
    }

    public init() {}

    public init(_ range: KeyRange) {
        self.init()
        append(range)
    }

    /// Appends a range above all others; one that the last range ends at is joined to it.
    public mutating func append(_ range: KeyRange) {
        precondition(buckets == nil, "they are complete")
        precondition(ends.count.isMultiple(of: 2), "nothing lies above a range without an end")
        if let last = ends.last {
            let order = compareBytes(bound(ends.count - 1).span, range.lower.span)
            precondition(order <= 0, "ranges are sorted and disjoint")
            if order == 0 {
                ends.removeLast()
                bytes.removeLast(last - (ends.last ?? 0))
            }
        }
        if ends.count.isMultiple(of: 2) { append(range.lower) }
        if let upper = range.upper { append(upper) }
    }

    private mutating func append(_ key: KeyBytes) {
        bytes += key.array
        ends.append(bytes.count)
    }

    /// How many there are.
    public var count: Int { (ends.count + 1) / 2 }

    public subscript(_ place: Int) -> KeyRange {
        let upper = 2 * place + 1 < ends.count ? bound(2 * place + 1) : nil
        return KeyRange(lower: bound(2 * place), upper: upper)
    }

    public func contains(_ key: RawSpan) -> Bool { !boundsUpTo(key).isMultiple(of: 2) }

    /// The place of the first range that holds `key` or lies above it; `count`: none.
    package func place(from key: RawSpan) -> Int { boundsUpTo(key) / 2 }

    /// Up to `most` ranges that cover these, and the gaps within each of them.
    package func hulls(_ most: Int) -> [KeyRange] {
        let number = min(count, most)
        return (0..<number).map { group in
            let first = count * group / number, last = count * (group + 1) / number - 1
            return KeyRange(lower: self[first].lower, upper: self[last].upper)
        }
    }

    /// How many bounds lie at or below `key`.
    private func boundsUpTo(_ key: RawSpan) -> Int {
        let all = bytes.rawSpan
        var low = 0, high = ends.count
        if let buckets {
            let number = RecordRanges.number(key)
            guard number >= buckets.base else { return 0 }
            let bucket = Int((number - buckets.base) >> buckets.shift)
            guard bucket < buckets.below.count - 1 else { return ends.count }
            low = Int(buckets.below[bucket])
            high = Int(buckets.below[bucket + 1])
        }
        while low < high {
            let middle = (low + high) / 2
            let start = middle == 0 ? 0 : ends[middle - 1]
            if compareBytes(all.extracting(start..<ends[middle]), key) <= 0 {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }

    /// The first eight bytes, zeros behind a shorter key: keys are never ordered against it.
    private static func number(_ key: RawSpan) -> UInt64 {
        if key.byteCount >= 8 { return key.integer(at: 0) }
        var number: UInt64 = 0
        for place in 0..<key.byteCount {
            number |= UInt64(key.integer(at: place, as: UInt8.self)) << UInt64(56 - 8 * place)
        }
        return number
    }

    /// Once nothing more is appended: from here on a search takes a few steps, however many ranges
    /// there are.
    package mutating func complete() {
        guard ends.count > 8, ends.count < Int(Int32.max) else { return }
        let numbers = ends.indices.map { RecordRanges.number(bound($0).span) }
        let base = numbers[0], width = numbers[numbers.count - 1] - base
        var shift: UInt64 = 0
        while width >> shift >= UInt64(2 * ends.count) { shift += 1 }
        var below = [Int32](repeating: 0, count: Int(width >> shift) + 2)
        for number in numbers { below[Int((number - base) >> shift) + 1] += 1 }
        for bucket in below.indices.dropFirst() { below[bucket] += below[bucket - 1] }
        buckets = Buckets(base: base, shift: shift, below: below)
    }

    private func bound(_ place: Int) -> KeyBytes {
        let start = place == 0 ? 0 : ends[place - 1]
        return KeyBytes(bytes.rawSpan.extracting(start..<ends[place]))
    }

    // MARK: In a checkpoint

    /// - Returns: nil where these are no ascending bounds.
    package init?(bytes: [UInt8], ends: [Int]) {
        guard (ends.last ?? 0) == bytes.count else { return nil }
        let all = bytes.rawSpan
        var start = 0, before = 0
        for (place, end) in ends.enumerated() {
            guard end >= start, end - start <= KeyBytes.capacity, end <= bytes.count
            else { return nil }
            let key = all.extracting(start..<end)
            if place > 0, compareBytes(all.extracting(before..<start), key) >= 0 { return nil }
            (before, start) = (start, end)
        }
        self.bytes = bytes
        self.ends = ends
    }
}
