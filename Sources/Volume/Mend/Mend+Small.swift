// Attributes, symlinks, and what is to be reclaimed.

internal import Bytes
internal import LMDB
internal import VolumeFormat
internal import VolumeVerify

extension Operations {
    /// What a symlink whose target is lost leads to, as XFS does (fs/xfs/scrub/symlink_repair.c).
    static var lostTarget: [UInt8] {
        Array("the target of this symbolic link could not be recovered and has been lost".utf8)
    }

    mutating func mendSmallRecord(
        _ kind: VolumeVerify.PrimaryDefect, _ finding: Finding, _ news: News,
        _ preferences: Preferences
    ) throws -> Mend? {
        let n = finding.number("inode") ?? 0
        switch kind {
        case .attributeWithoutInode:
            let name = finding.key.first { $0.name == "name" }?.bytes ?? []
            let key = AttributeRecord.key(n, name.rawSpan)
            guard try !hasInode(n), try isThere(core.tables.xattrs, key.span) else { return .gone }
            return try mendRemains(of: n) { operations in
                try operations.quarantineAndDelete(operations.core.tables.xattrs, key.span)
            }
        case .attributeBlocks:
            return try removeAttribute(
                n, at: finding.number("offset") ?? 0, "not all of its blocks are there"
            ) { operations, range in
                let there = try operations.extents(
                    n, .attributes, from: range.lowerBound, to: range.upperBound)
                let blocks = there.reduce(UInt64(0)) { sum, extent in
                    sum + UInt64(extent.clipped(to: range)?.length ?? 0)
                }
                return blocks < UInt64(range.count)
            }
        case .attributeOverlap:
            guard preferences[kind] == "remove" else {
                return .undecided(
                    "two attributes of inode \(n) have the same blocks",
                    [.init("remove", loses: "the attribute's value")])
            }
            return try removeAttribute(
                n, at: finding.number("offset") ?? 0, "as preferred"
            ) { operations, range in
                try operations.valueRanges(n).filter { $0.range.overlaps(range) }.count > 1
            }
        case .attributeBlocksUnused: return try mendUnusedBlocks(n)
        case .symlinkWithoutInode: return try mendStrayTarget(n)
        case .symlinkWithoutTarget:
            guard var inode = try inode(n), inode.type == .symlink, inode.links > 0,
                try !isThere(core.tables.symlinks, InodeRecord.key(n).span)
            else { return .gone }
            try putSymlink(n, Operations.lostTarget)
            inode.size = UInt64(Operations.lostTarget.count)
            try put(inode, n, usage: .none)
            isMending(n)
            return .mended("the symlink leads to a name that says so", loses: "its target")
        case .symlinkSize:
            guard var inode = try inode(n), inode.type == .symlink, let target = try symlink(n),
                inode.size != UInt64(target.count)
            else { return .gone }
            inode.size = UInt64(target.count)
            try put(inode, n, usage: .none)
            isMending(n)
            return .mended("its size was set to the length of its target")
        case .unlinkedNotInReclaim: return try mendUnlinked(n, news)
        case .reclaimWithoutInode:
            let key = InodeRecord.key(n)
            guard try !hasInode(n), try isThere(core.tables.reclaim, key.span) else {
                return .gone
            }
            try removeReclaim(ReclaimRecord(inode: n, from: 0))
            return .mended("the record was removed: there is nothing to reclaim")
        case .reclaimInUse:
            guard let inode = try inode(n), let record = try reclaimRecord(of: n),
                !mayReclaim(record, inode)
            else { return .gone }
            try removeReclaim(record)
            isMending(n)
            return .mended("the record was removed: the file has names, and keeps its contents")
        default: return nil
        }
    }

    /// Attributes that are looked through at the most.
    private static var attributes: Int { 4096 }

    /// Where in the attribute fork large values lie, in blocks, with the attributes' names.
    private func valueRanges(
        _ n: InodeNumber
    ) throws -> [(name: [UInt8], range: Range<UInt64>)] {
        try attributeNames(n, limit: Operations.attributes).compactMap { name in
            guard case .remote(let offset, let length)? = try? attribute(n, name)?.content else {
                return nil
            }
            return (name, offset..<offset + (UInt64(length) + blockSize - 1) / blockSize)
        }
    }

