// What an exact owner can change at a commit boundary for a run, in parts that it offers or not.

public import Bytes
public import Entries

/// Generations: complete ordered tables of the entries of an index. Exactly one is active, and the
/// owner's own transactions keep it up. At most one that was active is the *previous* one, to which
/// a rollback goes back; it is maintained in the same way.
public protocol Generations {
    /// Makes an empty generation that is not served.
    func createGeneration(of index: IndexSlot) throws -> UInt32

    /// Appends the entries of `batch`, which are sorted and above all that the generation
    /// holds, and moves its load cursor to `end` (nil: beyond every key). From this commit
    /// on the owner's transactions keep up what lies below the load cursor. If one of them
    /// finds an addition there already, or a removal missing, the generation is invalid, and
    /// so is every further use of it; the transaction itself succeeds.
    ///
    /// Of a summary the entries of `batch` are corrections, an empty value being none: the
    /// active generation's entries from the load cursor to `end` are appended, each with its
    /// correction added, and so is a correction that finds no entry.
    func append(
        _ batch: EntryBatch, to generation: UInt32, of index: IndexSlot, end: KeyBytes?
    ) throws

    /// The final validation: what is wrong with the loaded generation, or nil.
    func validate(generation: UInt32, of index: IndexSlot) throws -> String?

    /// Makes `generation` the active one, in one transaction. The one before it becomes the
    /// previous one where `keepsOld`, and else is to be reaped; one that was the previous one
    /// before is to be reaped either way. Work that does not depend on the size of the index.
    ///
    /// A previous generation is maintained by every transaction just as the active one is, whatever
    /// is wrong with it: an addition replaces what is there, a removal need not find anything.
    /// So it differs from the right index where it did when it was replaced, and nowhere else.
    func activate(generation: UInt32, of index: IndexSlot, keepsOld: Bool) throws

    /// The number of the previous generation of `index`, if there is one.
    func previousGeneration(of index: IndexSlot) throws -> UInt32?

    /// The previous generation of each of `indexes` becomes the active one, and the active one the
    /// previous one, in one transaction that changes no primary record. Work that does not depend
    /// on the size of an index.
    /// - Throws: where one of them has none; nothing is changed then.
    func rollBack(_ indexes: [IndexSlot]) throws

    /// Discards the previous generations of `indexes`, in one transaction: they are to be reaped.
    /// Where there is none nothing happens.
    func forgetPrevious(of indexes: [IndexSlot]) throws

    /// Discards a generation that was never active: it is to be reaped.
    func discard(generation: UInt32, of index: IndexSlot) throws

    /// Discards a generation of `index` that is being loaded by a run that has ended and could
    /// not discard it itself. Nothing happens where there is none.
    func discardUnfinished(of index: IndexSlot) throws

    /// Makes what the owner keeps of counts (of active generations, of free room) what `snapshot`,
    /// whose `storedDefects` has found them wrong, has counted. Changes since then are in both.
    /// - Returns: the kinds of defects that this mends.
    func settleCounts(of snapshot: any OwnerSnapshot) throws -> [String]

    /// Deletes up to `limit` entries of a generation that is to be reaped.
    /// - Returns: false when none is left to be reaped, of any index.
    func reap(limit: Int) throws -> Bool

    /// The generation of `index` that is being loaded, with its load cursor (nil: beyond every
    /// key), where it can still be used.
    func loading(of index: IndexSlot) -> (generation: UInt32, cursor: KeyBytes?)?
}

/// Changes of single entries of the live index.
public protocol Amending {
    /// Makes the active generation hold exactly `entry.value` for each key, or nothing
    /// where the value is nil, in one transaction.
    /// - Returns: how many entries were not so before.
    func amend(_ index: IndexSlot, _ entries: [(key: [UInt8], value: [UInt8]?)]) throws -> Int
}

/// Corrections of counters, which are the entries of a summary.
public protocol Correcting {
    /// Adds each correction to what is there, in one transaction; a counter that can't be decoded
    /// counts as zero.
    /// - Returns: how many counters were changed.
    func correct(
        _ index: IndexSlot, _ corrections: [(key: [UInt8], value: [UInt8])]
    ) throws -> Int
}

/// What an owner keeps of runs, so that a run goes on after a crash or a stop: its record, and the
/// deltas of each commit since its position, the hook log (`OwnerSnapshot.logged`).
public protocol RunJournal {
    /// A number that no run has.
    func newRunNumber() throws -> UInt64

    /// Every run that the owner remembers, ascending.
    func runs() throws -> [RunRecord]

    /// Stores the record, in place of the one of the same number. As long as any record is one
    /// that can go on and has a `logFrom`, each transaction writes its deltas of those runs'
    /// indexes into the hook log, with itself or not at all. Where the log does not reach back
    /// to `logFrom`, the record is stored without it.
    func store(_ run: RunRecord) throws

    /// From the next commit on deltas are logged, even if the log had been discarded.
    func keepLog() throws
}

extension Generations {
    public func settleCounts(of snapshot: any OwnerSnapshot) throws -> [String] { [] }
}
