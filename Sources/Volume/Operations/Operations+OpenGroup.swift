// Changes that are answered before they are committed, so that the commits of many are one.
//
// A group that is gathered stays open for some milliseconds. The writer thread begins and commits
// it, since liblmdb's lock belongs to the thread that began a transaction; in between whoever has
// the turn runs its job in it, and is answered when the job has run.
//
// What must hold:
// - Nobody sees less than what was answered: who reads an inode that the group has changed looks
//   into the group or waits for its commit (Volume+Gathering.swift). Boundaries, and so snapshots
//   of runs and durable points, come after the commit.
// - What was answered is committed, in the order of the answers. A job that fails takes nobody with
//   it: the transaction is taken back to where the job before it ended, by doing again what the
//   jobs had done (RedoLog.swift). Where even that fails the volume takes no more changes.
// - There is room: a group is gathered only where new pages are plenty.

internal import LMDB
internal import Synchronization
internal import Tidemark

/// Where a group that is gathered can go back to.
struct Gathering {
    /// What the jobs that have ended have done.
    let redo = RedoLog()
    /// Whether jobs are answered before the commit.
    fileprivate(set) var isOpen = false
    /// Whether changes were.
    fileprivate(set) var hasAnswered = false
    fileprivate var since = 0.0
    /// Where the last job ended.
    fileprivate var state: GroupState
    fileprivate var position = 0
    fileprivate var deltas: DeltaBatch.Position?
    fileprivate var corrected = 0
    fileprivate var changes = 0
    fileprivate var groupSize = 0

    init(_ state: GroupState) { self.state = state }
}

extension Operations {
    /// The group that has begun is gathered, where there is room.
    mutating func beginGathering() {
        guard core.gathers, newPages >= GroupLimits.gatheredPages else { return }
        gathering.isOpen = true
        gathering.since = monotonicSeconds()
        gathering.redo.cut(to: 0)
        transaction.note(in: gathering.redo)
        noteEnd()
    }

    /// The group is over. Snapshots that begin from here on see what was answered.
    mutating func endGathering() {
        guard gathering.isOpen else { return }
        gathering.isOpen = false
        gathering.hasAnswered = false
        core.touched.removeAll()
        core.hasAnswered.store(false, ordering: .sequentiallyConsistent)
        core.inbox.groupEnded()
    }

    /// When the group is to be committed; nil: none is open.
    var openUntil: Double? {
        transaction.isOver ? nil : gathering.since + core.gatherSeconds
    }

    /// Whether the group can wait for more.
    var mayStayOpen: Bool { !transaction.isOver && gathering.isOpen && !isLarge }

    /// Commits the group where it is not gathered: a long job may have begun one without room.
    mutating func commitUnlessGathered() {
        guard !transaction.isOver, !gathering.isOpen else { return }
        onItsThread { _ = $0.commitGroup() }
    }

    /// Begins the next group at once after one that had much to do, so that callers find one.
    /// Nobody asks for it, so nobody is waited for: neither a run nor the disk.
    mutating func stayBusy(after operations: Int) {
        guard core.gathers, transaction.isOver, operations >= GroupLimits.busyOperations,
            hooks.isEmpty, core.writtenSincePoint < core.durableBytes,
            !core.hasLost.load(ordering: .relaxed)
        else { return }
        do throws(LMDBError) { try beginGroup() } catch {
            // Whoever begins the next one is told.
            return
        }
        if !mayStayOpen { transaction.abortNow() }
    }

    /// A job has ended well.
    mutating func keep(_ job: any Job) {
        guard gathering.isOpen else { return ended.append(job) }
        noteEnd()
        guard job.isAwaited else { return ended.append(job) }
        if gathering.position > 0 {
            gathering.hasAnswered = true
            core.hasAnswered.store(true, ordering: .sequentiallyConsistent)
        }
        job.end(nil)
    }

    /// A job has left the transaction in a state that can't be committed.
    mutating func fail(_ job: any Job, _ cause: LMDBError) {
        guard gathering.hasAnswered, !transaction.isOver else {
            ended.append(job)
            return onItsThread { $0.abortGroup(cause) }
        }
        onItsThread { _ = $0.goBack() }
        job.end(cause)
    }

    private mutating func noteEnd() {
        gathering.state = state
        gathering.position = gathering.redo.position
        gathering.deltas = deltas.end
        gathering.corrected = corrected.count
        gathering.changes = changes?.count ?? 0
        gathering.groupSize = groupSize
    }

    /// Takes the transaction back to where the last job ended. On the writer thread.
    /// - Returns: false where that failed too: the group is aborted then.
    mutating func goBack() -> Bool {
        if !transaction.isOver { transaction.abortNow() }
        failure = nil
        state = gathering.state
        groupSize = gathering.groupSize
        if let end = gathering.deltas { deltas.cut(to: end) }
        corrected.removeLast(corrected.count - gathering.corrected)
        if let count = changes?.count { changes?.removeLast(count - gathering.changes) }
        noteHooks()
        gathering.redo.cut(to: gathering.position)
        do throws(LMDBError) {
            transaction = try core.environment.beginWrite()
            try transaction.redo(gathering.redo)
            return true
        } catch {
            abortGroup(error)
            return false
        }
    }

    /// Runs `body` on the thread that has begun the transaction, this one or the writer thread.
    mutating func onItsThread(_ body: (inout Operations) -> Void) {
        guard !transaction.isOver, !transaction.isOfThisThread else { return body(&self) }
        let inbox = core.inbox
        withoutActuallyEscaping(body) { body in
            unsafe withUnsafeMutablePointer(to: &self) { operations in
                inbox.run(Errand { unsafe body(&operations.pointee) })
            }
        }
    }
}
