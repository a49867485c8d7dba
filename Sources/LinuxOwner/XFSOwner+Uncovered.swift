// What a check can't derive, counted: one pass over the space map.

internal import LinuxFilesystem
internal import Synchronization
internal import Tidemark

extension XFSOwner {
    /// Counts the blocks that the reverse map ascribes to what no file says of itself.
    public func countUncovered() throws -> NotCovered {
        var counts = uncovered
        counts.coversFileLinks = parents != nil
        guard rmap != nil else { return counts }
        counts.metadata = [:]
        counts.extentMaps = 0
        counts.unreadableBlocks = 0
        let blockSize = UInt64(xfs.geometry.blockSize)
        try reading { readers in
            var isFirst = true, hasMore = true
            while hasMore {
                hasMore = try xfs.mount.readSpace(
                    0..<xfs.geometry.dataBlocks * blockSize, isFirst: isFirst,
                    into: readers.space)
                isFirst = false
                for record in readers.space.records where !record.isFree {
                    let blocks = record.length / blockSize
                    if record.isSpecial {
                        counts.metadata[record.usage, default: 0] += blocks
                    } else if record.isExtentMap {
                        counts.extentMaps += blocks
                    } else if counts.unreadable.contains(record.owner) {
                        counts.unreadableBlocks += blocks
                    }
                }
            }
        }
        return counts
    }

    /// Whether `inode` is one whose blocks nobody can ask for.
    package func isUnreadable(_ inode: UInt64) throws -> Bool {
        try reading { readers in
            try xfs.status(of: inode, using: readers.one).map { !$0.isReadable } ?? false
        }
    }
}

extension SpaceRecord {
    /// What the kernel says of a special owner.
    var usage: String {
        SpaceOwner.name(owner) ?? "owner \(owner >> 32):\(owner & 0xffff_ffff)"
    }
}
