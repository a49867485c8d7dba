// The scan of the primary records that the indexes are derived from: directory entries and
// extents, in the order of primary keys (inode, kind, subkey).
//
// This is the hottest loop of a run. Nothing is allocated for a record: what is derived is
// composed from spans into the map, on the stack.

public import Bytes
internal import LMDB
public import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

extension VolumeSnapshot: OwnerSnapshot {
    public func boundary(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? {
        precondition(records > 0, "an empty window")
        let inode: InodeNumber = key.count >= 8 ? key.span.integer(at: 0) : 0
        let stride = core.density.inodes(forRecords: records, mean: try meanDensity())
        // What the last scan saw at its end says nothing of the start.
        guard key.count > 0, stride >= ScanDensity.leastStride, inode < .max - stride else {
            return try walk(from: key, records: records)
        }
        var ahead = KeyBytes()
        ahead.append(inode + stride)
        let range = KeyRange(lower: ahead, upper: nil)
        let dirents = try TableScan(transaction.cursor(core.tables.dirents), .dirent, range)
        let extents = try TableScan(transaction.cursor(core.tables.extents), .extent, range)
        // A key that is none names no inode to go on from.
        if dirents.isMisfit || extents.isMisfit { return try walk(from: key, records: records) }
        let found = [
            dirents.isThere ? dirents.inode : nil, extents.isThere ? extents.inode : nil,
        ]
        // A window ends behind a gap, not within it.
        guard let next = found.compactMap({ $0 }).min() else { return nil }
        var end = KeyBytes()
        end.append(next)
        return end
    }

    /// Records of 1,024 inodes, on the whole volume.
    private func meanDensity() throws -> Int {
        let names = try transaction.statistics(core.tables.dirents).entries
        let extents = try transaction.statistics(core.tables.extents).entries
        return (names + extents) * 1024 / Int(clamping: max(1, try counters().nextInode))
    }

    /// The exact end of a window, found by walking: where inodes have so many records that
    /// one may have to be split.
    private func walk(from key: KeyBytes, records: Int) throws -> KeyBytes? {
        let range = KeyRange(lower: key, upper: nil)
        var dirents = try TableScan(transaction.cursor(core.tables.dirents), .dirent, range)
        var extents = try TableScan(transaction.cursor(core.tables.extents), .extent, range)
        var count = 0
        while let kind = next(dirents, extents, isLast: count >= records) {
            if kind == .dirent { try dirents.advance() } else { try extents.advance() }
            count += 1
        }
        return nextKey(dirents, extents)
    }

    public func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
        precondition(limit > 0, "a reading of nothing")
        let wantsNames = sink.wants(VolumeSnapshot.parentsSlot)
        let wantsExtents = sink.wants(VolumeSnapshot.rmapSlot)
        // A kind that no index needs is a table without records.
        let nothing = KeyRange(lower: KeyBytes(), upper: KeyBytes())
        var dirents = try TableScan(
            transaction.cursor(core.tables.dirents), .dirent, wantsNames ? range : nothing)
        var extents = try TableScan(
            transaction.cursor(core.tables.extents), .extent, wantsExtents ? range : nothing)
        var key = KeyBytes()
        var count = 0
        var last: InodeNumber = 0
        while let kind = next(dirents, extents, isLast: count >= limit) {
            last = kind == .dirent ? dirents.inode : extents.inode
            if kind == .dirent {
                deriveParent(dirents.cursor.key, dirents.cursor.value, &key, sink)
                try dirents.advance()
            } else {
                deriveMapping(extents.cursor.key, extents.cursor.value, sink)
                try extents.advance()
            }
            count += 1
        }
        sink.count(records: count)
        if count == 0, let upper = range.upper, upper.count >= 8 {
            last = upper.span.integer(at: 0)
        }
        core.density.note(records: count, from: range.lower, to: last)
        return nextKey(dirents, extents)
    }

    /// The kind of the next record in the order of primary keys; nil at the end. Where
    /// enough were taken (`isLast`) only misfits still are: nothing can go on from their keys.
    @inline(__always)
    private func next(
        _ dirents: borrowing TableScan, _ extents: borrowing TableScan, isLast: Bool
    ) -> RecordKind? {
        if dirents.isThere, !extents.isThere || dirents.inode <= extents.inode {
            return isLast && !dirents.isMisfit ? nil : .dirent
        }
        return extents.isThere && (!isLast || extents.isMisfit) ? .extent : nil
    }

