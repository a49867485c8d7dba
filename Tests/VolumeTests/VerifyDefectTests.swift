// Every kind of defect planted alone: verify finds exactly that one, and what necessarily
// follows from it.

import Bytes
import LMDB
import TestSupport
import Testing
import VolumeFormat
import VolumeVerify

/// One thing made wrong, and what verify must say.
struct Plant: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let defects: [PrimaryDefect: UInt64]
    /// Missing, stray, wrong.
    let rmap, parents: [UInt64]
    /// nil: quota usage follows the change.
    let quota: [UInt64]?
    let change: @Sendable (inout VerifyFixture) -> Void

    /// - Parameter derives: whether the live indexes follow the change. Where they don't,
    ///   they differ as `rmap` and `parents` say.
    init(
        _ name: String, _ defects: [PrimaryDefect: UInt64], rmap: [UInt64] = [0, 0, 0],
        parents: [UInt64] = [0, 0, 0], quota: [UInt64]? = nil, derives: Bool = false,
        _ change: @escaping @Sendable (inout VerifyFixture) -> Void
    ) {
        testDescription = name
        self.defects = defects
        self.rmap = rmap
        self.parents = parents
        self.quota = quota
        self.change = {
            change(&$0)
            if derives { $0.deriveIndexes() }
            if quota == nil, $0.tables["quota.g1"] != nil { $0.deriveUsage() }
        }
    }
}

private typealias F = VerifyFixture

/// Flips the last byte of the checksum.
private func damage(_ fixture: inout VerifyFixture, _ table: String, _ key: [UInt8]) {
    fixture.tables[table]![key]![fixture.tables[table]![key]!.count - 1] ^= 1
}

private let namePlants: [Plant] = [
    Plant("root is no directory", [.missingRoot: 1, .entryWithoutDirectory: 2]) {
        $0.put(F.inode(.regular, links: 0, generation: 1), 1)
        $0.putReclaim(1)
    },
    Plant("root has another parent", [.directoryParent: 1]) { $0.update(1) { $0.parent = 3 } },
    Plant(
        "root has a name", [.directoryNames: 1, .directorySize: 1, .linkCount: 1],
        derives: true
    ) {
        $0.put(F.entry(3, "root", 1, 1, .directory))
    },
    Plant("dangling entry", [.danglingEntry: 1, .directorySize: 1], derives: true) {
        $0.put(F.entry(1, "gone", 7, 1, .regular))
    },
    Plant("entry in a file", [.entryWithoutDirectory: 1, .linkCount: 1], derives: true) {
        $0.put(F.entry(2, "x", 5, 50, .fifo))
    },
    Plant("entry in no inode", [.entryWithoutDirectory: 1, .linkCount: 1], derives: true) {
        $0.put(F.entry(70, "x", 5, 50, .fifo))
    },
    Plant("entry with another generation", [.entryGeneration: 1], parents: [0, 0, 1]) {
        $0.put(F.entry(1, "a", 2, 21, .regular))
    },
    Plant("entry with another type", [.entryType: 1]) {
        $0.put(F.entry(3, "pipe", 5, 50, .socket))
    },
    Plant("orphan", [.orphanInode: 1, .directorySize: 1], parents: [0, 1, 0]) {
        $0.remove(TableName.dirents, F.entryKey(3, "pipe"))
    },
    Plant("file with too many links", [.linkCount: 1]) { $0.update(2) { $0.links = 3 } },
    Plant("directory with too few links", [.linkCount: 1]) { $0.update(1) { $0.links = 2 } },
    Plant(
        "directory with several names", [.directoryNames: 1, .directorySize: 1, .linkCount: 1],
        derives: true
    ) {
        $0.put(F.entry(3, "again", 3, 30, .directory))
    },
    Plant("directory with another parent", [.directoryParent: 1]) {
        $0.update(3) { $0.parent = 5 }
    },
    Plant("directory with another size", [.directorySize: 1]) { $0.update(3) { $0.size = 4 } },
    Plant("two directories inside each other", [.directoryLoop: 2], derives: true) {
        $0.put(F.inode(.directory, links: 3, generation: 70, size: 1, parent: 8), 7)
        $0.put(F.inode(.directory, links: 3, generation: 80, size: 1, parent: 7), 8)
        $0.put(F.entry(7, "x", 8, 80, .directory))
        $0.put(F.entry(8, "y", 7, 70, .directory))
        $0.remove(TableName.freeInodes, F.inodeKey(7))
        $0.remove(TableName.freeInodes, F.inodeKey(8))
        $0.counters.inodes += 2
        $0.putSuper()
    },
    Plant("the first directory inside itself", [.directoryLoop: 1], derives: true) {
        $0.remove(TableName.dirents, F.entryKey(1, "d"))
        $0.put(F.entry(3, "self", 3, 30, .directory))
        $0.update(1) { ($0.links, $0.size) = (2, 1) }
        $0.update(3) { ($0.links, $0.size, $0.parent) = (3, 4, 3) }
    },
    Plant("directory inside itself", [.directoryLoop: 1], derives: true) {
        $0.put(F.inode(.directory, links: 3, generation: 70, size: 1, parent: 7), 7)
        $0.put(F.entry(7, "x", 7, 70, .directory))
        $0.remove(TableName.freeInodes, F.inodeKey(7))
        $0.counters.inodes += 1
        $0.putSuper()
    },
]

