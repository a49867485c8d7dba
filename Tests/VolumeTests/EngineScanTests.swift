// Windows over the primary records, and the entries of the live index.

import Bytes
import LMDB
import TestSupport
import Testing
import VolumeFormat

import Tidemark
@testable import Volume

@Suite(.temporaryDirectory) struct EngineScanTests {
    /// Directories and files of very different sizes.
    private func fill(_ volume: Volume, _ random: inout SplitMix64) throws {
        try volume.perform { operations in
            var directories: [InodeNumber] = [.root]
            for number in 0..<600 {
                let dir = directories.randomElement(using: &random) ?? .root
                if number % 50 == 0 {
                    directories.append(try operations.makeDirectory(dir, name(number)).number)
                    continue
                }
                let inode = try operations.create(number < 300 ? .root : dir, name(number)).number
                let extents = number % 97 == 0 ? 150 : Int.random(in: 0...3, using: &random)
                for extent in 0..<extents {
                    try operations.begin()
                    try operations.map(inode: inode, blocks: 1, offset: UInt64(extent) * 2)
                }
            }
        }
    }

    private struct Scan {
        var rmap: [[UInt8]: [UInt8]] = [:]
        var parents: [[UInt8]: [UInt8]] = [:]
        var windows: [Int] = []
        var damage: [PrimaryDamage] = []
    }

