// Reading the primary records: inode after inode, of each its blocks and then its entries.

public import Bytes
internal import LinuxFilesystem
internal import Synchronization
public import Tidemark

extension XFSOwner {
    public func windowEnd(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? {
        let start = XFSPosition(key.span)
        let wantsBlocks = rmap.map(wants) ?? false, wantsNames = parents.map(wants) ?? false
        return try reading { readers in
            var count: UInt64 = 0
            var next = start.inode
            while try xfs.readInodes(from: next, into: readers.inodes) {
                for inode in readers.inodes.inodes {
                    let weight = inode.weight(wantsBlocks, wantsNames)
                    // Where a window ends at once, it ends within the inode or behind it.
                    if count > 0, count &+ weight > UInt64(records) {
                        return XFSPosition(inode.inode).key
                    }
                    if weight > UInt64(records) {
                        let from = inode.inode == start.inode ? start : XFSPosition(inode.inode)
                        do {
                            return try split(inode, from, records, readers).key
                        } catch let error as LinuxCallError
                            where error.isDamaged || error.isBusy
                        {
                            // The scan tells of it, if the filesystem answers.
                            try checkAlive()
                            return XFSPosition(inode.inode + 1).key
                        }
                    }
                    count &+= weight
                    next = inode.inode + 1
                }
            }
            return nil
        }
    }

    /// The end of a window of about `records` blocks in a large file, from `from` on.
    private func split(
        _ inode: InodeStatus, _ from: XFSPosition, _ records: Int, _ readers: XFSReaders
    ) throws -> XFSPosition {
        let behind = XFSPosition(inode.inode + 1)
        guard from.kind <= XFSRecordKind.data.rawValue, inode.isReadable,
            inode.dataExtents > 0,
            let file = try xfs.open(inode.inode, generation: inode.generation)
        else { return behind }
        let blockSize = UInt64(xfs.geometry.blockSize)
        var left = UInt64(records)
        var offset: UInt64? = from.position * blockSize
        while let place = offset {
            offset = try xfs.readExtents(
                of: file, .data, from: place, into: readers.extents,
                object: "inode \(inode.inode)")
            for extent in readers.extents.extents {
                let first = max(extent.offset / blockSize, from.position)
                let end = extent.end / blockSize
                if end - min(first, end) > left {
                    return XFSPosition(inode.inode, .data, first + left)
                }
                left -= end - min(first, end)
            }
        }
        return behind
    }

    public func read(
        _ range: KeyRange, limit: Int, into sink: WindowSink
    ) throws -> KeyBytes? {
        try reading { readers in
            let scan = XFSScan(
                owner: self, sink: sink, lower: XFSPosition(range.lower.span),
                upper: range.upper.map { XFSPosition($0.span) }, limit: limit)
            return try scan.run(readers)?.key
        }
    }
}

extension InodeStatus {
    /// Whether the kernel opens it by handle.
    var isReadable: Bool { kind == .file || kind == .directory }

    /// Its records, about.
    fileprivate func weight(_ wantsBlocks: Bool, _ wantsNames: Bool) -> UInt64 {
        var weight: UInt64 = 1
        if wantsBlocks, !isRealtime { weight &+= min(blocks, 1 << 40) }
        // An entry takes some 24 bytes, and a short one less.
        if wantsNames, kind == .directory { weight &+= min(size, 1 << 40) / 24 }
        return weight
    }
}

/// One call of `read`.
private final class XFSScan {
    private let owner: XFSOwner
    private let sink: WindowSink
    private let lower: XFSPosition
    private let upper: XFSPosition?
    private let wantsBlocks, wantsNames: Bool
    private var left: Int

    init(
        owner: XFSOwner, sink: WindowSink, lower: XFSPosition, upper: XFSPosition?, limit: Int
    ) {
        self.owner = owner
        self.sink = sink
        self.lower = lower
        self.upper = upper
        wantsBlocks = owner.rmap.map(sink.wants) ?? false
        wantsNames = owner.parents.map(sink.wants) ?? false
        left = max(1, limit)
    }

    /// - Returns: where to go on; nil at the end of the range.
    func run(_ readers: XFSReaders) throws -> XFSPosition? {
        var next = lower.inode
        while try owner.xfs.readInodes(
            from: next, limit: max(1, min(left + 1, readers.inodes.capacity)),
            into: readers.inodes)
        {
            for inode in readers.inodes.inodes {
                if isBehind(XFSPosition(inode.inode)) { return nil }
                if left <= 0 { return XFSPosition(inode.inode) }
                if let place = try read(inode, readers) { return place }
                next = inode.inode + 1
            }
        }
        return nil
    }

    private func isBehind(_ position: XFSPosition) -> Bool {
        upper.map { position >= $0 } ?? false
    }

    private func count(_ records: Int) {
        sink.count(records: records)
        left -= records
    }