private let spacePlants: [Plant] = [
    Plant("two owners", [.extentOverlap: 1, .leakedBlocks: 1], derives: true) {
        $0.put(F.extent(6, .data, 3, at: 105, 5))
    },
    Plant("two extents inside a third", [.extentOverlap: 2, .leakedBlocks: 1], derives: true) {
        $0.remove(TableName.extents, F.extentKey(6, .data, 3))
        $0.put(F.extent(6, .data, 3, at: 202, 2))
        $0.put(F.extent(6, .data, 8, at: 210, 3))
    },
    Plant("two owners from the same block", [.extentOverlap: 1, .leakedBlocks: 1], derives: true) {
        $0.put(F.extent(6, .data, 3, at: 100, 5))
    },
    Plant(
        "two extents of a file at the same block", [.extentOverlap: 1, .leakedBlocks: 1],
        derives: true
    ) {
        $0.put(F.extent(2, .attributes, 0, at: 100, 2))
    },
    Plant("owned and free", [.extentOverFree: 1, .leakedBlocks: 1], derives: true) {
        $0.put(F.extent(6, .data, 3, at: 500, 5))
    },
    Plant("beyond the volume", [.extentBeyondVolume: 1, .leakedBlocks: 1], derives: true) {
        $0.put(F.extent(6, .data, 3, at: 5000, 5))
    },
    Plant(
        "the highest block that can be written", [.extentBeyondVolume: 1, .leakedBlocks: 1],
        derives: true
    ) {
        $0.put(F.extent(6, .data, 3, at: FormatLimits.blocks - 5, 5))
    },
    Plant("one offset twice", [.extentOffsetOverlap: 1], derives: true) {
        $0.remove(TableName.extents, F.extentKey(2, .data, 10))
        $0.put(F.extent(2, .data, 9, at: 200, 20, .unwritten))
    },
    Plant("extent of no inode", [.extentWithoutInode: 1, .inodeBlocks: 1], derives: true) {
        $0.remove(TableName.extents, F.extentKey(6, .data, 3))
        $0.put(F.extent(77, .data, 3, at: 110, 5))
    },
    Plant("contents of a fifo", [.extentOfWrongType: 1, .inodeBlocks: 1], derives: true) {
        $0.remove(TableName.extents, F.extentKey(6, .data, 3))
        $0.put(F.extent(5, .data, 3, at: 110, 5))
        $0.update(5) { $0.blocks = 5 }
    },
    Plant("no reserved area at the end", [.reservedArea: 1, .leakedBlocks: 1], derives: true) {
        $0.remove(TableName.extents, F.extentKey(0, .data, 999))
    },
    Plant("no reserved areas", [.reservedArea: 2, .leakedBlocks: 2], derives: true) {
        $0.remove(TableName.extents, F.extentKey(0, .data, 0))
        $0.remove(TableName.extents, F.extentKey(0, .data, 999))
    },
    Plant("another reserved area", [.reservedArea: 1, .extentOverFree: 1], derives: true) {
        $0.put(F.extent(0, .data, 500, at: 500, 3))
    },
    Plant("leaked blocks", [.leakedBlocks: 1], derives: true) {
        $0.remove(FreeRecord(start: 220, length: 80))
        $0.counters.freeBlocks -= 80
        $0.putSuper()
    },
    Plant("leaked blocks at the end", [.leakedBlocks: 1], derives: true) {
        $0.remove(FreeRecord(start: 302, length: 697))
        $0.put(FreeRecord(start: 302, length: 600))
        $0.counters.freeBlocks -= 97
        $0.putSuper()
    },
    Plant("free beyond the volume", [.freeBeyondVolume: 1]) {
        $0.put(FreeRecord(start: 2000, length: 1))
        $0.counters.freeBlocks += 1
        $0.putSuper()
    },
    Plant("free overlap", [.freeOverlap: 1]) {
        $0.put(FreeRecord(start: 250, length: 10))
        $0.counters.freeBlocks += 10
        $0.putSuper()
    },
    Plant("free neighbours", [.freeNotMerged: 1]) {
        $0.remove(FreeRecord(start: 220, length: 80))
        $0.put(FreeRecord(start: 220, length: 40))
        $0.put(FreeRecord(start: 260, length: 40))
    },
    Plant("not in the table by length", [.freeTables: 1]) {
        let key = FreeRecord.lengthKey(length: 80, start: 220)
        $0.remove(TableName.freeByLength, key.span.array)
    },
    Plant("only in the table by length", [.freeTables: 1]) {
        let run = FreeRecord(start: 103, length: 2)
        let key = FreeRecord.lengthKey(length: 2, start: 103)
        $0.set(TableName.freeByLength, key.span.array, run.lengthValue.span.array)
    },
    Plant("another length in the table by start", [.freeTables: 2, .leakedBlocks: 1]) {
        $0.putByStart(FreeRecord(start: 220, length: 79))
        $0.counters.freeBlocks -= 1
        $0.putSuper()
    },
    Plant("blocks of an inode", [.inodeBlocks: 1]) { $0.update(2) { $0.blocks = 31 } },
]

