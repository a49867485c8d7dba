// Reading names and inodes from a snapshot.

internal import Bytes
internal import LMDB
public import VolumeFormat

/// One entry of a directory, as a listing gives it.
public struct DirectoryEntry: Hashable, Sendable {
    public let name: [UInt8]
    /// nil where the record is damaged.
    public let target: DirentTarget?
    public let damage: RecordDamage?
}

extension VolumeSnapshot {
    /// - Returns: nil where there is no such inode.
    public func inode(_ n: InodeNumber) throws -> InodeRecord? {
        let key = InodeRecord.key(n)
        return try transaction.find(
            core.tables.inodes, key.span, InodeRecord.init(key:value:)
        ) { .damaged(table: TableName.inodes, object: "inode \(n)", $0) }
    }

    /// stat(2).
    public func attributes(_ n: InodeNumber) throws -> Inode {
        Inode(number: n, record: try existing(n))
    }

    func existing(_ n: InodeNumber) throws -> InodeRecord {
        guard let inode = try inode(n) else { throw VolumeError.noEntry("inode \(n)") }
        return inode
    }

    /// What a name leads to; nil where the directory has no such name.
    public func lookup(_ dir: InodeNumber, _ name: [UInt8]) throws -> DirentTarget? {
        guard try existing(dir).type == .directory else {
            throw VolumeError.notDirectory("inode \(dir)")
        }
        guard name.count <= DirentRecord.maximumNameLength else {
            throw VolumeError.nameTooLong("name of \(name.count) bytes")
        }
        return try entry(dir, name.rawSpan)
    }

    /// The entry, without a look at the directory's inode.
    func entry(_ dir: InodeNumber, _ name: RawSpan) throws -> DirentTarget? {
        guard name.byteCount > 0, name.byteCount <= DirentRecord.maximumNameLength else {
            return nil
        }
        let key = DirentRecord.key(dir, name)
        return try transaction.find(
            core.tables.dirents, key.span, DirentTarget.init(key:value:)
        ) {
            let name = key.span.extracting(droppingFirst: DirentRecord.keyPrefixSize)
            return .damaged(table: TableName.dirents, object: entryText(dir, name.array), $0)
        }
    }

    /// Up to `limit` entries of a directory, in the order of their bytes, from the one after
    /// `name` on. Neither `.` nor `..` is among them.
    public func list(
        _ dir: InodeNumber, after name: [UInt8] = [], limit: Int = .max
    ) throws -> [DirectoryEntry] {
        guard try existing(dir).type == .directory else {
            throw VolumeError.notDirectory("inode \(dir)")
        }
        guard name.count <= DirentRecord.maximumNameLength else {
            throw VolumeError.nameTooLong("name of \(name.count) bytes")
        }
        var entries: [DirectoryEntry] = []
        var cursor = try transaction.cursor(core.tables.dirents)
        let start = DirentRecord.key(dir, name.rawSpan)
        var isThere = try cursor.seek(start.span)
        if isThere, compareBytes(cursor.key, start.span) == 0 { isThere = try cursor.next() }
        while isThere, entries.count < limit, cursor.key.byteCount >= DirentRecord.keyPrefixSize,
            cursor.key.integer(at: 0, as: UInt64.self) == dir
        {
            let name = cursor.key.extracting(droppingFirst: DirentRecord.keyPrefixSize).array
            do throws(RecordDamage) {
                try DirentRecord.check(key: cursor.key)
                let target = try DirentTarget(key: cursor.key, value: cursor.value)
                entries.append(DirectoryEntry(name: name, target: target, damage: nil))
            } catch {
                entries.append(DirectoryEntry(name: name, target: nil, damage: error))
            }
            isThere = try cursor.next()
        }
        return entries
    }

    /// readlink(2).
    public func readlink(_ n: InodeNumber) throws -> [UInt8] {
        guard try existing(n).type == .symlink else {
            throw VolumeError.invalid("inode \(n): no symlink")
        }
        let key = InodeRecord.key(n)
        let object = "target of inode \(n)"
        let target = try transaction.find(
            core.tables.symlinks, key.span, SymlinkRecord.target(key:value:)
        ) { .damaged(table: TableName.symlinks, object: object, $0) }
        guard let target else {
            throw VolumeError.damaged(table: TableName.symlinks, object: object, .length)
        }
        return target
    }

    /// statfs(2).
    public func fileSystemStatistics() throws -> FileSystemStatistics {
        let key = Counters.key
        let counters = try transaction.find(
            core.tables.superblock, key.rawSpan,
            { (_, value) throws(RecordDamage) in try Counters(value: value) }
        ) { .damaged(table: TableName.superblock, object: "counters", $0) }
        guard let counters else {
            throw VolumeError.damaged(table: TableName.superblock, object: "counters", .length)
        }
        return FileSystemStatistics(
            blockSize: core.geometry.blockSize, blocks: core.geometry.blocks,
            freeBlocks: counters.freeBlocks, inodes: counters.inodes,
            maximumNameLength: DirentRecord.maximumNameLength)
    }
}

extension ReadTransaction {
    /// The record of `key`, decoded; nil where there is none.
    func find<R>(
        _ table: Table, _ key: RawSpan,
        _ decode: (_ key: RawSpan, _ value: RawSpan) throws(RecordDamage) -> R,
        damaged: (RecordDamage) -> VolumeError
    ) throws -> R? {
        guard let value = try get(table, key) else { return nil }
        do {
            return try decode(key, value)
        } catch {
            throw damaged(error)
        }
    }
}

/// What statfs(2) tells.
public struct FileSystemStatistics: Hashable, Sendable {
    /// Bytes.
    public let blockSize: UInt32
    public let blocks: UInt64
    public let freeBlocks: UInt64
    /// Inodes in use. There is no fixed number of them.
    public let inodes: UInt64
    /// Bytes.
    public let maximumNameLength: Int
}
