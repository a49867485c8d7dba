// The live index: what the kernel serves, in key order.

public import Bytes
internal import LinuxFilesystem
internal import Synchronization
public import Tidemark

extension XFSOwner {
    public func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes? {
        try reading { readers in
            index == rmap
                ? try mappings(from: key, limit: limit, into: batch, readers)
                : try parentPointers(from: key, limit: limit, into: batch, readers)
        }
    }

    public func lookUp(
        _ keys: [KeyBytes], of index: IndexSlot, into batch: EntryBatch
    ) throws {
        try reading { readers in
            for key in keys {
                if index == rmap {
                    try lookUpMapping(key, into: batch, readers)
                } else {
                    try lookUpParent(key, into: batch, readers)
                }
            }
        }
    }

    public func records(of key: KeyBytes, in index: IndexSlot) -> KeyRange? {
        if index == rmap {
            guard let primary = MappingKey(key.span)?.primary, primary.position < .max else {
                return nil
            }
            var end = primary
            end.position += 1
            return KeyRange(lower: primary.key, upper: end.key)
        }
        guard ParentKey.isWellFormed(key.span) else { return nil }
        return XFSPosition.entries(of: leading(key.span, 8))
    }

    // MARK: What is withheld

    /// Blocks stay with a file that is removed and closed until the kernel has freed them, in its
    /// own time (inodegc): bulkstat does not tell of such a file, and it can't be opened.
    public func mayWithhold(_ index: IndexSlot) -> Bool { index == rmap }

    /// Withheld: the number is given to an inode, and nobody is told of that. The number is asked
    /// for first: an inode is shown from when it gets its number until it is removed and closed.
    ///
    /// Not covered: files that the kernel keeps for itself, which it tells nobody of; and links,
    /// devices, pipes and sockets, which can't be opened. Their blocks are in
    /// the index, and in the shadow where an event has told of them. So they can't be left out of
    /// the index beforehand: the number may have been another inode's at the time of the event.
    public func standing(of keys: [KeyBytes], of index: IndexSlot) throws -> [RecordStanding] {
        guard index == rmap else { return keys.map { _ in .open } }
        return try reading { readers in
            var known: [UInt64: RecordStanding] = [:]
            return try keys.map { key in
                guard let inode = MappingKey(key.span)?.owner else { return .open }
                if let answer = known[inode] { return answer }
                let answer = try standing(of: inode, readers)
                known[inode] = answer
                return answer
            }
        }
    }

    private func standing(of inode: UInt64, _ readers: XFSReaders) throws -> RecordStanding {
        guard try xfs.isAllocated(inode) else { return .open }
        guard let status = try xfs.status(of: inode, using: readers.one), !status.isDamaged else {
            return try isKernelFile(inode, readers) ? .notCovered : .withheld
        }
        return status.isReadable ? .open : .notCovered
    }

    /// Whether the kernel keeps the file for itself. Those that were met are counted.
    private func isKernelFile(_ inode: UInt64, _ readers: XFSReaders) throws -> Bool {
        let isQuota = quotaFiles.contains(inode)
        guard try isQuota || xfs.isInMetadataDirectory(inode, using: readers.one) else {
            return false
        }
        notCovered.withLock { _ = $0.kernelFiles.insert(inode) }
        return true
    }

    // MARK: The reverse map

    /// Where the map can't be read, the group that is to blame is passed over.
    private func mappings(
        from key: KeyBytes, limit: Int, into batch: EntryBatch, _ readers: XFSReaders
    ) throws -> KeyBytes? {
        let all = xfs.geometry.dataBlocks, first = leading(key.span, 0)
        guard first < all else { return nil }
        let group = first / UInt64(xfs.geometry.groupBlocks)
        let end = min((group + 1) * UInt64(xfs.geometry.groupBlocks), all)
        func behind() -> KeyBytes? {
            guard end < all else { return nil }
            var key = KeyBytes()
            key.append(end)
            return key
        }
        if isUnread(group: group) { return behind() }
        do {
            return try mappings(from: key, to: all, limit: limit, into: batch, readers)
        } catch let error as LinuxCallError where error.isDamaged {
            // This group, or one that the call has come to behind it.
            do {
                return try mappings(from: key, to: end, limit: limit, into: batch, readers)
                    ?? behind()
            } catch let error as LinuxCallError where error.isDamaged {
                try noteUnread(group: group, "\(error)")
                return behind()
            }
        }
    }