private let storagePlants: [Plant] = [
    Plant("attribute of no inode", [.attributeWithoutInode: 1]) {
        $0.put(F.attribute(70, "user.x", .inline([])))
    },
    Plant("large attribute without blocks", [.attributeBlocks: 1]) {
        $0.put(F.attribute(2, "user.other", .remote(offset: 2, length: 1)))
    },
    Plant("large attribute longer than its blocks", [.attributeBlocks: 1]) {
        $0.put(F.attribute(2, "user.large", .remote(offset: 0, length: 8193)))
    },
    Plant("large attributes in one place", [.attributeOverlap: 1]) {
        $0.put(F.attribute(2, "user.other", .remote(offset: 1, length: 2000)))
    },
    Plant("blocks of an attribute that is gone", [.attributeBlocksUnused: 1]) {
        $0.remove(TableName.xattrs, F.inodeKey(2) + Array("user.large".utf8))
    },
    Plant("target of a file", [.symlinkWithoutInode: 1]) { $0.putTarget(2, "x") },
    Plant("target of no inode", [.symlinkWithoutInode: 1]) { $0.putTarget(70, "x") },
    Plant("symlink without target", [.symlinkWithoutTarget: 1]) {
        $0.remove(TableName.symlinks, F.inodeKey(4))
    },
    Plant("symlink with another size", [.symlinkSize: 1]) { $0.update(4) { $0.size = 7 } },
    Plant("unlinked and forgotten", [.unlinkedNotInReclaim: 1]) {
        $0.remove(TableName.reclaim, F.inodeKey(6))
    },
    Plant("reclaim of no inode", [.reclaimWithoutInode: 1]) { $0.putReclaim(7) },
    Plant("reclaim of a file's contents", [.reclaimInUse: 1]) {
        $0.update(2) { $0.size = 1 }
        $0.putReclaim(2)
    },
    Plant("reclaim of a symlink with names", [.reclaimInUse: 1]) { $0.putReclaim(4) },
    Plant("free number in use", [.freeInodeInUse: 1]) { $0.putFreeInode(5) },
    Plant("the volume's number is free", [.freeInodeInUse: 1]) { $0.putFreeInode(0) },
    Plant("numbers that are lost", [.lostInodeNumbers: 1]) {
        $0.remove(TableName.freeInodes, F.inodeKey(7))
        $0.remove(TableName.freeInodes, F.inodeKey(8))
    },
    Plant("one number that is lost", [.lostInodeNumbers: 1]) {
        $0.remove(TableName.freeInodes, F.inodeKey(7))
    },
    Plant("counter of inodes", [.counterInodes: 1]) {
        $0.counters.inodes = 7
        $0.putSuper()
    },
    Plant("counter of free blocks", [.counterFreeBlocks: 1]) {
        $0.counters.freeBlocks += 1
        $0.putSuper()
    },
    Plant("next inode too low", [.counterNextInode: 1]) {
        $0.counters.nextInode = 8
        $0.putSuper()
    },
    Plant("no counters", [.damagedRecord: 1]) { $0.remove(TableName.superblock, Counters.key) },
    Plant("damaged geometry", [.damagedRecord: 1]) {
        damage(&$0, TableName.superblock, Geometry.key)
    },
    Plant("no table", [.missingTable: 1]) { $0.tables[TableName.xattrs] = nil },
    Plant("no table of a generation", [.missingTable: 1]) { $0.tables["parents.g1"] = nil },
    Plant("no active generation", [.activeGeneration: 1]) {
        $0.put(GenerationRecord(index: "rmap", number: 1, state: .reaping, entries: 0, sum: 0))
    },
    Plant("several active generations", [.activeGeneration: 1]) {
        $0.put(GenerationRecord(index: "rmap", number: 2, state: .active, entries: 0, sum: 0))
        $0.tables["rmap.g2"] = [:]
    },
]

