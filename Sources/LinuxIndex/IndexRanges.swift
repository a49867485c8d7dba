// Which ranges of primary records are to be read again, and as of when what stands in the file is
// that they derive. What is in none of them is as of the head.
//
//   count u32, then for each: as of u64, length of the lower bound u16, of the upper bound u16
//   (2^16 - 1: none), both bounds; last the CRC32C of all before it, u32

internal import Bytes
package import Tidemark

/// Ranges that are not settled, each with a time in nanoseconds since 1970.
package struct UnsettledRanges: Sendable, Equatable {
    /// The time of what nobody has read yet.
    package static let never: UInt64 = 1
    /// More of them are one.
    static let limit = 4096

    private var map = RangeMap()

    package init() {}

    /// Everything, never read.
    package static var all: UnsettledRanges {
        var ranges = UnsettledRanges()
        ranges.add(.all, asOf: never)
        return ranges
    }

    package var isEmpty: Bool { map.isEmpty }
    package var count: Int { map.count }
    package var pieces: [(range: KeyRange, asOf: UInt64)] {
        map.pieces.map { ($0.range, $0.value.raw) }
    }

    /// As of when; nil where it is settled.
    package func asOf(_ key: RawSpan) -> UInt64? {
        let value = map[key]
        return value == .none ? nil : value.raw
    }

    private mutating func add(_ range: KeyRange, asOf: UInt64) {
        map.set(range, to: SequenceNumber(raw: max(asOf, UnsettledRanges.never)))
    }

    /// Those of `unread`: what has been there keeps its time, what has not was settled until
    /// `asOf`.
    package func next(_ unread: [KeyRange], settledUntil asOf: UInt64) -> UnsettledRanges {
        var next = UnsettledRanges()
        for range in unread {
            next.add(range, asOf: asOf)
            for piece in map.pieces(in: range) { next.add(piece.range, asOf: piece.value.raw) }
        }
        if next.count > UnsettledRanges.limit {
            let oldest = next.pieces.map(\.asOf).min() ?? UnsettledRanges.never
            next.add(.all, asOf: oldest)
        }
        return next
    }

    package var bytes: [UInt8] {
        var bytes: [UInt8] = []
        let pieces = self.pieces
        append(UInt32(pieces.count), to: &bytes)
        for (range, asOf) in pieces {
            append(asOf, to: &bytes)
            append(UInt16(range.lower.count), to: &bytes)
            append(range.upper.map { UInt16($0.count) } ?? .max, to: &bytes)
            bytes += range.lower.array
            bytes += range.upper?.array ?? []
        }
        return sealedBytes(body: bytes)
    }

    /// nil where the bytes are none of these.
    package init?(_ bytes: RawSpan) {
        guard let bytes = bytes.unsealed(), bytes.byteCount >= 4 else { return nil }
        let end = bytes.byteCount
        let count: UInt32 = bytes.integer(at: 0)
        var position = 4
        for _ in 0..<count {
            guard position + 12 <= end else { return nil }
            let asOf: UInt64 = bytes.integer(at: position)
            let lower = Int(bytes.integer(at: position + 8, as: UInt16.self))
            let last: UInt16 = bytes.integer(at: position + 10)
            let upper = last == .max ? 0 : Int(last)
            position += 12
            guard lower <= KeyBytes.capacity, upper <= KeyBytes.capacity,
                position + lower + upper <= end, asOf >= UnsettledRanges.never
            else { return nil }
            let middle = position + lower
            add(
                KeyRange(
                    lower: KeyBytes(bytes.extracting(position..<middle)),
                    upper: last == .max
                        ? nil : KeyBytes(bytes.extracting(middle..<middle + upper))),
                asOf: asOf)
            position = middle + upper
        }
        guard position == end else { return nil }
    }
}

private func append<T: FixedWidthInteger>(_ value: T, to bytes: inout [UInt8]) {
    for place in stride(from: T.bitWidth - 8, through: 0, by: -8) {
        bytes.append(UInt8(truncatingIfNeeded: value >> T(place)))
    }
}
