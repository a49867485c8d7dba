// The hook log: the deltas of each commit, in the transaction that makes it, for runs that go
// on after a crash or a stop. Nobody decides at this point which deltas a run will apply: all
// of the indexes that it is about are logged, and the run looks at its checkpoint when it goes
// on. So the log needs no word from a run's cursor, which moves while a transaction is under
// way.
//
// Table `hooklog`. Key: commit u64, ordinal of the first delta u32. Value: deltas as
// DeltaBatch.swift lays them out, in the byte order of the machine, then the CRC32C of key
// and deltas. Up to 60 KiB in one value.
//
// The log is trimmed behind the checkpoints by the volume's own transactions, a bounded part
// in each. Where it grows beyond its bound, the run that needs most of it gives its position
// up, and where the metadata has little room left, all do: writers never wait for the log, nor
// fail for want of the room that it takes.

internal import Bytes
internal import LMDB
internal import Logging
public import Tidemark
internal import VolumeFormat

struct HookLog: Sendable {
    /// The log is complete for the commits after this one; nil: nothing is logged.
    var since: UInt64?
    /// The indexes whose deltas are logged.
    var wants: Set<IndexSlot> = []
    /// Up to this commit nobody needs the log.
    var trimTo: UInt64 = 0
    /// Whether it holds nothing up to `trimTo`.
    var isTrimmed = false

    static let pieceBytes = 60 << 10
    /// Bytes of a piece that takes no page of its own: those of a larger one must lie one behind
    /// the other, which few may where the map has little room left.
    static let smallPieceBytes = 1800
    /// With so many new pages, pieces are large.
    static let plentyOfNewPages = 2048
    /// Pieces that one transaction trims.
    static let trimmedPieces = 64

    init() {}

    /// The log that these runs need.
    init(of runs: [RunRecord]) {
        since = runs.compactMap(\.logFrom).min()
        note(runs)
    }

    /// Fits to the runs that can go on.
    mutating func note(_ runs: [RunRecord]) {
        let names = Set(runs.flatMap(\.indexes))
        wants = []
        if since != nil {
            for (slot, index) in VolumeCore.indexes.enumerated() where names.contains(index.name) {
                wants.insert(IndexSlot(slot))
                wants.formUnion(index.summary?.sources ?? [])
            }
        }
        let needed = runs.compactMap(\.logFrom).min() ?? since ?? .max
        // What is trimmed is not in the log: nobody's position may lie before it.
        if let since, needed > since { self.since = needed }
        if needed > trimTo {
            trimTo = needed
            isTrimmed = false
        }
    }

    /// - Returns: nil where the bytes are no key.
    static func position(_ key: RawSpan) -> LogPosition? {
        guard key.byteCount == 12 else { return nil }
        return LogPosition(
            commit: key.integer(at: 0), ordinal: Int(key.integer(at: 8, as: UInt32.self)))
    }

    static func decode(
        _ key: RawSpan, _ value: RawSpan, into deltas: inout DeltaBatch
    ) throws(RecordDamage) -> LogPosition {
        guard let place = position(key) else { throw .length }
        guard deltas.decode(try value.verified(key: key)),
            place.ordinal + deltas.count <= SequenceNumber.maximumOrdinal
        else { throw .field("deltas") }
        return place
    }

    static func key(_ position: LogPosition) -> FixedBytes<12> {
        var key = FixedBytes<12>()
        key.store(position.commit, at: 0)
        key.store(UInt32(position.ordinal), at: 8)
        return key
    }
}

extension Operations {
    /// From the next commit on deltas are logged, for a run that has or will get a record.
    mutating func keepLog() {
        precondition(transaction.isOver, "the log begins between two groups")
        guard state.log.since == nil else { return }
        state.log.since = core.environment.statistics.lastTransaction
        state.log.note(state.runs)
        // Nobody needs what is left of an earlier log.
        state.log.trimTo = max(
            state.log.trimTo == .max ? 0 : state.log.trimTo, state.log.since ?? 0)
        state.log.isTrimmed = false
        committed = state
        noteHooks()
    }

    /// Logs the deltas of the transaction, and trims.
    mutating func logDeltas() throws(LMDBError) {
        if state.log.since != nil, !hasRoomForLog(operations: 0) {
            try giveUp("the metadata has little room left") { _ in true }
        }
        if state.log.since != nil, deltas.count > 0 {
            do { try appendDeltas() } catch let error as LMDBError { throw error } catch {
                preconditionFailure("appending throws errors of LMDB alone")
            }
        }
        if !state.log.isTrimmed { try trimLog(HookLog.trimmedPieces) }
        try boundLog()
    }

