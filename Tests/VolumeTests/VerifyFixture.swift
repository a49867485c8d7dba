// A volume's metadata made by hand, as plain dictionaries of bytes: so that every record
// can be wrong in exactly one way, and so that verify is tested without the volume's code.

import Bytes
import Foundation
import LMDB
import TestSupport
import VolumeFormat
import VolumeVerify

struct VerifyFixture {
    typealias Record = (key: [UInt8], value: [UInt8])

    static let blocks: UInt64 = 1000
    static let time = Timestamp(seconds: 1_700_000_000, nanoseconds: 5)

    /// Table, key, value.
    var tables: [String: [[UInt8]: [UInt8]]] = [:]
    var geometry = Geometry(
        blockSize: 4096, blocks: blocks, reservedAtStart: 16, reservedAtEnd: 1, identity: (1, 2))
    var counters = Counters(nextInode: 9, nextGeneration: 100, inodes: 6, freeBlocks: 0)

    /// An empty set of tables.
    init() {
        for name in [
            TableName.superblock, TableName.inodes, TableName.dirents, TableName.extents,
            TableName.xattrs, TableName.symlinks, TableName.free, TableName.freeByLength,
            TableName.reclaim, TableName.freeInodes, "rmap.g1", "parents.g1", "quota.g1",
        ] {
            tables[name] = [:]
        }
    }

    /// A volume in which every kind of record occurs:
    /// `/a` and `/d/hard` are file 2, `/d` is directory 3, `/d/link` symlink 4, `/d/pipe`
    /// fifo 5; 6 is an open-unlinked file, 7 and 8 are free numbers.
    static func volume() -> VerifyFixture {
        var volume = VerifyFixture()
        volume.put(inode(.directory, links: 3, generation: 1, size: 2, parent: 1), 1)
        volume.put(inode(.regular, links: 2, generation: 20, blocks: 32), 2)
        volume.put(inode(.directory, links: 2, generation: 30, size: 3, parent: 1), 3)
        volume.put(inode(.symlink, links: 1, generation: 40, size: 6), 4)
        volume.put(inode(.fifo, links: 1, generation: 50), 5)
        volume.put(inode(.regular, links: 0, generation: 60, blocks: 5), 6)
        volume.put(entry(1, "a", 2, 20, .regular))
        volume.put(entry(1, "d", 3, 30, .directory))
        volume.put(entry(3, "hard", 2, 20, .regular))
        volume.put(entry(3, "link", 4, 40, .symlink))
        volume.put(entry(3, "pipe", 5, 50, .fifo))
        for extent in volume.geometry.reservedExtents { volume.put(extent) }
        volume.put(extent(2, .data, 0, at: 100, 10))
        volume.put(extent(2, .data, 10, at: 200, 20, .unwritten))
        volume.put(extent(2, .attributes, 0, at: 300, 2))
        volume.put(extent(6, .data, 3, at: 110, 5))
        volume.put(attribute(2, "user.small", .inline([1, 2, 3])))
        volume.put(attribute(2, "user.large", .remote(offset: 0, length: 5000)))
        volume.putTarget(4, "../a/b")
        volume.putReclaim(6)
        volume.putFreeInode(7)
        volume.putFreeInode(8)
        for (start, end) in [(16, 100), (115, 200), (220, 300), (302, 999)] as [(UInt64, UInt64)] {
            volume.put(FreeRecord(start: start, length: end - start))
            volume.counters.freeBlocks += end - start
        }
        volume.deriveIndexes()
        volume.putSuper()
        return volume
    }

    // MARK: Records

    static func inode(
        _ type: FileType, links: UInt32, generation: UInt32, size: UInt64 = 0,
        blocks: UInt64 = 0, parent: InodeNumber = 0
    ) -> InodeRecord {
        var record = InodeRecord(type: type, now: time)
        record.permissions = 0o644
        record.links = links
        record.generation = generation
        record.size = size
        record.blocks = blocks
        record.parent = parent
        return record
    }

