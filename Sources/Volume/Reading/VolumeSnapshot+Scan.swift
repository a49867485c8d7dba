// The scan of the primary records that the indexes are derived from: inodes, directory entries
// and extents, in the order of primary keys (inode, kind, subkey).
//
// This is the hottest loop of a run. Nothing is allocated for a record: what is derived is
// composed from spans into the map, on the stack.

public import Bytes
internal import LMDB
public import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

/// Which tables are scanned: those that a wanted index is derived from.
struct WantedKinds {
    let inodes, dirents, extents: Bool

    init(_ wants: (IndexSlot) -> Bool) {
        inodes = wants(VolumeSnapshot.quotaSlot)
        dirents = wants(VolumeSnapshot.parentsSlot) || wants(VolumeSnapshot.linksSlot)
        extents = wants(VolumeSnapshot.rmapSlot)
    }
}

/// The scanned tables side by side.
private struct PrimaryScan: ~Copyable {
    var inodes, dirents, extents: TableScan

    init(
        _ transaction: borrowing ReadTransaction, _ tables: Tables, _ range: KeyRange,
        _ kinds: WantedKinds
    ) throws {
        // A kind that no index needs is a table without records.
        let nothing = KeyRange(lower: KeyBytes(), upper: KeyBytes())
        let inodes = try TableScan(
            transaction.cursor(tables.inodes), .inode, kinds.inodes ? range : nothing)
        let dirents = try TableScan(
            transaction.cursor(tables.dirents), .dirent, kinds.dirents ? range : nothing)
        let extents = try TableScan(
            transaction.cursor(tables.extents), .extent, kinds.extents ? range : nothing)
        self.inodes = inodes
        self.dirents = dirents
        self.extents = extents
    }

    /// The kind of the next record in the order of primary keys; nil at the end.
    @inline(__always)
    private var first: RecordKind? {
        if inodes.isThere, !dirents.isThere || inodes.inode <= dirents.inode,
            !extents.isThere || inodes.inode <= extents.inode
        {
            return .inode
        }
        if dirents.isThere, !extents.isThere || dirents.inode <= extents.inode { return .dirent }
        return extents.isThere ? .extent : nil
    }

    /// The kind of the next record to be taken. Where enough were taken (`isLast`) only misfits
    /// still are: nothing can go on from their keys.
    @inline(__always)
    func next(isLast: Bool) -> RecordKind? {
        guard let kind = first else { return nil }
        guard isLast else { return kind }
        switch kind {
        case .inode: return inodes.isMisfit ? kind : nil
        case .dirent: return dirents.isMisfit ? kind : nil
        default: return extents.isMisfit ? kind : nil
        }
    }

    @inline(__always)
    mutating func advance(_ kind: RecordKind) throws {
        switch kind {
        case .inode: try inodes.advance()
        case .dirent: try dirents.advance()
        default: try extents.advance()
        }
    }

    @inline(__always)
    func inode(of kind: RecordKind) -> InodeNumber {
        switch kind {
        case .inode: inodes.inode
        case .dirent: dirents.inode
        default: extents.inode
        }
    }

    /// The primary key of the next record.
    var nextKey: KeyBytes? {
        switch first {
        case .inode: inodes.primaryKey
        case .dirent: dirents.primaryKey
        case nil: nil
        default: extents.primaryKey
        }
    }

    /// Whether the next record of a table has a key that names no inode to go on from.
    var hasMisfit: Bool { inodes.isMisfit || dirents.isMisfit || extents.isMisfit }

    /// The inode of the next record.
    var nextInode: InodeNumber? { first.map { inode(of: $0) } }
}

