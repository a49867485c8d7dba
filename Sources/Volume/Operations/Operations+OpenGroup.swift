// Group commit with early acknowledgement: changes are acknowledged before they are committed, so
// that many share a commit.
//
// The group stays open for some milliseconds. The writer thread begins and commits it, since LMDB's
// lock belongs to the thread that began a transaction; in between whoever has the turn runs its job
// in it, and the job is acknowledged when it has run.
//
// What must hold:
// - Nobody sees less than what was acknowledged: whoever reads an inode that the group has changed
//   looks into the group or waits for its commit (Volume+OpenGroup.swift). Boundaries, and so
//   snapshots of runs and durable points, come after the commit.
// - What was acknowledged is committed, in that order. A job that fails takes nobody with it: the
//   transaction is rolled back to where the job before it ended, by replaying what the jobs had
//   done (RedoLog.swift). Where even that fails the volume takes no more changes.
// - There is room: a group is left open only where new pages are plenty.

internal import LMDB
internal import Synchronization
internal import Tidemark
internal import VolumeFormat

/// The open group, and where it can be rolled back to.
struct OpenGroup {
    /// The changes of the jobs that have ended.
    let redo = RedoLog()
    /// Whether jobs are acknowledged before the commit.
    fileprivate(set) var isOpen = false
    /// Whether changes were.
    fileprivate(set) var hasAcknowledged = false
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
    /// The group that has begun stays open, where there is room.
    mutating func beginOpenGroup() {
        guard core.acknowledgesEarly, newPages >= GroupLimits.openGroupPages else { return }
        openGroup.isOpen = true
        openGroup.since = core.monotonicClock()
        openGroup.redo.cut(to: 0)
        transaction.note(in: openGroup.redo)
        noteEnd()
    }

    /// The group is over. Snapshots that begin from here on see what was acknowledged.
    mutating func endOpenGroup() {
        guard openGroup.isOpen else { return }
        openGroup.isOpen = false
        openGroup.hasAcknowledged = false
        core.touched.removeAll()
        core.hasAcknowledged.store(false, ordering: .sequentiallyConsistent)
        core.inbox.groupEnded()
    }

    /// When the group is to be committed; nil: none is open.
    var openUntil: Double? {
        transaction.isOver ? nil : openGroup.since + core.groupCommitSeconds
    }

    /// Whether the group can wait for more.
    var mayStayOpen: Bool { !transaction.isOver && openGroup.isOpen && !isLarge }

    /// Commits the group where it cannot stay open: a long job may have begun one without room.
    mutating func commitUnlessOpen() {
        guard !transaction.isOver, !openGroup.isOpen else { return }
        onItsThread { _ = $0.commitGroup() }
    }

    /// Begins the next group at once after one that had much to do, so that callers find one.
    /// Nobody asks for it, so nobody is waited for: neither a run nor the disk.
    mutating func stayBusy(after operations: Int) {
        guard core.acknowledgesEarly, transaction.isOver, operations >= GroupLimits.busyOperations,
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
        core.freeBlocks.store(counters.freeBlocks, ordering: .relaxed)
        guard openGroup.isOpen else { return ended.append(job) }
        noteEnd()
        guard job.isAwaited else { return ended.append(job) }
        if openGroup.position > 0 {
            openGroup.hasAcknowledged = true
            core.hasAcknowledged.store(true, ordering: .sequentiallyConsistent)
        }
        job.end(nil)
    }

    /// A job has left the transaction in a state that can't be committed.
    mutating func fail(_ job: any Job, _ cause: LMDBError) {
        guard openGroup.hasAcknowledged, !transaction.isOver else {
            ended.append(job)
            return onItsThread { $0.abortGroup(cause) }
        }
        onItsThread { _ = $0.goBack() }
        job.end(cause)
    }

    private mutating func noteEnd() {
        openGroup.state = state
        openGroup.position = openGroup.redo.position
        openGroup.deltas = deltas.end
        openGroup.corrected = corrected.count
        openGroup.changes = changes?.count ?? 0
        openGroup.groupSize = groupSize
    }

    /// Takes the transaction back to where the last job ended. On the writer thread.
    /// - Returns: false where that failed too: the group is aborted then.
    mutating func goBack() -> Bool {
        if !transaction.isOver { transaction.abortNow() }
        failure = nil
        state = openGroup.state
        groupSize = openGroup.groupSize
        if let end = openGroup.deltas { deltas.cut(to: end) }
        corrected.removeLast(corrected.count - openGroup.corrected)
        if let count = changes?.count { changes?.removeLast(count - openGroup.changes) }
        noteHooks()
        openGroup.redo.cut(to: openGroup.position)
        do throws(LMDBError) {
            transaction = try core.environment.beginWrite()
            try transaction.redo(openGroup.redo)
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
                inbox.run(DelegatedCall { unsafe body(&operations.pointee) })
            }
        }
    }
}
