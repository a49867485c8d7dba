// Sorting, runs, merge and overlay, each against the plainest way to say the same.

import Bytes
import Catalogue
import Foundation
import TestSupport
import Testing

@testable import Driver
import Tidemark

private struct Item: Hashable {
    var key: [UInt8]
    var value: [UInt8]
    var sequence: UInt64
    var isPresent: Bool
}

private func randomItems(_ random: inout SplitMix64, _ count: Int, keyLength: Int) -> [Item] {
    (1...max(count, 1)).map { number in
        let length = Int.random(in: 1...keyLength, using: &random)
        return Item(
            key: (0..<length).map { _ in UInt8.random(in: 0...3, using: &random) },
            value: (0..<Int.random(in: 0...6, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            },
            sequence: UInt64(number), isPresent: random.chance(0.7))
    }
}

private func batch(_ items: some Sequence<Item>) -> EntryBatch {
    let batch = EntryBatch()
    for item in items {
        batch.append(
            key: item.key.span.bytes, value: item.value.span.bytes,
            sequence: .init(raw: item.sequence), isPresent: item.isPresent)
    }
    return batch
}

/// Of each key the newest item, where it is present.
private func newest(_ items: [Item]) -> [[UInt8]: [UInt8]] {
    var best: [[UInt8]: Item] = [:]
    for item in items where (best[item.key]?.sequence ?? 0) < item.sequence {
        best[item.key] = item
    }
    return best.filter(\.value.isPresent).mapValues(\.value)
}

private func contents(_ batch: EntryBatch) -> [([UInt8], [UInt8])] {
    var result: [([UInt8], [UInt8])] = []
    var position = 0
    while position < batch.endPosition {
        result.append((batch.key(at: position).array, batch.value(at: position).array))
        position = batch.position(after: position)
    }
    return result
}

@Suite(.temporaryDirectory) struct EntryTests {
    @Test(arguments: 0..<40)
    func `sorted entries are in key order, the newest of a key first`(seed: Int) {
        var random = SplitMix64(seed: seed)
        let items = randomItems(
            &random, Int.random(in: 1...1500, using: &random), keyLength: seed % 2 == 0 ? 4 : 12)
        let batches = [
            batch(items.prefix(items.count / 3)), batch(items.dropFirst(items.count / 3)),
        ]
        let sorter = EntrySorter()
        let order = sorter.sort(batches)
        let sorted = (0..<order.count).map {
            (order.record($0).key.array, order.record($0).sequence.raw)
        }
        let expected = items.map { ($0.key, $0.sequence) }.sorted {
            $0.0 == $1.0 ? $0.1 > $1.1 : $0.0.lexicographicallyPrecedes($1.0)
        }
        #expect(sorted.map(\.0) == expected.map(\.0), "SEED=\(seed)")
        #expect(sorted.map(\.1) == expected.map(\.1), "SEED=\(seed)")
    }

    @Test(arguments: 0..<40)
    func `the merge of any number of runs shows of each key the newest`(seed: Int) throws {
        var random = SplitMix64(seed: seed)
        let folder = try temporaryDirectory()
        let store: any SideStore =
            seed % 2 == 0 ? MemoryStore() : try SideFile(path: folder + "/side")
        let assistant = Assistant(
            store: store, pool: BatchPool(capacity: 64, limit: 2), indexes: 1, budget: .max,
            chunkBytes: Int.random(in: 30...400, using: &random))
        let items = randomItems(&random, Int.random(in: 0...800, using: &random), keyLength: 11)
        for item in items.shuffled(using: &random) {
            try assistant.handle(.deltas([batch([item])]))
            if random.chance(0.02) { try assistant.spill() }
        }
        try assistant.spill()
        let expected = newest(items).sorted { $0.key.lexicographicallyPrecedes($1.key) }
        let merge = try assistant.freeze().merge(0, index: TagIndex())
        let result = EntryBatch()
        while try merge.fill(result, limit: 5) {}
        #expect(contents(result).map(\.0) == expected.map(\.key), "SEED=\(seed)")
        #expect(contents(result).map(\.1) == expected.map(\.value), "SEED=\(seed)")

        let from = randomItems(&random, 1, keyLength: 6)[0].key
        try merge.seek(KeyBytes(from))
        result.removeAll()
        while try merge.fill(result, limit: 5) {}
        let rest = expected.filter { !$0.key.lexicographicallyPrecedes(from) }
        #expect(contents(result).map(\.0) == rest.map(\.key), "SEED=\(seed) from \(from)")
    }

    @Test(arguments: 0..<60)
    func `runs that overlap little, or in part, are merged as any others`(seed: Int) throws {
        var random = SplitMix64(seed: seed)
        let store = MemoryStore()
        let assistant = Assistant(
            store: store, pool: BatchPool(capacity: 64, limit: 2), indexes: 1, budget: .max,
            chunkBytes: Int.random(in: 30...400, using: &random))
        // Long rows of one run, with equal prefixes and keys where it meets the next one.
        var items: [Item] = [], start = 0
        for _ in 0..<Int.random(in: 1...6, using: &random) {
            let length = Int.random(in: 1...120, using: &random)
            var run: [Item] = []
            for number in start..<start + length {
                var key = [UInt8](repeating: 0, count: 6)
                key += [UInt8(number >> 8), UInt8(number & 255)]
                if random.chance(0.2) { key.append(UInt8.random(in: 0...1, using: &random)) }
                run.append(
                    Item(
                        key: key, value: [UInt8.random(in: 0...255, using: &random)],
                        sequence: UInt64(items.count + run.count + 1),
                        isPresent: random.chance(0.8)))
            }
            try assistant.handle(.deltas([batch(run)]))
            try assistant.spill()
            items += run
            start += max(0, length - Int.random(in: 0...20, using: &random))
        }
        let expected = newest(items).sorted { $0.key.lexicographicallyPrecedes($1.key) }
        let merge = try assistant.freeze().merge(0, index: TagIndex())
        let bound = items[Int.random(in: 0..<items.count, using: &random)].key
        for end in [nil, KeyBytes(bound)] {
            try merge.seek(KeyBytes())
            let result = EntryBatch()
            let limit = Int.random(in: 1...50, using: &random)
            while try merge.fill(result, limit: limit, end: end) {}
            let wanted = expected.filter { entry in
                end == nil || entry.key.lexicographicallyPrecedes(bound)
            }
            #expect(contents(result).map(\.0) == wanted.map(\.key), "SEED=\(seed)")
            #expect(contents(result).map(\.1) == wanted.map(\.value), "SEED=\(seed)")
        }
    }

    @Test(arguments: 0..<60)
    func `what is void is in no long row of one run, and what is newer is`(seed: Int) throws {
        var random = SplitMix64(seed: seed)
        let store = MemoryStore()
        let assistant = Assistant(
            store: store, pool: BatchPool(capacity: 64, limit: 2), indexes: 1, budget: .max,
            chunkBytes: Int.random(in: 30...400, using: &random))
        // Rows that do not overlap, longer than what is merged without a tournament.
        var items: [Item] = []
        for row in 0..<4 {
            let run = (0..<Int.random(in: 20...80, using: &random)).map { number in
                let tag = UInt8(row * 50 + number / 10)
                let key = [tag, 0, 0, 0, 0, 0, 0, 0, 0, UInt8(number)]
                return Item(
                    key: key, value: [UInt8(number)],
                    sequence: UInt64(items.count + number + 1), isPresent: true)
            }
            try assistant.handle(.deltas([batch(run)]))
            try assistant.spill()
            items += run
        }
        // Of the primary keys from `low` to `high` what is as old as `sequence` is void.
        let bounds = (0..<2).map { _ in UInt8.random(in: 0...80, using: &random) }
        let low = [UInt8](repeating: 0, count: 7) + [bounds.min() ?? 0]
        let high = [UInt8](repeating: 0, count: 7) + [bounds.max() ?? 0]
        let sequence = UInt64.random(in: 0...UInt64(items.count + 1), using: &random)
        try assistant.handle(
            .void(
                VoidRange(
                    range: KeyRange(lower: KeyBytes(low), upper: KeyBytes(high)),
                    sequence: SequenceNumber(raw: sequence))))
        let index = TagIndex()
        let expected = items.filter { item in
            let primary = index.primaryKey(of: item.key.span.bytes, value: item.value.span.bytes)
            let isIn =
                !primary.array.lexicographicallyPrecedes(low)
                && primary.array.lexicographicallyPrecedes(high)
            return !isIn || item.sequence > sequence
        }
        let merge = try assistant.freeze().merge(0, index: index)
        let result = EntryBatch()
        let limit = Int.random(in: 1...50, using: &random)
        while try merge.fill(result, limit: limit) {}
        let wanted = expected.map(\.key).sorted { $0.lexicographicallyPrecedes($1) }
        #expect(contents(result).map(\.0) == wanted, "SEED=\(seed)")
    }

    @Test func `the anonymous memory is read out of what the kernel tells`() {
        let status = "Name:\tx\nVmRSS:\t   12 kB\nRssAnon:\t    3456 kB\nRssFile:\t 7 kB\n"
        #expect(residentKilobytes(Array(status.utf8)) == 3456)
        #expect(residentKilobytes(Array("Name:\tx\nRssFile:\t 7 kB\n".utf8)) == 0)
        #expect(residentKilobytes(Array("RssFile:\t 1 kB\nRssAnon:\nX:\t5\n".utf8)) == 0)
        #expect(anonymousBytes() > 0)
    }

    @Test(arguments: 0..<60)
    func `an overlay over batches is the newest of both`(seed: Int) {
        var random = SplitMix64(seed: seed)
        let base = newest(randomItems(&random, 200, keyLength: 3))
            .sorted { $0.key.lexicographicallyPrecedes($1.key) }
        var expected = Dictionary(uniqueKeysWithValues: base.map { ($0.key, $0.value) })
        let overlay = Overlay()
        let result = EntryBatch()
        var sequence: UInt64 = 1000, start = 0, cursor = KeyBytes()
        while start < base.count || cursor.count == 0 {
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let changes = randomItems(&random, 6, keyLength: 3).map { item in
                    sequence += 1
                    return Item(
                        key: item.key, value: item.value, sequence: sequence,
                        isPresent: item.isPresent)
                }
                overlay.absorb(batch(changes), from: cursor)
                for change in changes where !(KeyBytes(change.key) < cursor) {
                    expected[change.key] = change.isPresent ? change.value : nil
                }
            }
            let end = min(base.count, start + Int.random(in: 1...40, using: &random))
            let batch = batch(
                base[start..<end].map {
                    Item(key: $0.key, value: $0.value, sequence: 1, isPresent: true)
                })
            let upper = end < base.count ? KeyBytes(base[end].key) : nil
            overlay.apply(to: batch, end: upper, into: result)
            start = end
            guard let upper else { break }
            cursor = upper
        }
        let wanted = expected.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        #expect(contents(result).map(\.0) == wanted.map(\.key), "SEED=\(seed)")
        #expect(contents(result).map(\.1) == wanted.map(\.value), "SEED=\(seed)")
    }

    @Test func `a damaged chunk of the side file is an error, not an entry`() throws {
        let folder = try temporaryDirectory()
        let path = folder + "/side"
        let store = try SideFile(path: path)
        let assistant = Assistant(
            store: store, pool: BatchPool(capacity: 64, limit: 2), indexes: 1, budget: .max)
        let marker = Array("a marker to be found in the file".utf8)
        try assistant.handle(
            .deltas([batch([Item(key: [1], value: marker, sequence: 1, isPresent: true)])]))
        try assistant.spill()
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        let bytes = try #require(try file.readToEnd())
        let place = try #require(bytes.range(of: Data(marker)))
        try file.seek(toOffset: UInt64(place.lowerBound))
        try file.write(contentsOf: Data([0xff]))
        try file.synchronize()
        #expect(throws: SideFileError.damagedChunk(run: 1)) {
            _ = try assistant.freeze().merge(0, index: TagIndex())
        }
    }

    @Test func `sequences are ordered by commit, then by ordinal`() {
        #expect(number(1, 5) < number(1, 6))
        #expect(number(1, 6) < number(2, 0))
        #expect(SequenceNumber.end(of: 1) > number(1, 6))
        #expect(number(77, 12).commit == 77)
    }

    private func number(_ commit: UInt64, _ ordinal: Int) -> SequenceNumber {
        SequenceNumber(commit: commit, ordinal: ordinal)
    }
}
