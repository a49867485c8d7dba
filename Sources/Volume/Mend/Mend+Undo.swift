// Undoing the mends of a scrub, the last one first: each record is made again what it was before
// the mend, in one transaction for each mend, which deletes the mend from the journal too.
//
// A mend is undone where nobody has changed its records since; else it is kept. Three things may
// have changed: link counts, which runs set right too, and what a directory counts, which are
// changed back by as much as the mend had changed them; free space, of which the mend's own blocks
// are taken out or given back; and entries of indexes. The hooks of runs are told as of any change.

internal import Bytes
internal import LMDB
internal import Threads
internal import VolumeFormat
internal import VolumeIndexes

/// What became of one mend of a rollback.
public struct UndoneMend: Hashable, Sendable {
    public let mend: UInt64
    /// The kind of the defect that it had mended.
    public let kind: String
    /// nil: it is undone. Else why it is kept.
    public let keptFor: String?
}

extension Volume {
    /// Nanoseconds for which undoing holds the commit boundary in one go.
    private static let undoTarget: UInt64 = 1_500_000

    /// Undoes the mends of a scrub, as far as nobody has changed their records since. Ended in the
    /// middle it has undone the last ones; called again it goes on.
    /// - Parameters:
    ///   - tell: told of each mend.
    ///   - goOn: called now and then; what it throws ends it.
    /// - Throws: `invalid` where the journal has no such scrub, or not all of its mends, or mends
    ///   of a later one.
    public func rollBack(
        scrub number: UInt64, tell: (UndoneMend) -> Void, goOn: () throws -> Void
    ) throws {
        guard !isReadOnly else { throw VolumeError.readOnly("volume \(path)") }
        let scrub = try scrub(number)
        guard scrub.isWhole else {
            throw VolumeError.invalid(
                "undoing scrub \(number): the journal had no room for all of its mends")
        }
        guard scrub.mends > 0 else {
            throw VolumeError.invalid("undoing scrub \(number): the journal has none of its mends")
        }
        if let later = try scrubs().first(where: { $0.number > number && $0.mends > 0 }) {
            throw VolumeError.invalid(
                "undoing scrub \(number): scrub \(later.number) came later; undo or forget that "
                    + "first")
        }
        var limit = UInt64.max
        while limit > 0 {
            try goOn()
            let (done, next) = try core.atBoundary { operations in
                let end = monotonicNanoseconds() + Volume.undoTarget
                var done: [UndoneMend] = []
                try operations.openMendTables()
                var limit = limit
                repeat {
                    let mend = try operations.atBoundary { try $0.undo(of: number, before: limit) }
                    guard let mend else { return (done, UInt64(0)) }
                    done.append(mend)
                    limit = mend.mend
                } while monotonicNanoseconds() < end
                return (done, limit)
            }
            for mend in done { tell(mend) }
            limit = next
        }
    }
}

extension Operations {
    /// Undoes the last mend below a number.
    /// - Returns: nil where there is none.
    fileprivate mutating func undo(of scrub: UInt64, before limit: UInt64) throws -> UndoneMend? {
        now = core.clock()
        let number = try lastMend(of: scrub, before: limit)
        guard number > 0 else { return nil }
        let key = MendRecord.key(scrub: scrub, mend: number)
        guard let value = try transaction.get(journal, key.span)?.array else { return nil }
        let mend: MendRecord
        do {
            mend = try MendRecord(key: key.span, value: value.rawSpan)
        } catch {
            return UndoneMend(mend: number, kind: "", keptFor: "its record is damaged: \(error)")
        }
        if let why = try undo(mend) {
            return UndoneMend(mend: number, kind: mend.kind, keptFor: why)
        }
        _ = try transaction.delete(journal, key.span)
        if var record = try self.scrub(scrub) {
            record.mends -= min(record.mends, 1)
            record.bytes -= min(record.bytes, UInt64(value.count + MendRecord.keySize))
            try store(record)
        }
        return UndoneMend(mend: number, kind: mend.kind, keptFor: nil)
    }

