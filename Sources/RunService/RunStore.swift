// The store whose runs a process starts, resumes, lets others steer, and tells of.

public import Meters
public import Tidemark

/// An owner with a directory of its own, where a process serves its runs: `control.sock` and the
/// side files lie there. An owner without a journal has runs that end with their process only, and
/// needs no more than the first four members.
public protocol RunStore: ExactOwner {
    /// The directory that `control.sock` is made in; messages name the store by it.
    var path: String { get }

    /// Whether nothing in the store can be changed: several processes may check it then.
    var isReadOnly: Bool { get }

    /// A directory for the side files of runs that the store does not remember.
    var temporaryDirectory: String { get }

    /// Tells this store's side files from another's.
    var identity: (UInt64, UInt64) { get }

    /// Every run that the store remembers, ascending by number.
    func runs() throws -> [RunRecord]

    /// Where the side file of run number `run` lies.
    func sideFilePath(run: UInt64) -> String

    /// The number of the last commit.
    func lastCommit() throws -> UInt64

    /// What a scope, in the store's own words (`RunRecord.scope`), comes to at the last commit.
    /// - Throws: where the words name nothing that the store has.
    func scope(_ words: String) throws -> Scope

    /// About how many primary records a run of `indexes` reads; 0 where it is not known. For
    /// progress only.
    func expectedRecords(of indexes: [IndexSlot]) throws -> Int

    /// What the numbers that primary keys begin with don't reach; nil where it is not known. For
    /// progress only.
    func positionLimit() throws -> UInt64?

    /// What writers have done since the store was opened; nil where it is not counted.
    var writerActivity: ActivityCount? { get }
}

extension RunStore {
    public var isReadOnly: Bool { false }
    public var writerActivity: ActivityCount? { nil }
    public func runs() throws -> [RunRecord] { [] }
    public func expectedRecords(of indexes: [IndexSlot]) throws -> Int { 0 }
    public func positionLimit() throws -> UInt64? { nil }

    /// Deletes, in bounded steps, generations that an earlier run has left to be reaped.
    /// - Parameter isStopped: asked between the steps.
    /// - Returns: whether there were any.
    public func finishReaping(isStopped: () -> Bool) throws -> Bool {
        var hasReaped = false
        while !isStopped(),
            try atCommitBoundary({ try $0.generations?.reap(limit: 4096) ?? false })
        { hasReaped = true }
        return hasReaped
    }

    /// Runs that whoever serves the store resumes by itself: those that a crash, or the end of
    /// their process, has interrupted, and not those that somebody has stopped.
    public func interruptedRuns() throws -> [RunRecord] {
        try runs().filter { $0.state == .crashed || $0.state == .paused }
    }

    /// The run to resume: number `run`, or the last one that was interrupted or stopped.
    public func resumableRun(_ run: UInt64?) throws -> RunRecord {
        let runs = try runs()
        guard let run else {
            guard let last = runs.last(where: { $0.state.isResumable && !$0.state.isWorking })
            else { throw RunServiceError.nothingToResume(path) }
            return last
        }
        guard let record = runs.first(where: { $0.number == run }) else {
            throw RunServiceError.unknownRun(run, path)
        }
        guard !record.state.isWorking else { throw RunServiceError.atWork(run) }
        guard record.state.isResumable else { throw RunServiceError.hasEnded(run, record.state) }
        return record
    }
}