extension VolumeSnapshot: OwnerSnapshot {
    public func windowEnd(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? {
        precondition(records > 0, "an empty window")
        let kinds = WantedKinds(wants)
        let inode: InodeNumber = key.count >= 8 ? key.span.integer(at: 0) : 0
        let stride = core.density.inodes(forRecords: records, mean: try meanDensity(kinds))
        // What the last scan saw at its end says nothing of the start.
        guard key.count > 0, stride >= ScanDensity.leastStride, inode < .max - stride else {
            return try walk(from: key, records: records, kinds)
        }
        var ahead = KeyBytes()
        ahead.append(inode + stride)
        let scan = try PrimaryScan(
            transaction, core.tables, KeyRange(lower: ahead, upper: nil), kinds)
        if scan.hasMisfit { return try walk(from: key, records: records, kinds) }
        // A window ends behind a gap, not within it.
        guard let next = scan.nextInode else { return nil }
        var end = KeyBytes()
        end.append(next)
        return end
    }

    /// Records of 1,024 inodes, on the whole volume.
    private func meanDensity(_ kinds: WantedKinds) throws -> Int {
        var records = 0
        let tables = [
            (core.tables.inodes, kinds.inodes), (core.tables.dirents, kinds.dirents),
            (core.tables.extents, kinds.extents),
        ]
        for (table, isWanted) in tables where isWanted {
            records += try transaction.statistics(table).entries
        }
        let (scaled, overflow) = records.multipliedReportingOverflow(by: 1024)
        return (overflow ? .max : scaled) / Int(clamping: max(1, try counters().nextInode))
    }

    /// The exact end of a window, found by walking: where inodes have so many records that
    /// one may have to be split.
    private func walk(
        from key: KeyBytes, records: Int, _ kinds: WantedKinds
    ) throws -> KeyBytes? {
        var scan = try PrimaryScan(
            transaction, core.tables, KeyRange(lower: key, upper: nil), kinds)
        var count = 0
        while let kind = scan.next(isLast: count >= records) {
            try scan.advance(kind)
            count += 1
        }
        return scan.nextKey
    }

    public func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
        precondition(limit > 0, "a reading of nothing")
        let wantsParents = sink.wants(VolumeSnapshot.parentsSlot)
        let wantsLinks = sink.wants(VolumeSnapshot.linksSlot)
        var scan = try PrimaryScan(
            transaction, core.tables, range, WantedKinds { sink.wants($0) })
        var key = KeyBytes()
        var count = 0
        var last: InodeNumber = 0
        while let kind = scan.next(isLast: count >= limit) {
            last = scan.inode(of: kind)
            switch kind {
            case .inode: deriveShare(scan.inodes.cursor.key, scan.inodes.cursor.value, sink)
            case .dirent:
                deriveNames(
                    scan.dirents.cursor.key, scan.dirents.cursor.value, &key, sink,
                    parents: wantsParents, links: wantsLinks)
            default: deriveMapping(scan.extents.cursor.key, scan.extents.cursor.value, sink)
            }
            try scan.advance(kind)
            count += 1
        }
        sink.count(records: count)
        if count == 0, let upper = range.upper, upper.count >= 8 {
            last = upper.span.integer(at: 0)
        }
        core.density.note(records: count, from: range.lower, to: last)
        return scan.nextKey
    }

    /// An inode derives its share of quota usage.
    @inline(__always)
    private func deriveShare(_ key: RawSpan, _ value: RawSpan, _ sink: WindowSink) {
        do throws(RecordDamage) {
            let share = QuotaShare(try InodeRecord(key: key, value: value)).bytes
            sink.emit(VolumeSnapshot.quotaSlot, key: key, value: share.span)
        } catch {
            sink.skip(PrimaryDamage(object: inodeObject(key), problem: error.description))
        }
    }

    /// A directory entry derives a parent pointer, and what link counts need besides.
    @inline(__always)
    private func deriveNames(
        _ key: RawSpan, _ value: RawSpan, _ derived: inout KeyBytes, _ sink: WindowSink,
        parents: Bool, links: Bool
    ) {
        do throws(RecordDamage) {
            try DirentRecord.check(key: key)
            let target = try DirentTarget(key: key, value: value)
            if parents {
                derived.removeAll()
                derived.append(target.child)
                derived.append(key)
                let payload = ParentPointers.value(generation: target.generation)
                sink.emit(VolumeSnapshot.parentsSlot, key: derived.span, value: payload.span)
            }
            if links, target.type != .regular { deriveLinks(key, target, sink) }
        } catch {
            sink.skip(PrimaryDamage(object: direntObject(key), problem: error.description))
        }
    }

    private func deriveLinks(_ key: RawSpan, _ target: DirentTarget, _ sink: WindowSink) {
        let directory: InodeNumber = key.integer(at: 0)
        let name = key.extracting(droppingFirst: DirentRecord.keyPrefixSize)
        let own = LinkIndex.typeKey(child: target.child, parent: directory, name: name)
        let type = LinkIndex.typeValue(target.type)
        sink.emit(VolumeSnapshot.linksSlot, key: own.span, value: type.span)
        guard target.type == .directory else { return }
        let back = LinkIndex.childKey(parent: directory, name: name)
        let child = LinkIndex.childValue(target.child)
        sink.emit(VolumeSnapshot.linksSlot, key: back.span, value: child.span)
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

    private func inodeObject(_ key: RawSpan) -> String {
        guard key.byteCount == InodeRecord.keySize else {
            return "inode with a key of \(key.byteCount) bytes"
        }
        return "inode \(key.integer(at: 0, as: UInt64.self))"
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