    /// - Returns: why it is kept; then nothing was changed.
    private mutating func undo(_ mend: MendRecord) throws -> String? {
        let tables = journaledTables, fixed = core.tables
        let indexes = [state.rmap.active.table, state.parents.active.table]
        let free = [fixed.free, fixed.freeByLength]
        var records: [(table: Table, change: RecordChange, target: [UInt8]?)] = []
        var spaces: [(table: Table, change: RecordChange)] = []
        var entries: [(table: Table, change: RecordChange)] = []
        for change in mend.changes {
            // What is missing is a generation that no longer serves: it is derived, and gone.
            guard let table = tables[change.table] else { continue }
            if indexes.contains(table) {
                entries.append((table, change))
            } else if free.contains(table) {
                spaces.append((table, change))
            } else {
                let now = try transaction.get(table, change.key.rawSpan)?.array
                if now == change.after {
                    records.append((table, change, change.before))
                } else if table == fixed.inodes, let old = inodeBefore(change, now) {
                    records.append((table, change, old.value))
                } else {
                    return "\(recordText(change)) has changed since"
                }
            }
        }
        let space = try UndoneSpace(spaces.map(\.change), self)
        if let why = try refusal(space) { return why }
        hasChanged = true
        for (table, change, target) in records.reversed() {
            try putBack(table, change.key, target)
        }
        try putBack(space, spaces)
        for (table, change) in entries {
            try putRaw(table, change.key, change.before)
        }
        let inodes = counters.inodes &- mend.inodes
        if inodes <= FormatLimits.inode { counters.inodes = inodes }
        // Between two mends it may be more than there are: each is undone by what it has added.
        let blocks = counters.freeBlocks &- mend.freeBlocks
        if blocks <= FormatLimits.blocks { counters.freeBlocks = blocks }
        return nil
    }

    private func recordText(_ change: RecordChange) -> String {
        guard change.key.count >= 8, change.table != TableName.quarantine else {
            return "a record of table \(change.table)"
        }
        return "a record of inode \(change.key.rawSpan.integer(at: 0, as: UInt64.self)) in table "
            + change.table
    }

    /// What an inode is to be that has changed since: what it is now, with what the mend had
    /// changed of its counts changed back.
    /// - Returns: nil where more than counts has changed.
    private func inodeBefore(
        _ change: RecordChange, _ now: [UInt8]?
    ) -> InodeBefore? {
        let key = change.key.rawSpan
        guard let after = change.after, let now,
            let new = try? InodeRecord(key: key, value: after.rawSpan),
            var inode = try? InodeRecord(key: key, value: now.rawSpan),
            inode.type == new.type, inode.generation == new.generation, inode.links > 0
        else { return nil }
        let old = change.before.flatMap { try? InodeRecord(key: key, value: $0.rawSpan) }
        if let old, old.type == .directory, new.type == .directory,
            old.generation == new.generation, old.parent == new.parent || inode.parent == new.parent
        {
            inode.size = inode.size &+ old.size &- new.size
            inode.links = inode.links &+ old.links &- new.links
            if old.parent != new.parent { inode.parent = old.parent }
            guard inode.size <= FormatLimits.bytes else { return nil }
            return InodeBefore(value: inode.value(key: key).span.array)
        }
        let links = inode.links
        inode.links = new.links
        guard inode == new else { return nil }
        guard var old else { return InodeBefore(value: change.before) }
        old.links = links &+ old.links &- new.links
        return InodeBefore(value: old.value(key: key).span.array)
    }

    // MARK: Records

    private mutating func putRaw(_ table: Table, _ key: [UInt8], _ value: [UInt8]?) throws {
        if let value {
            try transaction.put(table, key.rawSpan, value.rawSpan)
        } else {
            _ = try transaction.delete(table, key.rawSpan)
        }
    }

    /// Makes the record what it was, with what is derived from it.
    private mutating func putBack(
        _ table: Table, _ key: [UInt8], _ value: [UInt8]?
    ) throws {
        let now = try transaction.get(table, key.rawSpan)?.array
        try putRaw(table, key, value)
        guard key.count >= 8 else { return }
        let n: InodeNumber = key.rawSpan.integer(at: 0)
        let tables = core.tables
        switch table {
        case tables.inodes:
            isChanging(n)
            isMending(n)
            noteUsage(n, old: share(key, now), new: share(key, value))
        case tables.dirents:
            let name = Array(key.dropFirst(8))
            isChanging(n)
            isMending(n, name)
            let old = now.flatMap { try? DirentTarget(key: key.rawSpan, value: $0.rawSpan) }
            let new = value.flatMap { try? DirentTarget(key: key.rawSpan, value: $0.rawSpan) }
            if let child = (old ?? new)?.child { isMending(child) }
            switch (old, new) {
            case (let old?, let new?): try replaceParent(n, name.rawSpan, old: old, new: new)
            case (let old?, nil): try removeParent(n, name.rawSpan, old)
            case (nil, let new?): try addParent(n, name.rawSpan, new)
            default: break
            }
        case tables.extents:
            isChanging(n)
            isMending(n)
            if let old = now.flatMap({ try? ExtentRecord(key: key.rawSpan, value: $0.rawSpan) }) {
                try unmapExtent(old)
            }
            if let new = value.flatMap({ try? ExtentRecord(key: key.rawSpan, value: $0.rawSpan) }) {
                try mapExtent(new, replacing: nil)
            }
        case tables.xattrs, tables.symlinks:
            isChanging(n)
            isMending(n)
        default: break
        }
    }