    private func nextKey(
        _ dirents: borrowing TableScan, _ extents: borrowing TableScan
    ) -> KeyBytes? {
        if dirents.isThere, !extents.isThere || dirents.inode <= extents.inode {
            return dirents.primaryKey
        }
        return extents.isThere ? extents.primaryKey : nil
    }

    /// A directory entry derives a parent pointer.
    @inline(__always)
    private func deriveParent(
        _ key: RawSpan, _ value: RawSpan, _ derived: inout KeyBytes, _ sink: WindowSink
    ) {
        do throws(RecordDamage) {
            guard key.byteCount >= 8 else { throw .length }
            let target = try DirentTarget(key: key, value: value)
            let nameSize = key.byteCount - DirentRecord.keyPrefixSize
            guard nameSize > 0, nameSize <= DirentRecord.maximumNameLength else { throw .length }
            derived.removeAll()
            derived.append(target.child)
            derived.append(key)
            let payload = ParentPointers.value(generation: target.generation)
            sink.emit(VolumeSnapshot.parentsSlot, key: derived.span, value: payload.span)
        } catch {
            sink.skip(PrimaryDamage(object: direntObject(key), problem: error.description))
        }
    }

    /// An extent derives a reverse mapping.
    @inline(__always)
    private func deriveMapping(_ key: RawSpan, _ value: RawSpan, _ sink: WindowSink) {
        do throws(RecordDamage) {
            let extent = try ExtentRecord(key: key, value: value)
            let derived = ReverseMap.key(extent)
            let payload = ReverseMap.value(extent)
            sink.emit(VolumeSnapshot.rmapSlot, key: derived.span, value: payload.span)
        } catch {
            sink.skip(PrimaryDamage(object: extentObject(key), problem: error.description))
        }
    }

    private func direntObject(_ key: RawSpan) -> String {
        guard key.byteCount >= DirentRecord.keyPrefixSize else {
            return "directory entry with a key of \(key.byteCount) bytes"
        }
        let name = key.extracting(droppingFirst: DirentRecord.keyPrefixSize)
        return "name \"\(escapedName(name))\" in directory \(key.integer(at: 0, as: UInt64.self))"
    }

    private func extentObject(_ key: RawSpan) -> String {
        guard key.byteCount == ExtentRecord.keySize else {
            return "extent with a key of \(key.byteCount) bytes"
        }
        let inode: UInt64 = key.integer(at: 0), offset: UInt64 = key.integer(at: 9)
        return "extent of inode \(inode), offset \(offset)"
    }
}

// MARK: The live index

extension VolumeSnapshot {
    public func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes? {
        let table = try activeTable(of: index)
        var cursor = try transaction.cursor(table)
        var isThere = key.count == 0 ? try cursor.first() : try cursor.seek(key.span)
        var left = limit
        while isThere, left > 0 {
            guard cursor.key.byteCount <= KeyBytes.capacity else { break }
            appendEntry(cursor.key, cursor.value, to: batch)
            left -= 1
            isThere = try cursor.next()
        }
        guard isThere else { return nil }
        guard cursor.key.byteCount <= KeyBytes.capacity else {
            throw VolumeError.damaged(table: table.name, object: "entry with a long key", .length)
        }
        return KeyBytes(cursor.key)
    }

    @inline(__always)
    private func appendEntry(_ key: RawSpan, _ value: RawSpan, to batch: EntryBatch) {
        do throws(RecordDamage) {
            let payload = try value.verified(key: key)
            batch.append(key: key, value: payload)
        } catch {
            let size = value.byteCount
            let kept = min(size < checksumSize ? size : size - checksumSize, 1024)
            batch.append(key: key, value: value.extracting(first: kept), isDamaged: true)
        }
    }

    public func audit(of index: IndexSlot, over range: KeyRange) throws -> (any EntryAudit)? {
        guard index == VolumeSnapshot.rmapSlot else { return nil }
        return try SpaceAudit(self, over: range)
    }

    public func room(
        forEntries entries: Int, payload: Int, of index: IndexSlot
    ) throws -> (available: Int, needed: Int) {
        let pageSize = core.environment.statistics.pageSize
        let available = try transaction.freePages() * pageSize
        // An entry takes its bytes, a checksum, liblmdb's node of 8 bytes and its place in
        // the page, 2; some more for the pages' headers, the branches, and the splits that
        // changes make meanwhile.
        let bytes = payload + entries * (checksumSize + 10)
        // And room is left for the operations that go on meanwhile.
        let margin = min(64 << 20, core.environment.statistics.mapSize / 32)
        return (available, bytes + bytes / 6 + 4 * GroupLimits.reservedPages * pageSize + margin)
    }
}
