// Where an exact owner reports its commits.

/// Whose commit it is.
public enum CommitOrigin: Sendable, Hashable {
    /// One of the owner's own transactions.
    case writer
    /// A change that was asked for at a commit boundary, by a run or by somebody else who held the
    /// commit lock.
    case boundary
}

/// What an owner tells of its commits. The framework implements it, once for each run.
public protocol CommitHook: AnyObject, Sendable {
    /// Whether the run wants the deltas of this index.
    func wants(_ index: IndexSlot) -> Bool

    /// Whether the run is about this index, and not only reads it for another's sake.
    func isAbout(_ index: IndexSlot) -> Bool

    /// The commit, made by `origin`, is visible. `deltas` are its changes in order; they are
    /// copied.
    func committed(_ commit: UInt64, by origin: CommitOrigin, deltas: borrowing DeltaBatch)

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