    /// Reads all windows of about `records`, each in pieces of `limit`.
    private func scan(
        _ snapshot: VolumeSnapshot, records: Int, limit: Int, wants: Set<Int> = [0, 1]
    ) throws -> Scan {
        var scan = Scan()
        var lower: KeyBytes? = KeyBytes()
        while let from = lower {
            let upper = try snapshot.windowEnd(after: from, records: records)
            #expect(upper.map { $0 > from } ?? true)
            let batches = (0..<4).map { wants.contains($0) ? EntryBatch() : nil }
            let sink = WindowSink(batches: batches, sequence: .none)
            var next: KeyBytes? = from
            while let start = next {
                let before = sink.records
                next = try snapshot.read(
                    KeyRange(lower: start, upper: upper), limit: limit, into: sink)
                // However wide the window has turned out: no part is larger than asked for,
                // but for a key that is none right behind it.
                #expect(sink.records - before <= limit + 1)
                if let next { #expect(next > start) }
            }
            scan.windows.append(sink.records)
            scan.damage += sink.damage
            collect(batches[0], &scan.rmap)
            collect(batches[1], &scan.parents)
            lower = upper
        }
        return scan
    }

    private func collect(_ batch: EntryBatch?, _ entries: inout [[UInt8]: [UInt8]]) {
        guard let batch else { return }
        var position = batch.startPosition
        while position < batch.endPosition {
            let key = batch.key(at: position)
            let value = sealedValue(key: key, body: batch.value(at: position).array)
            #expect(entries.updateValue(value, forKey: key.array) == nil)
            position = batch.position(after: position)
        }
    }

    @Test(arguments: [1, 2, 7, 64, 1000, 100_000], [1, 13, 5000])
    func `windows of any size give every entry once`(records: Int, limit: Int) throws {
        try withVolume { volume in
            var random = SplitMix64(seed: UInt64(records))
            try fill(volume, &random)
            let derived = try volume.derived()
            let scan = try scan(volume.read(), records: records, limit: limit)
            #expect(scan.rmap == derived.rmap)
            #expect(scan.parents == derived.parents)
            #expect(scan.damage.isEmpty)
            let total = derived.rmap.count + derived.parents.count
            #expect(scan.windows.reduce(0, +) == total)
        }
    }

    @Test func `a directory larger than a window is split at its names`() throws {
        try withVolume { volume in
            try volume.perform { for n in 0..<1000 { _ = try $0.create(.root, name(n)) } }
            let scan = try scan(volume.read(), records: 50, limit: 1000)
            #expect(scan.windows.count >= 20)
            #expect(scan.windows.allSatisfy { $0 <= 100 })
            #expect(scan.parents == (try volume.derived()).parents)
        }
    }

    @Test func `only the kinds that are wanted are read`() throws {
        try withVolume { volume in
            var random = SplitMix64(seed: 1)
            try fill(volume, &random)
            let derived = try volume.derived()
            let snapshot = try volume.read()
            let extents = try scan(snapshot, records: 50, limit: 20, wants: [0])
            #expect(extents.rmap == derived.rmap)
            #expect(extents.windows.reduce(0, +) == derived.rmap.count)
            let names = try scan(snapshot, records: 50, limit: 20, wants: [1])
            #expect(names.parents == derived.parents)
            #expect(names.windows.reduce(0, +) == derived.parents.count)
        }
    }

    @Test func `a window begins and ends at any key`() throws {
        try withVolume { volume in
            var random = SplitMix64(seed: 9)
            try fill(volume, &random)
            let derived = try volume.derived()
            let snapshot = try volume.read()
            for _ in 0..<200 {
                var bounds: [KeyBytes] = []
                for _ in 0..<2 {
                    var key = KeyBytes()
                    key.append(UInt64.random(in: 0...700, using: &random))
                    key.append(UInt8.random(in: 0...4, using: &random))
                    key.append(UInt8.random(in: 0...1, using: &random))
                    key.append(UInt64.random(in: 0...300, using: &random))
                    let kept = Int.random(in: 0...18, using: &random)
                    bounds.append(KeyBytes(key.span.extracting(first: kept)))
                }
                let (low, high) = (bounds.min()!, bounds.max()!)
                let batches: [EntryBatch?] = [EntryBatch(), EntryBatch(), nil, nil]
                let sink = WindowSink(batches: batches, sequence: .none)
                _ = try snapshot.read(KeyRange(lower: low, upper: high), limit: .max, into: sink)
                var found: [[UInt8]: [UInt8]] = [:]
                collect(batches[0], &found)
                // A mapping's key holds owner, fork and offset from byte 8 on.
                let expected = derived.rmap.filter { key, _ in
                    let primary = KeyBytes(key[8..<16] + [3] + key[16...])
                    return primary >= low && primary < high
                }
                #expect(found == expected)
            }
        }
    }

    @Test func `damaged primary records are told and passed over`() throws {
        try withVolume { volume in
            try volume.perform { operations in
                for number in 0..<10 {
                    let inode = try operations.create(.root, name(number)).number
                    try operations.begin()
                    try operations.map(inode: inode, blocks: 1)
                }
                // Behind the back of everything: a wrong checksum, a wrong length, and a key
                // longer than any.
                let core = operations.core
                let name = DirentRecord.key(.root, name(3).rawSpan)
                try operations.transaction.put(
                    core.tables.dirents, name.span, ([UInt8](repeating: 9, count: 17)).rawSpan)
                let extent = ExtentRecord.key(5, .data, 0)
                try operations.transaction.put(
                    core.tables.extents, extent.span, ([1, 2, 3] as [UInt8]).rawSpan)
                let long = [UInt8](repeating: 1, count: 400)
                try operations.transaction.put(core.tables.dirents, long.rawSpan, long.rawSpan)
            }
            for records in [1, 3, 100] {
                let scan = try scan(volume.read(), records: records, limit: 2)
                #expect(scan.parents.count == 9)
                #expect(scan.rmap.count == 11)
                let objects = scan.damage.map(\.object)
                #expect(objects.contains("name \"name-3\" in directory 1"))
                #expect(objects.contains("extent of inode 5, offset 0"))
                #expect(objects.contains { $0.hasSuffix("in directory 72340172838076673") })
                #expect(objects.count == 3)
            }
        }
    }

    @Test func `entries come in key order, in pieces, and damaged ones are marked`() throws {
        try withVolume { volume in
            try volume.perform { for n in 0..<100 { _ = try $0.create(.root, name(n)) } }
            try volume.perform { operations in
                let table = operations.state.parents.active.table
                let key = try #require(try operations.firstKey(of: table))
                try operations.transaction.put(table, key.rawSpan, ([1] as [UInt8]).rawSpan)
            }
            let snapshot = try volume.read()
            var damaged = 0
            var keys: [[UInt8]] = []
            var next: KeyBytes? = KeyBytes()
            while let from = next {
                let batch = EntryBatch()
                next = try snapshot.entries(
                    of: GroupState.parentsSlot, from: from, limit: 7, into: batch)
                #expect(batch.count <= 7)
                var position = batch.startPosition
                while position < batch.endPosition {
                    keys.append(batch.key(at: position).array)
                    if batch.isDamaged(at: position) { damaged += 1 }
                    position = batch.position(after: position)
                }
            }
            #expect(damaged == 1)
            #expect(keys.count == 100)
            #expect(keys == keys.sorted { $0.lexicographicallyPrecedes($1) })
        }
    }

    @Test func `room is what the map has, and tells what fits from what does not`() throws {
        try withVolume(open: { $0.metadataLimit = 16 << 20 }) { volume in
            let snapshot = try volume.read()
            let small = try snapshot.room(
                forEntries: 1000, payload: 30_000, of: GroupState.rmapSlot)
            #expect(small.available > 12 << 20)
            #expect(small.available <= 16 << 20)
            #expect(small.needed < small.available)
            let large = try snapshot.room(
                forEntries: 1_000_000, payload: 30_000_000, of: GroupState.rmapSlot)
            #expect(large.needed > large.available)
        }
    }
}

extension Operations {
    func firstKey(of table: Table) throws -> [UInt8]? {
        var cursor = try transaction.readCursor(table)
        return try cursor.first() ? cursor.key.array : nil
    }
}