    /// - Returns: where in the inode to go on; nil where it is done.
    private func read(_ inode: InodeStatus, _ readers: XFSReaders) throws -> XFSPosition? {
        let from = max(lower, XFSPosition(inode.inode))
        if from.kind == 0 { count(1) }
        if inode.isDamaged {
            sink.skip(
                PrimaryDamage(
                    object: "inode \(inode.inode)", problem: "the kernel can't read it"))
            return nil
        }
        if inode.isRealtime, inode.extents > 0 {
            owner.notCovered.withLock { $0.addRealtime(inode.inode) }
        }
        let hasBlocks = inode.dataExtents > 0 || inode.attributeExtents > 0
        guard inode.isReadable else {
            if hasBlocks { owner.notCovered.withLock { $0.addUnreadable(inode.inode) } }
            return nil
        }
        let readsNames = wantsNames && inode.kind == .directory
        guard wantsBlocks && hasBlocks || readsNames else { return nil }
        do {
            guard let file = try owner.xfs.open(inode.inode, generation: inode.generation) else {
                // It is gone since: events tell.
                return nil
            }
            if wantsBlocks {
                for fork in [XFSRecordKind.data, .attribute] {
                    if let place = try blocks(of: inode, file, fork, from, readers) {
                        return place
                    }
                }
            }
            if readsNames { return try names(in: inode, file, from, readers.directory) }
            return nil
        } catch let error as LinuxCallError where error.isDamaged || error.isBusy {
            // Either this inode can't be read, or nothing can.
            try owner.checkAlive()
            sink.skip(
                PrimaryDamage(object: "inode \(inode.inode)", problem: "\(error)"))
            return nil
        }
    }

    // MARK: Blocks

    private func blocks(
        of inode: InodeStatus, _ file: borrowing Descriptor, _ kind: XFSRecordKind,
        _ from: XFSPosition, _ readers: XFSReaders
    ) throws -> XFSPosition? {
        guard kind == .data ? inode.dataExtents > 0 : inode.attributeExtents > 0 else {
            return nil
        }
        let start = max(from, XFSPosition(inode.inode, kind))
        // `from` may be a later kind of record.
        guard start.kind == kind.rawValue, !isBehind(start) else { return nil }
        var end = UInt64.max
        if let upper, upper.inode == inode.inode, upper.kind == kind.rawValue {
            end = upper.position
        }
        let blockSize = UInt64(owner.xfs.geometry.blockSize)
        var offset: UInt64? = start.position * blockSize
        while let place = offset {
            offset = try owner.xfs.readExtents(
                of: file, kind == .data ? .data : .attribute, from: place, into: readers.extents,
                object: "inode \(inode.inode)")
            for extent in readers.extents.extents {
                let first = max(extent.offset / blockSize, start.position)
                let behind = min(extent.end / blockSize, end)
                guard first < behind else { continue }
                let taken = emit(extent, inode.inode, kind, first..<behind)
                if taken < behind { return XFSPosition(inode.inode, kind, taken) }
            }
            if left <= 0, let next = offset, next / blockSize < end {
                return XFSPosition(inode.inode, kind, next / blockSize)
            }
        }
        return nil
    }

    /// Emits the blocks of `extent` at the offsets `range`, as far as the limit lets.
    /// - Returns: the offset behind the last.
    private func emit(
        _ extent: FileExtent, _ inode: UInt64, _ kind: XFSRecordKind, _ range: Range<UInt64>
    ) -> UInt64 {
        guard let rmap = owner.rmap else { return range.upperBound }
        let blockSize = UInt64(owner.xfs.geometry.blockSize)
        let end = min(range.upperBound, range.lowerBound + UInt64(max(left, 1)))
        let block = extent.physical / blockSize + (range.lowerBound - extent.offset / blockSize)
        var key = MappingKey(
            block: block, owner: inode, fork: kind == .data ? 0 : 1, offset: range.lowerBound
        ).bytes
        var value = FixedBytes<1>()
        value.store(extent.isUnwritten ? UInt8(1) : 0, at: 0)
        for offset in range.lowerBound..<end {
            key.store(block + (offset - range.lowerBound), at: 0)
            key.store(offset, at: 17)
            sink.emit(rmap, key: key.span, value: value.span)
        }
        count(Int(end - range.lowerBound))
        return end
    }

    // MARK: Entries

    private func names(
        in inode: InodeStatus, _ file: borrowing Descriptor, _ from: XFSPosition,
        _ reader: DirectoryReader
    ) throws -> XFSPosition? {
        guard let parents = owner.parents else { return nil }
        let start = max(from, XFSPosition(inode.inode, .entries))
        guard !isBehind(start) else { return nil }
        if start.position > 0 {
            try reader.seek(file, to: start.position, object: "inode \(inode.inode)")
        }
        var value = FixedBytes<1>()
        value.store(UInt8(0), at: 0)
        var directories: UInt32 = 0
        while try reader.read(file, object: "inode \(inode.inode)") {
            var entries = 0
            reader.forEach { child, type, name in
                guard !isDots(name) else { return }
                entries += 1
                if type == directoryType { directories += 1 }
                let stamp = sink.sequence.raw
                if owner.names.note(inode.inode, name, child, at: stamp) != .stands {
                    owner.noteRaced(inode.inode, read: stamp)
                }
                let key = ParentKey.make(child: child, parent: inode.inode, name: name)
                sink.emit(parents, key: key.span, value: value.span)
            }
            count(entries)
            if left <= 0 {
                // Counted in one go or not at all.
                owner.suspects.withLock { $0.add(inode.inode) }
                return XFSPosition(inode.inode, .entries, reader.cookie)
            }
        }
        if start.position == 0, inode.links != directories &+ 2 {
            owner.suspects.withLock { $0.add(inode.inode) }
        }
        return nil
    }
}

/// `DT_DIR`.
let directoryType: UInt8 = 4

/// `.` and `..`.
func isDots(_ name: RawSpan) -> Bool {
    let dot = UInt8(ascii: ".")
    switch name.byteCount {
    case 1: return name.integer(at: 0, as: UInt8.self) == dot
    case 2:
        return name.integer(at: 0, as: UInt8.self) == dot
            && name.integer(at: 1, as: UInt8.self) == dot
    default: return false
    }
}