    static func entry(
        _ directory: InodeNumber, _ name: String, _ child: InodeNumber, _ generation: UInt32,
        _ type: FileType
    ) -> DirentRecord {
        DirentRecord(
            directory: directory, name: Array(name.utf8),
            target: DirentTarget(child: child, generation: generation, type: type))
    }

    static func extent(
        _ inode: InodeNumber, _ fork: Fork, _ offset: UInt64, at start: UInt64, _ length: UInt32,
        _ state: ExtentState = .written
    ) -> ExtentRecord {
        ExtentRecord(
            inode: inode, fork: fork, offset: offset, start: start, length: length, state: state)
    }

    static func attribute(
        _ inode: InodeNumber, _ name: String, _ content: AttributeRecord.Content
    ) -> AttributeRecord {
        AttributeRecord(inode: inode, name: Array(name.utf8), content: content)
    }

    static func inodeKey(_ n: InodeNumber) -> [UInt8] { InodeRecord.key(n).span.array }

    static func entryKey(_ directory: InodeNumber, _ name: String) -> [UInt8] {
        DirentRecord.key(directory, Array(name.utf8).span.bytes).span.array
    }

    static func extentKey(_ inode: InodeNumber, _ fork: Fork, _ offset: UInt64) -> [UInt8] {
        ExtentRecord.key(inode, fork, offset).span.array
    }

    mutating func set(_ table: String, _ key: [UInt8], _ value: [UInt8]) {
        tables[table, default: [:]][key] = value
    }

    mutating func remove(_ table: String, _ key: [UInt8]) {
        precondition(tables[table]?.removeValue(forKey: key) != nil, "no such record")
    }

    mutating func put(_ record: InodeRecord, _ n: InodeNumber) {
        let key = InodeRecord.key(n)
        set(TableName.inodes, key.span.array, record.value(key: key.span).span.array)
    }

    mutating func put(_ record: DirentRecord) {
        let key = DirentRecord.key(record.directory, record.name.span.bytes)
        set(TableName.dirents, key.span.array, record.target.value(key: key.span).span.array)
    }

    mutating func put(_ record: ExtentRecord) {
        set(TableName.extents, record.key.span.array, record.value.span.array)
    }

    mutating func put(_ record: AttributeRecord) {
        let key = AttributeRecord.key(record.inode, record.name.span.bytes)
        set(TableName.xattrs, key.span.array, record.value)
    }

    mutating func put(_ run: FreeRecord) {
        putByStart(run)
        let key = FreeRecord.lengthKey(length: run.length, start: run.start)
        set(TableName.freeByLength, key.span.array, run.lengthValue.span.array)
    }

    mutating func putByStart(_ run: FreeRecord) {
        let key = FreeRecord.key(start: run.start)
        set(TableName.free, key.span.array, run.value.span.array)
    }

    mutating func remove(_ run: FreeRecord) {
        remove(TableName.free, FreeRecord.key(start: run.start).span.array)
        let key = FreeRecord.lengthKey(length: run.length, start: run.start)
        remove(TableName.freeByLength, key.span.array)
    }

    mutating func putTarget(_ n: InodeNumber, _ target: String) {
        let value = SymlinkRecord.value(inode: n, target: Array(target.utf8))
        set(TableName.symlinks, VerifyFixture.inodeKey(n), value)
    }

    mutating func putReclaim(_ n: InodeNumber) {
        let value = ReclaimRecord(inode: n, from: 0).value
        set(TableName.reclaim, VerifyFixture.inodeKey(n), value.span.array)
    }

    mutating func putFreeInode(_ n: InodeNumber) {
        let value = FreeInodeRecord.value(inode: n)
        set(TableName.freeInodes, VerifyFixture.inodeKey(n), value.span.array)
    }

    mutating func update(_ n: InodeNumber, _ change: (inout InodeRecord) -> Void) {
        let key = InodeRecord.key(n)
        let value = tables[TableName.inodes]![key.span.array]!
        var record = try! InodeRecord(key: key.span, value: value.span.bytes)
        change(&record)
        put(record, n)
    }

    mutating func putSuper() {
        set(TableName.superblock, Geometry.key, geometry.value.span.array)
        set(TableName.superblock, Counters.key, counters.value.span.array)
    }

