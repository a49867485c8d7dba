// The life of a generation: made empty, loaded in batches while the operations keep up
// what is loaded, validated, made active, and the one before it reaped, or kept to be made
// active again.

internal import Bytes
internal import GenerationLife
internal import LMDB
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

extension Operations {
    mutating func createGeneration(of slot: IndexSlot) throws -> UInt32 {
        guard slot != GroupState.linksSlot else {
            throw VolumeError.invalid("a generation of links: the counts stand in the inodes")
        }
        try dropEmptied()
        let name = state[slot].name
        let used = state.reaping.filter { $0.index == name }.map(\.generation.number)
        let number = try state[slot].newNumber(retired: used)
        guard
            let table = try transaction.table(TableName.generation(name, number), create: true)
        else { preconditionFailure("a table that is created exists") }
        let generation = Generation(number: number, table: table, entries: 0, sum: 0)
        let load = Load(generation: generation, end: KeyBytes())
        state[slot].load = load
        core.generations.add(table)
        try store(generation, of: name, .loading, load.cursor)
        return number
    }

    /// Appends sorted entries above all that are there, and moves the load cursor.
    mutating func load(
        _ batch: EntryBatch, into number: UInt32, of slot: IndexSlot, end: KeyBytes?
    ) throws {
        guard slot != GroupState.quotaSlot else {
            return try loadUsage(batch, into: number, end: end)
        }
        var load = try loadable(number, of: slot, end: end)
        var generation = load.generation
        try transaction.withCursor(generation.table) { cursor in
            var position = batch.startPosition
            while position < batch.endPosition {
                let key = batch.key(at: position)
                let value = SealedValue(key: key, payload: batch.value(at: position))
                try cursor.append(key, value.span)
                generation.count(added: value.checksum)
                position = batch.position(after: position)
            }
        }
        // The load cursor is stored with it.
        generation.isChanged = true
        load.generation = generation
        if let end { load.end = end } else { load.isWhole = true }
        state[slot].load = load
    }

    /// - Returns: what is wrong with the generation, or nil.
    mutating func validate(_ number: UInt32, of slot: IndexSlot) throws -> String? {
        try state[slot].problem(of: number) { load in
            let entries = try transaction.statistics(load.generation.table).entries
            let expected =
                slot == GroupState.quotaSlot ? load.rows : load.generation.entries
            return (entries, Int(clamping: expected))
        }
    }

    mutating func activate(_ number: UInt32, of slot: IndexSlot, keepsOld: Bool) throws {
        if let problem = try validate(number, of: slot) {
            throw VolumeError.invalid(
                "making generation \(number) of \(state[slot].name) active: \(problem)")
        }
        let load = try state[slot].loading(number)
        try store(try state[slot].activate(number, keepsOld: keepsOld), of: slot)
        correctCounters(by: load.volumeCorrection)
    }

    /// Stores what generations have become: from this commit on they are that.
    private mutating func store(_ moves: [GenerationMove<Generation>], of slot: IndexSlot) throws {
        let name = state[slot].name
        for move in moves {
            switch move.role {
            case .active:
                try store(move.generation, of: name, .active)
                state[slot].active.isChanged = false
            case .previous:
                try store(move.generation, of: name, .previous)
                state[slot].previous?.isChanged = false
            case .retired: try retire(move.generation, of: name)
            }
        }
    }

    /// The active and the previous generation change places.
    mutating func rollBack(_ slot: IndexSlot) throws {
        guard slot != GroupState.linksSlot else {
            throw VolumeError.invalid(
                "going back to another generation of links: the counts stand in the inodes")
        }
        try store(try state[slot].rollBack(), of: slot)
    }

    mutating func forgetPrevious(of slot: IndexSlot) throws {
        guard let old = state[slot].forgetPrevious() else { return }
        try retire(old, of: state[slot].name)
    }

    mutating func discard(_ number: UInt32, of slot: IndexSlot) throws {
        try retire(try state[slot].discard(number), of: state[slot].name)
    }

    /// From this commit on the generation is to be reaped.
    private mutating func retire(_ generation: Generation, of name: String) throws {
        var generation = generation
        generation.isChanged = false
        try store(generation, of: name, .reaping)
        state.reaping.append(
            GroupState.Retired(index: name, generation: generation, since: transaction.commit))
    }