    /// The attribute with a large value that begins at an offset of the attribute fork.
    /// - Parameter isWrong: whether it is still, by where its value lies.
    private mutating func removeAttribute(
        _ n: InodeNumber, at offset: UInt64, _ why: String,
        isWrong: (borrowing Operations, Range<UInt64>) throws -> Bool
    ) throws -> Mend {
        for (name, range) in try valueRanges(n) where range.lowerBound == offset {
            guard try isWrong(self, range) else { continue }
            let key = AttributeRecord.key(n, name.rawSpan)
            try quarantineAndDelete(core.tables.xattrs, key.span)
            isMending(n)
            return .mended(
                "the attribute \"\(escapedName(name))\" was moved to quarantine: \(why)",
                loses: "the attribute")
        }
        return .gone
    }

    /// Gives back blocks of the attribute fork that no attribute has.
    private mutating func mendUnusedBlocks(_ n: InodeNumber) throws -> Mend {
        guard var inode = try inode(n) else { return .gone }
        let names = try attributeNames(n, limit: Operations.attributes)
        guard names.count < Operations.attributes else {
            return .hopeless("it has too many attributes for all to be looked through")
        }
        let values = try valueRanges(n)
        guard values.count == names.count || names.allSatisfy({ isReadable(n, $0) }) else {
            return .waiting("an attribute of it can't be read: that comes first")
        }
        let used = values.map(\.range).sorted { $0.lowerBound < $1.lowerBound }
        let before = inode.blocks
        var from: UInt64 = 0
        for range in used + [FormatLimits.blocks..<FormatLimits.blocks] {
            // One transaction frees so many extents; the next survey sees the others.
            let there = try extents(
                n, .attributes, from: from, to: max(from, range.lowerBound),
                limit: Operations.freedExtents)
            if let last = there.last {
                try punch(
                    n, &inode, .attributes, from..<min(range.lowerBound, last.offsetEnd))
            }
            if there.count == Operations.freedExtents { break }
            from = max(from, range.upperBound)
        }
        guard inode.blocks != before else {
            return .waiting("the blocks are free already, or have another owner")
        }
        try put(inode, n)
        isMending(n)
        return .mended("\(before - inode.blocks) blocks were freed: no attribute has them")
    }

    private static var freedExtents: Int { 512 }

    private func isReadable(_ n: InodeNumber, _ name: [UInt8]) -> Bool {
        (try? attribute(n, name)) != nil
    }

    private mutating func mendStrayTarget(_ n: InodeNumber) throws -> Mend {
        let key = InodeRecord.key(n)
        guard try isThere(core.tables.symlinks, key.span) else { return .gone }
        guard let inode = try inode(n) else {
            return try mendRemains(of: n) { operations in
                try operations.quarantineAndDelete(operations.core.tables.symlinks, key.span)
            }
        }
        guard inode.type != .symlink else { return .gone }
        for name in try names(of: n) where try dirent(name.parent, name.name)?.type == .symlink {
            return .waiting("whether it is a \(inode.type) is in doubt: that comes first")
        }
        try quarantineAndDelete(core.tables.symlinks, key.span)
        return .mended(
            "the target was moved to quarantine: entry and inode say that it is a \(inode.type)",
            loses: "the target")
    }

    /// An inode without links that nobody will free.
    private mutating func mendUnlinked(_ n: InodeNumber, _ news: News) throws -> Mend {
        guard !news.concernsNames(of: n) else { return .changed("its names have changed") }
        guard var inode = try inode(n), inode.links == 0,
            try !isThere(core.tables.reclaim, InodeRecord.key(n).span)
        else { return .gone }
        let pointers = try pointers(to: n)
        for pointer in pointers where try leads(pointer.parent, pointer.name, to: n) {
            return .waiting("a name leads to it: its link count comes first")
        }
        if let pointer = pointers.first(where: { $0.generation == inode.generation }) {
            // Freeing it could not be undone.
            inode.links = inode.type == .directory ? 2 : 1
            try put(inode, n, usage: .none)
            isMending(n)
            return .mended(
                "its links were set: the parent pointer knows the name "
                    + "\(entryText(pointer.parent, pointer.name)), which comes next")
        }
        if inode.type == .directory, try hasAny(core.tables.dirents, n) {
            inode.links = 2
            try put(inode, n, usage: .none)
            return .mended("its links were set: there are entries in it")
        }
        try putReclaim(ReclaimRecord(inode: n, from: 0))
        if !core.opens.markOrphan(n) { reclaimLater(n) }
        return .mended(
            "it is to be reclaimed: it has no link, no name, and no parent pointer")
    }
}
