// Ranges of primary keys that are to be read again. Whatever an owner reports, they take bounded
// memory: neighbours are one range, and when there are too many of them gaps are closed, at the
// price of reading more again than is needed.

internal import Bytes

/// A set of keys, held as disjoint ranges that don't touch each other, `limit` at the most once
/// `coarsen` was called.
package struct RangeSet: Sendable, Equatable {
    private var map = RangeMap()
    /// Ranges at the most.
    package let limit: Int
    /// What keys of the set map to.
    private static let member = SequenceNumber(raw: 1)

    package init(limit: Int) {
        precondition(limit > 0, "a set of ranges holds one at least")
        self.limit = limit
    }

    package init(_ ranges: [KeyRange], limit: Int) {
        self.init(limit: limit)
        for range in ranges { insert(range) }
    }

    package var isEmpty: Bool { map.isEmpty }
    package var count: Int { map.count }
    package var isOverfull: Bool { map.count > limit }
    package var first: KeyRange? { map.first?.range }
    /// Ascending.
    package var ranges: [KeyRange] { map.pieces.map(\.range) }

    package func contains(_ key: RawSpan) -> Bool { map[key] != .none }

    /// What of the set lies in `range`, ascending.
    package func ranges(in range: KeyRange) -> [KeyRange] { map.pieces(in: range).map(\.range) }

    package mutating func insert(_ range: KeyRange) { map.set(range, to: RangeSet.member) }
    package mutating func remove(_ range: KeyRange) { map.set(range, to: .none) }

    /// Takes the lowest range out.
    package mutating func popFirst() -> KeyRange? {
        guard let first = map.first?.range else { return nil }
        remove(first)
        return first
    }

    /// Where there are more ranges than the limit: closes every other gap, from the lowest on, so
    /// that half of the ranges are left, and again until they fit.
    /// - Returns: the gaps that were closed, ascending. Their keys are in the set now.
    package mutating func coarsen() -> [KeyRange] {
        var closed = RangeMap()
        while isOverfull {
            let ranges = ranges
            for place in stride(from: 1, to: ranges.count, by: 2) {
                guard let lower = ranges[place - 1].upper else { break }
                let gap = KeyRange(lower: lower, upper: ranges[place].lower)
                insert(gap)
                closed.set(gap, to: RangeSet.member)
            }
        }
        return closed.pieces.map(\.range)
    }
}
