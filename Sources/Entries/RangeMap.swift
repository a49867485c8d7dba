// A sequence number for each primary key, held as few ranges: the stamps of what was read, and
// how far back what was derived from a range no longer counts.
//
// It is a step function over all keys. Neighbours with equal numbers are one piece, always; so
// there is one form for each function, and the number of pieces is what bounds are about.

internal import Bytes

/// Maps each key to a sequence number; to `.none` at first.
package struct RangeMap: Sendable, Equatable {
    /// Where each piece begins, ascending; the first at the lowest key of all. A piece ends where
    /// the next one begins, the last nowhere.
    private var starts = [KeyBytes()]
    /// What each piece maps to. Neighbours differ.
    private var values = [SequenceNumber.none]
    /// Pieces that map to something.
    package private(set) var count = 0

    package init() {}

    package var isEmpty: Bool { count == 0 }

    package subscript(_ key: RawSpan) -> SequenceNumber { values[place(of: key)] }

    /// The piece that holds `key`.
    private func place(of key: RawSpan) -> Int {
        var low = 0, high = starts.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if compareBytes(starts[middle].span, key) <= 0 { low = middle } else { high = middle }
        }
        return low
    }

    private func range(_ place: Int) -> KeyRange {
        KeyRange(
            lower: starts[place], upper: place + 1 < starts.count ? starts[place + 1] : nil)
    }

    /// The pieces that map to something, ascending.
    package var pieces: [(range: KeyRange, value: SequenceNumber)] {
        values.indices.filter { values[$0] != .none }.map { (range($0), values[$0]) }
    }

    /// What of the pieces lies in `within`, ascending, as far as they map to something.
    package func pieces(
        in within: KeyRange
    ) -> [(range: KeyRange, value: SequenceNumber)] {
        guard !within.isEmpty else { return [] }
        var result: [(range: KeyRange, value: SequenceNumber)] = []
        for place in place(of: within.lower.span)..<starts.count {
            if let upper = within.upper, place > 0, !(starts[place] < upper) { break }
            guard values[place] != .none, let part = range(place).intersection(within)
            else { continue }
            result.append((part, values[place]))
        }
        return result
    }

    /// The first piece that maps to something.
    package var first: (range: KeyRange, value: SequenceNumber)? {
        values.firstIndex { $0 != .none }.map { (range($0), values[$0]) }
    }

    // MARK: Changing

    /// Maps all of `range` to `value`.
    package mutating func set(_ range: KeyRange, to value: SequenceNumber) {
        change(range) { _ in value }
    }

    /// Maps each key of `range` to `value`, unless it maps to something newer.
    package mutating func raise(_ range: KeyRange, to value: SequenceNumber) {
        change(range) { max($0, value) }
    }

    private mutating func change(
        _ range: KeyRange, _ body: (SequenceNumber) -> SequenceNumber
    ) {
        guard !range.isEmpty else { return }
        let first = split(at: range.lower)
        let end = range.upper.map { split(at: $0) } ?? starts.count
        for place in first..<end {
            let old = values[place], new = body(old)
            count += (new == .none ? 0 : 1) - (old == .none ? 0 : 1)
            values[place] = new
        }
        join(from: first, to: end)
    }

    /// Makes a piece begin at `key`.
    /// - Returns: its place.
    private mutating func split(at key: KeyBytes) -> Int {
        let place = place(of: key.span)
        if starts[place] == key { return place }
        starts.insert(key, at: place + 1)
        values.insert(values[place], at: place + 1)
        if values[place] != .none { count += 1 }
        return place + 1
    }

    /// Joins equal neighbours among the pieces `[first, end)` and those on either side.
    private mutating func join(from first: Int, to end: Int) {
        let from = max(first, 1), to = min(end + 1, starts.count)
        guard from < to else { return }
        var kept = from
        for place in from..<to {
            if values[place] == values[kept - 1] {
                if values[place] != .none { count -= 1 }
                continue
            }
            if kept != place {
                starts[kept] = starts[place]
                values[kept] = values[place]
            }
            kept += 1
        }
        starts.removeSubrange(kept..<to)
        values.removeSubrange(kept..<to)
    }

    /// Where there are more than `limit` pieces: ranges that cover two of them each, so that half
    /// as many are left once each of them maps to one number. Nil where there are not.
    package func hulls(beyond limit: Int) -> [KeyRange]? {
        guard count > limit else { return nil }
        let pieces = pieces
        return stride(from: 0, to: pieces.count, by: 2).map { place in
            let last = min(place + 1, pieces.count - 1)
            return KeyRange(lower: pieces[place].range.lower, upper: pieces[last].range.upper)
        }
    }

    /// Neighbours that both map to something at or below `limit` become one piece, which maps to
    /// the newest of them.
    package mutating func mergeNeighbours(upTo limit: SequenceNumber) {
        var kept = 0
        for place in 1..<max(1, starts.count) {
            let a = values[kept], b = values[place]
            if a != .none, b != .none, a <= limit, b <= limit {
                values[kept] = max(a, b)
                count -= 1
                continue
            }
            kept += 1
            if kept != place {
                starts[kept] = starts[place]
                values[kept] = values[place]
            }
        }
        starts.removeSubrange((kept + 1)...)
        values.removeSubrange((kept + 1)...)
        join(from: 0, to: starts.count)
    }
}

extension KeyRange {
    package var isEmpty: Bool { upper.map { !(lower < $0) } ?? false }

    /// What of the range lies in `other`; nil where nothing does.
    package func intersection(_ other: KeyRange) -> KeyRange? {
        let lower = max(lower, other.lower)
        let upper =
            switch (upper, other.upper) {
            case (let a?, let b?): min(a, b)
            case (let a, let b): a ?? b
            }
        let result = KeyRange(lower: lower, upper: upper)
        return result.isEmpty ? nil : result
    }
}
