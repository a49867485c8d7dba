// Primitives for the records that derive nothing: attributes, symlink targets, and what is
// still to be reclaimed.

internal import Bytes
internal import LMDB
internal import VolumeFormat

// MARK: Extended attributes

extension Operations {
    func attribute(_ n: InodeNumber, _ name: [UInt8]) throws -> AttributeRecord? {
        let key = AttributeRecord.key(n, name.rawSpan)
        guard let value = try transaction.get(core.tables.xattrs, key.span) else { return nil }
        do {
            return try AttributeRecord(key: key.span, value: value)
        } catch {
            throw VolumeError.damaged(
                table: TableName.xattrs,
                object: "attribute \"\(escapedName(name))\" of inode \(n)", error)
        }
    }

    mutating func putAttribute(_ attribute: AttributeRecord) throws {
        isChanging(attribute.inode)
        let key = AttributeRecord.key(attribute.inode, attribute.name.rawSpan)
        try transaction.put(core.tables.xattrs, key.span, attribute.value.rawSpan)
    }

    mutating func removeAttribute(_ n: InodeNumber, _ name: [UInt8]) throws {
        isChanging(n)
        let key = AttributeRecord.key(n, name.rawSpan)
        _ = try transaction.delete(core.tables.xattrs, key.span)
    }

    /// The names of an inode's attributes in order, `limit` at the most.
    func attributeNames(_ n: InodeNumber, limit: Int = .max) throws -> [[UInt8]] {
        var names: [[UInt8]] = []
        var cursor = try transaction.readCursor(core.tables.xattrs)
        var isThere = try cursor.seek(InodeRecord.key(n).span)
        while isThere, names.count < limit {
            guard cursor.key.byteCount > 8, cursor.key.integer(at: 0, as: UInt64.self) == n
            else { break }
            names.append(cursor.key.extracting(droppingFirst: 8).array)
            isThere = try cursor.next()
        }
        return names
    }
}

// MARK: Symlinks

extension Operations {
    func symlink(_ n: InodeNumber) throws -> [UInt8]? {
        let key = InodeRecord.key(n)
        guard let value = try transaction.get(core.tables.symlinks, key.span) else { return nil }
        do {
            return try SymlinkRecord.target(key: key.span, value: value)
        } catch {
            throw VolumeError.damaged(
                table: TableName.symlinks, object: "target of inode \(n)", error)
        }
    }

    mutating func putSymlink(_ n: InodeNumber, _ target: [UInt8]) throws {
        isChanging(n)
        let value = SymlinkRecord.value(inode: n, target: target)
        try transaction.put(core.tables.symlinks, InodeRecord.key(n).span, value.rawSpan)
    }

    mutating func removeSymlink(_ n: InodeNumber) throws {
        isChanging(n)
        _ = try transaction.delete(core.tables.symlinks, InodeRecord.key(n).span)
    }
}

// MARK: Reclaim

extension Operations {
    mutating func putReclaim(_ record: ReclaimRecord) throws {
        hasChanged = true
        try transaction.put(
            core.tables.reclaim, InodeRecord.key(record.inode).span, record.value.span)
    }

    mutating func removeReclaim(_ record: ReclaimRecord) throws {
        hasChanged = true
        _ = try transaction.delete(core.tables.reclaim, InodeRecord.key(record.inode).span)
    }

    /// What is still to be reclaimed, in the order of inodes, from the one after `after`.
    /// Damaged records are passed over and left for `verify` to report.
    func reclaims(after: InodeNumber?, limit: Int) throws -> [ReclaimRecord] {
        var result: [ReclaimRecord] = []
        guard after != .max else { return result }
        var cursor = try transaction.readCursor(core.tables.reclaim)
        var isThere = try cursor.seek(InodeRecord.key(after.map { $0 + 1 } ?? 0).span)
        while isThere, result.count < limit {
            if let record = try? ReclaimRecord(key: cursor.key, value: cursor.value) {
                result.append(record)
            }
            isThere = try cursor.next()
        }
        return result
    }
}
