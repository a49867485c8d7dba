// What mends have changed, written down in their own transactions: each record of a volume that a
// mend has put, replaced or deleted, with what was there before and what is there after it.
//
// The journal is bounded. When a scrub begins, journals of older ones go, the oldest first, until
// half of the room is free; what does not fit then is not written down, and the scrub can't be
// undone.

internal import Bytes
internal import LMDB
public import VolumeFormat
internal import VolumeIndexes

extension Volume {
    /// The scrubs that have mended something: those of which the journal has mends, and the last
    /// one; ascending.
    public func scrubs() throws -> [ScrubRecord] {
        try checkNotClosed()
        guard let table = core.generations[TableName.mends] else { return [] }
        var result: [ScrubRecord] = []
        let transaction = try core.environment.beginRead()
        var cursor = try transaction.cursor(table)
        var isThere = try cursor.first()
        while isThere {
            guard cursor.key.byteCount == MendRecord.keySize else {
                isThere = try cursor.next()
                continue
            }
            let number: UInt64 = cursor.key.integer(at: 0)
            if let record = try? ScrubRecord(key: cursor.key, value: cursor.value) {
                result.append(record)
            }
            guard number < .max else { break }
            let next = MendRecord.key(scrub: number + 1, mend: 0)
            isThere = try cursor.seek(next.span)
        }
        return result
    }

    /// A number for a scrub that is about to mend, and a place in the journal.
    public func beginScrub() throws -> UInt64 {
        guard !isReadOnly else { throw VolumeError.readOnly("volume \(path)") }
        try core.atBoundary { try $0.openMendTables() }
        var others = try scrubs()
        let last = others.last?.number ?? 0
        guard last < .max else { throw VolumeError.invalid("another scrub: numbers are used up") }
        while let oldest = others.first,
            oldest.mends == 0
                || others.reduce(0, { $0 &+ $1.bytes }) > UInt64(core.mendJournalBytes / 2)
        {
            try dropJournal(of: oldest.number)
            others.removeFirst()
        }
        return try core.atBoundary { operations in
            try operations.atBoundary { operations in
                operations.hasChanged = true
                let scrub = ScrubRecord(number: last + 1, began: operations.core.clock())
                try operations.store(scrub)
                return scrub.number
            }
        }
    }

    /// Deletes what the journal has of a scrub: it can't be undone any more.
    /// - Returns: the mends that it had.
    public func forget(scrub number: UInt64) throws -> UInt64 {
        let scrub = try scrub(number)
        let all = try scrubs()
        // Its number is not given out again.
        try dropJournal(of: number, keepsScrub: all.last?.number == number)
        return scrub.mends
    }

    func scrub(_ number: UInt64) throws -> ScrubRecord {
        guard let scrub = try scrubs().first(where: { $0.number == number }) else {
            throw VolumeError.invalid(
                "scrub \(number): the journal of mends has no such scrub of volume \(path)")
        }
        return scrub
    }

    /// Records that one transaction deletes at the most.
    private static let dropped = 512

    private func dropJournal(of scrub: UInt64, keepsScrub: Bool = false) throws {
        var isOver = false
        while !isOver {
            isOver = try core.atBoundary { operations in
                try operations.atBoundary { operations in
                    var keys: [[UInt8]] = []
                    let journal = operations.journal
                    do {
                        var cursor = try operations.transaction.readCursor(journal)
                        // The scrub itself goes last.
                        var isThere = try cursor.seek(
                            MendRecord.key(scrub: scrub, mend: 1).span)
                        while isThere, keys.count < Volume.dropped,
                            cursor.key.byteCount == MendRecord.keySize,
                            cursor.key.integer(at: 0, as: UInt64.self) == scrub
                        {
                            keys.append(cursor.key.array)
                            isThere = try cursor.next()
                        }
                    }
                    operations.hasChanged = true
                    for key in keys {
                        _ = try operations.transaction.delete(journal, key.rawSpan)
                    }
                    guard keys.count < Volume.dropped else { return false }
                    if keepsScrub, var record = try operations.scrub(scrub) {
                        (record.mends, record.bytes) = (0, 0)
                        try operations.store(record)
                    } else {
                        let key = MendRecord.key(scrub: scrub, mend: 0)
                        _ = try operations.transaction.delete(journal, key.span)
                    }
                    return true
                }
            }
        }
    }
}

extension Operations {
    var journal: Table {
        guard let table = core.generations[TableName.mends] else {
            preconditionFailure("the journal is made before the first mend")
        }
        return table
    }

    /// Makes the tables of mends where there are none, in transactions of their own: a handle of a
    /// table is good once what made the table has committed.
    mutating func openMendTables() throws {
        for name in [TableName.quarantine, TableName.mends] where core.generations[name] == nil {
            let table = try atBoundary { try $0.transaction.table(name, create: true) }
            if let table { core.generations.add(table) }
        }
    }

    func scrub(_ number: UInt64) throws -> ScrubRecord? {
        let key = MendRecord.key(scrub: number, mend: 0)
        guard let value = try transaction.get(journal, key.span) else { return nil }
        return try? ScrubRecord(key: key.span, value: value)
    }

