// What the tests compare with: plain derivation, and writers at random.

import Bytes
import Catalogue
import Tidemark

let slots = [IndexSlot(0), IndexSlot(1)]

extension Catalogue {
    /// What an index must hold, derived from the records alone.
    func expected(_ slot: IndexSlot, below cursor: KeyBytes? = nil) -> [[UInt8]: [UInt8]] {
        var result: [[UInt8]: [UInt8]] = [:]
        for (tagging, weight) in records {
            if let cursor, !(tagging.primaryKey < cursor) { continue }
            let entry = derive(slot.rawValue, tagging, weight)
            result[entry.key] = entry.value
        }
        return result
    }

    struct Abort: Error {}

    /// One transaction at random over a small key space, so that everything happens: new
    /// tags, other weights, removals, a tag that moves, and now and then an abort.
    func randomTransaction(_ random: inout SplitMix64, items: UInt64 = 6, tags: UInt8 = 5) {
        let aborts = random.chance(0.15)
        try? transaction { transaction in
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let tagging = Self.randomTagging(&random, items, tags)
                if random.chance(0.35) {
                    transaction.remove(tagging)
                } else if random.chance(0.3), let weight = transaction.weight(tagging) {
                    transaction.remove(tagging)
                    transaction.set(Self.randomTagging(&random, items, tags), weight: weight)
                } else {
                    transaction.set(tagging, weight: UInt32.random(in: 0..<4, using: &random))
                }
            }
            if aborts { throw Abort() }
        }
    }

    static func randomTagging(
        _ random: inout SplitMix64, _ items: UInt64, _ tags: UInt8
    ) -> Tagging {
        let letter = UInt8(ascii: "a") + UInt8.random(in: 0..<tags, using: &random)
        return Tagging(
            item: UInt64.random(in: 1...items, using: &random),
            tag: Array(repeating: letter, count: Int.random(in: 1...2, using: &random)))
    }

    /// Plants damage in both indexes at random, one discrepancy at a key at most.
    func randomDamage(_ random: inout SplitMix64, _ slot: IndexSlot) -> DiscrepancyCounts {
        var counts = DiscrepancyCounts()
        damage(slot) { entries in
            for key in entries.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
                if random.chance(0.1) {
                    entries[key] = nil
                    counts.missing += 1
                } else if random.chance(0.1) {
                    entries[key] = [9, 9, 9, 9]
                    counts.wrong += 1
                }
            }
            for item in 0..<UInt64.random(in: 0..<3, using: &random) {
                let stray = derive(
                    slot.rawValue, Tagging(item: 1000 + item, tag: [UInt8(ascii: "z")]), 7)
                entries[stray.key] = stray.value
                counts.stray += 1
            }
        }
        return counts
    }
}

/// A clock that counts its calls: steps in tests take no real time.
func countingClock() -> RunClock {
    let counter = Counter()
    return RunClock { counter.next() }
}

import Synchronization

final class Counter: Sendable {
    private let value = Atomic<UInt64>(0)
    func next() -> UInt64 { value.add(1000, ordering: .relaxed).newValue }
}
