// Files as their users see them: open, read, write, fsync, extended attributes, on the
// caller's thread. Each is one or more short jobs for the writer thread, with the data I/O
// between them. The order of a write is in Operations+DataWrite.swift, what keeps I/O away
// from blocks that have changed hands in BlockGuard.swift.

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

// MARK: Reading

/// What a read found: to be found again once the blocks are locked.
private struct ReadPlan: Hashable {
    let generation: UInt32
    /// Bytes of the file in the range asked for.
    let count: UInt64
    let map: [ExtentRecord]
}

extension Volume {
    /// Up to `count` bytes from `offset`; fewer only at the end of the file. Holes and what
    /// is not yet written read as zeroes. The time of access is not changed.
    public func read(
        _ n: InodeNumber, generation: UInt32? = nil, at offset: UInt64, _ count: Int
    ) throws -> [UInt8] {
        precondition(count >= 0, "a read of less than nothing")
        while true {
            let plan = try planRead(n, generation, offset, UInt64(count))
            guard plan.count > 0 else { return [] }
            let lock = core.blockGuard.lock(plan.map.map(\.blocks), exclusive: false)
            defer { core.blockGuard.unlock(lock) }
            guard try planRead(n, generation, offset, UInt64(count)) == plan else { continue }
            return try core.data.read(plan.map, from: offset, Int(plan.count), core.geometry)
        }
    }

    private func planRead(
        _ n: InodeNumber, _ generation: UInt32?, _ offset: UInt64, _ count: UInt64
    ) throws -> ReadPlan {
        let snapshot = try read()
        let inode = try snapshot.existing(n)
        if let generation, inode.generation != generation {
            throw VolumeError.noEntry("inode \(n) of generation \(generation)")
        }
        if inode.type == .directory { throw VolumeError.isDirectory("inode \(n)") }
        guard inode.type == .regular else {
            throw VolumeError.invalid("inode \(n): a \(inode.type) has no contents")
        }
        let present = offset < inode.size ? min(count, inode.size - offset) : 0
        let blocks = FileMap.blocks(offset, present, UInt64(core.geometry.blockSize))
        let map = try snapshot.map(n, .data, blocks).filter { $0.state == .written }
        return ReadPlan(generation: inode.generation, count: present, map: map)
    }
}

// MARK: Writing

extension Volume {
    /// Writes all of `bytes` at `offset`. It is acknowledged when every later snapshot sees it,
    /// and durable after `sync`, or 5 seconds.
    public func write(
        _ n: InodeNumber, generation: UInt32? = nil, at offset: UInt64, _ bytes: RawSpan
    ) throws {
        let count = UInt64(bytes.byteCount)
        guard count > 0 else {
            _ = try planRead(n, generation, offset, 0)
            return
        }
        var generation = generation
        while true {
            let plan = try perform {
                try $0.prepareWrite(n, generation: generation, offset, count)
            }
            // Another inode may get the number before the next try.
            generation = plan.generation
            let ranges = (plan.map + (plan.tail.map { [$0] } ?? [])).map(\.blocks)
            let lock = core.blockGuard.lock(ranges, exclusive: true)
            defer { core.blockGuard.unlock(lock) }
            if core.durableCommit < plan.commit,
                !core.blockGuard.isSettled(ranges, durable: core.durableCommit)
            {
                try sync()
            }
            guard try isStill(plan) else { continue }
            try core.data.write(bytes, plan, core.geometry)
            if try perform({ try $0.finishWrite(plan) }) { return }
        }
    }

    /// Whether the blocks that the plan found are the file's.
    private func isStill(_ plan: WritePlan) throws -> Bool {
        let snapshot = try read()
        guard try snapshot.inode(plan.inode)?.generation == plan.generation else { return false }
        let blocks = FileMap.blocks(plan.offset, plan.count, UInt64(core.geometry.blockSize))
        guard try snapshot.map(plan.inode, .data, blocks) == plan.map else { return false }
        guard let tail = plan.tail else { return true }
        return try snapshot.map(plan.inode, .data, tail.offset..<tail.offsetEnd) == [tail]
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

    /// The bytes of a file from `offset` on; what `map` doesn't cover is zero.
    fileprivate func read(
        _ map: [ExtentRecord], from offset: UInt64, _ count: Int, _ geometry: Geometry
    ) throws(VolumeError) -> [UInt8] {
        let size = UInt64(geometry.blockSize)
        var result: [UInt8] = []
        result.reserveCapacity(count)
        let end = offset + UInt64(count)
        for extent in map {
            let lower = max(extent.offset * size, offset + UInt64(result.count))
            let upper = min(extent.offsetEnd * size, end)
            guard lower < upper else { continue }
            let hole = Int(lower - offset) - result.count
            result.append(contentsOf: repeatElement(0, count: hole))
            let place = extent.start * size + (lower - extent.offset * size)
            result += try read(Int(upper - lower), at: place)
        }
        result.append(contentsOf: repeatElement(0, count: count - result.count))
        return result
    }
}

// MARK: Extended attributes

extension Volume {
    /// setxattr(2).
    public func setXattr(
        _ n: InodeNumber, _ name: [UInt8], _ value: [UInt8], _ mode: XattrMode = .set
    ) throws {
        do {
            try perform { try $0.setXattr(n, name, value, mode) }
        } catch VolumeError.noSpace where value.count > AttributeRecord.maximumInlineSize {
            // The free blocks may be those that a durable point sets free for new contents.
            try sync()
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
            return try core.data.read(
                place.map, from: offset * UInt64(core.geometry.blockSize), Int(length),
                core.geometry)
        }
    }

    private func planXattr(_ n: InodeNumber, _ name: [UInt8]) throws -> XattrPlace? {
        let snapshot = try read()
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