    /// What a record that can be decoded takes: no other is counted.
    private func share(_ key: [UInt8], _ value: [UInt8]?) -> QuotaShare? {
        guard let value, let inode = try? InodeRecord(key: key.rawSpan, value: value.rawSpan) else {
            return nil
        }
        return QuotaShare(inode)
    }

    // MARK: Free space

    private func refusal(_ space: UndoneSpace) throws -> String? {
        let why = "free space has changed since"
        if space.isAsLeft { return nil }
        guard space.isReadable, !space.freed.isEmpty || !space.taken.isEmpty else { return why }
        for range in space.freed {
            guard let run = try freeRecord(before: range.upperBound),
                run.start <= range.lowerBound, run.end >= range.upperBound
            else { return why }
        }
        for range in space.taken {
            guard range.upperBound <= core.geometry.blocks else { return why }
            if let run = try freeRecord(before: range.upperBound), run.end > range.lowerBound {
                return why
            }
        }
        return nil
    }

    /// The counter is the caller's.
    private mutating func putBack(
        _ space: UndoneSpace, _ changes: [(table: Table, change: RecordChange)]
    ) throws {
        let counter = counters.freeBlocks
        if space.isAsLeft {
            for (table, change) in changes { try putRaw(table, change.key, change.before) }
        } else {
            for range in space.freed {
                _ = try takeOutOfFree(range.lowerBound, range.upperBound)
            }
            for range in space.taken {
                try giveBack(start: range.lowerBound, length: UInt64(range.count))
            }
        }
        for range in space.taken where range.upperBound <= core.geometry.blocks {
            core.blockGuard.noteFreed(
                BlockRange(start: range.lowerBound, end: range.upperBound),
                commit: transaction.commit)
        }
        counters.freeBlocks = counter
    }
}

/// What an inode's record is to be again; nil: none.
private struct InodeBefore {
    let value: [UInt8]?
}

/// The blocks that a mend has freed, and taken.
private struct UndoneSpace {
    /// All its records of free space are as the mend has left them.
    private(set) var isAsLeft = true
    private(set) var isReadable = true
    private(set) var freed: [Range<UInt64>] = []
    private(set) var taken: [Range<UInt64>] = []

    init(_ changes: [RecordChange], _ operations: borrowing Operations) throws {
        var before: [Range<UInt64>] = [], after: [Range<UInt64>] = []
        let tables = operations.core.tables
        for change in changes {
            let isByStart = change.table == TableName.free
            let table = isByStart ? tables.free : tables.freeByLength
            let now = try operations.transaction.get(table, change.key.rawSpan)?.array
            isAsLeft = isAsLeft && now == change.after
            guard isByStart else { continue }
            for (value, isBefore) in [(change.before, true), (change.after, false)] {
                guard let value else { continue }
                guard let run = try? FreeRecord(key: change.key.rawSpan, value: value.rawSpan)
                else {
                    isReadable = false
                    continue
                }
                let range = run.start..<run.end
                if isBefore { before.append(range) } else { after.append(range) }
            }
        }
        freed = UndoneSpace.difference(after, before)
        taken = UndoneSpace.difference(before, after)
    }

    /// The parts of `ranges` that are in none of `others`, in order.
    private static func difference(
        _ ranges: [Range<UInt64>], _ others: [Range<UInt64>]
    ) -> [Range<UInt64>] {
        let others = others.sorted { $0.lowerBound < $1.lowerBound }
        var result: [Range<UInt64>] = [], from: UInt64 = 0
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            // Of runs that overlap each part is told once.
            from = max(from, range.lowerBound)
            for other in others where other.upperBound > from {
                guard other.lowerBound < range.upperBound else { break }
                if from < other.lowerBound { result.append(from..<other.lowerBound) }
                from = max(from, other.upperBound)
            }
            if from < range.upperBound {
                result.append(from..<range.upperBound)
                from = range.upperBound
            }
        }
        return result
    }
}
