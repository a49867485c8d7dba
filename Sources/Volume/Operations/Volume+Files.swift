// Files as their users see them: open, write, fsync, extended attributes, on the caller's
// thread. Each is one or more short jobs for the writer, with the data I/O between them.
// The order of a write is in Operations+DataWrite.swift, what keeps I/O away from blocks that
// have changed hands in BlockGuard.swift, and reading in Volume+Reading.swift.

internal import LMDB
public import VolumeFormat

// MARK: Opening and closing

extension Volume {
    /// Keeps the inode, with or without a name, until `close`.
    @discardableResult
    public func open(_ n: InodeNumber, generation: UInt32? = nil) throws -> Inode {
        // Counted first: an unlink that runs before the job leaves no inode to be found, one
        // that runs after it leaves an orphan.
        core.opens.add(n)
        do {
            return try perform { try $0.look(n, generation) }
        } catch {
            try close(n)
            throw error
        }
    }

    /// Ends an `open`. An inode without a name goes with the last one.
    public func close(_ n: InodeNumber) throws {
        guard core.opens.remove(n), !core.isReadOnly else { return }
        while try perform({ try $0.reclaimOrphan(n) }) {}
    }

    /// Goes on with all that waits to be reclaimed, in bounded steps.
    @discardableResult
    public func reclaimPending() throws -> ReclaimReport {
        var total = ReclaimReport()
        var cursor: InodeNumber? = 0
        while let after = cursor {
            let part = try perform { try $0.reclaim(after: after) }
            total.finished += part.finished
            total.open += part.open
            total.damaged += part.damaged
            cursor = part.next
        }
        return total
    }
}

extension Operations {
    mutating func look(_ n: InodeNumber, _ generation: UInt32?) throws -> Inode {
        try begin(growing: false)
        let inode = try existing(n)
        if let generation, inode.generation != generation {
            throw VolumeError.noEntry("inode \(n) of generation \(generation)")
        }
        return Inode(number: n, record: inode)
    }
}

// MARK: Writing

extension Volume {
    /// Writes all of `bytes` at `offset`. It is acknowledged when every later snapshot sees it,
    /// and durable after `sync`, or 5 seconds.
    /// - Parameter touching: whether the times of modification and change become those of the
    ///   write; a kernel that caches writes sets them itself.
    /// - Returns: whether it is more than an overwrite: the file has grown, or has new blocks.
    @discardableResult
    public func write(
        _ n: InodeNumber, generation: UInt32? = nil, at offset: UInt64, _ bytes: RawSpan,
        touching: Bool = true
    ) throws -> Bool {
        guard bytes.byteCount > 0 else {
            try checkIsFile(n, generation)
            return false
        }
        guard core.writes.begin() else { throw VolumeError.closed(path) }
        defer { core.writes.end() }
        var generation = generation
        return try retrying {
            let plan = try planWrite(n, generation, offset, UInt64(bytes.byteCount))
            // Another inode may get the number before the next attempt.
            generation = plan.generation
            return try write(bytes, plan, touching: touching)
        }
    }

    /// - Returns: nil, and nothing has happened, where the plan no longer holds.
    private func write(_ bytes: RawSpan, _ plan: WritePlan, touching: Bool) throws -> Bool? {
        let lock = core.blockGuard.lock(plan.blocks, exclusive: true)
        defer { core.blockGuard.unlock(lock) }
        if core.durableCommit < plan.commit,
            !core.blockGuard.isSettled(plan.blocks, durable: core.durableCommit)
        {
            try sync()
        }
        // Where nothing was committed since the snapshot that was looked at, nothing has changed.
        // A prepared plan may share its commit with what came after it, and so may one that was
        // made in the open group.
        let isUnchanged = plan.isOverwrite && core.isUnchanged(plan.inode, since: plan.commit)
        guard try isUnchanged || isStill(plan) else { return nil }
        try core.data.write(bytes, plan, core.geometry)
        if plan.isOverwrite, !touching { return false }
        guard try perform({ try $0.finishWrite(plan, touching: touching) }) else { return nil }
        return !plan.isOverwrite
    }

    /// A plan that overwrites where all of the range is written already; else the blocks that are
    /// missing are allocated.
    private func planWrite(
        _ n: InodeNumber, _ generation: UInt32?, _ offset: UInt64, _ count: UInt64
    ) throws -> WritePlan {
        try planOverwrite(n, generation, offset, count)
            ?? perform { try $0.prepareWrite(n, generation: generation, offset, count) }
    }

