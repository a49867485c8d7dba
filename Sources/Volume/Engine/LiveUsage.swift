// Quota usage as the writer keeps it up. Counters are changed by increments, modulo
// 2^64, and a counter that is missing or can't be decoded counts as zero: so the difference
// between what a counter is and what it should be never changes by itself, and a correction that
// was found at any commit is right at every later one (`Summary`).
//
// A group collects its increments in memory and stores each counter once, at its end.

internal import Bytes
internal import LMDB
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

/// Increments of a transaction.
struct UsageChanges: Sendable {
    private(set) var table = UsageTable()

    mutating func change(from old: QuotaShare?, to new: QuotaShare?) {
        if let old, let new, (old.uid, old.gid, old.project) == (new.uid, new.gid, new.project) {
            return add(new, QuotaUsage(blocks: new.blocks &- old.blocks, inodes: 0))
        }
        if let old { add(old, .zero - QuotaUsage(blocks: old.blocks, inodes: 1)) }
        if let new { add(new, QuotaUsage(blocks: new.blocks, inodes: 1)) }
    }

    private mutating func add(_ share: QuotaShare, _ usage: QuotaUsage) {
        add(QuotaKey(.user, share.uid), usage)
        add(QuotaKey(.group, share.gid), usage)
        add(QuotaKey(.project, share.project), usage)
    }

    private mutating func add(_ key: QuotaKey, _ usage: QuotaUsage) {
        table.add(key.number, usage)
    }
}

extension QuotaUsage {
    @inline(__always)
    fileprivate mutating func add(_ other: QuotaUsage) { self = self + other }

    /// Whether taking it in this direction has gone through zero.
    fileprivate func wraps(by change: QuotaUsage) -> Bool {
        func wraps(_ value: UInt64, _ change: UInt64) -> Bool {
            let signed = Int64(bitPattern: change)
            return signed < 0 && value < signed.magnitude
        }
        return wraps(blocks, change.blocks) || wraps(inodes, change.inodes)
    }
}

extension LiveIndex {
    /// The transaction changes a counter.
    mutating func count(
        _ key: QuotaKey, _ change: QuotaUsage, in transaction: inout WriteTransaction
    ) throws(LMDBError) {
        guard change != .zero else { return }
        let bytes = key.bytes
        let found = try usage(bytes.span, in: active.table, transaction)
        try store(key, found.usage + change, in: active.table, &transaction)
        active.count(change, of: key)
        // By the same increment: what a counter there lacks, it goes on lacking.
        if let table = previous?.table {
            let old = try usage(bytes.span, in: table, transaction)
            try store(key, old.usage + change, in: table, &transaction)
            previous?.count(change, of: key)
        }
        guard let covering = load, covering.covers(bytes.span) else { return }
        let table = covering.generation.table
        let loaded = try usage(bytes.span, in: table, transaction)
        if loaded.isThere, loaded.isDamaged { load?.spoil("a counter can't be decoded") }
        if loaded.usage.wraps(by: change) { load?.spoil("a counter fell below zero") }
        let new = loaded.usage + change
        try store(key, new, in: table, &transaction)
        load?.generation.count(change, of: key)
        load?.rows &+= (new == .zero ? 0 : 1) &- (loaded.isThere ? 1 : 0)
    }

    /// Adds what the counter lacks. The generation's record follows the primary records anyway,
    /// and so needs no change.
    mutating func correct(
        _ key: QuotaKey, by correction: QuotaUsage, in transaction: inout WriteTransaction
    ) throws(LMDBError) {
        let bytes = key.bytes
        let found = try usage(bytes.span, in: active.table, transaction)
        try store(key, found.usage + correction, in: active.table, &transaction)
    }

    private func usage(
        _ key: RawSpan, in table: Table, _ transaction: borrowing WriteTransaction
    ) throws(LMDBError) -> (usage: QuotaUsage, isThere: Bool, isDamaged: Bool) {
        guard let value = try transaction.get(table, key) else { return (.zero, false, false) }
        guard let usage = QuotaUsage(stored: value, key: key) else { return (.zero, true, true) }
        return (usage, true, false)
    }

    private func store(
        _ key: QuotaKey, _ usage: QuotaUsage, in table: Table,
        _ transaction: inout WriteTransaction
    ) throws(LMDBError) {
        let bytes = key.bytes
        guard usage != .zero else {
            _ = try transaction.delete(table, bytes.span)
            return
        }
        let payload = usage.bytes
        let value = SealedValue(key: bytes.span, payload: payload.span)
        try transaction.put(table, bytes.span, value.span)
    }
}

