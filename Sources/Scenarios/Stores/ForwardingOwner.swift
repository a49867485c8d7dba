// An owner in front of another, through which every call goes unchanged. Who wants to see some of
// a run's calls, or to let them fail, overrides those: the one home of the forwarding, so that
// nothing that an owner offers is lost on the way.

internal import Bytes
public import Tidemark

/// What is wrapped in it must be as safe between threads as an owner is.
public class ForwardingOwner: ExactOwner, @unchecked Sendable {
    let inner: any ExactOwner

    init(_ inner: any ExactOwner) { self.inner = inner }

    public var label: String { inner.label }
    public var indexes: [any SecondaryIndex] { inner.indexes }

    public func atCommitBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R { try inner.atCommitBoundary(body) }

    public func snapshot() throws -> any OwnerSnapshot { try inner.snapshot() }
    public func makeDurable() throws { try inner.makeDurable() }
    public var durableCommit: UInt64 { inner.durableCommit }
    public func askForDurability() { inner.askForDurability() }
}

/// Good as long as the boundary that it wraps, of which it offers the same parts.
class ForwardingBoundary: CommitBoundary, Generations, Amending, Correcting, RunJournal {
    let inner: any CommitBoundary

    init(_ inner: any CommitBoundary) { self.inner = inner }

    var lastCommit: UInt64 { inner.lastCommit }
    var hooks: [any CommitHook] { inner.hooks }
    func attach(_ hook: any CommitHook) { inner.attach(hook) }
    func detach(_ hook: any CommitHook) { inner.detach(hook) }
    func snapshot() throws -> any OwnerSnapshot { try inner.snapshot() }

    var generations: (any Generations)? { inner.generations == nil ? nil : self }
    var amending: (any Amending)? { inner.amending == nil ? nil : self }
    var counters: (any Correcting)? { inner.counters == nil ? nil : self }
    var journal: (any RunJournal)? { inner.journal == nil ? nil : self }

    func createGeneration(of index: IndexSlot) throws -> UInt32 {
        try inner.requireGenerations().createGeneration(of: index)
    }

    func append(
        _ batch: EntryBatch, to generation: UInt32, of index: IndexSlot, end: KeyBytes?
    ) throws { try inner.requireGenerations().append(batch, to: generation, of: index, end: end) }

    func validate(generation: UInt32, of index: IndexSlot) throws -> String? {
        try inner.requireGenerations().validate(generation: generation, of: index)
    }

    func activate(generation: UInt32, of index: IndexSlot, keepsOld: Bool) throws {
        try inner.requireGenerations().activate(
            generation: generation, of: index, keepsOld: keepsOld)
    }

    func previousGeneration(of index: IndexSlot) throws -> UInt32? {
        try inner.requireGenerations().previousGeneration(of: index)
    }

    func rollBack(_ indexes: [IndexSlot]) throws {
        try inner.requireGenerations().rollBack(indexes)
    }
    func forgetPrevious(of indexes: [IndexSlot]) throws {
        try inner.requireGenerations().forgetPrevious(of: indexes)
    }

    func discard(generation: UInt32, of index: IndexSlot) throws {
        try inner.requireGenerations().discard(generation: generation, of: index)
    }

    func discardUnfinished(of index: IndexSlot) throws {
        try inner.requireGenerations().discardUnfinished(of: index)
    }

    func amend(_ index: IndexSlot, _ entries: [(key: [UInt8], value: [UInt8]?)]) throws -> Int {
        try inner.requireAmending().amend(index, entries)
    }

    func correct(
        _ index: IndexSlot, _ corrections: [(key: [UInt8], value: [UInt8])]
    ) throws -> Int { try inner.requireCounters().correct(index, corrections) }

    func reap(limit: Int) throws -> Bool { try inner.requireGenerations().reap(limit: limit) }
    func newRunNumber() throws -> UInt64 { try inner.requireJournal().newRunNumber() }
    func runs() throws -> [RunRecord] { try inner.requireJournal().runs() }
    func store(_ run: RunRecord) throws { try inner.requireJournal().store(run) }
    func keepLog() throws { try inner.requireJournal().keepLog() }

    func loading(of index: IndexSlot) -> (generation: UInt32, cursor: KeyBytes?)? {
        inner.generations?.loading(of: index)
    }
}

class ForwardingSnapshot: OwnerSnapshot {
    let inner: any OwnerSnapshot

    init(_ inner: any OwnerSnapshot) { self.inner = inner }

    var commit: UInt64 { inner.commit }

    func windowEnd(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? { try inner.windowEnd(after: key, records: records, wants: wants) }

    func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
        try inner.read(range, limit: limit, into: sink)
    }

    func readDirectly(
        _ range: Scope.IndexRange, of index: IndexSlot, into sink: WindowSink
    ) throws -> Bool { try inner.readDirectly(range, of: index, into: sink) }

    func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes? { try inner.entries(of: index, from: key, limit: limit, into: batch) }

    func logged(
        from position: LogPosition, limit: Int,
        _ body: (LogPosition, borrowing DeltaBatch) throws -> Void
    ) throws -> LogPosition? { try inner.logged(from: position, limit: limit, body) }

    func audit(of index: IndexSlot, over range: KeyRange) throws -> (any EntryAudit)? {
        try inner.audit(of: index, over: range)
    }

    func storedDefects(_ goOn: () throws -> Void) throws -> PrimaryDefects {
        try inner.storedDefects(goOn)
    }

    func room(
        forEntries entries: Int, payload: Int, of index: IndexSlot
    ) throws -> (available: Int, needed: Int) {
        try inner.room(forEntries: entries, payload: payload, of: index)
    }
}

extension OwnerSnapshot {
    /// The key of the record that follows `records` others from `key` on, found by reading them.
    /// Records that only a summary is derived from count where that is wanted, all others
    /// always: so a window of a tree in memory and of a volume ends at the same record.
    func key(
        behind records: Int, from key: KeyBytes, of indexes: [any SecondaryIndex],
        wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? {
        let batches = indexes.enumerated().map { place, index in
            index.summary == nil || wants(IndexSlot(place)) ? EntryBatch() : nil
        }
        let sink = WindowSink(batches: batches, sequence: .none)
        return try read(KeyRange(lower: key, upper: nil), limit: records, into: sink)
    }
}
