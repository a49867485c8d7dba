// What the tree in memory keeps of runs: their records and the hook log, both part of the
// state, so that each transaction changes them with everything else or not at all. The same
// as in a volume (Sources/Volume/Engine/HookLog.swift, Runs.swift), with the log in pieces so
// small that a transaction of a scenario fills several.

internal import Bytes
internal import Inspection
internal import Tidemark

/// Some deltas of one commit.
final class MemoryLogPiece: Sendable {
    let position: LogPosition
    let bytes: [UInt8]
    /// Of the deltas, not of the commit.
    let hash: UInt64

    init(_ position: LogPosition, _ bytes: [UInt8]) {
        self.position = position
        self.bytes = bytes
        var hash = StateHash(7)
        hash.add(UInt64(position.ordinal))
        hash.add(bytes)
        self.hash = hash.value
    }
}

/// The hook log of the tree in memory.
struct MemoryLog {
    static let pieceBytes = 48

    /// It is complete for the commits after this one; nil: nothing is logged.
    var since: UInt64?
    /// Whether the deltas of each index are logged, by slot.
    var wants = [false, false, false, false]
    var pieces: [MemoryLogPiece] = []

    var byteCount: Int { pieces.reduce(0) { $0 + $1.bytes.count } }

    /// Fits to the runs that can go on.
    mutating func note(_ runs: [RunRecord], _ indexes: [any SecondaryIndex]) {
        let live = runs.filter(\.state.isResumable)
        let names = Set(live.flatMap(\.indexes))
        if live.isEmpty { since = nil }
        for slot in wants.indices { wants[slot] = false }
        guard since != nil else { return }
        for (slot, index) in indexes.enumerated() where names.contains(index.name) {
            wants[slot] = true
            for source in index.summary?.sources ?? [] { wants[source.rawValue] = true }
        }
    }

    /// Gives up what none of the runs needs.
    mutating func trim(_ runs: [RunRecord]) {
        let live = runs.filter(\.state.isResumable)
        let needed = live.compactMap(\.logFrom).min() ?? since ?? .max
        // What is trimmed is not in the log: nobody's position may lie before it.
        if let since, needed > since { self.since = needed }
        pieces.removeAll { $0.position.commit <= needed }
    }
}

extension MemoryOperations {
    /// The deltas of the transaction, which is commit `state.commit`, go into the log. It is
    /// trimmed, and where it is beyond its bound the run that needs most of it gives its
    /// position up.
    mutating func logDeltas() {
        if state.log.since != nil, deltas.count > 0 {
            let commit = state.commit
            var pieces: [MemoryLogPiece] = []
            deltas.encode(limit: MemoryLog.pieceBytes) { ordinal, bytes in
                let position = LogPosition(commit: commit, ordinal: ordinal)
                pieces.append(MemoryLogPiece(position, bytes.array))
            }
            state.log.pieces += pieces
        }
        if !mutants.have(.trimsTooEarly) {
            state.log.trim(state.runs)
        } else if !state.log.pieces.isEmpty {
            state.log.pieces.removeAll { $0.position.commit < state.commit }
        }
        boundLog()
    }

    private mutating func boundLog() {
        guard state.log.since != nil, state.log.byteCount > logBytes else { return }
        let lowest = state.runs.compactMap(\.logFrom).min()
        for place in state.runs.indices where state.runs[place].logFrom == lowest {
            state.runs[place].logFrom = nil
        }
        if state.runs.allSatisfy({ $0.logFrom == nil }) { state.log.since = nil }
        state.log.note(state.runs, indexes)
        noteWants()
    }

    /// Stores the record of a run, in place of the one of the same number.
    mutating func store(_ run: RunRecord) {
        var run = run
        if let from = run.logFrom, state.log.since.map({ $0 > from }) ?? true { run.logFrom = nil }
        hasChanged = true
        state.runs.removeAll { $0.number == run.number }
        state.runs.append(run)
        state.runs.sort { $0.number < $1.number }
        state.log.note(state.runs, indexes)
        noteWants()
    }

    /// From the next commit on deltas are logged. No matter of a transaction.
    mutating func keepLog() {
        guard state.log.since == nil else { return }
        state.log.since = state.commit
        // A run that is yet to get its record is not among them.
        if state.runs.contains(where: \.state.isResumable) {
            state.log.note(state.runs, indexes)
        }
        state.log.trim(state.runs)
        noteWants()
    }

    /// Runs that were at work when the process came down have crashed.
    mutating func crashRuns() {
        for place in state.runs.indices
        where state.runs[place].state.isWorking && !mutants.have(.crashNotNoticed) {
            state.runs[place].reason =
                "its process ended while it was \(state.runs[place].state.rawValue)"
            state.runs[place].state = .crashed
            state.runs[place].ownerCommit = state.commit
        }
        state.log.since = state.runs.filter(\.state.isResumable).compactMap(\.logFrom).min()
        state.log.note(state.runs, indexes)
        if mutants.have(.logBeginsWithResume) {
            for slot in state.log.wants.indices { state.log.wants[slot] = false }
        }
        noteWants()
    }

    /// Whether a run can go on with what it was loading.
    func isResumable(_ load: MemoryLoad, of slot: IndexSlot) -> Bool {
        guard load.invalidity == nil else { return false }
        return state.runs.contains {
            $0.state.isResumable && $0.logFrom != nil
                && $0.loading?.index == indexes[slot.rawValue].name
                && $0.loading?.generation == load.generation.number
        }
    }

    /// Whether the deltas of each index are collected: for a hook, or for the log.
    mutating func noteWants() {
        for slot in wants.indices { wants[slot] = hookWants[slot] || state.log.wants[slot] }
    }
}

extension MemoryState {
    /// What the log and the records of runs add to what a state is. Numbers of commits count by
    /// their order alone.
    func describeRuns(into digest: inout StateDigest) {
        for run in runs where run.state.isResumable {
            digest.add(Int(run.number))
            // A run that has crashed goes on in the same way wherever it was.
            digest.add(run.state.isWorking || run.state == .crashed ? 1 : 2)
            digest.add(commit: run.logFrom ?? .max)
            digest.add(run.loading.map { Int($0.generation) } ?? 0)
            for result in run.results {
                digest.add(result.isMended ? 1 : 0)
                digest.add(result.found.missing)
                digest.add(result.found.stray)
                digest.add(result.found.wrong)
            }
        }
        digest.add(commit: log.since ?? .max)
        for piece in log.pieces {
            digest.add(commit: piece.position.commit)
            digest.add(piece.hash)
        }
    }
}

extension MemorySnapshot {
    func logged(
        from position: LogPosition, limit: Int,
        _ body: (LogPosition, borrowing DeltaBatch) throws -> Void
    ) throws -> LogPosition? {
        var deltas = DeltaBatch(), left = limit
        for piece in state.log.pieces {
            let place = piece.position
            guard (place.commit, place.ordinal) >= (position.commit, position.ordinal) else {
                continue
            }
            if left <= 0 { return place }
            let bytes = piece.bytes
            guard deltas.decode(bytes.rawSpan) else {
                preconditionFailure("a piece of the log is what was encoded")
            }
            try body(place, deltas)
            left -= max(1, deltas.count)
        }
        return nil
    }
}