private let damagePlants: [Plant] = [
    Plant("damaged inode", [.damagedRecord: 1]) { damage(&$0, TableName.inodes, F.inodeKey(3)) },
    Plant("damaged root", [.damagedRecord: 1]) { damage(&$0, TableName.inodes, F.inodeKey(1)) },
    Plant("damaged entry", [.damagedRecord: 1, .orphanInode: 1], parents: [0, 1, 0]) {
        damage(&$0, TableName.dirents, F.entryKey(3, "pipe"))
    },
    Plant("entry with a slash", [.damagedRecord: 1, .orphanInode: 1], parents: [0, 1, 0]) {
        $0.remove(TableName.dirents, F.entryKey(3, "pipe"))
        $0.put(F.entry(3, "p/pe", 5, 50, .fifo))
    },
    Plant("entry named ..", [.damagedRecord: 1, .orphanInode: 1], parents: [0, 1, 0]) {
        $0.remove(TableName.dirents, F.entryKey(3, "pipe"))
        $0.put(F.entry(3, "..", 5, 50, .fifo))
    },
    Plant(
        "damaged extent", [.damagedRecord: 1, .inodeBlocks: 1, .leakedBlocks: 1],
        rmap: [0, 1, 0]
    ) {
        damage(&$0, TableName.extents, F.extentKey(6, .data, 3))
    },
    Plant("damaged attribute", [.damagedRecord: 1]) {
        damage(&$0, TableName.xattrs, F.inodeKey(2) + Array("user.small".utf8))
    },
    Plant("damaged target", [.damagedRecord: 1, .symlinkWithoutTarget: 1]) {
        damage(&$0, TableName.symlinks, F.inodeKey(4))
    },
    Plant("damaged reclaim", [.damagedRecord: 1, .unlinkedNotInReclaim: 1]) {
        damage(&$0, TableName.reclaim, F.inodeKey(6))
    },
    Plant("damaged free number", [.damagedRecord: 1]) {
        damage(&$0, TableName.freeInodes, F.inodeKey(7))
    },
    Plant(
        "damaged free space",
        [.damagedRecord: 1, .leakedBlocks: 1, .freeTables: 1, .counterFreeBlocks: 1]
    ) {
        damage(&$0, TableName.free, FreeRecord.key(start: 220).span.array)
    },
    Plant("damaged free space by length", [.damagedRecord: 1]) {
        damage(&$0, TableName.freeByLength, FreeRecord.lengthKey(length: 80, start: 220).span.array)
    },
    Plant("a key too short", [.damagedRecord: 1]) { $0.set(TableName.dirents, [1, 2], [3]) },
    Plant("a key too long", [.damagedRecord: 1, .counterInodes: 1]) {
        $0.set(TableName.inodes, F.inodeKey(2) + [1], [3])
    },
]

