// The owner: whoever holds the primary records and the live indexes. These protocols are
// all that the framework knows of it; Docs/adopting.md shows how a store fulfils them.
//
// Owners differ in what they can give, so the contract is a few small protocols. `ExactOwner` is a
// store with a commit lock, whose snapshots are of exactly one commit and whose writers may be made
// to wait; `UnlockedOwner` is one that nobody can lock. What an exact owner can mend, and whether
// it keeps a journal of runs, are parts that its `CommitBoundary` offers or not: a run is planned
// from what is there.
//
// What an exact owner promises:
// - Its commits are numbered 1, 2, 3… A snapshot sees exactly the commits up to its number.
// - After a commit has become visible to snapshots, and before anything runs at the next
//   commit boundary, each attached hook is told of it, once, in the order of the commits.
//   Never earlier: a transaction may still abort (I2).
// - What a hook does, or fails to do, changes nothing for the owner's operations (I3).
//
// Numbers that break the order, or that don't fit into a sequence number (44 bits of commit, 20 of
// ordinal), end the run with a reason; they are not believed and don't end the process.

internal import Entries

/// What every owner has, whatever else it can do.
public protocol Owner: AnyObject, Sendable {
    /// What reports call it.
    var label: String { get }

    /// The indexes, always in this order: an `IndexSlot` is a position in it.
    var indexes: [any SecondaryIndex] { get }
}

/// An owner with a commit lock, snapshots of exactly one commit, and writers that may be made to
/// wait.
public protocol ExactOwner: Owner {
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

    /// The last commit that survives a failure of the system. Checkpoints of a run wait for it;
    /// an owner without a journal may leave it at its default, which is beyond every commit.
    var durableCommit: UInt64 { get }

    /// Asks for a new durable commit, and does not wait for it.
    func askForDurability()
}

extension ExactOwner {
    public var durableCommit: UInt64 { .max }
    public func askForDurability() {}
}
