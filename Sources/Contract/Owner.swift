// The owner: whoever holds the primary records and the live indexes. These protocols are
// all that the framework knows of it; Docs/adopting.md shows how a store fulfils them.
//
// What an owner promises:
// - Its commits are numbered 1, 2, 3… A snapshot sees exactly the commits up to its number.
// - After a commit has become visible to snapshots, and before anything runs at the next
//   commit boundary, each attached hook is told of it, once, in the order of the commits.
//   Never earlier: a transaction may still abort (I2).
// - What a hook does, or fails to do, changes nothing for the owner's operations (I3).
// - Each generation of an index is a complete ordered table of entries. Exactly one
//   is active, and the owner's own transactions keep it up. At most one that was active is
//   kept for undoing, and kept up in the same way.

public import Bytes
public import Entries

/// What every owner has, whatever else it can do.
public protocol IndexedOwner: AnyObject, Sendable {
    /// What reports call it.
    var label: String { get }

    /// The indexes, always in this order: an `IndexSlot` is a position in it.
    var indexes: [any SecondaryIndex] { get }
}

/// The owner of primary records and live indexes, as one that can be locked.
public protocol Owner: IndexedOwner {
    /// Runs `body` at a commit boundary and waits for it: no transaction is under way, and
    /// every commit that a snapshot could see has been reported to the hooks. This is the
    /// commit lock; `body` does a bounded amount of work (I6).
    func atCommitBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R

    /// A snapshot of the last commit or a newer one, taken without waiting for anybody.
    func snapshot() throws -> any OwnerSnapshot

    /// Returns when everything committed before the call survives a failure of the system: a
    /// repair is not reported before it is there to stay.
    func makeDurable() throws

    /// Whether the owner keeps records of runs and a hook log, so that a run can go on after
    /// a crash or a stop. What is needed for that has defaults for owners that don't.
    var keepsRuns: Bool { get }

    /// The last commit that survives a failure of the system.
    var durableCommit: UInt64 { get }

    /// Asks for a new durable commit, and does not wait for it.
    func askForDurability()
}

/// What may be done while the commit lock is held. Each change is one transaction of the
/// owner, committed and reported to the hooks before the call returns.
public protocol CommitBoundary {
    /// The number of the last commit.
    var lastCommit: UInt64 { get }

    /// The hooks that are attached.
    var hooks: [any CommitHook] { get }

    /// From the next commit on, `hook` is told of each.
    func attach(_ hook: any CommitHook)

    /// `hook` is told of no further commit.
    func detach(_ hook: any CommitHook)

    /// A snapshot of exactly `lastCommit`.
    func snapshot() throws -> any OwnerSnapshot

    /// Makes an empty generation that is not served.
    func createGeneration(of index: IndexSlot) throws -> UInt32

    /// Appends the entries of `stretch`, which are sorted and above all that the generation
    /// holds, and moves its load cursor to `end` (nil: beyond every key). From this commit
    /// on the owner's transactions keep up what lies below the load cursor. If one of them
    /// finds an addition there already, or a removal missing, the generation is spoilt, and
    /// so is every further use of it; the transaction itself succeeds.
    ///
    /// Of a summary the entries of `stretch` are corrections, an empty value being none: the
    /// active generation's entries from the load cursor to `end` are appended, each with its
    /// correction added, and so is a correction that finds no entry.
    func append(
        _ stretch: EntryBatch, to generation: UInt32, of index: IndexSlot, end: KeyBytes?
    ) throws

    /// The final validation: what is wrong with the loaded generation, or nil.
    func validate(generation: UInt32, of index: IndexSlot) throws -> String?

    /// Makes `generation` the active one, in one transaction. The one before it is kept where
    /// `keepsOld`, and else to be reaped; one that was kept before is to be reaped either way.
    /// Work that does not depend on the size of the index.
    ///
    /// A kept generation is kept up by every transaction just as the active one is, whatever
    /// is wrong with it: an addition replaces what is there, a removal need not find anything.
    /// So it differs from the right index where it did when it was replaced, and nowhere else.
    func activate(generation: UInt32, of index: IndexSlot, keepsOld: Bool) throws

    /// The number of the generation of `index` that is kept, if any.
    func keptGeneration(of index: IndexSlot) throws -> UInt32?

    /// The kept generation of each of `indexes` becomes the active one, and the active one the
    /// kept one, in one transaction that changes no primary record. Work that does not depend
    /// on the size of an index.
    /// - Throws: where one of them has none; nothing is changed then.
    func rollBack(_ indexes: [IndexSlot]) throws

    /// Gives up the kept generations of `indexes`, in one transaction: they are to be reaped.
    /// Where there is none nothing happens.
    func forgetKept(of indexes: [IndexSlot]) throws

    /// Gives up a generation that was never active: it is to be reaped.
    func discard(generation: UInt32, of index: IndexSlot) throws

    /// Gives up a generation of `index` that is being loaded by a run that has ended and could
    /// not give it up itself. Nothing happens where there is none.
    func discardUnfinished(of index: IndexSlot) throws

    /// Makes the active generation hold exactly `entry.value` for each key, or nothing
    /// where the value is nil, in one transaction. Of a summary the values are corrections: each
    /// is added to what is there, and what can't be decoded counts as zero.
    /// - Returns: how many entries were not so before.
    func amend(_ index: IndexSlot, _ entries: [(key: [UInt8], value: [UInt8]?)]) throws -> Int

