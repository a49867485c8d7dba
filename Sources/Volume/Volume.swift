// A volume: a transactional filesystem in a directory of its own, on LMDB.
//
// Who does what, so that nobody waits for anybody longer than for one group:
// - Changes are made by one thread at a time, in groups (Operations+Group.swift). `perform`
//   returns when the group with its job has committed: what is acknowledged is seen by every
//   later snapshot, and survives the death of the process. A caller who is alone runs its job
//   itself; what comes together the writer thread puts into one group (Inbox.swift). Where
//   `OpenOptions.groupCommitSeconds` says so, `perform` returns before the commit: what is
//   acknowledged is seen by all, and is on its way (Operations+OpenGroup.swift).
// - Snapshots are read on the caller's thread, without any lock.
// - The sync thread makes durable points (DurableKeeper.swift): what is acknowledged
//   survives the death of the machine after a few seconds, or once `sync` returns. After
//   such a death the volume is exactly as it was at the last durable point.
// - Hooks are told of each commit by whoever made it, before the next change.
//
// The directory: `meta.mdb` (with `meta.mdb-lock`, liblmdb's own), `data`, `durable`,
// `lock`, and `runs/` for the side files of checks and repairs.

internal import Bytes
internal import LMDB
public import Meters
internal import Synchronization
internal import Threads
public import Tidemark
public import VolumeFormat

public final class Volume: Sendable {
    let core: VolumeCore
    private let lock: VolumeLock
    /// nil where the volume is open for reading only.
    let writer: Writer?
    private let keeper: DurableKeeper?
    private let isClosed = Mutex(false)
    /// Held during a boundary of a volume that does not change.
    private let frozen = Mutex(())

    init(_ core: VolumeCore, _ lock: VolumeLock, _ writer: Writer?, _ keeper: DurableKeeper?) {
        self.core = core
        self.lock = lock
        self.writer = writer
        self.keeper = keeper
    }

    deinit { try? close() }

    public var path: String { core.path }
    public var geometry: Geometry { core.geometry }
    public var isReadOnly: Bool { core.isReadOnly }
    /// The indexes of every volume, by slot.
    public static var indexKinds: [any SecondaryIndex] { VolumeCore.indexes }
    /// Where the side files of checks and repairs are kept.
    public var runsDirectory: String { core.path + "/runs" }

    /// Runs `body`, here or on the writer thread, and returns when what it did has committed, or,
    /// with early acknowledgement, when it has been done.
    /// Several jobs may share a transaction; a long job may take several (`Operations.begin`),
    /// so only each single operation is all or nothing. What `body` throws is thrown here, after
    /// the operations before it have committed.
    public func perform<R>(_ body: (inout Operations) throws -> R) throws -> R {
        guard !core.isReadOnly else { throw VolumeError.readOnly("volume \(path)") }
        try core.checkNotStopped()
        let start = monotonicNanoseconds()
        defer { core.latencies.record(since: start) }
        return try withoutActuallyEscaping(body) { body in
            if let work = writer?.runHere({ Work(isQueued: false, body) }) {
                return try work.result()
            }
            let work = Work(isQueued: true, body)
            guard core.inbox.add(work) else { throw VolumeError.closed(path) }
            return try work.wait()
        }
    }

    /// What writers have done since the volume was opened: the operations that were begun, and how
    /// long each `perform` waited for its commit.
    public var writing: ActivityCount {
        ActivityCount(
            "writers", operations: core.operations.load(ordering: .relaxed),
            core.latencies.latencies)
    }

    /// The volume as of the last commit, or a newer one, with all that was acknowledged. Waits
    /// for nobody, unless for the commit of what was acknowledged before it.
    public func read() throws -> VolumeSnapshot {
        try checkNotClosed()
        core.commitAcknowledged()
        return try VolumeSnapshot(core)
    }

    func checkNotClosed() throws(VolumeError) {
        guard !isClosed.withLock({ $0 }) else { throw VolumeError.closed(path) }
    }

    /// Waits until everything acknowledged before is durable.
    public func sync() throws {
        guard let keeper else { return }
        try core.checkNotStopped()
        try keeper.sync()
    }

    /// The last commit that survives a failure of the system.
    public var durableCommit: UInt64 { core.durableCommit }

    /// Waits for the work under way, makes everything durable, and lets others open the
    /// volume. Called again it does nothing.
    /// - Throws: where not everything could be made durable.
    public func close() throws {
        let wasClosed = isClosed.withLock { isClosed in
            defer { isClosed = true }
            return isClosed
        }
        guard !wasClosed else { return }
        core.writes.close()
        keeper?.stop()
        core.inbox.close()
        writer?.join()
        core.keeper.withLock { $0 = nil }
        defer { lock.release() }
        if core.hasLost.load(ordering: .acquiring) { try core.checkNotStopped() }
        guard let keeper, core.stopped.withLock({ $0 }) == nil else { return }
        try keeper.makePointAlone(isClean: true)
    }
}

extension Volume: ExactOwner {
    public var label: String { core.path }
    public var indexes: [any SecondaryIndex] { VolumeCore.indexes }

    public func atCommitBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R {
        guard !core.isReadOnly else {
            return try frozen.withLock { _ in try body(VolumeBoundary.frozen(core)) }
        }
        return try core.atBoundary { try VolumeBoundary.run(&$0, body) }
    }

    public func snapshot() throws -> any OwnerSnapshot {
        try checkNotClosed()
        return try VolumeSnapshot(core)
    }

    public func makeDurable() throws { try sync() }

    public func askForDurability() { _ = keeper?.request() }
}

// MARK: Runs

extension Volume {
    /// Every run that the volume remembers, ascending: those that can go on, and those that
    /// ended last.
    public func runs() throws -> [RunRecord] { try read().runs() }

    /// Where the side file of a run lies.
    public func sideFilePath(run: UInt64) -> String {
        SideFiles.path(runsDirectory, run: run)
    }
}