    /// The plan of a write that changes no map and no size; nil where it is not one.
    private func planOverwrite(
        _ n: InodeNumber, _ generation: UInt32?, _ offset: UInt64, _ count: UInt64
    ) throws -> WritePlan? {
        guard !core.isReadOnly else { return nil }
        try core.checkNotStopped()
        let blocks = FileMap.blocks(offset, count, UInt64(core.geometry.blockSize))
        func plan(
            _ inode: InodeRecord?, _ commit: UInt64,
            map: (Range<UInt64>) throws -> [ExtentRecord]
        ) throws -> WritePlan? {
            guard let inode, inode.type == .regular,
                generation == nil || generation == inode.generation,
                offset < inode.size, count <= inode.size - offset
            else { return nil }
            let map = try map(blocks)
            guard map.allSatisfy({ $0.state == .written }), FileMap.gaps(map, blocks).isEmpty else {
                return nil
            }
            return WritePlan(
                inode: n, generation: inode.generation, offset: offset, count: count,
                size: inode.size, map: map, commit: commit)
        }
        let inGroup = try look(n) { operations in
            try plan(operations.inode(n), .max) {
                try operations.map(n, .data, $0)
            }
        }
        if let inGroup { return inGroup }
        guard let file = try find(n) else { return nil }
        return try plan(file.record, file.commit, map: file.map)
    }

    /// Whether the file is as the plan found it, by what the open group says or the last commit.
    private func isStill(_ plan: WritePlan) throws -> Bool {
        let n = plan.inode, size = UInt64(core.geometry.blockSize)
        let inGroup = try look(n) { operations in
            try plan.isStill(operations.inode(n), size) { try operations.map(n, .data, $0) }
        }
        if let inGroup { return inGroup }
        let snapshot = try VolumeSnapshot(core)
        return try plan.isStill(snapshot.inode(n), size) { try snapshot.map(n, .data, $0) }
    }
}

extension WritePlan {
    /// Whether the blocks that were found are the file's, and what is about to be zeroed lies
    /// behind its end.
    fileprivate func isStill(
        _ now: InodeRecord?, _ blockSize: UInt64,
        map: (Range<UInt64>) throws -> [ExtentRecord]
    ) rethrows -> Bool {
        guard let now, now.generation == generation,
            try map(FileMap.blocks(offset, count, blockSize)) == self.map
        else { return false }
        guard let tail else { return true }
        return try now.size == size && map(tail.offset..<tail.offsetEnd) == [tail]
    }
}

extension DataFile {
    /// Writes the bytes of a prepared write, and zeroes where new blocks are not covered by it,
    /// or where it leaves a gap behind the end of the file.
    fileprivate func write(
        _ bytes: RawSpan, _ plan: WritePlan, _ geometry: Geometry
    ) throws(VolumeError) {
        let size = UInt64(geometry.blockSize)
        if let tail = plan.tail {
            let end = min(tail.offsetEnd * size, plan.offset)
            if end > plan.size {
                try writeZeroes(
                    at: tail.start * size + plan.size % size, count: end - plan.size)
            }
        }
        for extent in plan.map {
            let first = extent.offset * size
            let lower = max(first, plan.offset)
            let upper = min(extent.offsetEnd * size, plan.offset + plan.count)
            let place = extent.start * size
            let part = bytes.extracting(Int(lower - plan.offset)..<Int(upper - plan.offset))
            try write(part, at: place + (lower - first))
            guard extent.state == .unwritten else { continue }
            try writeZeroes(at: place, count: lower - first)
            try writeZeroes(at: place + (upper - first), count: extent.offsetEnd * size - upper)
        }
    }
}

// MARK: Extended attributes

extension Volume {
    /// setxattr(2).
    public func setXattr(
        _ n: InodeNumber, _ name: [UInt8], _ value: [UInt8], _ mode: XattrMode = .set
    ) throws {
        // A long value goes to blocks that may be written at once.
        let isLong = value.count > AttributeRecord.maximumInlineSize
        try retrying(needsSettledBlocks: isLong) {
            try perform { try $0.setXattr(n, name, value, mode) }
        }
    }

    /// getxattr(2).
    /// - Returns: nil where the inode has no such attribute.
    public func xattr(_ n: InodeNumber, _ name: [UInt8]) throws -> [UInt8]? {
        while true {
            guard let place = try planXattr(n, name) else { return nil }
            guard case .remote(let offset, let length) = place.content else {
                if case .inline(let value) = place.content { return value }
                return nil
            }
            let lock = core.blockGuard.lock(place.map.map(\.blocks), exclusive: false)
            defer { core.blockGuard.unlock(lock) }
            guard try planXattr(n, name) == place else { continue }
            var value = [UInt8](repeating: 0, count: Int(length))
            var span = value.mutableSpan
            var bytes = unsafe span.mutableBytes
            try core.data.read(
                place.map, from: offset * UInt64(core.geometry.blockSize), Int(length),
                into: &bytes, UInt64(core.geometry.blockSize))
            return value
        }
    }

    private func planXattr(_ n: InodeNumber, _ name: [UInt8]) throws -> XattrPlace? {
        let snapshot = try read(about: n)
        _ = try snapshot.existing(n)
        guard let record = try snapshot.xattrRecord(n, name) else { return nil }
        var map: [ExtentRecord] = []
        if case .remote(let offset, let length) = record.content {
            map = try snapshot.remoteMap(n, name, offset, length)
        }
        return XattrPlace(content: record.content, map: map)
    }
}

/// Where a value was found: to be found there again once the blocks are locked.
private struct XattrPlace: Hashable {
    let content: AttributeRecord.Content
    let map: [ExtentRecord]
}
