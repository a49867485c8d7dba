// The two operations of a write. Between them the caller's thread writes the data
// (Volume+Files.swift).
//
// 1. `prepareWrite` gives every block of the range that has none a place, as unwritten: nothing
//    that a reader can see has changed.
// 2. The bytes go to the data file.
// 3. `finishWrite` makes them readable: extents written, and below the end of the file. It first
//    compares the file with the plan. Where the range was written, truncated or punched in
//    between, it changes nothing and the write is planned again.
//
// On a mount both are in the open group, as a rule in one, and share its commit (decision 45).
//
// Writes that extend a file meet at the block that holds its end, if that is written: each writes
// zeroes from the old end to its own start there. So a write that is to zero that part checks,
// with the block locked, that the end has not moved; and a write that has put bytes into a block
// that was written already is planned again where the end has moved. New blocks have one writer:
// in these, any number of writes extend a file side by side.

internal import LMDB
internal import VolumeFormat

/// How often files were truncated. Several files share a count: a write that finds it changed is
/// planned again, now and then without need.
struct TruncationCounts {
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
    /// The size of the file when the write was planned.
    let size: UInt64
    /// The extents of the range's blocks, clipped to them, neighbours joined.
    let map: [ExtentRecord]
    /// Where the block that holds the end of the file has its place, when the write extends the
    /// file and that block has bytes behind the end.
    var tail: ExtentRecord?
    /// What `TruncationCounts` said when the write was prepared; nil: nothing was prepared, since
    /// the write overwrites and changes neither map nor size.
    var truncations: UInt64?
    /// The commit that holds what the write found.
    let commit: UInt64

    var isOverwrite: Bool { truncations == nil }
    var end: UInt64 { offset + count }
    /// Whether another write that extends the file may write zeroes over these bytes.
    var sharesEnd: Bool { end > size && map.contains { $0.state == .written } }
    /// What has to be locked.
    var blocks: [BlockRange] { map.map(\.blocks) + (tail.map { [$0.blocks] } ?? []) }
}

extension Operations {
    mutating func prepareWrite(
        _ n: InodeNumber, generation: UInt32?, _ offset: UInt64, _ count: UInt64
    ) throws -> WritePlan {
        try begin(growing: true)
        var inode = try existing(n)
        if let generation, inode.generation != generation {
            throw VolumeError.noEntry("inode \(n) of generation \(generation)")
        }
        try checkRegular(n, inode)
        try checkEnd(n, offset, count)
        let extends = offset + count > inode.size
        if extends { try finishReclaim(n, &inode) }
        let range = FileMap.blocks(offset, count, blockSize)
        let before = inode.blocks
        try fill(n, &inode, .data, range, .unwritten)
        if inode.blocks != before { try put(inode, n) }
        var plan = WritePlan(
            inode: n, generation: inode.generation, offset: offset, count: count,
            size: inode.size, map: try map(n, .data, range), truncations: truncations.count(of: n),
            commit: transaction.commit)
        if extends, inode.size % blockSize > 0 {
            let block = inode.size / blockSize
            plan.tail = try map(n, .data, block..<(block + 1)).first { $0.state == .written }
        }
        return plan
    }

    /// - Parameter touching: whether the inode's times become those of the write.
    /// - Returns: false, and nothing changes, where the file is no longer as the plan found it.
    mutating func finishWrite(_ plan: WritePlan, touching: Bool = true) throws -> Bool {
        try begin(growing: true)
        let n = plan.inode
        var inode = try existing(n)
        guard inode.generation == plan.generation else {
            throw VolumeError.noEntry("inode \(n) of generation \(plan.generation)")
        }
        if plan.sharesEnd, inode.size != plan.size { return false }
        // Behind the end of a file that was truncated may lie what has to be zeroed first.
        if plan.end > inode.size, plan.truncations != truncations.count(of: n) { return false }
        let range = FileMap.blocks(plan.offset, plan.count, blockSize)
        guard try map(n, .data, range) == plan.map else { return false }
        try convert(n, &inode, .data, range, .written)
        inode.size = max(inode.size, plan.end)
        if touching { inode.touch(now) }
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
