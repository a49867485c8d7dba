// Primitives: one record of one table each. What is derived from a record, the entries of
// the live indexes and the deltas for the hooks, is maintained here and nowhere else.

internal import Bytes
internal import LMDB
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

// MARK: Inodes

extension Operations {
    /// - Returns: nil where there is no such inode.
    func inode(_ n: InodeNumber) throws -> InodeRecord? {
        let key = InodeRecord.key(n)
        guard let value = try transaction.get(core.tables.inodes, key.span) else { return nil }
        do {
            return try InodeRecord(key: key.span, value: value)
        } catch {
            throw VolumeError.damaged(table: TableName.inodes, object: "inode \(n)", error)
        }
    }

    /// What `put` has to do for quota usage.
    enum UsageChange {
        /// Compare with what is stored: the page is the one that is about to be written.
        case any
        /// The inode is as large as it was, and of the same owners.
        case none
        /// There was no such inode.
        case new
    }

    mutating func put(
        _ inode: InodeRecord, _ n: InodeNumber, usage: UsageChange = .any
    ) throws {
        isChanging(n)
        let key = InodeRecord.key(n)
        let value = inode.value(key: key.span)
        let new = QuotaShare(inode)
        assert(usage == .any || (try? share(of: n)) == (usage == .none ? new : nil))
        let old = usage == .any ? try share(of: n) : nil
        try transaction.put(core.tables.inodes, key.span, value.span)
        if usage != .none { noteUsage(n, old: old, new: new) }
    }

    mutating func deleteInode(_ n: InodeNumber) throws {
        isChanging(n)
        let key = InodeRecord.key(n)
        let old = try share(of: n)
        _ = try transaction.delete(core.tables.inodes, key.span)
        noteUsage(n, old: old, new: nil)
    }

    /// What the stored inode takes; nil where there is none. The operations have looked at its
    /// checksum before.
    private func share(of n: InodeNumber) throws -> QuotaShare? {
        let key = InodeRecord.key(n)
        guard let value = try transaction.get(core.tables.inodes, key.span) else { return nil }
        return QuotaShare(inodeValue: value)
    }

    /// A number for a new inode, the lowest that is free, and its generation. It takes the
    /// caller's `put` to make the inode.
    mutating func allocateInode() throws -> (InodeNumber, generation: UInt32) {
        let reused = try takeFreeInode()
        let number = try reused ?? nextInode()
        hasChanged = true
        if reused == nil { counters.nextInode = number + 1 }
        let generation = counters.nextGeneration
        counters.nextGeneration &+= 1
        counters.inodes &+= 1
        return (number, generation)
    }

    /// The lowest number that was never used. Where the counter is damaged, and an inode has its
    /// number, it is one above all that are in use: an inode is not overwritten.
    private mutating func nextInode() throws -> InodeNumber {
        let next = counters.nextInode
        guard try isThere(core.tables.inodes, InodeRecord.key(next).span) else { return next }
        let highest = try max(highest(core.tables.inodes), highest(core.tables.freeInodes))
        guard highest < FormatLimits.inode else {
            throw damaged(TableName.superblock, "the counters", .field("next inode"))
        }
        return max(next, highest + 1)
    }

    /// The number of an inode that has been deleted may be used again.
    mutating func releaseInode(_ n: InodeNumber) throws {
        hasChanged = true
        let key = InodeRecord.key(n)
        let value = FreeInodeRecord.value(inode: n)
        try transaction.put(core.tables.freeInodes, key.span, value.span)
        counters.inodes &-= 1
        note(.freed(n))
    }

    /// Damaged records, and numbers that are in use all the same, are passed over and left
    /// for `verify` to report.
    private mutating func takeFreeInode() throws -> InodeNumber? {
        guard try transaction.statistics(core.tables.freeInodes).entries > 0 else { return nil }
        var found: InodeNumber?
        do {
            var cursor = try transaction.readCursor(core.tables.freeInodes)
            var isThere = try cursor.first()
            while isThere, found == nil {
                if let n = try? FreeInodeRecord.inode(key: cursor.key, value: cursor.value),
                    n < counters.nextInode,
                    try transaction.get(core.tables.inodes, InodeRecord.key(n).span) == nil
                {
                    found = n
                }
                isThere = try cursor.next()
            }
        }
        if let found {
            hasChanged = true
            _ = try transaction.delete(core.tables.freeInodes, InodeRecord.key(found).span)
        }
        return found
    }
}

// MARK: Directory entries