    // MARK: Indexes

    /// The indexes that the records derive: entries without checksum.
    var derived: (rmap: [[UInt8]: [UInt8]], parents: [[UInt8]: [UInt8]]) {
        var rmap: [[UInt8]: [UInt8]] = [:], parents: [[UInt8]: [UInt8]] = [:]
        for (key, value) in tables[TableName.extents]! {
            rmap[Array(value[0..<8]) + key] = Array(value[8..<13])
        }
        for (key, value) in tables[TableName.dirents]! {
            parents[Array(value[0..<8]) + key] = Array(value[8..<12])
        }
        return (rmap, parents)
    }

    /// Makes both live indexes what the records derive, with records that say so.
    mutating func deriveIndexes() {
        let (rmap, parents) = derived
        for (index, entries) in [("rmap", rmap), ("parents", parents)] {
            var record = GenerationRecord(
                index: index, number: 1, state: .active, entries: 0, sum: 0)
            tables["\(index).g1"] = [:]
            for (key, payload) in entries {
                setEntry("\(index).g1", key, payload)
                record.entries += 1
                record.sum &+= GenerationRecord.mix(
                    CRC32C.checksum(key.span.bytes, payload.span.bytes))
            }
            put(record)
        }
        deriveUsage()
    }

    /// What the readable inodes take, by type and id.
    var usage: [[UInt8]: (blocks: UInt64, inodes: UInt64)] {
        var usage: [[UInt8]: (blocks: UInt64, inodes: UInt64)] = [:]
        for (key, value) in tables[TableName.inodes]! {
            guard let inode = try? InodeRecord(key: key.span.bytes, value: value.span.bytes) else {
                continue
            }
            let ids: [(QuotaType, UInt32)] = [
                (.volume, 0), (.user, inode.uid), (.group, inode.gid), (.project, inode.project),
            ]
            for (type, id) in ids {
                let key = QuotaKey(type, id).bytes.span.array
                usage[key, default: (0, 0)].blocks &+= inode.blocks
                usage[key, default: (0, 0)].inodes += 1
            }
        }
        return usage
    }

    /// Whether the counters of the volume say what the readable inodes take.
    var doCountersAgree: Bool {
        let all = usage[QuotaKey.volume.bytes.span.array] ?? (0, 0)
        return all.inodes == counters.inodes
            && all.blocks == geometry.blocks &- 17 &- counters.freeBlocks
    }

    /// Makes quota usage what the readable inodes take, with a record that says so.
    mutating func deriveUsage() {
        var record = GenerationRecord(index: "quota", number: 1, state: .active, entries: 0, sum: 0)
        tables["quota.g1"] = [:]
        for (key, counter) in usage where key[0] != 0 {
            let value = QuotaUsage(blocks: counter.blocks, inodes: counter.inodes)
            setEntry("quota.g1", key, value.bytes.span.array)
            record.entries += counter.inodes
            record.sum &+= value.weight(of: QuotaKey(key.span.bytes)!)
        }
        put(record)
    }

    mutating func put(_ record: GenerationRecord) {
        set(TableName.superblock, record.key, record.value)
    }

    mutating func setEntry(_ table: String, _ key: [UInt8], _ payload: [UInt8]) {
        set(table, key, sealedValue(key: key.span.bytes, body: payload))
    }

    // MARK: Verifying

    /// Writes the tables into a new environment and verifies that.
    func verify(
        options: Verifier.Options = .init(), list: ((Finding) -> Void)? = nil
    ) throws -> VerifyReport {
        try withDirectory { directory in
            let path = directory + "/meta.mdb"
            try write(to: path)
            return try Verifier.verify(metadata: path, options: options, list: list)
        }
    }

    func write(to path: String) throws {
        let environment = try Environment(path: path, options: .init(isUnsynced: true))
        try environment.write { transaction in
            for (name, records) in tables {
                let table = try transaction.table(name, create: true)!
                for (key, value) in records {
                    try transaction.put(table, key.span.bytes, value.span.bytes)
                }
            }
        }
    }
}
