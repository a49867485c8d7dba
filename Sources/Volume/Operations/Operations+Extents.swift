// Changing a file's map: blocks are taken for gaps, given back, or change their state.
//
// Every change is made the same way: read the extents of the range and its neighbours,
// work out the new list, put the difference. So neighbours are joined wherever they can be.
//
// A long range is worked on in pieces of at most `mapPiece` extents, and the group may
// roll over between them, so no transaction grows with the size of a file. At the end of
// each piece the inode's block count agrees with its extents.

internal import Bytes
internal import LMDB
internal import VolumeFormat

extension Operations {
    /// Extents changed between two places where the group may roll over.
    static var mapPiece: Int { 1024 }

    var blockSize: UInt64 { UInt64(core.geometry.blockSize) }

    /// Replaces the records `old` by `new`; neighbours in `new` are joined.
    mutating func remap(_ old: [ExtentRecord], _ new: [ExtentRecord]) throws {
        let new = FileMap.normalized(new)
        var kept = 0
        for record in old {
            while kept < new.count, new[kept].offset < record.offset { kept += 1 }
            if kept < new.count, new[kept].offset == record.offset { continue }
            try removeExtent(record)
        }
        var known = 0
        for record in new {
            while known < old.count, old[known].offset < record.offset { known += 1 }
            let before = known < old.count && old[known].offset == record.offset ? old[known] : nil
            if before != record { try putExtent(record, replacing: before) }
        }
    }

    /// Works on `range` piece by piece. `body` gets a part of the range, and the extents that
    /// lie in it or touch it; it changes the map and the inode's block count.
    mutating func inPieces(
        _ n: InodeNumber, _ inode: inout InodeRecord, _ fork: Fork, _ range: Range<UInt64>,
        _ body: (inout Operations, inout InodeRecord, Range<UInt64>, [ExtentRecord]) throws -> Void
    ) throws {
        var from = range.lowerBound
        while from < range.upperBound {
            let limit = Operations.mapPiece + 1
            let around = try extents(
                n, fork, from: max(from, 1) - 1,
                to: range.upperBound == .max ? .max : range.upperBound + 1, limit: limit)
            let isLast = around.count < limit
            let to = isLast ? range.upperBound : min(around[limit - 1].offset, range.upperBound)
            try body(&self, &inode, from..<to, around)
            from = to
            if from < range.upperBound {
                try put(inode, n)
                try pause(changes: Operations.mapPiece)
            }
        }
    }

    /// Gives every block of `range` that has no place on the volume one, in `state`.
    /// - Throws: `noSpace`, and then nothing has changed.
    mutating func fill(
        _ n: InodeNumber, _ inode: inout InodeRecord, _ fork: Fork, _ range: Range<UInt64>,
        _ state: ExtentState
    ) throws {
        guard !range.isEmpty else { return }
        // Where even all of it would fit there is no need to count what is there.
        if UInt64(range.count) > counters.freeBlocks {
            let missing = UInt64(range.count) - (try mappedBlocks(n, fork, range))
            guard missing <= counters.freeBlocks else { throw noSpace(missing) }
        }
        try inPieces(n, &inode, fork, range) { ops, inode, piece, around in
            let taken = try ops.take(
                n, fork, FileMap.gaps(around, piece), state, around: around)
            guard !taken.isEmpty else { return }
            inode.blocks += taken.reduce(0) { $0 + UInt64($1.length) }
            try ops.remap(around, around + taken)
        }
    }

    /// How many blocks of `range` have a place on the volume.
    func mappedBlocks(_ n: InodeNumber, _ fork: Fork, _ range: Range<UInt64>) throws -> UInt64 {
        var sum: UInt64 = 0
        var from = range.lowerBound
        while from < range.upperBound {
            let limit = Operations.mapPiece
            let found = try extents(n, fork, from: from, to: range.upperBound, limit: limit)
            for extent in found {
                // Damaged extents may overlap: nothing is counted twice.
                guard let part = extent.clipped(to: from..<range.upperBound) else { continue }
                sum += UInt64(part.length)
                from = part.offsetEnd
            }
            if found.count < limit { break }
        }
        return sum
    }