    private func mappings(
        from key: KeyBytes, to end: UInt64, limit: Int, into batch: EntryBatch,
        _ readers: XFSReaders
    ) throws -> KeyBytes? {
        let blockSize = UInt64(xfs.geometry.blockSize)
        let first = leading(key.span, 0)
        var sweep = MappingSweep(first, blockSize)
        var isFirst = true, hasMore = true
        // Blocks below this are complete: a record begins at each place or before it.
        var bound = first
        while hasMore, bound <= first {
            hasMore = try xfs.mount.readSpace(
                first * blockSize..<end * blockSize, isFirst: isFirst, into: readers.space)
            isFirst = false
            for record in readers.space.records { sweep.add(record) }
            bound = hasMore ? (readers.space.records.last?.physical ?? 0) / blockSize : end
        }
        let next = try sweep.emit(
            upTo: bound, from: key, limit: limit, into: batch,
            // What can't be asked for again is damaged.
            isDoubled: { ((try? mappings(of: $0, readers).count) ?? 2) > 1 })
        if let next { return next }
        guard bound < end else { return nil }
        var lower = KeyBytes()
        lower.append(bound)
        return lower
    }

    private func lookUpMapping(
        _ key: KeyBytes, into batch: EntryBatch, _ readers: XFSReaders
    ) throws {
        guard let wanted = MappingKey(key.span), wanted.block < xfs.geometry.dataBlocks else {
            return
        }
        let group = wanted.block / UInt64(xfs.geometry.groupBlocks)
        if isUnread(group: group) { return }
        do throws(LinuxCallError) {
            let pieces = try mappings(of: wanted, readers)
            guard let piece = pieces.first else { return }
            var value = FixedBytes<1>()
            value.store(piece.isUnwritten ? UInt8(1) : 0, at: 0)
            batch.append(key: key.span, value: value.span, isDamaged: pieces.count > 1)
        } catch {
            guard error.isDamaged else { throw error }
            try noteUnread(group: group, "\(error)")
        }
    }

    /// The records with the key `wanted`, one call for its block: more than one where the map is
    /// damaged.
    private func mappings(
        of wanted: MappingKey, _ readers: XFSReaders
    ) throws(LinuxCallError) -> [MappingPiece] {
        let blockSize = UInt64(xfs.geometry.blockSize)
        let place = wanted.block * blockSize
        var pieces: [MappingPiece] = []
        var isFirst = true, hasMore = true
        while hasMore {
            hasMore = try xfs.mount.readSpace(
                place..<place + blockSize, isFirst: isFirst, into: readers.space)
            isFirst = false
            for record in readers.space.records {
                guard let piece = MappingPiece(record, blockSize), piece.contains(wanted.block),
                    piece.key(at: wanted.block) == wanted
                else { continue }
                pieces.append(piece)
            }
        }
        return pieces
    }

    // MARK: Parent pointers

    private func parentPointers(
        from key: KeyBytes, limit: Int, into batch: EntryBatch, _ readers: XFSReaders
    ) throws -> KeyBytes? {
        var next = leading(key.span, 0), count = 0
        var rest: KeyBytes?
        while try xfs.readInodes(from: next, limit: 256, into: readers.inodes) {
            for inode in readers.inodes.inodes {
                if count >= limit { return XFSPosition(inode.inode).key }
                guard try readParents(inode, readers) else {
                    next = inode.inode + 1
                    continue
                }
                // A directory's links are counted with its entries.
                if inode.kind != .directory, inode.links != readers.names.distinct {
                    suspects.withLock { $0.add(inode.inode) }
                }
                try readers.names.forEach { item, name in
                    let entry = ParentKey.make(
                        child: inode.inode, parent: item.parent, name: name)
                    guard entry >= key, !item.isRepeated else { return true }
                    if count >= limit {
                        rest = entry
                        return false
                    }
                    try append(entry, item, into: batch, readers)
                    count += 1
                    return true
                }
                if let rest { return rest }
                next = inode.inode + 1
            }
        }
        return nil
    }

    private func append(
        _ entry: KeyBytes, _ item: NameList.Item, into batch: EntryBatch, _ readers: XFSReaders
    ) throws {
        // Of several with one key, and not of one generation, one at least is wrong.
        let isRight =
            try !item.isDoubled && hasGeneration(item.parent, item.generation, readers)
        var value = FixedBytes<1>()
        value.store(isRight ? UInt8(0) : 1, at: 0)
        batch.append(key: entry.span, value: value.span)
    }

    /// The parent pointers of `inode`, sorted, in `readers.names`.
    /// - Returns: false where they can't be read; that is noted.
    func readParents(_ inode: InodeStatus, _ readers: XFSReaders) throws -> Bool {
        readers.names.removeAll()
        if inode.isDamaged {
            try noteUnread(inode: inode.inode, "the kernel can't read it")
            return false
        }
        readers.parents.begin(xfs, inode.inode, generation: inode.generation)
        do throws(LinuxCallError) {
            while try readers.parents.read(xfs) {
                readers.parents.forEach { parent, generation, name in
                    readers.names.append(parent, generation, name)
                }
            }
        } catch {
            guard error.isDamaged else { throw error }
            readers.names.removeAll()
            try noteUnread(inode: inode.inode, "\(error)")
            return false
        }
        readers.names.sort()
        return true
    }

