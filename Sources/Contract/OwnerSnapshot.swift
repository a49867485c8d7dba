// An exact owner at one commit: what a run reads.

public import Bytes
public import Entries

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
    func windowEnd(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes?

    /// Reads the primary records of `range` in key order, derives the entries of the
    /// indexes that `sink` wants and emits them. Stops after `limit` records.
    /// - Returns: the key to go on from, or nil when the range is done.
    func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes?

    /// Emits every entry of `index` that belongs to `indexRange`, where that can be done without a
    /// pass over all primary records, and it is certain that none is missing.
    /// - Returns: false, and nothing is emitted, where it can't.
    func readDirectly(
        _ indexRange: Scope.IndexRange, of index: IndexSlot, into sink: WindowSink
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

    /// What contradicts what in all that this owner stores, judged at once and by no index: what
    /// no comparison and no audit tells of. Called at the end of a run about all indexes, with no
    /// lock held.
    /// - Parameter goOn: called now and then; throws where the run is to end.
    func storedDefects(_ goOn: () throws -> Void) throws -> PrimaryDefects

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
    public func audit(of index: IndexSlot, over range: KeyRange) throws -> (any EntryAudit)? { nil }

    public func storedDefects(_ goOn: () throws -> Void) throws -> PrimaryDefects {
        PrimaryDefects()
    }

    /// An owner without generations is not asked.
    public func room(
        forEntries entries: Int, payload: Int, of index: IndexSlot
    ) throws -> (available: Int, needed: Int) { (0, .max) }

    public func readDirectly(
        _ indexRange: Scope.IndexRange, of index: IndexSlot, into sink: WindowSink
    ) throws -> Bool { false }

    public func logged(
        from position: LogPosition, limit: Int,
        _ body: (LogPosition, borrowing DeltaBatch) throws -> Void
    ) throws -> LogPosition? { nil }
}

extension OwnerSnapshot {
    /// The end of a window for all indexes.
    package func windowEnd(after key: KeyBytes, records: Int) throws -> KeyBytes? {
        try windowEnd(after: key, records: records) { _ in true }
    }
}