    private mutating func appendDeltas() throws {
        let commit = transaction.commit, table = core.tables.hookLog
        let hasRuns = newPages >= HookLog.plentyOfNewPages
        let limit = hasRuns ? HookLog.pieceBytes : HookLog.smallPieceBytes
        try deltas.encode(limit: limit) { ordinal, bytes in
            let key = HookLog.key(LogPosition(commit: commit, ordinal: ordinal))
            let sum = CRC32C.checksum(key.span, bytes)
            try transaction.append(table, key.span, size: bytes.byteCount + checksumSize) {
                $0.append(bytes)
                $0.append(sum)
            }
        }
    }

    /// Deletes up to `limit` pieces that nobody needs.
    mutating func trimLog(_ limit: Int) throws(LMDBError) {
        let end = state.log.trimTo, table = core.tables.hookLog
        do {
            let isTrimmed = try transaction.withCursor(table) { cursor -> Bool in
                for _ in 0..<limit {
                    guard try cursor.first(), cursor.key.byteCount >= 8,
                        cursor.key.integer(at: 0, as: UInt64.self) <= end
                    else { return true }
                    try cursor.delete()
                }
                return false
            }
            state.log.isTrimmed = isTrimmed
        } catch let error as LMDBError { throw error } catch {
            preconditionFailure("a cursor throws errors of LMDB alone")
        }
    }

    /// Where the log is beyond its bound, and nothing is left to be trimmed, the run that needs
    /// most of it loses its position.
    private mutating func boundLog() throws(LMDBError) {
        guard state.log.since != nil, state.log.isTrimmed else { return }
        let size = try transaction.statistics(core.tables.hookLog)
        guard size.pages * core.environment.statistics.pageSize > core.hookLogBytes else { return }
        let lowest = state.runs.compactMap(\.logFrom).min()
        try giveUp("the hook log has grown to its bound") { $0.logFrom == lowest }
    }

    /// Whether the log leaves writers what they could take without it, so many operations
    /// later. Once growing operations are refused for want of room, it is too late to ask.
    func hasRoomForLog(operations: Int) -> Bool {
        let wanted = 2 * deltas.byteCount / core.environment.statistics.pageSize
        let later = operations * GroupLimits.pagesPerOperation
        return hasRoom(beside: GroupLimits.logReservePages + wanted + later)
    }

    /// The positions of runs are discarded: their part of the log is trimmed.
    private mutating func giveUp(
        _ reason: String, where isMeant: (RunRecord) -> Bool
    ) throws(LMDBError) {
        for place in state.runs.indices
        where state.runs[place].logFrom != nil && isMeant(state.runs[place]) {
            core.logger.info(
                "a run's position is discarded: \(reason)",
                metadata: ["path": "\(core.path)", "run": "\(state.runs[place].number)"])
            state.runs[place].logFrom = nil
            try put(state.runs[place])
        }
        if state.runs.allSatisfy({ $0.logFrom == nil }) { state.log.since = nil }
        state.log.note(state.runs)
        noteHooks()
    }
}

extension VolumeSnapshot {
    public func logged(
        from position: LogPosition, limit: Int,
        _ body: (LogPosition, borrowing DeltaBatch) throws -> Void
    ) throws -> LogPosition? {
        var cursor = try transaction.cursor(core.tables.hookLog)
        let start = HookLog.key(position)
        var isThere = try cursor.seek(start.span)
        var deltas = DeltaBatch(), left = limit
        while isThere, left > 0 {
            let place = try Self.piece(cursor, into: &deltas)
            try body(place, deltas)
            left -= max(1, deltas.count)
            isThere = try cursor.next()
        }
        guard isThere else { return nil }
        guard let next = HookLog.position(cursor.key) else {
            throw VolumeError.damaged(table: TableName.hookLog, object: "a key", .length)
        }
        return next
    }

    private static func piece(
        _ cursor: borrowing Cursor, into deltas: inout DeltaBatch
    ) throws -> LogPosition {
        do throws(RecordDamage) {
            return try HookLog.decode(cursor.key, cursor.value, into: &deltas)
        } catch {
            let commit = HookLog.position(cursor.key)?.commit ?? 0
            throw VolumeError.damaged(
                table: TableName.hookLog, object: "the deltas of commit \(commit)", error)
        }
    }
}