extension Operations {
    /// - Returns: nil where the directory has no such name.
    func dirent(_ dir: InodeNumber, _ name: [UInt8]) throws -> DirentTarget? {
        let key = DirentRecord.key(dir, name.rawSpan)
        guard let value = try transaction.get(core.tables.dirents, key.span) else { return nil }
        do {
            return try DirentTarget(key: key.span, value: value)
        } catch {
            throw VolumeError.damaged(
                table: TableName.dirents, object: entryObject(dir, name), error)
        }
    }

    /// Makes the name lead to `target`, in place of what it led to.
    mutating func putDirent(_ dir: InodeNumber, _ name: [UInt8], _ target: DirentTarget) throws {
        let key = DirentRecord.key(dir, name.rawSpan)
        let value = target.value(key: key.span)
        if try !transaction.insert(core.tables.dirents, key.span, value.span) {
            let old: DirentTarget?
            do { old = try dirent(dir, name) } catch let error as VolumeError {
                if hasChanged, case .damaged(let table, let object, let damage) = error {
                    throw damaged(table, object, damage)
                }
                throw error
            }
            isChanging(dir)
            try transaction.put(core.tables.dirents, key.span, value.span)
            if let old { try replaceParent(dir, name.rawSpan, old: old, new: target) }
            return
        }
        isChanging(dir)
        try addParent(dir, name.rawSpan, target)
    }

    /// Removes an entry that was looked up before, and leads to `target`.
    mutating func removeDirent(_ dir: InodeNumber, _ name: [UInt8], _ target: DirentTarget) throws {
        isChanging(dir)
        let key = DirentRecord.key(dir, name.rawSpan)
        let wasThere = try transaction.delete(core.tables.dirents, key.span)
        precondition(wasThere, "an entry is looked up before it is removed")
        try removeParent(dir, name.rawSpan, target)
    }

    func isEmptyDirectory(_ dir: InodeNumber) throws -> Bool {
        var cursor = try transaction.readCursor(core.tables.dirents)
        let key = InodeRecord.key(dir)
        guard try cursor.seek(key.span) else { return true }
        return cursor.key.byteCount < 8 || cursor.key.integer(at: 0, as: UInt64.self) != dir
    }

    private func entryObject(_ dir: InodeNumber, _ name: [UInt8]) -> String {
        "name \"\(escapedName(name))\" in directory \(dir)"
    }
}

// MARK: Extents

extension Operations {
    /// The extents of a fork that overlap blocks `[from, to)` of the file, in order. The
    /// caller bounds the range, or the number.
    func extents(
        _ n: InodeNumber, _ fork: Fork, from: UInt64, to: UInt64, limit: Int = .max
    ) throws -> [ExtentRecord] {
        var result: [ExtentRecord] = []
        guard from < to else { return result }
        var cursor = try transaction.readCursor(core.tables.extents)
        let start = ExtentRecord.key(n, fork, from)
        var isThere = try cursor.seek(atOrBefore: start.span)
        if !isThere { isThere = try cursor.first() }
        while isThere, result.count < limit {
            let place = extentPlace(cursor.key)
            if place > (n, fork.rawValue, to - 1) { break }
            if place.0 == n, place.1 == fork.rawValue {
                do throws(RecordDamage) {
                    let extent = try ExtentRecord(key: cursor.key, value: cursor.value)
                    try core.geometry.check(extent)
                    if extent.offsetEnd > from { result.append(extent) }
                } catch {
                    throw VolumeError.damaged(
                        table: TableName.extents,
                        object: "extent of inode \(n), \(fork) fork, offset \(place.2)", error)
                }
            }
            isThere = try cursor.next()
        }
        return result
    }

    /// Inode, fork and offset of a key, whatever its length.
    private func extentPlace(_ key: RawSpan) -> (UInt64, UInt8, UInt64) {
        guard key.byteCount >= ExtentRecord.keySize else { return (0, 0, 0) }
        return (key.integer(at: 0), key.integer(at: 8), key.integer(at: 9))
    }

    /// Stores an extent, in place of `old` where that is given: the same blocks of the
    /// file, cut, extended, or with another state.
    mutating func putExtent(_ e: ExtentRecord, replacing old: ExtentRecord?) throws {
        isChanging(e.inode)
        let key = e.key
        if let old, old.offset != e.offset || old.inode != e.inode || old.fork != e.fork {
            _ = try transaction.delete(core.tables.extents, old.key.span)
        }
        try transaction.put(core.tables.extents, key.span, e.value.span)
        try mapExtent(e, replacing: old)
    }

    mutating func removeExtent(_ e: ExtentRecord) throws {
        isChanging(e.inode)
        _ = try transaction.delete(core.tables.extents, e.key.span)
        try unmapExtent(e)
    }
}