extension QuotaUsage {
    /// A stored value; nil where it can't be decoded.
    init?(stored value: RawSpan, key: RawSpan) {
        do throws(RecordDamage) {
            guard let usage = QuotaUsage(try value.verified(key: key)) else { return nil }
            self = usage
        } catch { return nil }
    }
}

extension Generation {
    /// Of quota usage `entries` counts inodes, once for each counter that they are in, and `sum`
    /// adds up `weight`: both follow the primary records, whatever the table holds.
    mutating func count(_ change: QuotaUsage, of key: QuotaKey) {
        entries &+= change.inodes
        sum &+= change.weight(of: key)
        isChanged = true
    }
}

extension Geometry {
    /// What inodes take, as the counters have it.
    func usage(_ counters: Counters) -> QuotaUsage {
        let reserved = UInt64(reservedAtStart) + UInt64(reservedAtEnd)
        return QuotaUsage(
            blocks: blocks &- reserved &- counters.freeBlocks, inodes: counters.inodes)
    }
}

// MARK: A group's end, corrections, loading

extension Operations {
    /// Stores what the transaction has changed of quota usage.
    mutating func storeUsage() throws(LMDBError) {
        guard state.usage.table.count > 0 else { return }
        let changes = state.usage.table
        state.usage = UsageChanges()
        try changes.forEach { (key, change) throws(LMDBError) in
            try state.quota.count(key, change, in: &transaction)
        }
    }

    /// Adds corrections to quota usage.
    mutating func correctUsage(
        _ corrections: [(key: [UInt8], value: [UInt8])]
    ) throws -> Int {
        for (key, value) in corrections {
            guard let place = QuotaKey(key.rawSpan) else {
                _ = try transaction.delete(state.quota.active.table, key.rawSpan)
                continue
            }
            let correction = QuotaUsage(value.rawSpan) ?? .zero
            if place == .volume {
                correctCounters(by: correction)
                // The table has no place for it: an entry there is a stray one.
                _ = try transaction.delete(state.quota.active.table, key.rawSpan)
            } else {
                try state.quota.correct(place, by: correction, in: &transaction)
            }
        }
        return corrections.count
    }

    mutating func correctCounters(by correction: QuotaUsage) {
        if correction.blocks != 0 { state.settled.note(.freeBlocks, transaction.commit) }
        // Inodes that lie about their blocks must not make a record that nobody can read.
        let free = counters.freeBlocks &- correction.blocks
        if free <= FormatLimits.blocks { counters.freeBlocks = free }
        let inodes = counters.inodes &+ correction.inodes
        if inodes <= FormatLimits.inode { counters.inodes = inodes }
    }

    /// Appends the active generation's counters from the load cursor to `end`, with the
    /// corrections in `batch`, and moves the load cursor.
    mutating func loadUsage(
        _ batch: EntryBatch, into number: UInt32, end: KeyBytes?
    ) throws {
        var load = try loadable(number, of: GroupState.quotaSlot, end: end)
        var usage = try activeUsage(from: load.end, to: end)
        var position = batch.startPosition
        while position < batch.endPosition {
            if let key = QuotaKey(batch.key(at: position)),
                let correction = QuotaUsage(batch.value(at: position))
            {
                if key == .volume {
                    load.volumeCorrection = load.volumeCorrection + correction
                } else if key.type != .volume {
                    // Another id of the volume's is a stray entry, which is not loaded.
                    usage[key.number, default: .zero].add(correction)
                }
            }
            position = batch.position(after: position)
        }
        var generation = load.generation
        var rows: UInt64 = 0
        try transaction.withCursor(generation.table) { cursor in
            for (number, usage) in usage.sorted(by: { $0.key < $1.key }) where usage != .zero {
                let key = QuotaKey(number: number), bytes = key.bytes, payload = usage.bytes
                let value = SealedValue(key: bytes.span, payload: payload.span)
                try cursor.append(bytes.span, value.span)
                generation.count(usage, of: key)
                rows += 1
            }
        }
        load.generation = generation
        load.rows += rows
        if let end { load.end = end } else { load.isWhole = true }
        state.quota.load = load
    }

    /// The counters that can be decoded, by their numbers.
    private func activeUsage(
        from start: KeyBytes, to end: KeyBytes?
    ) throws -> [UInt64: QuotaUsage] {
        var result: [UInt64: QuotaUsage] = [:]
        var cursor = try transaction.readCursor(state.quota.active.table)
        var isThere = start.count == 0 ? try cursor.first() : try cursor.seek(start.span)
        while isThere {
            if let end, compareBytes(cursor.key, end.span) >= 0 { break }
            if let key = QuotaKey(cursor.key), key.type != .volume,
                let usage = QuotaUsage(stored: cursor.value, key: cursor.key)
            {
                result[key.number] = usage
            }
            isThere = try cursor.next()
        }
        return result
    }
}
