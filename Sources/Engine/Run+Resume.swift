// How a run outlives its process: the record that its owner keeps, checkpoints, going on from
// one, and stopping so that it can go on.
//
// A checkpoint is made in two steps. `beginCheckpoint`, by the coordinator's thread, takes the
// queue at a commit boundary, handles it, and stages what the side file then holds.
// `saveCheckpoint`, by any thread, waits for nobody: it is called once the owner's durable
// commit has come to the checkpoint's. So a checkpoint never knows what its owner may forget.
//
// What must hold, in this order: hooks and hook log are in force before the first window is
// opened; a checkpoint is durable before the log behind it is trimmed; a run that is
// suspended is unhooked at the very boundary at which its last position was taken.

package import Bytes
public import Contract
internal import Feed
internal import Mutation
public import Shadow
internal import Synchronization

/// What makes a run one that outlives its process.
public struct Keeping: Sendable {
    package let record: RunRecord
    package let checkpoint: Checkpoint?

    /// A new run, with a number that no run has.
    public init(new record: RunRecord) {
        self.record = record
        checkpoint = nil
    }

    /// A run that goes on from `checkpoint`, which its side file was opened with.
    public init(_ record: RunRecord, from checkpoint: Checkpoint) {
        self.record = record
        self.checkpoint = checkpoint
    }

    /// Whether it does not go on from anything.
    public var isNew: Bool { checkpoint == nil }

    /// Why a run can't go on from `checkpoint`, or nil.
    /// - Parameters:
    ///   - lastCommit: the owner's.
    ///   - indexes: the owner's.
    public static func refusal(
        _ record: RunRecord, _ checkpoint: Checkpoint, lastCommit: UInt64,
        indexes: [any SecondaryIndex]
    ) -> String? {
        guard record.state.isResumable else { return "it has ended: \(record.state.rawValue)" }
        guard let logFrom = record.logFrom else {
            return
                "its position was discarded: the hook log had grown to its bound, or room was short"
        }
        guard checkpoint.commit >= logFrom else {
            return "the side file is older than the hook log"
        }
        guard checkpoint.commit <= lastCommit else {
            return "the side file is newer than the volume"
        }
        guard checkpoint.runs.count == indexes.count else {
            return "the side file knows \(checkpoint.runs.count) indexes of \(indexes.count)"
        }
        let isAboutSummary = indexes.contains {
            $0.summary != nil && record.indexes.contains($0.name)
        }
        guard checkpoint.scope == nil || record.strategy != .rebuild && !isAboutSummary else {
            return "the side file is of a run about a part, which this one can't be"
        }
        if let known = record.ownerCommit, checkpoint.commit > known {
            return "the side file is of another history: an older copy of the volume was put back"
        }
        return nil
    }
}

/// The record of a run at work, shared between its threads.
package final class StoredRunRecord: Sendable {
    private let record: Mutex<RunRecord>

    package init(_ record: RunRecord) { self.record = Mutex(record) }

    package var value: RunRecord { record.withLock { $0 } }

    /// To be stored with the next change: a crash before it takes back what was asked for last.
    package func note(_ limits: RunLimits) { record.withLock { $0.limits = limits } }

    /// Changes it, and stores it while the commit lock is held.
    package func store(
        at boundary: any CommitBoundary, _ change: (inout RunRecord) -> Void
    ) throws {
        let commit = boundary.lastCommit
        let changed = record.withLock { record in
            change(&record)
            record.ownerCommit = commit
            return record
        }
        try boundary.requireJournal().store(changed)
    }
}

/// A load that a crash or a stop has interrupted.
package struct InterruptedLoad: Sendable {
    package let slot: IndexSlot
    package let generation: UInt32
    /// Keys below it are maintained by the owner; nil: all.
    package let cursor: KeyBytes?
}

extension Run {
    /// Whether the run goes on from a checkpoint.
    public var isResumed: Bool { resumedFrom != nil }

    /// The run as its owner remembers it; nil where it ends with its process.
    public var record: RunRecord? { storedRecord?.value }

