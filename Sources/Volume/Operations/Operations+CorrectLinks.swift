// Corrections of link counts, which stand in the inode records.
//
// A correction is for one inode of one generation: where that is gone, or its number is another
// inode's, there is nothing left to correct. Operations count links modulo 2^32, so adding what
// was missing at the cut makes the count what it must be by now. Two things are not counted: a
// directory that is removed gets 0 links at once; and what has 0 links and no name goes.

internal import Bytes
internal import LMDB
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

extension Operations {
    /// - Returns: how many inodes were corrected.
    mutating func correctLinks(
        _ corrections: [(key: [UInt8], value: [UInt8])]
    ) throws -> Int {
        var corrected = 0
        for (key, value) in corrections where key.count == InodeRecord.keySize {
            guard let correction = LinkCorrection(value.rawSpan) else { continue }
            let n: InodeNumber = key.rawSpan.integer(at: 0)
            guard try correctLinks(n, correction) else { continue }
            self.corrected.append(n)
            corrected += 1
        }
        return corrected
    }

    private mutating func correctLinks(
        _ n: InodeNumber, _ correction: LinkCorrection
    ) throws -> Bool {
        guard var inode = try readable(n), inode.generation == correction.generation else {
            return false
        }
        let isUnlinked = try inode.links == 0 && isToBeReclaimed(n)
        if isUnlinked, inode.type == .directory { return false }
        inode.links &+= correction.links
        guard inode.links == 0 else {
            // It has lost a name too many, and kept others.
            if isUnlinked { try removeReclaim(ReclaimRecord(inode: n, from: 0)) }
            try put(inode, n)
            return true
        }
        // Its last name went while the count was too high. Never so where one is left.
        guard inode.type != .directory, try !hasName(n) else { return false }
        try put(inode, n)
        try putReclaim(ReclaimRecord(inode: n, from: 0))
        if !core.opens.markOrphan(n) { reclaimLater(n) }
        return true
    }

    private func isToBeReclaimed(_ n: InodeNumber) throws -> Bool {
        let key = InodeRecord.key(n)
        return try transaction.get(core.tables.reclaim, key.span) != nil
    }

    /// Whether a name leads to the inode, as far as the parent pointers know.
    private func hasName(_ n: InodeNumber) throws -> Bool {
        var cursor = try transaction.readCursor(state.parents.active.table)
        let key = InodeRecord.key(n)
        guard try cursor.seek(key.span), cursor.key.byteCount >= 8 else { return false }
        return cursor.key.integer(at: 0, as: UInt64.self) == n
    }
}
