// A volume with something of everything, what a closed one is damaged by, and how it is compared.

import Bytes
import Foundation
import LMDB
import RunService
import Scrub
import TestSupport
import Testing
import Tidemark
import Volume
import VolumeFormat
import VolumeService
import VolumeVerify

struct ScrubVolume {
    let path: String
    static let blockSize: UInt32 = 4096

    /// Made, filled and closed.
    init(in directory: String, directories: Int = 3, files: Int = 4) throws {
        path = directory + "/volume"
        try Volume.create(path, options: CreateOptions(size: 64 << 20))
        try withVolume { volume in
            try ScrubVolume.fill(volume, directories, files)
        }
    }

    static func fill(_ volume: Volume, _ directories: Int, _ files: Int) throws {
        for number in 0..<directories {
            let dir = try volume.perform { operations in
                try operations.makeDirectory(.root, Array("dir\(number)".utf8)).number
            }
            let below = try volume.perform { operations in
                try operations.makeDirectory(dir, Array("below".utf8)).number
            }
            for place in 0..<files {
                let file = try volume.perform { operations in
                    let file = try operations.create(
                        dir, Array("file\(place)".utf8), NewInode(uid: UInt32(number))
                    ).number
                    try operations.link(file, below, Array("hard\(place)".utf8))
                    try operations.symlink(
                        below, Array("link\(place)".utf8), to: Array("../file\(place)".utf8))
                    try operations.setXattr(file, Array("user.small".utf8), [1, 2, UInt8(place)])
                    return file
                }
                // In two pieces, so that it has two extents.
                for piece in 0..<2 {
                    let bytes = (0..<8192).map {
                        UInt8(truncatingIfNeeded: $0 &* 7 &+ number &* 31 &+ place &+ piece)
                    }
                    try volume.write(
                        file, at: UInt64(piece) * 65536, bytes.rawSpan)
                }
                try volume.setXattr(
                    file, Array("user.large".utf8),
                    [UInt8](repeating: UInt8(place + 1), count: 5000))
            }
            _ = try volume.perform { operations in
                try operations.makeNode(below, Array("pipe".utf8), .fifo)
            }
        }
        // Numbers that are free.
        _ = try volume.perform { operations in
            let gone = (0..<8).map { Array("gone\($0)".utf8) }
            for name in gone { _ = try operations.create(.root, name) }
            for name in gone { try operations.unlink(.root, name) }
        }
        try volume.sync()
    }

    @discardableResult
    func withVolume<R>(
        _ mode: OpenOptions.Mode = .readWrite, _ body: (Volume) throws -> R
    ) throws -> R {
        var options = OpenOptions(mode: mode)
        options.metadataLimit = 1 << 30
        let volume = try Volume.open(path, options: options)
        do {
            let result = try body(volume)
            try volume.close()
            return result
        } catch {
            try? volume.close()
            throw error
        }
    }

    func verify() throws -> VerifyReport {
        try Verifier.verify(metadata: path + "/meta.mdb", data: path + "/data")
    }

    /// Changes records of the closed volume behind its back.
    func edit<R>(_ body: (inout Editor) throws -> R) throws -> R {
        let environment = try Environment(
            path: path + "/meta.mdb", options: .init(mapSize: 1 << 30, maximumTables: 64))
        var tables: [String: Table] = [:]
        for name in Editor.names {
            // Of a generation that was replaced, or mends where there were none: nothing.
            tables[name] = try environment.table(name, create: false)
        }
        var editor = Editor(tables: tables)
        editor.read(try environment.beginRead())
        let result = try body(&editor)
        try environment.write { transaction in
            for change in editor.changes {
                let table = try #require(tables[change.table])
                if let value = change.value {
                    try transaction.put(table, change.key.rawSpan, value.rawSpan)
                } else {
                    _ = try transaction.delete(table, change.key.rawSpan)
                }
            }
        }
        try environment.sync()
        return result
    }

    /// What each path is: type, owner, contents, target, attributes.
    func tree() throws -> [String: String] {
        try withVolume(.readOnly) { try ScrubVolume.tree($0) }
    }

