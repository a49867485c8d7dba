// Verify on volumes made by hand: clean ones, damaged at random, larger than its memory.

import Bytes
import LMDB
import TestSupport
import Testing
import VolumeFormat
import VolumeVerify

@Suite(.temporaryDirectory) struct VerifyTests {
    @Test func `a volume with every kind of record is clean`() throws {
        let report = try VerifyFixture.volume().verify()
        #expect(report.isClean, "\(report.examples)")
        #expect(report.indexes.map(\.name) == ["rmap", "parents", "quota", "links"])
        #expect(report.indexes.map(\.entries) == [6, 5, 4, 6])
        #expect(report.indexes.map(\.expected) == [6, 5, 4, 6])
        #expect(report.indexes.allSatisfy { $0.generation == ($0.name == "links" ? nil : 1) })
        #expect(report.commit == 1)
        #expect(report.primaryRecords == 36)
    }

    @Test func `a generation that is loaded or reaped is not compared`() throws {
        var fixture = VerifyFixture.volume()
        for (number, state) in [(2, .loading), (3, .reaping)] as [(UInt32, GenerationState)] {
            fixture.put(
                GenerationRecord(index: "rmap", number: number, state: state, entries: 9, sum: 9))
        }
        #expect(try fixture.verify().isClean)
    }

    @Test func `a generation's record that disagrees with its table is told on its own`() throws {
        var fixture = VerifyFixture.volume()
        fixture.put(
            GenerationRecord(index: "parents", number: 1, state: .active, entries: 4, sum: 0))
        let report = try fixture.verify()
        #expect(report.primaries == [.generationCounts: 1])
        #expect(report.indexes.map(\.discrepancies) == [0, 0, 0, 0])
        #expect(report.indexes.map(\.countAgrees) == [true, false, true, true])
        #expect(report.indexes.map(\.sumAgrees) == [true, false, true, true])
        #expect(!report.isClean)
    }

    @Test func `a newer format is refused`() throws {
        var fixture = VerifyFixture.volume()
        fixture.geometry.version = Geometry.currentVersion + 1
        fixture.putSuper()
        let error = #expect(throws: VerifyError.self) { try fixture.verify() }
        guard case .newerFormat(_, Geometry.currentVersion + 1) = error else {
            Issue.record("another error: \(String(describing: error))")
            return
        }
    }

    @Test func `what holds no volume is refused`() throws {
        var fixture = VerifyFixture()
        fixture.tables = ["other": [[1]: [1]]]
        let error = #expect(throws: VerifyError.self) { try fixture.verify() }
        guard case .notAVolume = error else {
            Issue.record("another error: \(String(describing: error))")
            return
        }
    }

    @Test func `a file that can't be opened is an error, not a finding`() throws {
        let error = #expect(throws: LMDBError.self) {
            try Verifier.verify(metadata: "/nonexistent/meta.mdb")
        }
        #expect(error?.code == .system(2))
    }

    @Test func `examples are bounded for each kind, the list and the counts are not`() throws {
        var fixture = VerifyFixture.volume()
        for number in 0..<50 {
            fixture.setEntry("rmap.g1", Array(repeating: 0xf0, count: 24) + [UInt8(number)], [])
        }
        fixture.remove("rmap.g1", fixture.derived.rmap.keys.first!)
        var options = Verifier.Options()
        options.examples = 7
        var listed = 0
        let report = try fixture.verify(options: options) { _ in listed += 1 }
        #expect(report.indexes[0].stray == 50)
        #expect(report.indexes[0].missing == 1)
        #expect(listed == 51)
        #expect(report.examples.count == 8)
    }

    @Test func `a finding says where, what was found and what was expected`() throws {
        var fixture = VerifyFixture.volume()
        fixture.put(VerifyFixture.entry(1, "a", 2, 21, .regular))
        let findings = try fixture.verify().examples.map(\.description).sorted()
        #expect(
            findings == [
                "dirents: entryGeneration: directory 1, name a: found generation 21, "
                    + "expected generation 20",
                "parents: wrong: inode 2, parent 1, name a: found generation 20, "
                    + "expected generation 21",
            ])
    }

    @Test func `progress goes up to the total in every phase`() throws {
        let fixture = VerifyFixture.volume()
        var phases: [String] = []
        try withDirectory { directory in
            try fixture.write(to: directory + "/meta.mdb")
            let path = directory + "/meta.mdb"
            _ = try Verifier.verify(
                metadata: path,
                progress: { step in
                    #expect(step.done <= step.total)
                    if phases.last != step.phase { phases.append(step.phase) }
                })
        }
        #expect(phases == ["inodes", "names", "space"])
    }

    @Test(arguments: 0..<40)
    func `no changed byte goes unnoticed and none traps`(_ seed: UInt64) throws {
        var random = VerifyRandom(seed: seed)
        var fixture = VerifyFixture.volume()
        let table = fixture.tables.keys.sorted().randomElement(using: &random)!
        let keys = fixture.tables[table]!.keys.sorted { $0.lexicographicallyPrecedes($1) }
        let key = keys.randomElement(using: &random)!
        let value = fixture.tables[table]![key]!
        let place = Int.random(in: 0..<(key.count + value.count), using: &random)
        let bit = UInt8(1) << Int.random(in: 0..<8, using: &random)
        if place < key.count {
            var other = key
            other[place] ^= bit
            // A key that takes another record's place leaves that one missing.
            fixture.remove(table, key)
            fixture.set(table, other, value)
        } else {
            fixture.tables[table]![key]![place - key.count] ^= bit
        }
        do {
            #expect(try !fixture.verify().isClean, "SEED=\(seed): \(table) \(key) at \(place)")
        } catch VerifyError.newerFormat {
            #expect(table == TableName.superblock)
        }
    }

    @Test(arguments: 0..<12)
    func `memory for few records finds the same as memory for all`(_ seed: UInt64) throws {
        var random = VerifyRandom(seed: seed)
        var fixture = VerifyFixture.random(&random)
        #expect(try fixture.verify().isClean, "SEED=\(seed)")
        let planted = fixture.damageIndexes(&random)
        var options = Verifier.Options()
        let whole = try fixture.verify(options: options)
        options.recordsInMemory = Int.random(in: 1...40, using: &random)
        let sliced = try fixture.verify(options: options)
        #expect(whole.primaries.isEmpty, "SEED=\(seed): \(whole.examples)")
        #expect(whole.indexes == sliced.indexes, "SEED=\(seed)")
        #expect(whole.examples == sliced.examples, "SEED=\(seed)")
        for (index, counts) in zip(whole.indexes, planted) {
            #expect([index.missing, index.stray, index.wrong] == counts, "SEED=\(seed)")
        }
    }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
