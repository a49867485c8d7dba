// The two halves of a write that need the writer. Between them the caller's thread
// writes the data (Volume+Files.swift).
//
// 1. `prepareWrite` chooses a place for every block of the range that has none, and reserves it:
//    nothing has changed. Where that can't be had, the blocks are taken, as unwritten: nothing that
//    a reader can see has changed.
// 2. The bytes go to the data file.
// 3. `finishWrite` makes them readable: the blocks the file's, written, and below its end. It
//    first looks whether the file is still as it was prepared. Where it isn't, because the range
//    was written, truncated or punched in between, nothing changes and the write starts again.
//
// Writes that make a file longer meet at the block that holds its end, if that is written: each
// writes zeroes from the old end to its own start there. So whoever is to do that looks, with the
// block locked, whether the end is still where it was; and whoever has written bytes to a block
// that was written already starts again where the end has moved. New blocks have one writer: in
// these, any number of writes make a file longer side by side.

internal import LMDB
internal import VolumeFormat

/// How often files were made shorter. Several files share a count: a write that finds it changed
/// starts again, now and then in vain.
struct CutCounts {
    private var counts = [UInt64](repeating: 0, count: 64)

    mutating func note(_ n: InodeNumber) { counts[Int(n % 64)] += 1 }
    func count(of n: InodeNumber) -> UInt64 { counts[Int(n % 64)] }
}

/// What a write found, and where its bytes go.
struct WritePlan: Hashable, Sendable {
    let inode: InodeNumber
    let generation: UInt32
    let offset: UInt64
    let count: UInt64
    /// The size of the file when the write was prepared.
    let size: UInt64
    /// The extents of the range's blocks, clipped to them, neighbours joined: those that were
    /// found, and as unwritten those that are reserved.
    let map: [ExtentRecord]
    /// What of it the file had when the write was prepared.
    let found: [ExtentRecord]
    /// What of it is the file's only when the write is finished, and what it is reserved under.
    let reserved: [ExtentRecord]
    let ticket: ReservedBlocks.Ticket?
    /// What `CutCounts` said when the write was prepared; nil: it was to stay below the file's end.
    let cuts: UInt64?
    /// Where the block that holds the end of the file has its place, when the write makes
    /// the file longer and that block has bytes behind the end.
    let tail: ExtentRecord?
    /// The commit that holds the preparation.
    let commit: UInt64
    /// Whether the inode's times become those of the write.
    var touches = true

    /// Whether another write that makes the file longer may write zeroes over these bytes.
    var sharesEnd: Bool { offset + count > size && map.contains { $0.state == .written } }
}

extension Operations {
    /// - Parameter ticket: what blocks are reserved under; nil: they are taken.
    mutating func prepareWrite(
        _ n: InodeNumber, generation: UInt32?, _ offset: UInt64, _ count: UInt64,
        _ ticket: ReservedBlocks.Ticket? = nil
    ) throws -> WritePlan {
        try begin(growing: true)
        var inode = try existing(n)
        if let generation, inode.generation != generation {
            throw VolumeError.noEntry("inode \(n) of generation \(generation)")
        }
        try checkRegular(n, inode)
        try checkEnd(n, offset, count)
        let grows = offset + count > inode.size
        if grows { try finishReclaim(n, &inode) }
        let range = FileMap.blocks(offset, count, blockSize)
        let reserved = try ticket.flatMap { try reserve(n, range, $0) }
        if reserved == nil {
            let before = inode.blocks
            try fill(n, &inode, .data, range, .unwritten)
            if inode.blocks != before { try put(inode, n) }
        }
        let found = try map(n, .data, range)
        var tail: ExtentRecord?
        if grows, inode.size % blockSize > 0 {
            let block = inode.size / blockSize
            tail = try map(n, .data, block..<(block + 1)).first { $0.state == .written }
        }
        return WritePlan(
            inode: n, generation: inode.generation, offset: offset, count: count,
            size: inode.size, map: FileMap.normalized(found + (reserved ?? [])), found: found,
            reserved: reserved ?? [], ticket: ticket, cuts: cuts.count(of: n), tail: tail,
            commit: transaction.commit)
    }

    /// Reserves blocks for the gaps of `range`.
    /// - Returns: nil where they are to be taken instead: too few are free, or the map is long.
    private mutating func reserve(
        _ n: InodeNumber, _ range: Range<UInt64>, _ ticket: ReservedBlocks.Ticket
    ) throws -> [ExtentRecord]? {
        let limit = Operations.mapPiece
        let around = try extents(
            n, .data, from: max(range.lowerBound, 1) - 1, to: range.upperBound + 1, limit: limit)
        guard around.count < limit, UInt64(range.count) <= unreservedBlocks else { return nil }
        let gaps = FileMap.gaps(around, range)
        if let reserved = try reserve(n, .data, gaps, around: around, ticket) { return reserved }
        core.reserved.release(ticket)
        return nil
    }

    /// - Returns: false, and nothing changes, where the file is no longer as it was prepared.
    mutating func finishWrite(_ plan: WritePlan) throws -> Bool {
        try begin(growing: true)
        let n = plan.inode
        var inode = try existing(n)
        guard inode.generation == plan.generation else {
            throw VolumeError.noEntry("inode \(n) of generation \(plan.generation)")
        }
        if plan.sharesEnd, inode.size != plan.size { return false }
        // Behind the end of a file that was made shorter may lie what has to be zeroed first.
        if plan.offset + plan.count > inode.size, plan.cuts != cuts.count(of: n) { return false }
        let range = FileMap.blocks(plan.offset, plan.count, blockSize)
        guard try map(n, .data, range) == plan.found else { return false }
        if let ticket = plan.ticket, !plan.reserved.isEmpty {
            try takeReserved(n, &inode, .data, range, plan.reserved, ticket)
        } else {
            try convert(n, &inode, .data, range, .written)
        }
        inode.size = max(inode.size, plan.offset + plan.count)
        if plan.touches { inode.touch(now) }
        try put(inode, n)
        note(.wrote(n, range))
        return true
    }

    /// The extents of `range`, clipped to it, neighbours joined.
    mutating func map(
        _ n: InodeNumber, _ fork: Fork, _ range: Range<UInt64>
    ) throws -> [ExtentRecord] {
        var all: [ExtentRecord] = []
        var from = range.lowerBound
        while from < range.upperBound {
            let limit = Operations.mapPiece
            let found = try extents(n, fork, from: from, to: range.upperBound, limit: limit)
            all += FileMap.inside(found, from..<range.upperBound)
            guard found.count == limit, let last = found.last else { break }
            from = last.offsetEnd
        }
        return FileMap.normalized(all)
    }
}
