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
        counts.kernelFiles.formUnion(quotaFiles)
        counts.kernelBlocks = 0
        try reading { readers in
            for group in 0..<UInt64(xfs.geometry.groups) where !isUnread(group: group) {
                do {
                    try countUncovered(in: group, &counts, readers)
                } catch let error as LinuxCallError where error.isDamaged {
                    try noteUnread(group: group, "\(error)")
                }
            }
        }
        return counts
    }

    private func countUncovered(
        in group: UInt64, _ counts: inout NotCovered, _ readers: XFSReaders
    ) throws {
        let blockSize = UInt64(xfs.geometry.blockSize), size = UInt64(xfs.geometry.groupBlocks)
        let first = group * size, end = min(first + size, xfs.geometry.dataBlocks)
        guard first < end else { return }
        var isFirst = true, hasMore = true
        while hasMore {
            hasMore = try xfs.mount.readSpace(
                first * blockSize..<end * blockSize, isFirst: isFirst, into: readers.space)
            isFirst = false
            for record in readers.space.records where !record.isFree {
                let blocks = record.length / blockSize
                if record.isSpecial {
                    counts.metadata[record.usage, default: 0] += blocks
                } else if record.isExtentMap {
                    counts.extentMaps += blocks
                } else if counts.unreadable.contains(record.owner) {
                    counts.unreadableBlocks += blocks
                } else if counts.kernelFiles.contains(record.owner) {
                    counts.kernelBlocks += blocks
                }
            }
        }
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