    mutating func store(_ scrub: ScrubRecord) throws {
        let key = scrub.key, value = scrub.value
        try transaction.put(journal, key.span, value.span)
    }

    /// The tables whose records can be put back, by their names: those of the format, the
    /// quarantine, and what is served of the reverse map and of the parent pointers.
    var journaledTables: [String: Table] {
        let tables = core.tables
        var all = [
            tables.inodes, tables.dirents, tables.extents, tables.xattrs, tables.symlinks,
            tables.free, tables.freeByLength, tables.reclaim, tables.freeInodes,
            state.rmap.active.table, state.parents.active.table,
        ]
        if let quarantine = core.generations[TableName.quarantine] { all.append(quarantine) }
        return Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })
    }

    /// Writes down what the transaction has changed.
    /// - Parameters:
    ///   - before: the last commit.
    ///   - log: the changes of the transaction.
    mutating func note(
        _ kind: String, of scrub: UInt64, _ log: RedoLog, before: borrowing ReadTransaction,
        _ counters: Counters
    ) throws {
        transaction.note(in: nil)
        guard var record = try self.scrub(scrub), record.isWhole else { return }
        var places: [RecordChange: Int] = [:], changes: [RecordChange] = []
        let tables = journaledTables.values.filter { !indexTables.contains($0) }
        try log.forEach(of: tables) { table, key, value in
            let place = RecordChange(
                table: table.name, key: key.array, before: nil, after: nil)
            if let index = places[place] {
                changes[index].after = value?.array
                return
            }
            places[place] = changes.count
            var change = place
            change.before = try before.get(table, key)?.array
            change.after = value?.array
            changes.append(change)
        }
        changes.removeAll { $0.before == $0.after }
        changes += try entries(of: changes, before)
        let mend = MendRecord(
            time: now, kind: kind, inodes: self.counters.inodes &- counters.inodes,
            freeBlocks: self.counters.freeBlocks &- counters.freeBlocks, changes: changes)
        let key = MendRecord.key(scrub: scrub, mend: try lastMend(of: scrub, before: .max) + 1)
        let value = mend.value(key: key.span)
        let size = UInt64(value.count + MendRecord.keySize)
        hasChanged = true
        let bytes = try journalBytes(besides: scrub) &+ record.bytes &+ size
        if bytes > UInt64(core.mendJournalBytes) {
            record.isWhole = false
        } else {
            try transaction.put(journal, key.span, value.rawSpan)
            record.mends += 1
            record.bytes += size
        }
        try store(record)
    }

    private var indexTables: [Table] { [state.rmap.active.table, state.parents.active.table] }

    /// The entries of indexes that are derived from what has changed: those, too, that are as they
    /// were, since undoing a change derives them again.
    private func entries(
        of changes: [RecordChange], _ before: borrowing ReadTransaction
    ) throws -> [RecordChange] {
        var result: [RecordChange] = [], seen: Set<[UInt8]> = []
        func add(_ table: Table, _ key: RawSpan) throws {
            guard seen.insert(key.array).inserted else { return }
            result.append(
                RecordChange(
                    table: table.name, key: key.array, before: try before.get(table, key)?.array,
                    after: try transaction.get(table, key)?.array))
        }
        for change in changes {
            let key = change.key.rawSpan
            for value in [change.before, change.after] {
                guard let value else { continue }
                if change.table == TableName.extents,
                    let extent = try? ExtentRecord(key: key, value: value.rawSpan)
                {
                    try add(state.rmap.active.table, ReverseMap.key(extent).span)
                }
                if change.table == TableName.dirents,
                    let entry = try? DirentRecord(key: key, value: value.rawSpan)
                {
                    let pointer = ParentPointers.key(
                        child: entry.target.child, parent: key.integer(at: 0),
                        name: entry.name.rawSpan)
                    try add(state.parents.active.table, pointer.span)
                }
            }
        }
        return result
    }

    /// The last mend of the scrub below a number that the journal has; 0: none.
    func lastMend(of scrub: UInt64, before limit: UInt64) throws -> UInt64 {
        guard limit > 1 else { return 0 }
        var cursor = try transaction.readCursor(journal)
        let key = MendRecord.key(scrub: scrub, mend: limit - 1)
        guard try cursor.seek(atOrBefore: key.span), cursor.key.byteCount == MendRecord.keySize,
            cursor.key.integer(at: 0, as: UInt64.self) == scrub
        else { return 0 }
        return cursor.key.integer(at: 8)
    }

    /// Of all other scrubs: a few.
    private func journalBytes(besides scrub: UInt64) throws -> UInt64 {
        var sum: UInt64 = 0
        var cursor = try transaction.readCursor(journal)
        var isThere = try cursor.first()
        while isThere, cursor.key.byteCount == MendRecord.keySize {
            let number: UInt64 = cursor.key.integer(at: 0)
            if number != scrub,
                let record = try? ScrubRecord(key: cursor.key, value: cursor.value)
            {
                sum &+= record.bytes
            }
            guard number < .max else { break }
            let next = MendRecord.key(scrub: number + 1, mend: 0)
            isThere = try cursor.seek(next.span)
        }
        return sum
    }
}