    /// The extent with the highest offset.
    func lastExtent(_ n: InodeNumber, _ fork: Fork) throws -> ExtentRecord? {
        let key = ExtentRecord.key(n, fork, .max)
        var cursor = try transaction.readCursor(core.tables.extents)
        guard try cursor.seek(atOrBefore: key.span), cursor.key.byteCount == ExtentRecord.keySize,
            cursor.key.integer(at: 0, as: UInt64.self) == n,
            cursor.key.integer(at: 8, as: UInt8.self) == fork.rawValue
        else { return nil }
        do throws(RecordDamage) {
            let extent = try ExtentRecord(key: cursor.key, value: cursor.value)
            try core.geometry.check(extent)
            return extent
        } catch {
            throw VolumeError.damaged(
                table: TableName.extents, object: "last extent of inode \(n)", error)
        }
    }

    /// Allocates blocks for `gaps`: as few runs as possible, and behind the extent before the gap
    /// where that is free. On failure all that was taken is given back.
    private mutating func take(
        _ n: InodeNumber, _ fork: Fork, _ gaps: [Range<UInt64>], _ state: ExtentState,
        around: [ExtentRecord]
    ) throws -> [ExtentRecord] {
        var taken: [ExtentRecord] = []
        do {
            for gap in gaps {
                var from = gap.lowerBound
                var near = around.last { $0.offsetEnd == from }?.startEnd
                while from < gap.upperBound {
                    let wanted = min(gap.upperBound - from, UInt64(ExtentRecord.maximumLength))
                    guard let run = try takeRun(wanted, near: near) else {
                        throw noSpace(gap.upperBound - from)
                    }
                    taken.append(
                        ExtentRecord(
                            inode: n, fork: fork, offset: from, start: run.start,
                            length: UInt32(run.length), state: state))
                    from += run.length
                    near = run.end
                }
            }
        } catch let error as VolumeError {
            try giveBack(taken)
            throw error
        }
        return taken
    }

    /// `takeFree` for a caller that gives back what it has taken when this fails.
    mutating func takeRun(_ wanted: UInt64, near: UInt64?) throws -> FreeRecord? {
        let before = hasChanged
        hasChanged = false
        let run = try takeFree(wanted, near: near)
        hasChanged = before || run != nil
        return run
    }

    /// Gives back blocks that were just taken and are nobody's yet.
    mutating func giveBack(_ taken: [ExtentRecord]) throws {
        for extent in taken { try giveBack(start: extent.start, length: UInt64(extent.length)) }
    }

    /// Between two pieces of a long operation: the group may end here.
    mutating func pause(changes: Int) throws {
        groupSize += changes
        try rollOverIfLarge()
    }

    /// Takes the blocks of `range` away from the file. A range that is free already, or in
    /// part, has two owners: it stays where it is and reads as zeroes.
    mutating func punch(
        _ n: InodeNumber, _ inode: inout InodeRecord, _ fork: Fork, _ range: Range<UInt64>
    ) throws {
        guard !range.isEmpty else { return }
        try inPieces(n, &inode, fork, range) { ops, inode, piece, around in
            let parts = FileMap.inside(around, piece)
            guard !parts.isEmpty else { return }
            var kept = FileMap.outside(around, piece)
            for var part in parts {
                if try ops.release(part) {
                    inode.blocks -= min(inode.blocks, UInt64(part.length))
                } else {
                    part.state = .unwritten
                    kept.append(part)
                }
            }
            try ops.remap(around, kept)
        }
    }

    /// Gives the blocks of `extent`, whose record the caller then removes, back.
    /// - Returns: false, and nothing changes, where they are damaged: free already.
    mutating func release(_ extent: ExtentRecord) throws -> Bool {
        let before = hasChanged
        // Damage that is found here changes nothing, whatever was changed before.
        hasChanged = false
        do {
            try giveBack(start: extent.start, length: UInt64(extent.length))
        } catch VolumeError.damaged {
            hasChanged = before
            return false
        }
        core.blockGuard.noteFreed(extent.blocks, commit: transaction.commit)
        return true
    }

    /// Gives the mapped blocks of `range` the state `state`.
    mutating func convert(
        _ n: InodeNumber, _ inode: inout InodeRecord, _ fork: Fork, _ range: Range<UInt64>,
        _ state: ExtentState
    ) throws {
        guard !range.isEmpty else { return }
        try inPieces(n, &inode, fork, range) { ops, _, piece, around in
            var parts = FileMap.inside(around, piece)
            guard parts.contains(where: { $0.state != state }) else { return }
            for index in parts.indices { parts[index].state = state }
            try ops.remap(around, FileMap.outside(around, piece) + parts)
        }
    }

    func noSpace(_ blocks: UInt64) -> VolumeError {
        .noSpace("\(blocks) blocks wanted, \(counters.freeBlocks) of \(core.geometry.blocks) free")
    }
}