    // MARK: The record

    /// Enters the run into the owner's records, at the boundary at which its hooks are attached.
    package func enroll(_ boundary: any CommitBoundary) throws {
        guard let storedRecord else { return }
        if !options.mutants.have(.othersGoOn) { try supersedeOthers(boundary) }
        let commit = boundary.lastCommit
        if resumedFrom == nil { try boundary.requireJournal().keepLog() }
        let resumedFrom = resumedFrom
        try storedRecord.store(at: boundary) { record in
            record.state = .prepared
            record.reason = nil
            if let resumedFrom {
                record.resumes += 1
                record.logFrom = resumedFrom.commit
            } else {
                record.logFrom = commit
                record.loading = nil
                record.results = []
            }
        }
    }

    /// Runs that were interrupted, and are about an index that this one may rebuild, give way to
    /// it. One that only looks, or patches a part, leaves their positions as they are.
    private func supersedeOthers(_ boundary: any CommitBoundary) throws {
        guard let storedRecord, mayRebuild else { return }
        let own = storedRecord.value
        for var other in try boundary.requireJournal().runs()
        where other.number != own.number && other.state.isResumable
            && !other.state.isWorking && !Set(other.indexes).isDisjoint(with: own.indexes)
        {
            // What it had begun to load of an index that this run is not about.
            if let name = other.loading?.index,
                let slot = owner.indexes.firstIndex(where: { $0.name == name })
            {
                try boundary.generations?.discardUnfinished(of: IndexSlot(slot))
            }
            other.state = .aborted
            other.reason = "run \(own.number) took its place"
            other.logFrom = nil
            other.loading = nil
            try boundary.requireJournal().store(other)
        }
    }

    /// Enters `next`, which must be one that may follow.
    package func move(to next: RunState) throws {
        guard next != state else { return }
        enter(next)
        guard let storedRecord else { return }
        try atBoundary { try storedRecord.store(at: $0) { $0.state = next } }
    }

    /// Notes what was found and done about an index so far.
    package func noteResult(
        _ slot: IndexSlot, isMended: Bool, at boundary: any CommitBoundary,
        loading: UInt32? = nil
    ) throws {
        guard let storedRecord, let place = slots.firstIndex(of: slot) else { return }
        var result = report.indexes[place].result
        result.isMended = isMended
        let stored = result
        try storedRecord.store(at: boundary) { record in
            record.results.removeAll { $0.name == stored.name }
            record.results.append(stored)
            record.loading = loading.map { .init(index: stored.name, generation: $0) }
        }
    }

    /// What an earlier process of the run has found and done.
    package func restoreResults(_ record: RunRecord) {
        for result in record.results {
            guard let place = report.indexes.firstIndex(where: { $0.name == result.name })
            else { continue }
            report.indexes[place].take(result)
        }
    }

    /// The index's result is final: an earlier process of the run has mended it.
    package func isMended(_ slot: IndexSlot) -> Bool {
        guard let record, isResumed else { return false }
        let name = owner.indexes[slot.rawValue].name
        return record.results.contains { $0.name == name && $0.isMended }
    }

    // MARK: Checkpoints

    /// Whether a checkpoint can be begun: the hooks are in force, none is on its way, and all
    /// that was logged before the run went on is handled.
    public var mayBeginCheckpoint: Bool {
        storedRecord != nil && state.isWorking && state != .prepared && replaying == nil
            && stagedCommit.load(ordering: .acquiring) == 0
    }

    /// The first step of a checkpoint. Called by the coordinator's thread, between two steps.
    public func beginCheckpoint() throws {
        precondition(mayBeginCheckpoint, "one checkpoint at a time, and only of a resumable run")
        let mark = try atBoundary { boundary -> HookPoint.Mark in
            try boundary.requireJournal().keepLog()
            return try self.mark(boundary)
        }
        try stage(mark)
        exactOwner.askForDurability()
    }