    /// Deletes up to `limit` entries of a generation that is to be reaped.
    /// - Returns: false when none is left to be reaped, of any index.
    func reap(limit: Int) throws -> Bool

    // MARK: Runs that outlive their process

    /// A number that no run has.
    func newRunNumber() throws -> UInt64

    /// Every run that the owner remembers, ascending.
    func runs() throws -> [RunRecord]

    /// Stores the record, in place of the one of the same number. As long as any record is one
    /// that can go on and has a `logFrom`, each transaction writes its deltas of those runs'
    /// indexes into the hook log, with itself or not at all. Where the log does not reach back
    /// to `logFrom`, the record is stored without it.
    func store(_ run: RunRecord) throws

    /// From the next commit on deltas are logged, even if the log had been given up.
    func keepLog() throws

    /// The generation of `index` that is being loaded, with its load cursor (nil: beyond every
    /// key), where it can still be used.
    func loading(of index: IndexSlot) -> (generation: UInt32, cursor: KeyBytes?)?
}

extension Owner {
    public var keepsRuns: Bool { false }
    public var durableCommit: UInt64 { .max }
    public func askForDurability() {}
}

extension CommitBoundary {
    public func newRunNumber() throws -> UInt64 { 0 }
    public func runs() throws -> [RunRecord] { [] }
    public func store(_ run: RunRecord) throws {}
    public func keepLog() throws {}
    public func loading(of index: IndexSlot) -> (generation: UInt32, cursor: KeyBytes?)? { nil }
}

/// A place in a hook log: deltas from an ordinal of a commit on.
public struct LogPosition: Hashable, Sendable {
    public var commit: UInt64
    public var ordinal: Int

    public init(commit: UInt64, ordinal: Int) {
        self.commit = commit
        self.ordinal = ordinal
    }
}

/// The owner at one commit. Used by one thread at a time.
public protocol OwnerSnapshot: AnyObject {
    var commit: UInt64 { get }

    /// The end of a window that begins at `key` and holds about `records` primary records,
    /// never many more, however large a single object is.
    /// - Parameter wants: whether an index is wanted: records that no wanted index is derived
    ///   from need not be counted.
    /// - Returns: nil where no record follows beyond such a window: it is the last.
    func boundary(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes?

    /// Reads the primary records of `range` in key order, derives the entries of the
    /// indexes that `sink` wants and emits them. Stops after `limit` records.
    /// - Returns: the key to go on from, or nil when the range is done.
    func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes?

    /// Emits every entry of `index` that belongs to `stretch`, where that can be done without a
    /// pass over all primary records, and it is certain that none is missing.
    /// - Returns: false, and nothing is emitted, where it can't.
    func readDirectly(
        _ stretch: Scope.Stretch, of index: IndexSlot, into sink: WindowSink
    ) throws -> Bool

    /// Appends up to `limit` entries of the active generation, from `key` on in key order,
    /// to `batch`; an entry that can't be decoded is marked as damaged.
    /// - Returns: the key to go on from, or nil at the end.
    func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes?

    /// The audit of the part `range` of a comparison of the index, of this commit; nil where the
    /// owner judges nothing by the order of this index. Where it does, `range` begins and ends at
    /// dividers of the index.
    func audit(of index: IndexSlot, over range: KeyRange) throws -> (any EntryAudit)?

    /// Bytes that the owner can still take for a new generation, and the bytes that
    /// `entries` entries of `payload` bytes in all would need there.
    func room(forEntries entries: Int, payload: Int, of index: IndexSlot) throws
        -> (available: Int, needed: Int)

    /// Hands `body` what the hook log holds from `position` on, one piece for each call, up
    /// to `limit` deltas or a little more.
    /// - Returns: where to go on, or nil at the log's end.
    func logged(
        from position: LogPosition, limit: Int,
        _ body: (LogPosition, borrowing DeltaBatch) throws -> Void
    ) throws -> LogPosition?
}

extension OwnerSnapshot {
    public func readDirectly(
        _ stretch: Scope.Stretch, of index: IndexSlot, into sink: WindowSink
    ) throws -> Bool { false }

    public func logged(
        from position: LogPosition, limit: Int,
        _ body: (LogPosition, borrowing DeltaBatch) throws -> Void
    ) throws -> LogPosition? { nil }
}

extension OwnerSnapshot {
    /// The end of a window for all indexes.
    package func boundary(after key: KeyBytes, records: Int) throws -> KeyBytes? {
        try boundary(after: key, records: records) { _ in true }
    }
}

/// What an owner tells of its commits. The framework implements it, once for each run.
public protocol CommitHook: AnyObject, Sendable {
    /// Whether the run wants the deltas of this index.
    func wants(_ index: IndexSlot) -> Bool

    /// Whether the run is about this index, and not only reads it for another's sake.
    func isAbout(_ index: IndexSlot) -> Bool

    /// The commit is visible. `deltas` are its changes in order; they are copied.
    func committed(_ commit: UInt64, deltas: borrowing DeltaBatch)

    /// Called before a transaction begins, with no lock held: waits up to `seconds` while the
    /// queue is full.
    /// - Returns: whether the transaction may begin. Else call again, after letting commit
    ///   boundaries run: the one who would empty the queue may be waiting for one. After a
    ///   limit in all the run gives way, and the answer is yes.
    func admit(within seconds: Double) -> Bool
}

extension CommitHook {
    public func isAbout(_ index: IndexSlot) -> Bool { wants(index) }
}
