// Ranges of keys with sequence numbers, and sets of ranges, each against a number for each of
// many single keys.

import Bytes
import Testing

@testable import Tidemark

/// Every key of up to two bytes of 0 to 5, ascending: the empty key is the lowest.
private let probes: [KeyBytes] = {
    var keys = [KeyBytes()]
    for a in 0..<6 as Range<UInt8> {
        keys.append(KeyBytes([a]))
        for b in 0..<6 as Range<UInt8> { keys.append(KeyBytes([a, b])) }
    }
    return keys
}()

private func randomRange(_ random: inout SplitMix64) -> KeyRange {
    let lower = Int.random(in: 0..<probes.count, using: &random)
    guard random.chance(0.9) else { return KeyRange(lower: probes[lower], upper: nil) }
    let upper = Int.random(in: lower..<probes.count, using: &random)
    return KeyRange(lower: probes[lower], upper: probes[upper])
}

/// What a map says, key by key.
private func values(_ map: RangeMap) -> [UInt64] { probes.map { map[$0.span].raw } }

/// Whether a set holds each of the keys.
private func members(_ set: RangeSet) -> [Bool] { probes.map { set.contains($0.span) } }

private func checkForm(_ map: RangeMap) {
    let pieces = map.pieces
    #expect(pieces.count == map.count)
    #expect(pieces.isEmpty == map.isEmpty)
    for (a, b) in zip(pieces, pieces.dropFirst()) {
        guard let end = a.range.upper else {
            Issue.record("nothing lies above a piece without an end")
            continue
        }
        #expect(end < b.range.lower || end == b.range.lower && a.value != b.value)
    }
}

@Suite struct RangeTests {
    @Test(arguments: 0..<200)
    func `a map of ranges says what a number for each key says`(seed: Int) {
        var random = SplitMix64(seed: seed)
        var map = RangeMap(), plain = [UInt64](repeating: 0, count: probes.count)
        for _ in 0..<60 {
            let range = randomRange(&random)
            let value = UInt64.random(in: 0...5, using: &random)
            let raises = random.chance(0.5)
            for (place, key) in probes.enumerated() where range.contains(key.span) {
                plain[place] = raises ? max(plain[place], value) : value
            }
            if raises {
                map.raise(range, to: .init(raw: value))
            } else {
                map.set(range, to: .init(raw: value))
            }
            #expect(values(map) == plain)
            checkForm(map)
            let part = randomRange(&random)
            for (place, key) in probes.enumerated() {
                let found = map.pieces(in: part).first { $0.range.contains(key.span) }
                let expected = part.contains(key.span) ? plain[place] : 0
                #expect(found?.value.raw ?? 0 == expected)
            }
        }
    }

    @Test(arguments: 0..<200)
    func `merged neighbours map to the newest of them, and no other key changes`(seed: Int) {
        var random = SplitMix64(seed: seed)
        var map = RangeMap()
        for _ in 0..<12 {
            map.set(
                randomRange(&random), to: .init(raw: UInt64.random(in: 0...6, using: &random)))
        }
        let limit = UInt64.random(in: 0...7, using: &random), before = map
        map.mergeNeighbours(upTo: .init(raw: limit))
        checkForm(map)
        for piece in map.pieces {
            let parts = before.pieces(in: piece.range)
            #expect(parts.map(\.value).max() == piece.value)
            if parts.count > 1 { #expect(piece.value.raw <= limit) }
        }
        for (old, value) in zip(values(before), values(map)) {
            #expect((old == 0) == (value == 0) && value >= old)
            if old > limit { #expect(value == old) }
        }
        for (a, b) in zip(map.pieces, map.pieces.dropFirst())
        where a.range.upper == b.range.lower {
            #expect(a.value.raw > limit || b.value.raw > limit)
        }
    }

    @Test(arguments: 0..<200)
    func `a set of ranges holds what was put in, and beyond its limit no more than it tells of`(
        seed: Int
    ) {
        var random = SplitMix64(seed: seed)
        var set = RangeSet(limit: Int.random(in: 1...4, using: &random))
        var plain = [Bool](repeating: false, count: probes.count)
        for _ in 0..<60 {
            let range = randomRange(&random), inserts = random.chance(0.7)
            for (place, key) in probes.enumerated() where range.contains(key.span) {
                plain[place] = inserts
            }
            if inserts { set.insert(range) } else { set.remove(range) }
            #expect(members(set) == plain)
            let closed = set.coarsen()
            #expect(set.count <= set.limit)
            for (place, key) in probes.enumerated()
            where closed.contains(where: { $0.contains(key.span) }) {
                plain[place] = true
            }
            #expect(members(set) == plain)
            if random.chance(0.2), let first = set.popFirst() {
                for (place, key) in probes.enumerated() where first.contains(key.span) {
                    #expect(plain[place])
                    plain[place] = false
                }
                #expect(plain.firstIndex(of: true).map { !(probes[$0] < first.lower) } ?? true)
            }
        }
    }

    @Test func `ten thousand single keys fit into a set of sixteen ranges`() {
        var set = RangeSet(limit: 16)
        for number in 0..<10_000 as Range<UInt64> {
            var lower = KeyBytes(), upper = KeyBytes()
            lower.append(number &* 0x9e37_79b9_7f4a_7c15)
            upper.append(lower.span)
            upper.append(0 as UInt8)
            set.insert(KeyRange(lower: lower, upper: upper))
            _ = set.coarsen()
            let isIn = set.contains(lower.span)
            #expect(isIn)
        }
        #expect(set.count <= 16)
    }
}