    private func mark(_ boundary: any CommitBoundary) throws -> HookPoint.Mark {
        let mark = try hook.mark()
        guard mark.commit == boundary.lastCommit else {
            throw AbortReason(
                "the owner is at commit \(boundary.lastCommit) and has reported \(mark.commit)")
        }
        return mark
    }

    private func stage(_ mark: HookPoint.Mark) throws {
        try assistant.handle(mark.items)
        try assistant.spill(mergesSmall: true)
        let checkpoint = assistant.checkpoint(mark, windows: windows, scope: hook.scope)
        try store.stage(checkpoint)
        stagedProgress.withLock {
            $0.primaryRecords = checkpoint.primaryRecords
            $0.windows = checkpoint.windows
            $0.applied = checkpoint.scan.applied
            $0.elided = checkpoint.scan.elided
        }
        stagedCommit.store(mark.commit, ordering: .releasing)
    }

    /// Whether the second step can be made. Any thread may ask.
    public var maySaveCheckpoint: Bool {
        let commit = stagedCommit.load(ordering: .acquiring)
        return commit > 0 && isDurable(commit)
    }

    private func isDurable(_ commit: UInt64) -> Bool {
        exactOwner.durableCommit >= commit || options.mutants.have(.checkpointBeforeDurable)
    }

    /// The second step: the checkpoint becomes the one to go on from, and the log behind it is
    /// discarded. Called by any one thread.
    public func saveCheckpoint() throws {
        // Behind its end a run leaves nothing.
        try saving.withLock { isOver in
            if !isOver { try save() }
        }
    }

    private func save() throws {
        let commit = stagedCommit.load(ordering: .acquiring)
        precondition(commit > 0, "a checkpoint is begun before it is saved")
        precondition(isDurable(commit), "a checkpoint knows nothing that its owner may forget")
        try store.makeDurable()
        stagedCommit.store(0, ordering: .releasing)
        guard let storedRecord else { return }
        let progress = stagedProgress.withLock { $0 }
        try atBoundary { boundary in
            try storedRecord.store(at: boundary) { record in
                record.logFrom = commit
                record.progress = progress
            }
        }
    }

    // MARK: Going on

    /// Handles a piece of what was logged between the checkpoint and the moment at which the
    /// run went on.
    /// - Returns: whether there is more.
    public func replay() throws -> Bool {
        guard let (position, end) = replaying else { return false }
        let next: LogPosition?
        // By whoever keeps the log; read by one thread.
        var last = position
        do {
            next = try exactOwner.snapshot().logged(from: position, limit: options.replayDeltas) {
                place, deltas in
                guard place.commit <= end else { return }
                guard (place.commit, place.ordinal) >= (last.commit, last.ordinal) else {
                    throw AbortReason("its order is broken at commit \(place.commit)")
                }
                last = place
                hook.replay(place.commit, from: place.ordinal, deltas)
            }
        } catch {
            throw AbortReason("the hook log can't be read: \(error)", .uselessPosition)
        }
        try checkLogged()
        try drain()
        replaying = next.flatMap { $0.commit <= end ? ($0, end) : nil }
        return replaying != nil
    }

    /// Throws where the run's part of the log has been discarded: what was read of it may lack what
    /// was trimmed. A position that was discarded never comes back, so as long as it stands all
    /// that was read before was there.
    private func checkLogged() throws {
        guard let number = record?.number else { return }
        let known = try atBoundary { boundary in
            try boundary.requireJournal().runs().first { $0.number == number }
        }
        guard known?.logFrom == nil, !options.mutants.have(.holeInLogIgnored) else { return }
        throw AbortReason(
            "run \(number) can't go on: its position was discarded while it read the hook log",
            .uselessPosition)
    }