struct VerifyRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

extension VerifyFixture {
    /// A clean volume of a few hundred records: a tree of directories, hard links, files
    /// whose extents lie in any order, free space between them.
    static func random(_ random: inout VerifyRandom) -> VerifyFixture {
        var volume = VerifyFixture()
        volume.geometry.blocks = 100_000
        for area in volume.geometry.reservedExtents { volume.put(area) }
        var inodes: [InodeNumber: InodeRecord] = [
            1: inode(.directory, links: 2, generation: 1, parent: 1)
        ]
        var directories: [InodeNumber] = [1], files: [InodeNumber] = []
        for step in 0..<200 as Range<UInt64> {
            let parent = directories.randomElement(using: &random)!
            var child = step + 2
            let isDirectory = Int.random(in: 0..<5, using: &random) == 0
            if isDirectory {
                inodes[child] = inode(.directory, links: 2, generation: 7, parent: parent)
                inodes[parent]!.links += 1
                directories.append(child)
            } else if !files.isEmpty, Int.random(in: 0..<4, using: &random) == 0 {
                volume.putFreeInode(child)
                child = files.randomElement(using: &random)!
                inodes[child]!.links += 1
            } else {
                inodes[child] = inode(.regular, links: 1, generation: 7)
                files.append(child)
            }
            inodes[parent]!.size += 1
            volume.put(entry(parent, "n\(step)", child, 7, inodes[child]!.type))
        }
        volume.putRandomExtents(of: files, &inodes, &random)
        for (n, record) in inodes { volume.put(record, n) }
        volume.counters.inodes = UInt64(inodes.count)
        volume.counters.nextInode = 202
        volume.deriveIndexes()
        volume.putSuper()
        return volume
    }

    private mutating func putRandomExtents(
        of files: [InodeNumber], _ inodes: inout [InodeNumber: InodeRecord],
        _ random: inout VerifyRandom
    ) {
        var start: UInt64 = 16, freeStart: UInt64 = 16
        var offsets: [InodeNumber: UInt64] = [:]
        func free(_ volume: inout VerifyFixture, upTo end: UInt64) {
            guard end > freeStart else { return }
            volume.put(FreeRecord(start: freeStart, length: end - freeStart))
            volume.counters.freeBlocks += end - freeStart
        }
        for _ in 0..<300 {
            start += UInt64.random(in: 0...3, using: &random)
            let n = files.randomElement(using: &random)!
            let length = UInt32.random(in: 1...20, using: &random)
            free(&self, upTo: start)
            put(VerifyFixture.extent(n, .data, offsets[n, default: 0], at: start, length))
            offsets[n, default: 0] += UInt64(length)
            inodes[n]!.blocks += UInt64(length)
            start += UInt64(length)
            freeStart = start
        }
        free(&self, upTo: geometry.blocks - 1)
    }

    /// Damages both indexes; tells missing, stray and wrong entries of each.
    mutating func damageIndexes(_ random: inout VerifyRandom) -> [[UInt64]] {
        var counts: [[UInt64]] = []
        for (table, entries) in [("rmap.g1", derived.rmap), ("parents.g1", derived.parents)] {
            var count: [UInt64] = [0, 0, 0]
            for key in entries.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
                switch Int.random(in: 0..<12, using: &random) {
                case 0:
                    remove(table, key)
                    count[0] += 1
                case 1:
                    // Longer than any derived key with this beginning.
                    setEntry(table, key + Array(repeating: 0xff, count: 9), entries[key]!)
                    count[1] += 1
                case 2:
                    setEntry(table, key, entries[key]!.map { ~$0 })
                    count[2] += 1
                default: break
                }
            }
            counts.append(count)
        }
        return counts
    }
}
