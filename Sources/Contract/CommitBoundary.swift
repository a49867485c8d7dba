// What may be done while an exact owner's commit lock is held.
//
// The lock itself is all that a check needs. What a run can mend depends on the parts that the
// boundary offers beside it: `Generations`, `Amending`, `Correcting`, and `RunJournal`. Each change
// that a part makes is one transaction of the owner, committed and reported to the hooks, with the
// origin `boundary`, before the call returns.

internal import Entries

/// The commit lock, for as long as it is held.
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

    /// Whole copies of an index, loaded beside the live one and made active at once; nil: the
    /// owner has none, and no run rebuilds.
    var generations: (any Generations)? { get }

    /// Changes of single entries of the live index; nil: no run patches an index of entries.
    var amending: (any Amending)? { get }

    /// Corrections of the counters of a summary; nil: no run patches a summary.
    var counters: (any Correcting)? { get }

    /// Records of runs and the hook log; nil: runs end with their process.
    var journal: (any RunJournal)? { get }
}

extension CommitBoundary {
    public var generations: (any Generations)? { nil }
    public var amending: (any Amending)? { nil }
    public var counters: (any Correcting)? { nil }
    public var journal: (any RunJournal)? { nil }
}

/// A part of the contract was needed that the owner does not offer.
public struct PartMissing: Error, Hashable, Sendable, CustomStringConvertible {
    /// What it is, in the plural: `generations`.
    public let part: String
    public var description: String { "the owner offers no \(part)" }
}

extension CommitBoundary {
    /// The part, for whoever can't do without it.
    /// - Throws: `PartMissing`.
    public func requireGenerations() throws -> any Generations {
        guard let generations else { throw PartMissing(part: "generations") }
        return generations
    }

    /// The part, for whoever can't do without it.
    /// - Throws: `PartMissing`.
    public func requireAmending() throws -> any Amending {
        guard let amending else { throw PartMissing(part: "changes of single entries") }
        return amending
    }

    /// The part, for whoever can't do without it.
    /// - Throws: `PartMissing`.
    public func requireCounters() throws -> any Correcting {
        guard let counters else { throw PartMissing(part: "corrections of counters") }
        return counters
    }

    /// The part, for whoever can't do without it.
    /// - Throws: `PartMissing`.
    public func requireJournal() throws -> any RunJournal {
        guard let journal else { throw PartMissing(part: "records of runs") }
        return journal
    }
}