    /// Goes on with the interrupted load, behind a settling: what the owner has not maintained
    /// comes from the shadow as it is now.
    package func resumeLoad(_ load: InterruptedLoad) throws -> LoadMerger? {
        try move(to: .loading)
        try checkExact()
        // What was read again for that may still be queued, and is no delta that the overlay takes.
        if !options.mutants.have(.resumedLoadWithoutDrain) { try drain() }
        interrupted = nil
        let overlay = Overlay(mutants: options.mutants)
        var loading = Loading(
            slot: load.slot, generation: load.generation, overlay: overlay, isSummary: false,
            cursor: load.cursor ?? KeyBytes(), batchEntries: options.batchEntries)
        loading.isComplete = load.cursor == nil
        self.loading = loading
        guard let cursor = load.cursor else { return nil }
        if !options.mutants.have(.resumedLoadWithoutOverlay) {
            assistant.loading = (load.slot.rawValue, overlay, cursor)
        }
        try assistant.spill()
        let merge = try assistant.freeze().merge(
            load.slot.rawValue, index: owner.indexes[load.slot.rawValue], from: cursor)
        return LoadMerger(merge, pool: hook.pool, mutants: options.mutants)
    }

    // MARK: Stopping

    /// Ends the run so that it can go on: at one commit boundary its position is taken, its
    /// hook detached and its record stored; then the position is made durable.
    /// - Parameter end: `stopped` or `paused`.
    public func suspend(_ end: RunState, _ reason: String) {
        saving.withLock { $0 = true }
        precondition(end == .stopped || end == .paused, "a run is suspended, or finished")
        guard state != .prepared else { return abandon(end, reason) }
        guard let storedRecord else {
            finish(AbortReason(reason))
            return conclude(end, reason)
        }
        let hasPosition = replaying == nil
        var reason = reason
        do {
            let mark = try atBoundary { [reason] boundary -> HookPoint.Mark in
                if hasPosition { try boundary.requireJournal().keepLog() }
                let mark = try self.mark(boundary)
                boundary.detach(self.hook)
                try storedRecord.store(at: boundary) { record in
                    record.state = end
                    record.reason = reason
                }
                return mark
            }
            endTime = clock.now()
            if hasPosition {
                assistant.checkAborted = {}
                try stage(mark)
                try exactOwner.makeDurable()
                try save()
            }
        } catch {
            // Where it goes on from is then the last checkpoint, if there is one.
            reason += "; its position could not be kept: \(error)"
            try? atBoundary { [reason] boundary in
                boundary.detach(self.hook)
                try storedRecord.store(at: boundary) { record in
                    record.state = end
                    record.reason = reason
                }
            }
        }
        hook.close()
        for scanner in scanners { scanner.letGo() }
        finishReport()
        conclude(end, reason)
    }

    /// Ends a run that has not begun: what its owner remembers of it, if anything, still holds.
    private func abandon(_ end: RunState, _ reason: String) {
        hook.close()
        endTime = clock.now()
        if !isResumed { store.remove() }
        finishReport()
        conclude(end, reason)
    }

    /// Ends a run that can't go on at this moment: its position, and what its owner remembers of
    /// it, stay for another time.
    package func leave(_ reason: String) {
        saving.withLock { $0 = true }
        hook.close()
        giveBackRecord(reason)
        endTime = clock.now()
        finishReport()
        enter(.aborted)
        report.outcome = .aborted
        report.reason = reason
    }

    /// The owner's record is that of a run which nobody works on.
    private func giveBackRecord(_ reason: String) {
        guard let storedRecord else { return }
        do {
            try atBoundary { boundary in
                boundary.detach(self.hook)
                let runs = try boundary.requireJournal().runs()
                let number = storedRecord.value.number
                guard runs.contains(where: { $0.number == number && $0.state.isWorking })
                else { return }
                try storedRecord.store(at: boundary) { record in
                    record.state = .stopped
                    record.reason = reason
                }
            }
        } catch {
            // No room for the record: it will be found to have crashed when the owner is opened.
            try? atBoundary { $0.detach(self.hook) }
        }
    }

    private func conclude(_ end: RunState, _ reason: String) {
        state = end
        report.outcome = .stopped
        report.reason = reason
    }
}

extension IndexReport {
    /// What was found and done before the run was interrupted. A recheck is made anew.
    package mutating func take(_ result: RunRecord.IndexResult) {
        self.result = result
        self.result.recheck = nil
    }
}
