// The stage: the store that a scenario is played on. Its transactions, crashes and failures
// happen when the player says so, and nothing else happens there.
//
// Two kinds: in memory, where a race costs microseconds and all orders can be tried, and a
// real volume on real LMDB files. Both serve the run the same seams: `Owner` and `SideStore`.

public import Bytes
public import Inspection
public import Tidemark

/// A store under the player's hand. Used by one thread.
public protocol Stage: AnyObject {
    /// The owner that runs are given: windows end exactly where they should, and the
    /// scenario's faults are in force.
    var indexed: any Owner { get }

    /// The same, of a store that can be locked.
    var owner: any ExactOwner { get }

    /// The scenario's faults.
    var faults: Faults { get }

    /// An empty side file for a run, by its number, with the scenario's faults in force.
    func makeSideStore(_ run: UInt64) throws -> any SideStore

    /// The side file of a run as of its checkpoint.
    /// - Throws: `SideFileError` where there is none, or none that can be gone on from.
    func openSideStore(_ run: UInt64) throws -> (store: any SideStore, checkpoint: Checkpoint)

    /// The side file of a run that is not at work is gone, or is damaged.
    func harmSideStore(_ run: UInt64, isLost: Bool) throws

    // MARK: Transactions. One at a time, of any writer: begin, commit, report.

    /// The transaction has begun. Until its report there is no commit boundary.
    func begin(_ transaction: Transaction) throws

    /// The transaction's operations are done, and visible to snapshots. No hook knows.
    /// - Throws: `StageError.refused` where an operation is impossible; the transaction then
    ///   has done nothing, and is over.
    func commit() throws

    /// The hooks are told. The transaction is over.
    func report() throws

    /// Changes the live index behind everybody's back.
    func damage(_ damage: Damage) throws

    /// The process dies, or the machine: then what was not durable is lost. The store is
    /// opened again; no hook is attached any more, and what runs had begun is to be reaped.
    func crash(isMachine: Bool) throws

    // MARK: Looking

    /// The first primary key beyond the records of `place`, as the store is now.
    func end(of place: Place) throws -> KeyBytes

    /// What the shadow of an index must hold, derived plainly from the primary records below
    /// `cursor` (nil: all), in key order.
    func expected(_ slot: IndexSlot, below cursor: KeyBytes?) throws -> [Entry]

    /// What the live index must hold, in key order: of a summary the fold of what is derived.
    func folded(_ slot: IndexSlot) throws -> [Entry]

    /// What a run is limited to, as the store is now.
    func scope(_ description: ScopeDescription) throws -> Scope

    /// The number of the active generation.
    func activeGeneration(_ slot: IndexSlot) throws -> UInt32

    /// The entries of the active generation, in key order; a damaged one has no value.
    func live(_ slot: IndexSlot) throws -> [(key: [UInt8], value: [UInt8]?)]

    /// The entries of a generation that is being loaded, in key order.
    func entries(_ slot: IndexSlot, generation: UInt32) throws -> [Entry]

    /// The numbers of generations that take up storage, the active one included.
    func generations(_ slot: IndexSlot) throws -> [UInt32]

    /// Inode numbers that the last committed transaction gave to new inodes, and that others
    /// had before. Empty where the stage does not know.
    var reusedInodes: [UInt64] { get }

    /// A digest of the contents as users see them: names, types, link counts, maps by
    /// logical offset; not where blocks lie or when something was changed.
    func digest() throws -> String

    /// The end: checks that can only be made on a closed store, in words what is wrong.
    func close() throws -> [String]
}

/// A stage whose states can be told apart, and that can start again: for the explorer.
public protocol ExplorableStage: Stage {
    /// As it was before the first transaction; nothing of what happened since is kept.
    func rewind()

    /// Equal for equal contents, whatever the commit numbers are.
    var fingerprint: UInt64 { get }

    /// Of what would be left after a crash now.
    func crashFingerprint(isMachine: Bool) -> UInt64

    /// What is kept of runs, which is no part of the fingerprint: records, hook log, and
    /// checkpoints.
    func describeRuns(into digest: inout StateDigest)

    /// What the fingerprint says nothing of: times, which count by their order only.
    func describe(into digest: inout StateDigest)

    /// The same of what would be left after a crash now.
    func describeRunsAfterCrash(isMachine: Bool, into digest: inout StateDigest)

    /// The generation of an index that is being loaded, if any.
    func loadingGeneration(_ slot: IndexSlot) -> UInt32?

    /// The next step begins.
    func beginStep()

    /// How many commits the last step has made one after the other, where it made several:
    /// the process can come down between them.
    var commitsInStep: Int { get }

    /// The process comes down behind the first `commits` commits of the last step.
    func crash(afterCommits commits: Int) throws

    /// The same of what a snapshot sees.
    func fingerprint(of snapshot: any OwnerSnapshot) -> UInt64
}

extension ExplorableStage {
    public func describeRuns(into digest: inout StateDigest) {}
    public func describe(into digest: inout StateDigest) {}
    public func describeRunsAfterCrash(isMachine: Bool, into digest: inout StateDigest) {}
}

/// Why the stage can't do what a scenario says: a mistake in the scenario.
public enum StageError: Error, CustomStringConvertible {
    case refused(String)
    public var description: String {
        switch self {
        case .refused(let why): why
        }
    }
}

extension Stage {
    public func folded(_ slot: IndexSlot) throws -> [Entry] { try expected(slot, below: nil) }

    public func scope(_ description: ScopeDescription) throws -> Scope {
        throw StageError.refused("a scope is one of a tree")
    }

    public func openSideStore(_ run: UInt64) throws -> (
        store: any SideStore, checkpoint: Checkpoint
    ) {
        throw SideFileError.lost(path: "of run \(run)")
    }

    public func harmSideStore(_ run: UInt64, isLost: Bool) throws {
        throw StageError.refused("this store keeps no runs")
    }

    public var reusedInodes: [UInt64] { [] }
}