private let indexPlants: [Plant] = [
    Plant("rmap missing", [:], rmap: [1, 0, 0]) {
        $0.remove("rmap.g1", $0.derived.rmap.keys.min { $0.lexicographicallyPrecedes($1) }!)
    },
    Plant("rmap stray", [:], rmap: [0, 1, 0]) {
        $0.setEntry("rmap.g1", Array(repeating: 0xff, count: 25), [0, 0, 0, 1, 0])
    },
    Plant("rmap with a stray key of another length", [:], rmap: [0, 1, 0]) {
        $0.setEntry("rmap.g1", [0], [])
    },
    Plant("rmap wrong", [:], rmap: [0, 0, 1]) {
        $0.setEntry("rmap.g1", $0.derived.rmap.keys.first!, [0, 0, 0, 77, 0])
    },
    Plant("rmap undecodable", [:], rmap: [0, 0, 1]) {
        $0.set("rmap.g1", $0.derived.rmap.keys.first!, [1, 2])
    },
    Plant("parents missing", [:], parents: [1, 0, 0]) {
        $0.remove("parents.g1", $0.derived.parents.keys.first!)
    },
    Plant("parents stray", [:], parents: [0, 1, 0]) {
        $0.setEntry("parents.g1", F.inodeKey(2) + F.entryKey(3, "ghost"), [0, 0, 0, 20])
    },
    Plant("parents wrong", [:], parents: [0, 0, 1]) {
        $0.setEntry("parents.g1", $0.derived.parents.keys.first!, [9, 9, 9, 9])
    },
    Plant("parents with a bad checksum", [:], parents: [0, 0, 1]) {
        damage(&$0, "parents.g1", $0.derived.parents.keys.first!)
    },
    Plant("quota missing", [:], quota: [1, 0, 0]) {
        $0.remove("quota.g1", QuotaKey(.group, 0).bytes.span.array)
    },
    Plant("quota stray", [:], quota: [0, 1, 0]) {
        let usage = QuotaUsage(blocks: 1, inodes: 0)
        $0.setEntry("quota.g1", QuotaKey(.user, 77).bytes.span.array, usage.bytes.span.array)
    },
    Plant("quota wrong", [:], quota: [0, 0, 1]) {
        let usage = QuotaUsage(blocks: 37, inodes: 5)
        $0.setEntry("quota.g1", QuotaKey(.user, 0).bytes.span.array, usage.bytes.span.array)
    },
    Plant("quota with a bad checksum", [:], quota: [0, 0, 1]) {
        damage(&$0, "quota.g1", QuotaKey(.project, 0).bytes.span.array)
    },
    Plant("parents empty", [:], parents: [5, 0, 0]) { $0.tables["parents.g1"] = [:] },
]

@Suite(.temporaryDirectory) struct VerifyDefectTests {
    @Test(arguments: namePlants + spacePlants + storagePlants + damagePlants + indexPlants)
    func `verify finds exactly what was made wrong`(_ plant: Plant) throws {
        var fixture = VerifyFixture.volume()
        plant.change(&fixture)
        var listed: [Finding] = []
        let report = try fixture.verify { listed.append($0) }
        var quota = plant.quota ?? [0, 0, 0]
        // The volume's own usage stands in the counters.
        let hasCounters = (report.damagedRecords[TableName.superblock] ?? 0) == 0
        if hasCounters, !fixture.doCountersAgree { quota[2] += 1 }
        #expect(report.primaries == plant.defects, "\(listed)")
        for index in report.indexes where index.generation != nil {
            let expected =
                switch index.name {
                case "rmap": plant.rmap
                case "parents": plant.parents
                default: quota
                }
            #expect([index.missing, index.stray, index.wrong] == expected, "\(listed)")
        }
        #expect(!report.isClean)
        let found =
            plant.defects.values.reduce(0, +) + (plant.rmap + plant.parents + quota).reduce(0, +)
        let links = report.indexes.first { $0.name == "links" }
        #expect(links?.wrong ?? 0 == plant.defects[.linkCount] ?? 0)
        #expect(UInt64(listed.count) == found, "every finding is listed once")
        #expect(report.examples == listed)
        for finding in listed { #expect(finding.found != finding.expected, "\(finding)") }
    }

    @Test func `every kind of defect is planted by one of the tests`() {
        let plants = namePlants + spacePlants + storagePlants + damagePlants
        let planted = plants.flatMap(\.defects.keys)
        // Those of the file `data` are planted by HostPathTests, which have one.
        // A record that counts wrong is planted by VerifyTests.
        let ofData: Set<PrimaryDefect> = [.dataLabel, .dataLength, .generationCounts]
        #expect(Set(planted).union(ofData) == Set(PrimaryDefect.allCases))
    }
}
