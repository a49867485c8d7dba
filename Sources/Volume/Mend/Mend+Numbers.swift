// Numbers of inodes, and the counters of the volume.

internal import Bytes
internal import Contract
internal import LMDB
internal import VolumeFormat
internal import VolumeVerify

extension Operations {
    /// Numbers that one mend frees at the most.
    private static var freedNumbers: UInt64 { 8192 }
    /// So many numbers were never used: at the end the next number was wrong, and elsewhere an
    /// inode, or a free number, has one that nobody gave out.
    private static var unusedNumbers: UInt64 { 1 << 19 }

    mutating func mendNumber(
        _ kind: VolumeVerify.PrimaryDefect, _ finding: Finding, _ news: News
    ) throws -> Mend? {
        let n = finding.number("inode") ?? 0
        switch kind {
        case .freeInodeInUse:
            let key = InodeRecord.key(n)
            guard try isThere(core.tables.freeInodes, key.span),
                try n <= .root || n >= counters.nextInode || hasInode(n)
            else { return .gone }
            hasChanged = true
            _ = try transaction.delete(core.tables.freeInodes, key.span)
            return .mended("the number is no longer free: it can't be given out")
        case .lostInodeNumbers:
            return try mendLostNumbers(n, finding.number("count") ?? 0)
        case .counterNextInode:
            let highest = try max(
                highest(core.tables.inodes), highest(core.tables.freeInodes))
            guard counters.nextInode <= highest, highest < FormatLimits.inode else { return .gone }
            counters.nextInode = highest + 1
            return .mended("the next number was set above all that are used: \(highest + 1)")
        case .counterInodes:
            let inodes = UInt64(try transaction.statistics(core.tables.inodes).entries)
            guard counters.inodes != inodes else { return .gone }
            counters.inodes = inodes
            return .mended("the counter was set to \(inodes), as many as there are")
        case .counterFreeBlocks:
            guard let difference = finding.difference, difference != 0 else { return .gone }
            guard !hooks.contains(where: { $0.isAbout(GroupState.quotaSlot) }) else {
                return .changed("a run is at work that settles it")
            }
            guard maySettle(.freeBlocks, of: news.commit) else {
                return .changed("somebody else has settled it")
            }
            countFree(difference)
            return .mended("the counter was set to the blocks that are free")
        default: return nil
        }
    }

    func highest(_ table: Table) throws -> InodeNumber {
        var cursor = try transaction.readCursor(table)
        guard try cursor.last(), cursor.key.byteCount >= 8 else { return 0 }
        return cursor.key.integer(at: 0)
    }

    private mutating func mendLostNumbers(_ first: InodeNumber, _ count: UInt64) throws -> Mend {
        guard first > .root, count > 0, first &+ count > first else { return .gone }
        guard count <= Operations.unusedNumbers || first + count == counters.nextInode else {
            return .hopeless(
                "\(count) numbers before inode \(first + count) were never used: they stay so")
        }
        if count > Operations.unusedNumbers {
            let highest = try max(
                highest(core.tables.inodes), highest(core.tables.freeInodes))
            guard highest < first else { return .changed("numbers of them were given out") }
            counters.nextInode = first
            return .mended("the next number was set to \(first): none above was ever used")
        }
        var freed = 0, isInUse = false
        for n in first..<(first + min(count, Operations.freedNumbers))
        where n < counters.nextInode {
            let key = InodeRecord.key(n)
            guard try !hasInode(n), try !isThere(core.tables.freeInodes, key.span) else {
                continue
            }
            if try hasRemains(n) || !names(of: n).isEmpty {
                isInUse = true
                continue
            }
            hasChanged = true
            let value = FreeInodeRecord.value(inode: n)
            try transaction.put(core.tables.freeInodes, key.span, value.span)
            freed += 1
        }
        if freed == 0 {
            return isInUse ? .waiting("something of such an inode is stored") : .gone
        }
        return .mended("\(freed) numbers are free again")
    }
}
