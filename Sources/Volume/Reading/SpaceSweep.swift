// A sweep over the blocks of a volume, in order: each has one owner, or is free.
//
// What is wrong with a record follows from where those before it end, and from nothing else:
// three numbers are the whole state of a sweep.

internal import VolumeFormat

struct SpaceSweep {
    /// What can be wrong with one extent or free run, beside those before it.
    struct Found: OptionSet {
        let rawValue: UInt8
        /// It begins in blocks of another extent.
        static let inOwned = Found(rawValue: 1)
        /// It begins in free blocks.
        static let inFree = Found(rawValue: 2)
        /// It ends beyond the volume.
        static let beyond = Found(rawValue: 4)
        /// Nobody has the blocks in front of it.
        static let gap = Found(rawValue: 8)
    }

    /// Where the volume ends.
    let volumeEnd: UInt64
    /// All blocks before it are owned, free, or told of. `unknown` until the first extent of a
    /// sweep that begins in the middle: what came before may reach beyond the start.
    private(set) var covered: UInt64
    /// Where the extent that reaches furthest ends, and whose it is.
    private(set) var ownedEnd: UInt64 = 0
    private(set) var owner: InodeNumber = 0
    /// Where the free run that reaches furthest ends.
    private(set) var freeEnd: UInt64 = 0

    private static let unknown = UInt64.max

    /// A sweep that begins at block `start`.
    init(from start: UInt64, volumeEnd: UInt64) {
        self.volumeEnd = volumeEnd
        covered = start == 0 ? 0 : SpaceSweep.unknown
    }

    /// What is wrong with what begins at `start` and ends at `end`, an extent or a free run.
    @inline(__always)
    func judge(_ start: UInt64, _ end: UInt64) -> Found {
        var found = gap(before: start)
        if start < ownedEnd { found.insert(.inOwned) }
        if start < freeEnd { found.insert(.inFree) }
        if end > volumeEnd { found.insert(.beyond) }
        return found
    }

    @inline(__always)
    mutating func pass(extent end: UInt64, of inode: InodeNumber) {
        if end > ownedEnd {
            ownedEnd = end
            owner = inode
        }
        covered = covered == SpaceSweep.unknown ? end : max(covered, end)
    }

    mutating func pass(free run: FreeRecord) {
        freeEnd = max(freeEnd, run.end)
        covered = max(covered, run.end)
    }

    /// Whether nobody has the blocks before `block`, so far.
    @inline(__always)
    func gap(before block: UInt64) -> Found {
        min(block, volumeEnd) > covered ? .gap : []
    }

    /// Whether the two find the same in all that begins at or beyond `block`, and say so in the
    /// same words: ends that lie before it say nothing any more, but for the one from which the
    /// next gap is counted.
    func isLike(_ other: SpaceSweep, from block: UInt64) -> Bool {
        guard covered == other.covered, max(freeEnd, block) == max(other.freeEnd, block) else {
            return false
        }
        if ownedEnd <= block { return other.ownedEnd <= block }
        return ownedEnd == other.ownedEnd && owner == other.owner
    }
}
