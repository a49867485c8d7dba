// The records of runs, in table `runs`: those that can go on, and the last of those that have
// ended. Key: number u64. Value: the record as JSON (RunRecord), then the checksum: it is
// read by people and scripts as often as by this code, and nothing depends on its speed.

internal import Bytes
internal import FoundationEssentials
internal import LMDB
internal import Logging
public import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

enum Runs {
    /// Ended runs that are remembered.
    static let history = 100

    static func key(_ number: UInt64) -> FixedBytes<8> {
        var key = FixedBytes<8>()
        key.store(number, at: 0)
        return key
    }

    static func value(_ record: RunRecord) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        guard let text = try? encoder.encode(record) else {
            preconditionFailure("the record of a run can be written")
        }
        let key = key(record.number)
        return sealedValue(key: key.span, body: Array(text))
    }

    static func record(key: RawSpan, value: RawSpan) throws(RecordDamage) -> RunRecord {
        guard key.byteCount == 8 else { throw .length }
        let body = try value.verified(key: key)
        guard let record = try? JSONDecoder().decode(RunRecord.self, from: Data(body.array)),
            record.number == key.integer(at: 0), record.isWithinBounds, isPossible(record)
        else { throw .field("record") }
        return record
    }

    /// Whether there can be a run about these indexes, and about a part of them.
    private static func isPossible(_ record: RunRecord) -> Bool {
        let slots = record.indexes.compactMap { name in
            VolumeSlots.all.firstIndex { $0.name == name }
        }
        guard !slots.isEmpty, slots.count == record.indexes.count else { return false }
        return record.scope == nil
            || record.strategy != .rebuild && !slots.contains { VolumeSlots.isSummary(.init($0)) }
    }

    /// The runs that can go on, as they are found on opening: those that worked have crashed.
    static func opened(_ core: VolumeCore) throws -> Opened {
        let found = try readRuns(core.environment.beginRead().cursor(core.tables.runs))
        for number in found.damaged {
            core.logger.error(
                "the record of a run is damaged, and the run can't go on",
                metadata: ["path": "\(core.path)", "run": "\(number)"])
        }
        var records = found.records.filter(\.state.isResumable)
        let crashed = records.indices.filter { records[$0].state.isWorking }
        guard !crashed.isEmpty else { return Opened(records: records) }
        try core.environment.write { transaction in
            for place in crashed {
                crash(&records[place])
                records[place].ownerCommit = transaction.commit
                let key = key(records[place].number), value = value(records[place])
                try transaction.put(core.tables.runs, key.span, value.rawSpan)
            }
        }
        return Opened(records: records)
    }

    static func crash(_ record: inout RunRecord) {
        record.reason = "its process ended while it was \(record.state.rawValue)"
        record.state = .crashed
    }

    struct Opened {
        let records: [RunRecord]

        /// The load that one of the runs can go on with, if the generation is one.
        func resumableLoad(_ record: GenerationRecord, _ generation: Generation) -> Load? {
            guard record.state == .loading, let cursor = record.load, !cursor.isInvalid,
                records.contains(where: {
                    $0.logFrom != nil && $0.loading?.index == record.index
                        && $0.loading?.generation == record.number
                })
            else { return nil }
            var load = Load(generation: generation, end: KeyBytes(cursor.key))
            load.isWhole = cursor.isWhole
            return load
        }
    }
}

/// The records that can be read, ascending, and the numbers of those that can't.
func readRuns(
    _ cursor: consuming Cursor
) throws(LMDBError) -> (records: [RunRecord], damaged: [UInt64]) {
    var records: [RunRecord] = [], damaged: [UInt64] = []
    var isThere = try cursor.first()
    while isThere {
        if let record = try? Runs.record(key: cursor.key, value: cursor.value) {
            records.append(record)
        } else {
            damaged.append(cursor.key.byteCount >= 8 ? cursor.key.integer(at: 0) : 0)
        }
        isThere = try cursor.next()
    }
    return (records, damaged)
}

extension VolumeSnapshot {
    /// Every run that the volume remembers, ascending. In a volume that is open for reading no
    /// run is at work: what its record says of one that is, was left by a crash.
    public func runs() throws -> [RunRecord] {
        let records = try readRuns(transaction.cursor(core.tables.runs)).records
        guard core.isReadOnly else { return records }
        return records.map { record in
            guard record.state.isWorking else { return record }
            var record = record
            Runs.crash(&record)
            return record
        }
    }
}

extension Operations {
    /// Stores the record of a run, in place of the one before.
    mutating func store(_ run: RunRecord) throws {
        var run = run
        let time = core.clock()
        let now = Double(time.seconds) + Double(time.nanoseconds) / 1e9
        if run.started == 0 { run.started = now }
        run.updated = now
        if !run.state.isResumable { run.ended = now }
        // A log that does not reach back that far can't be replayed.
        if let from = run.logFrom, state.log.since.map({ $0 > from }) ?? true { run.logFrom = nil }
        state.runs.removeAll { $0.number == run.number }
        if run.state.isResumable {
            state.runs.append(run)
            state.runs.sort { $0.number < $1.number }
        }
        try put(run)
        if state.runs.isEmpty { state.log.since = nil }
        state.log.note(state.runs)
        noteHooks()
        if !run.state.isResumable { try forgetOldRuns() }
    }

    /// Two runs may be about to begin: neither has a record yet, and each a number of its own.
    mutating func newRunNumber(after known: UInt64) -> UInt64 {
        lastRunNumber = max(lastRunNumber, known) + 1
        return lastRunNumber
    }

    mutating func put(_ run: RunRecord) throws(LMDBError) {
        let key = Runs.key(run.number), value = Runs.value(run)
        try transaction.put(core.tables.runs, key.span, value.rawSpan)
    }

    /// Deletes the oldest of the ended runs, where there are too many.
    private mutating func forgetOldRuns() throws {
        let live = Set(state.runs.map(\.number))
        try transaction.withCursor(core.tables.runs) { cursor in
            var left = 2 * Runs.history
            var ended: [UInt64] = []
            var isThere = try cursor.last()
            while isThere, left > 0 {
                let number = cursor.key.byteCount >= 8 ? cursor.key.integer(at: 0) : 0 as UInt64
                if !live.contains(number) { ended.append(number) }
                if ended.count > Runs.history, !live.contains(number) { try cursor.delete() }
                left -= 1
                isThere = try cursor.previous()
            }
        }
    }
}
