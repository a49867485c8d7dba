// What becomes of an inode without names, and of blocks behind the end of a truncated file.
//
// - An inode whose last name goes is reclaimed in the same operation: its extents, its
//   attributes, its record, its number. Where it is open, or has more than `reclaimPiece`
//   extents and attributes, it stays, with 0 links and a record in table `reclaim`.
// - A file that is cut short by more than `reclaimPiece` extents gets its new size at once
//   and a record that says where the rest begins. The extents behind it hold old bytes:
//   whoever makes the file longer again finishes the reclaim first (`finishReclaim`).
// - `reclaim` goes through the records, a bounded piece in each transaction, by itself
//   (ReclaimJob.swift) or when it is asked. After a crash nothing is open, and all of them go.
// - Storage that is free already while an extent claims it has two owners. It is never freed
//   again: the extent and the record stay, and the volume reports them. So it is with an
//   extent whose record is damaged, and with a record that asks for what lies before the end of a
//   file with names.

internal import Bytes
internal import LMDB
public import VolumeFormat

/// How far a reclaim came.
enum ReclaimOutcome: Sendable {
    case done, more, damaged
}

/// What a pass over the reclaim table found.
public struct ReclaimReport: Hashable, Sendable {
    /// Records that are done with.
    public var finished = 0
    /// Inodes without a name that are still open.
    public var open = 0
    /// Inodes that claim blocks which are free: left as they are.
    public var damaged: [InodeNumber] = []
    /// Where the next pass goes on; nil when all records were seen.
    public var next: InodeNumber?

    public init() {}
}

extension Operations {
    /// Extents and attributes given back in one operation.
    static var reclaimPiece: Int { 1024 }

    /// Stores an inode that may have lost its last name.
    mutating func settle(_ n: InodeNumber, _ inode: InodeRecord) throws {
        guard inode.links == 0 else { return try put(inode, n) }
        var inode = inode
        if !core.opens.markOrphan(n) {
            var budget = Operations.reclaimPiece
            let outcome = try reclaimWhole(n, &inode, &budget)
            if outcome == .done { return }
            if outcome == .more { reclaimLater(n) }
        }
        try put(inode, n)
        try putReclaim(ReclaimRecord(inode: n, from: 0))
    }

    /// Goes on with what is to be reclaimed, from the record after `cursor` on, until about
    /// `limit` extents and attributes are given back or no record is left up to `last`.
    public mutating func reclaim(
        after cursor: InodeNumber = 0, through last: InodeNumber = .max, limit: Int = 1024
    ) throws -> ReclaimReport {
        var report = ReclaimReport()
        var budget = limit
        var cursor = cursor
        defer { groupSize += limit - budget }
        while budget > 0 {
            try begin(growing: false)
            guard let record = try reclaims(after: cursor, limit: 1).first, record.inode <= last
            else { return report }
            budget -= 1
            switch try reclaimRecord(record, &budget) {
            case .done?: report.finished += 1
            case .damaged?: report.damaged.append(record.inode)
            case nil: report.open += 1
            case .more?:
                report.next = cursor
                return report
            }
            cursor = record.inode
        }
        report.next = cursor
        return report
    }

    /// Goes on with an inode that has lost its last name and was closed.
    /// - Returns: whether there is more to do.
    mutating func reclaimOrphan(_ n: InodeNumber) throws -> Bool {
        try begin(growing: false)
        guard let inode = try inode(n), inode.links == 0, let record = try reclaimRecord(of: n)
        else { return false }
        var budget = Operations.reclaimPiece
        return try reclaimRecord(record, &budget) == .more
    }

    /// - Returns: nil where the inode is open and has to wait.
    private mutating func reclaimRecord(
        _ record: ReclaimRecord, _ budget: inout Int
    ) throws -> ReclaimOutcome? {
        let n = record.inode
        guard var inode = try inode(n) else {
            try removeReclaim(ReclaimRecord(inode: n, from: 0))
            return .done
        }
        if inode.links == 0 {
            if core.opens.markOrphan(n) { return nil }
            // The count may lie, and what is freed does not come back.
            if try hasParentPointer(n) { return .damaged }
            let outcome = try reclaimWhole(n, &inode, &budget)
            if outcome != .done { try put(inode, n) }
            return outcome
        }
        guard mayReclaim(record, inode) else { return .damaged }
        let outcome = try freeExtents(n, &inode, .data, from: record.from, &budget)
        try put(inode, n)
        if outcome == .done { try removeReclaim(record) }
        return outcome
    }