    /// A generation that can take a batch up to `end`.
    func loadable(_ number: UInt32, of slot: IndexSlot, end: KeyBytes?) throws -> Load {
        let load = try state[slot].loading(number)
        precondition(!load.isWhole, "a whole generation takes no more")
        // Rather no new generation than operations without room.
        guard freePages >= 2 * GroupLimits.reservedPages else {
            throw VolumeError.noSpace("a new generation of \(state[slot].name)")
        }
        let isOrdered = end.map { $0 >= load.end } ?? true
        precondition(isOrdered, "the load cursor moves forward only")
        return load
    }

    /// Adds corrections to the counters of a summary.
    /// - Returns: how many counters were changed.
    mutating func correct(
        _ slot: IndexSlot, _ corrections: [(key: [UInt8], value: [UInt8])]
    ) throws -> Int {
        switch slot {
        case GroupState.quotaSlot: return try correctUsage(corrections)
        case GroupState.linksSlot: return try correctLinks(corrections)
        default:
            throw VolumeError.invalid("corrections of \(state[slot].name), which has no counters")
        }
    }

    /// Makes entries of the active generation what they should be. Its record follows the
    /// primary records anyway, and so needs no change.
    /// - Returns: how many were not so before.
    mutating func amend(
        _ slot: IndexSlot, _ entries: [(key: [UInt8], value: [UInt8]?)]
    ) throws -> Int {
        guard slot != GroupState.quotaSlot, slot != GroupState.linksSlot else {
            throw VolumeError.invalid("changes of entries that are counters")
        }
        let table = state[slot].active.table
        var amended = 0
        for (key, payload) in entries {
            let key = key.rawSpan
            guard let payload else {
                if try transaction.delete(table, key) { amended += 1 }
                continue
            }
            let value = SealedValue(key: key, payload: payload.rawSpan)
            if let found = try transaction.get(table, key),
                compareBytes(found, value.span) == 0
            {
                continue
            }
            try transaction.put(table, key, value.span)
            amended += 1
        }
        return amended
    }

    /// What has changed since the difference was found is in the record and in the table.
    /// - Parameter commit: at which it was found.
    /// - Returns: false where it was settled, or another generation has become active, since.
    mutating func settle(_ difference: CountDifference, of commit: UInt64) -> Bool {
        let slots = VolumeSlots.withGenerations.filter { $0.name == difference.index }
        for slot in slots.map(\.slot) where state[slot].active.number == difference.generation {
            guard maySettle(.entries(slot), of: commit) else { return false }
            state[slot].active.entries &+= difference.entries
            state[slot].active.sum &+= difference.sum
            state[slot].active.isChanged = true
            return true
        }
        return false
    }

    // MARK: Reaping

    /// Deletes up to `limit` entries, or drops a table of few pages.
    /// - Returns: false when no generation that is to be reaped holds an entry any more.
    mutating func reap(limit: Int) throws -> Bool {
        for retired in state.reaping {
            let table = retired.generation.table
            let statistics = try transaction.statistics(table)
            guard statistics.entries > 0 else { continue }
            if statistics.pages <= limit {
                try transaction.empty(table)
            } else {
                try transaction.withCursor(table) { cursor in
                    var isThere = try cursor.last()
                    var left = limit
                    while isThere, left > 0 {
                        try cursor.delete()
                        left -= 1
                        isThere = try cursor.last()
                    }
                }
            }
            break
        }
        try dropEmptied()
        for retired in state.reaping
        where try transaction.statistics(retired.generation.table).entries > 0 {
            return true
        }
        return false
    }

    /// Drops the tables that are empty and that no snapshot knows any more. The others are
    /// dropped when the next generation is made, or the volume opened again.
    private mutating func dropEmptied() throws {
        let oldest = core.snapshots.oldest ?? .max
        var kept: [GroupState.Retired] = []
        for retired in state.reaping {
            let table = retired.generation.table
            let isEmpty = try transaction.statistics(table).entries == 0
            guard isEmpty, oldest >= retired.since else {
                kept.append(retired)
                continue
            }
            try transaction.drop(table)
            core.generations.remove(table)
            let record = GenerationRecord(
                index: retired.index, number: retired.generation.number, state: .reaping,
                entries: 0, sum: 0)
            let key = record.key
            _ = try transaction.delete(core.tables.superblock, key.rawSpan)
        }
        state.reaping = kept
    }
}