    /// Whether `directory` has `generation` now. Where it has had it before, and another since,
    /// events of its entries tell that the answer is old.
    private func hasGeneration(
        _ directory: UInt64, _ generation: UInt32, _ readers: XFSReaders
    ) throws -> Bool {
        if generations.withLock({ $0[directory] }) == generation { return true }
        let found = try xfs.status(of: directory, using: readers.one)?.generation
        generations.withLock { known in
            if known.count >= 1 << 20 { known.removeAll(keepingCapacity: true) }
            known[directory] = found
        }
        return found == generation
    }

    private func lookUpParent(
        _ key: KeyBytes, into batch: EntryBatch, _ readers: XFSReaders
    ) throws {
        guard ParentKey.isWellFormed(key.span),
            let inode = try xfs.status(of: leading(key.span, 0), using: readers.one)
        else { return }
        guard try readParents(inode, readers) else { return }
        var isAppended = false
        try readers.names.forEach { item, name in
            let entry = ParentKey.make(child: inode.inode, parent: item.parent, name: name)
            guard !isAppended, entry == key else { return true }
            try append(entry, item, into: batch, readers)
            isAppended = true
            return false
        }
    }
}

/// An extent of the reverse map, in blocks.
struct MappingPiece {
    let start, end: UInt64
    let owner: UInt64
    let fork: UInt8
    /// At `start`.
    let offset: UInt64
    let isUnwritten: Bool

    /// nil for what is not derived from files' extents.
    init?(_ record: SpaceRecord, _ blockSize: UInt64) {
        guard !record.isSpecial, !record.isExtentMap else { return nil }
        start = record.physical / blockSize
        end = (record.physical + record.length) / blockSize
        owner = record.owner
        fork = record.isAttributeFork ? 1 : 0
        offset = record.offset / blockSize
        isUnwritten = record.isUnwritten
    }

    func contains(_ block: UInt64) -> Bool { start <= block && block < end }

    func key(at block: UInt64) -> MappingKey {
        MappingKey(block: block, owner: owner, fork: fork, offset: offset &+ (block - start))
    }
}

/// Goes through blocks in their order; of one that several files share, through its owners.
struct MappingSweep {
    private let blockSize: UInt64
    private var pieces: [MappingPiece] = []
    private var block: UInt64

    init(_ first: UInt64, _ blockSize: UInt64) {
        block = first
        self.blockSize = blockSize
    }

    /// Records come in the order of their places.
    mutating func add(_ record: SpaceRecord) {
        if let piece = MappingPiece(record, blockSize) { pieces.append(piece) }
    }

    /// Emits what lies below block `bound` and is not below `key`, each key once.
    /// - Parameter isDoubled: whether a key that was met twice is there twice: under load the
    ///   border of two calls shows one record in both. Such an entry is damaged.
    /// - Returns: the key of the first entry that the limit left out.
    mutating func emit(
        upTo bound: UInt64, from key: KeyBytes, limit: Int, into batch: EntryBatch,
        isDoubled: (MappingKey) throws -> Bool
    ) throws -> KeyBytes? {
        var active: [MappingPiece] = []
        var next = 0, count = 0
        while block < bound {
            if active.isEmpty {
                guard next < pieces.count, pieces[next].start < bound else { break }
                block = max(block, pieces[next].start)
            }
            let before = active.count
            active.removeAll { $0.end <= block }
            var isChanged = active.count != before
            while next < pieces.count, pieces[next].start <= block {
                if pieces[next].end > block {
                    active.append(pieces[next])
                    isChanged = true
                }
                next += 1
            }
            if isChanged, active.count > 1 {
                let block = block
                active.sort { $0.key(at: block) < $1.key(at: block) }
            }
            for (place, piece) in active.enumerated() {
                let mapping = piece.key(at: block)
                if place > 0, active[place - 1].key(at: block) == mapping { continue }
                let entry = mapping.bytes
                guard compareBytes(entry.span, key.span) >= 0 else { continue }
                if count >= limit { return KeyBytes(entry.span) }
                let isMetTwice =
                    place + 1 < active.count && active[place + 1].key(at: block) == mapping
                var value = FixedBytes<1>()
                value.store(piece.isUnwritten ? UInt8(1) : 0, at: 0)
                batch.append(
                    key: entry.span, value: value.span,
                    isDamaged: try isMetTwice && isDoubled(mapping))
                count += 1
            }
            block += 1
        }
        return nil
    }
}