    static func tree(_ volume: Volume) throws -> [String: String] {
        try nodes(volume).mapValues(\.text)
    }

    /// The inode of each path, and what `tree` says of it; 0 where the entry is damaged. A
    /// directory is looked into once, whatever leads to it.
    static func nodes(
        _ volume: Volume
    ) throws -> [String: (inode: InodeNumber, text: String)] {
        var tree: [String: (inode: InodeNumber, text: String)] = [:]
        var waiting: [(InodeNumber, String)] = [(.root, "")]
        var seen: Set<InodeNumber> = []
        let snapshot = try volume.read()
        while let (dir, path) = waiting.popLast() {
            guard seen.insert(dir).inserted else { continue }
            for entry in try snapshot.list(dir) {
                let name = path + "/" + String(decoding: entry.name, as: UTF8.self)
                guard let target = entry.target, let inode = try snapshot.inode(target.child)
                else {
                    tree[name] = (0, "damaged")
                    continue
                }
                var text = "\(inode.type) \(inode.uid) \(inode.permissions) \(inode.links)"
                switch inode.type {
                case .directory: waiting.append((target.child, name))
                case .symlink: text += " \(try snapshot.readlink(target.child))"
                case .regular:
                    let bytes = try volume.read(target.child, at: 0, 1 << 20)
                    text += " \(inode.size) \(CRC32C.checksum(bytes.rawSpan, RawSpan()))"
                    for attribute in ["user.small", "user.large"] {
                        let value = try? volume.xattr(target.child, Array(attribute.utf8))
                        text += " \(value?.count ?? -1)"
                    }
                default: break
                }
                tree[name] = (target.child, text)
            }
        }
        return tree
    }

    func scrub(
        _ change: (inout ScrubOptions) -> Void = { _ in },
        observer: ScrubObserver = ScrubObserver()
    ) throws -> ScrubReport {
        var options = ScrubOptions()
        change(&options)
        return try withVolume(options.mode == .check ? .readOnly : .readWrite) { volume in
            try ScrubVolume.scrub(volume, options, observer)
        }
    }

    static func scrub(
        _ volume: Volume, _ options: ScrubOptions = ScrubOptions(),
        _ observer: ScrubObserver = ScrubObserver()
    ) throws -> ScrubReport {
        let registry = RunRegistry(volume, command: "test")
        return try registry.withHandle(RunLimits()) { handle in
            try Scrub.perform(volume, handle, options, observer)
        }
    }
}

/// Records of a closed volume, as an editor sees them.
struct Editor {
    static let names = [
        TableName.superblock, TableName.inodes, TableName.dirents, TableName.extents,
        TableName.xattrs, TableName.symlinks, TableName.free, TableName.freeByLength,
        TableName.reclaim, TableName.freeInodes, "rmap.g1", "parents.g1", "quota.g1",
        TableName.mends,
    ]

    let tables: [String: Table]
    var records: [String: [[UInt8]: [UInt8]]] = [:]
    var changes: [(table: String, key: [UInt8], value: [UInt8]?)] = []
    /// Whether a record was to be removed that was not there.
    var lacksRecord = false

    init(tables: [String: Table]) { self.tables = tables }

    mutating func read(_ transaction: borrowing ReadTransaction) {
        for (name, table) in tables {
            var rows: [[UInt8]: [UInt8]] = [:]
            do {
                var cursor = try transaction.cursor(table)
                var isThere = try cursor.first()
                while isThere {
                    rows[cursor.key.array] = cursor.value.array
                    isThere = try cursor.next()
                }
            } catch { preconditionFailure("\(error)") }
            records[name] = rows
        }
    }

    mutating func put(_ table: String, _ key: [UInt8], _ value: [UInt8]) {
        records[table]?[key] = value
        changes.append((table, key, value))
    }

    mutating func remove(_ table: String, _ key: [UInt8]) {
        if records[table]?.removeValue(forKey: key) == nil { lacksRecord = true }
        changes.append((table, key, nil))
    }