    /// Whether the live index knows a name of the inode.
    private func hasParentPointer(_ n: InodeNumber) throws -> Bool {
        let key = InodeRecord.key(n)
        var cursor = try transaction.readCursor(state.parents.active.table)
        guard try cursor.seek(key.span), cursor.key.byteCount >= 8 else { return false }
        return cursor.key.integer(at: 0, as: UInt64.self) == n
    }

    /// Takes away all that belongs to an inode without names, and then the inode.
    private mutating func reclaimWhole(
        _ n: InodeNumber, _ inode: inout InodeRecord, _ budget: inout Int
    ) throws -> ReclaimOutcome {
        for fork in Fork.allCases {
            let outcome = try freeExtents(n, &inode, fork, from: 0, &budget)
            if outcome != .done { return outcome }
        }
        while true {
            guard budget > 0 else { return .more }
            let names = try attributeNames(n, limit: min(budget, 128))
            for name in names { try removeAttribute(n, name) }
            budget -= names.count
            if names.isEmpty { break }
        }
        if inode.type == .symlink { try removeSymlink(n) }
        try removeReclaim(ReclaimRecord(inode: n, from: 0))
        try deleteInode(n)
        try releaseInode(n)
        return .done
    }

    /// Gives back the blocks from offset `from` on, up to `budget` extents.
    mutating func freeExtents(
        _ n: InodeNumber, _ inode: inout InodeRecord, _ fork: Fork, from: UInt64,
        _ budget: inout Int
    ) throws -> ReclaimOutcome {
        while true {
            let batch: [ExtentRecord]
            do {
                batch = try extents(n, fork, from: from, to: .max, limit: 128)
            } catch VolumeError.damaged {
                return .damaged
            }
            if batch.isEmpty { return .done }
            for extent in batch {
                guard budget > 0 else { return .more }
                budget -= 1
                guard try free(extent, from: from, &inode) else { return .damaged }
            }
        }
    }

    /// Gives back what of `extent` lies at or behind `from`.
    private mutating func free(
        _ extent: ExtentRecord, from: UInt64, _ inode: inout InodeRecord
    ) throws -> Bool {
        guard let part = extent.clipped(to: from..<UInt64.max) else { return true }
        guard try release(part) else { return false }
        if let rest = extent.clipped(to: 0..<from) {
            try putExtent(rest, replacing: extent)
        } else {
            try removeExtent(extent)
        }
        inode.blocks -= min(inode.blocks, UInt64(part.length))
        return true
    }

    /// Whether the record asks for no contents of what has names: it, or the link count, may lie,
    /// and what is freed does not come back.
    func mayReclaim(_ record: ReclaimRecord, _ inode: InodeRecord) -> Bool {
        inode.links == 0
            || inode.type == .regular
                && record.from >= inode.endBlock(blockSize: core.geometry.blockSize)
    }

    func reclaimRecord(of n: InodeNumber) throws -> ReclaimRecord? {
        let key = InodeRecord.key(n)
        guard let value = try transaction.get(core.tables.reclaim, key.span) else { return nil }
        do {
            return try ReclaimRecord(key: key.span, value: value)
        } catch {
            throw VolumeError.damaged(
                table: TableName.reclaim, object: "reclaim of inode \(n)", error)
        }
    }

    /// Before a file grows: no extent behind its end may hold bytes from before it was cut.
    /// The inode is stored with its new block count where that changes.
    mutating func finishReclaim(_ n: InodeNumber, _ inode: inout InodeRecord) throws {
        guard let record = try reclaimRecord(of: n) else { return }
        // The record of an orphan doesn't say where it was cut. What was cut off is
        // written; what was reserved ahead, or is being written now, is unwritten.
        guard inode.links > 0 else { return try dropWritten(n, &inode) }
        guard mayReclaim(record, inode) else {
            throw VolumeError.damaged(
                table: TableName.reclaim, object: "reclaim of inode \(n)", .field("from"))
        }
        while true {
            var budget = Operations.reclaimPiece
            let outcome = try freeExtents(n, &inode, .data, from: record.from, &budget)
            try put(inode, n)
            switch outcome {
            case .done: return try removeReclaim(record)
            case .more: try pause(changes: Operations.reclaimPiece)
            case .damaged:
                throw VolumeError.damaged(
                    table: TableName.extents, object: "inode \(n), from block \(record.from)",
                    .field("start"))
            }
        }
    }

    private mutating func dropWritten(_ n: InodeNumber, _ inode: inout InodeRecord) throws {
        let end = (inode.size + blockSize - 1) / blockSize
        try inPieces(n, &inode, .data, end..<UInt64.max) { ops, inode, piece, around in
            for extent in around where extent.offset >= piece.lowerBound {
                guard extent.state == .written else { continue }
                _ = try ops.free(extent, from: piece.lowerBound, &inode)
            }
        }
        try put(inode, n)
    }
}