    // MARK: By path

    func entry(_ path: String) -> (key: [UInt8], target: DirentTarget) {
        var dir = InodeNumber.root
        var result: (key: [UInt8], target: DirentTarget)?
        for name in path.split(separator: "/") {
            let key = DirentRecord.key(dir, Array(name.utf8).rawSpan).span.array
            guard let value = records[TableName.dirents]?[key],
                let target = try? DirentTarget(key: key.rawSpan, value: value.rawSpan)
            else { preconditionFailure("no \(path)") }
            result = (key, target)
            dir = target.child
        }
        guard let result else { preconditionFailure("no path") }
        return result
    }

    func inode(_ path: String) -> InodeNumber { path == "/" ? .root : entry(path).target.child }

    func record(_ n: InodeNumber) -> InodeRecord {
        let key = InodeRecord.key(n).span.array
        guard let value = records[TableName.inodes]?[key],
            let record = try? InodeRecord(key: key.rawSpan, value: value.rawSpan)
        else { preconditionFailure("no inode \(n)") }
        return record
    }

    mutating func put(_ record: InodeRecord, _ n: InodeNumber) {
        let key = InodeRecord.key(n)
        put(TableName.inodes, key.span.array, record.value(key: key.span).span.array)
    }

    mutating func change(_ path: String, _ body: (inout InodeRecord) -> Void) {
        let n = inode(path)
        var record = record(n)
        body(&record)
        put(record, n)
    }

    mutating func putEntry(_ dir: InodeNumber, _ name: String, _ target: DirentTarget) {
        let key = DirentRecord.key(dir, Array(name.utf8).rawSpan)
        put(TableName.dirents, key.span.array, target.value(key: key.span).span.array)
    }

    func extents(_ n: InodeNumber, _ fork: Fork = .data) -> [ExtentRecord] {
        (records[TableName.extents] ?? [:]).compactMap { key, value in
            try? ExtentRecord(key: key.rawSpan, value: value.rawSpan)
        }.filter { $0.inode == n && $0.fork == fork }.sorted { $0.offset < $1.offset }
    }

    mutating func put(_ extent: ExtentRecord) {
        put(TableName.extents, extent.key.span.array, extent.value.span.array)
    }

    var freeRuns: [FreeRecord] {
        (records[TableName.free] ?? [:]).compactMap { key, value in
            try? FreeRecord(key: key.rawSpan, value: value.rawSpan)
        }.sorted { $0.start < $1.start }
    }

    mutating func put(_ run: FreeRecord, byStart: Bool = true, byLength: Bool = true) {
        if byStart {
            put(
                TableName.free, FreeRecord.key(start: run.start).span.array,
                run.value.span.array)
        }
        if byLength {
            put(
                TableName.freeByLength,
                FreeRecord.lengthKey(length: run.length, start: run.start).span.array,
                run.lengthValue.span.array)
        }
    }

    mutating func remove(_ run: FreeRecord, byStart: Bool = true, byLength: Bool = true) {
        if byStart { remove(TableName.free, FreeRecord.key(start: run.start).span.array) }
        if byLength {
            remove(
                TableName.freeByLength,
                FreeRecord.lengthKey(length: run.length, start: run.start).span.array)
        }
    }

    var freeNumbers: [InodeNumber] {
        (records[TableName.freeInodes] ?? [:]).keys.map { $0.rawSpan.integer(at: 0) }.sorted()
    }

    var counters: Counters {
        get {
            guard let value = records[TableName.superblock]?[Counters.key],
                let counters = try? Counters(value: value.rawSpan)
            else { preconditionFailure("no counters") }
            return counters
        }
        set { put(TableName.superblock, Counters.key, newValue.value.span.array) }
    }

    /// Makes a record one that can't be decoded.
    mutating func spoil(_ table: String, _ key: [UInt8]) {
        guard var value = records[table]?[key] else { preconditionFailure("no such record") }
        value[value.count - 1] ^= 0x40
        put(table, key, value)
    }
}
