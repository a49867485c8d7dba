// A run: one check or repair of some indexes of an owner, from start to finish.
//
// The run is a state machine. Every transition is a step that a driver calls; a step does a
// bounded piece of work and returns. No step sleeps, waits for another step, or reads a
// clock or a random source of its own.
//
//     prepare → scanning → settling → cut → comparing ─┬─ patch ────────────┬─ recheck → reap
//               scanners: step                         └─ load … → commit ──┘
//               assistant: handleItem
//
// Which thread calls what: scanners are stepped each by one thread; `ComparePart`s and the
// batches of a load are prepared by any one thread each; everything else, the assistant's
// steps included, is called by one thread, the coordinator's.
//
// Failure rule: whatever goes wrong marks the run as aborted (`HookPoint.abort`), is then
// unhooked, then freed. Before each change to the live index the mark is looked at again,
// under the commit lock (I4).

internal import Bytes
public import Contract
package import Entries
package import Feed
internal import Mutation
public import Shadow
package import Synchronization

public final class Run: @unchecked Sendable {
    public let owner: any Owner
    /// The same, where it can be locked.
    let exact: (any ExactOwner)?
    /// Its feed, where nobody can lock it.
    package let unlocked: UnlockedAccess?
    /// Up to where the feed is to be delivered.
    package internal(set) var watermark = SequenceNumber.none
    public let options: RunOptions
    package let hook: HookPoint
    package let clock: RunClock
    package let store: any SideStore
    package let assistant: Assistant
    package let holds = LockHoldRecorder()
    package let tally: DiscrepancyTally
    public let slots: [IndexSlot]
    /// What is told of each discrepancy when it is found; by several threads.
    package let onDiscrepancy: @Sendable (Discrepancy) -> Void
    /// What is told of each defect of primary records; by several threads.
    package let onDefect: @Sendable (PrimaryDefect) -> Void

    /// Defects found so far, by any thread.
    package let defects = Mutex(PrimaryDefects())

    /// Written by the coordinator alone.
    public package(set) var state = RunState.prepared
    public package(set) var report = RunReport()
    /// What its owner offers. Noted at the first boundary.
    package var parts = OwnerParts()
    /// When the run was unhooked for good.
    package var endTime: UInt64 = 0
    /// The generation that is being loaded, if any.
    package var loading: Loading?
    package var scanners: [Scanner] = []
    /// What the work costs, as far as it is known.
    package var costs: PlanCosts
    /// Indexes with which this process has told what is wrong with primary records.
    package var audited: Set<IndexSlot> = []

    /// What the owner keeps of the run; nil: it ends with its process.
    package let storedRecord: StoredRunRecord?
    /// The checkpoint that it goes on from.
    package let resumedFrom: Checkpoint?
    /// Where the log is to be read on, and the last commit that is read there.
    package var replaying: (position: LogPosition, end: UInt64)?
    /// Whether counts that the owner keeps of a generation were set right.
    var hasSettledCounts = false
    /// A load to be resumed.
    package var interrupted: InterruptedLoad?
    /// The commit of the checkpoint on its way; 0: none is.
    package let stagedCommit = Atomic<UInt64>(0)
    package let stagedProgress = Mutex(RunRecord.Progress())
    /// Held while a checkpoint is saved; true once the run is over.
    package let saving = Mutex(false)

    /// - Parameters:
    ///   - indexes: those that the run is about; one scan feeds them all.
    ///   - store: an empty side file, the run's own; or the one that `keeping` was opened with.
    ///   - keeping: what makes it outlive its process, with an owner that offers a journal; with
    ///     another the run fails at its first step.
    ///   - onDiscrepancy: told of each discrepancy as it is found, by any thread.
    ///   - onDefect: told of each defect of primary records as it is found, by any thread.
    public convenience init(
        owner: any ExactOwner, indexes: [IndexSlot], store: any SideStore, options: RunOptions,
        clock: RunClock, keeping: Keeping? = nil,
        onDiscrepancy: @escaping @Sendable (Discrepancy) -> Void = { _ in },
        onDefect: @escaping @Sendable (PrimaryDefect) -> Void = { _ in }
    ) {
        self.init(
            owner, exact: owner, unlocked: nil, indexes, store, options, clock, keeping,
            onDiscrepancy, onDefect)
    }

    /// A check of an owner that nobody can lock. It ends with its process.
    /// - Parameters:
    ///   - indexes: those that the run is about; one scan feeds them all.
    ///   - store: an empty side file, the run's own.
    ///   - onDiscrepancy: told of each discrepancy once it is confirmed, by one thread.
    public convenience init(
        owner: any UnlockedOwner, indexes: [IndexSlot], store: any SideStore,
        options: RunOptions, clock: RunClock,
        onDiscrepancy: @escaping @Sendable (Discrepancy) -> Void = { _ in }
    ) {
        self.init(
            owner, exact: nil, unlocked: owner, indexes, store, options, clock, nil,
            onDiscrepancy, { _ in })
    }

    private init(
        _ owner: any Owner, exact: (any ExactOwner)?, unlocked: (any UnlockedOwner)?,
        _ indexes: [IndexSlot], _ store: any SideStore, _ options: RunOptions,
        _ clock: RunClock, _ keeping: Keeping?,
        _ onDiscrepancy: @escaping @Sendable (Discrepancy) -> Void,
        _ onDefect: @escaping @Sendable (PrimaryDefect) -> Void
    ) {
        precondition(!indexes.isEmpty, "a run is about an index")
        self.owner = owner
        self.exact = exact
        self.options = options
        self.clock = clock
        self.store = store
        self.onDiscrepancy = onDiscrepancy
        self.onDefect = onDefect
        slots = indexes.sorted()
        let scope = if let from = keeping?.checkpoint { from.scope } else { options.scope }
        precondition(
            scope == nil
                || options.strategy != .rebuild
                    && indexes.allSatisfy { owner.indexes[$0.rawValue].summary == nil },
            "a run with a scope patches, and is not about a summary")
        let pool = BatchPool(capacity: options.batchBytes, limit: 16)
        let needed = indexes.flatMap { [$0] + (owner.indexes[$0.rawValue].summary?.sources ?? []) }
        hook = HookPoint(
            wanted: owner.indexes.indices.map { needed.contains(IndexSlot($0)) }, about: indexes,
            scope: scope,
            limits: .init(
                bytes: options.limits.queueBytes, patience: options.patience,
                batch: options.batchBytes),
            pool: pool, mutants: options.mutants, clock: { unlocked?.now() ?? .none })
        self.unlocked = unlocked.map { [hook] in UnlockedAccess($0, hook) }
        tally = DiscrepancyTally(limit: options.limits.stopAfter, hook: hook)
        costs = options.costs
        assistant = Assistant(
            store: store, pool: pool, indexes: owner.indexes.count,
            budget: options.limits.sortBytes, chunkBytes: options.chunkBytes,
            mutants: options.mutants, from: keeping?.checkpoint)
        storedRecord = keeping.map { StoredRunRecord($0.record) }
        resumedFrom = keeping?.checkpoint
        report.scope = scope?.label
        report.indexes = slots.map {
            IndexReport(slot: $0, name: owner.indexes[$0.rawValue].name)
        }
        if let keeping, keeping.checkpoint != nil { restoreResults(keeping.record) }
    }

    /// The owner, of which the run needs what only one that can be locked has.
    package var exactOwner: any ExactOwner {
        guard let exact else { preconditionFailure("nobody can lock this owner") }
        return exact
    }

    private var source: Scanner.RecordSource {
        unlocked.map { .unlocked($0.owner) } ?? .exact(exactOwner)
    }

    /// A number for each commit boundary that the run has asked for is not kept; what is
    /// kept is how long each was held.
    package func atBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R {
        try exactOwner.atCommitBoundary { boundary in
            let start = self.clock.now()
            defer { self.holds.record(self.clock.now() - start) }
            return try body(boundary)
        }
    }

    /// Throws where the run has been marked as aborted.
    package func checkAborted() throws {
        if let reason = hook.abortReason { throw reason }
    }

    /// Enters `next` without storing it.
    package func enter(_ next: RunState) {
        precondition(state.mayBecome(next), "\(next.rawValue) does not follow \(state.rawValue)")
        state = next
    }

    // MARK: Steps

    /// The first step: hooks are in force when it returns, and no window is open yet.
    public func prepare() throws {
        precondition(state == .prepared, "a run is prepared once")
        guard unlocked == nil else { return try prepareUnlocked() }
        try atBoundary { boundary in
            for slot in self.slots
            where boundary.hooks.contains(where: { $0.isAbout(slot) })
                && !self.options.mutants.have(.secondRunAdmitted)
            {
                let name = self.owner.indexes[slot.rawValue].name
                throw AbortReason("another run is at work on \(name): wait for its end")
            }
            self.parts = OwnerParts(boundary)
            if self.storedRecord != nil { _ = try boundary.requireJournal() }
            try self.takePosition(boundary)
            try self.discardUnfinished(boundary)
            if !self.options.mutants.have(.hooksAfterFirstWindow) { boundary.attach(self.hook) }
            try self.enroll(boundary)
        }
        try move(to: .scanning)
    }

    /// Generations that an ended run has left half loaded are discarded, but for the one that
    /// this run goes on with.
    private func discardUnfinished(_ boundary: any CommitBoundary) throws {
        guard mayRebuild, let generations = boundary.generations else { return }
        let own = isResumed ? record?.loading : nil
        for slot in slots {
            let name = owner.indexes[slot.rawValue].name
            // The corrections of a summary are gone with the comparison that found them.
            let isSummary = owner.indexes[slot.rawValue].summary != nil
            if let own, own.index == name, !isSummary, let load = generations.loading(of: slot),
                load.generation == own.generation
            {
                interrupted = InterruptedLoad(
                    slot: slot, generation: load.generation, cursor: load.cursor)
            } else {
                try generations.discardUnfinished(of: slot)
            }
        }
    }

    /// Whether the run may load a new generation: only then a load that was interrupted, and the
    /// run that it is of, are in its way.
    package var mayRebuild: Bool {
        options.strategy != .check && !options.isDryRun && hook.scope == nil
            && parts.hasGenerations
    }

    private func takePosition(_ boundary: any CommitBoundary) throws {
        let commit = boundary.lastCommit
        guard let resumedFrom, let record else { return hook.attached(at: commit) }
        let current =
            try boundary.requireJournal().runs().first { $0.number == record.number } ?? record
        guard current.state.isResumable else {
            throw AbortReason("run \(record.number) has ended meanwhile: \(current.state.rawValue)")
        }
        if let why = Keeping.refusal(
            current, resumedFrom, lastCommit: commit, indexes: owner.indexes) {
            throw AbortReason("run \(record.number) can't go on: \(why)", .uselessPosition)
        }
        hook.attached(at: commit, from: resumedFrom.scan, voids: resumedFrom.voids)
        guard !options.mutants.have(.logNotReplayed) else { return }
        replaying = (LogPosition(commit: resumedFrom.commit + 1, ordinal: 0), commit)
    }

    /// A scanner for one more thread.
    public func makeScanner() -> Scanner {
        let scanner = Scanner(
            source: source, hook: hook, options: options, clock: clock, holds: holds)
        scanners.append(scanner)
        return scanner
    }

    /// One step of the assistant. Returns false where the queue is empty.
    public func handleItem() throws -> Bool {
        guard let item = hook.take() else { return false }
        try assistant.handle(item)
        return true
    }

    /// Whether every window has been opened and read.
    public var isScanned: Bool { hook.status.isScanned }

    /// Settling: everything that is queued is handled and lies in the side file.
    public func settle() throws {
        try move(to: .settling)
        try drain()
        try checkAborted()
        try assistant.spill()
        // What came in meanwhile: the boundary that follows is to find little.
        try drain()
    }

    /// Handles all that is queued.
    public func drain() throws { while try handleItem() {} }

    /// A barrier that lasts: the owner's snapshots and the frozen shadow are of the same
    /// commit, whatever is committed and handled afterwards.
    public struct Cut {
        package let commit: UInt64
        package let snapshots: [any OwnerSnapshot]
        package let shadow: FrozenShadow
    }

    /// Cuts: under the commit lock the queue is drained and the owner's snapshots are taken.
    /// What comes before it in `settle` is what makes this short.
    /// - Returns: nil where something is to be read again first: go on scanning.
    public func cut() throws -> Cut? {
        let parts = max(1, options.compareParts)
        let drained = try atBoundary { boundary -> Drained in
            let snapshots = try (0..<parts).map { _ in try boundary.snapshot() }
            guard snapshots.allSatisfy({ $0.commit == boundary.lastCommit }) else {
                throw AbortReason(
                    "the owner gave a snapshot at a commit boundary that is not of it")
            }
            return Drained(
                items: self.options.mutants.have(.cutWithoutDrain) ? [] : self.hook.takeAll(),
                commit: boundary.lastCommit, snapshots: snapshots,
                isScanned: self.hook.status.isScanned)
        }
        try assistant.handle(drained.items)
        if !options.mutants.have(.cutWithoutSpill) { try assistant.spill() }
        try checkAborted()
        guard drained.isScanned else { return nil }
        return Cut(
            commit: drained.commit, snapshots: drained.snapshots, shadow: assistant.freeze())
    }

    private struct Drained: @unchecked Sendable {
        let items: [QueueItem]
        let commit: UInt64
        let snapshots: [any OwnerSnapshot]
        let isScanned: Bool
    }

    /// Windows that were opened, by earlier processes of the run too.
    package var windows: Int { scanners.reduce(resumedFrom?.windows ?? 0) { $0 + $1.windows } }

    /// The end: marked, unhooked, freed, in this order.
    /// - Returns: what could not be given back, in words.
    @discardableResult
    public func finish(_ failure: (any Error)?) -> String? {
        if let failure { hook.abort(AbortReason(failure)) }
        saving.withLock { $0 = true }
        hook.close()
        for scanner in scanners { scanner.letGo() }
        finishReport()
        enter(endState(failure))
        var left: String?
        do {
            try detachAndDiscard()
        } catch {
            left = "what it had begun to load is left to the next repair: \(error)"
        }
        endTime = clock.now()
        store.remove()
        return left
    }

    private func endState(_ failure: (any Error)?) -> RunState {
        if let failure { return AbortReason(failure).kind == .gaveWay ? .aborted : .failed }
        return report.outcome == .incomplete ? .incomplete : .completed
    }

    package func finishReport() {
        let status = hook.status
        report.applied = status.applied
        report.elided = status.elided
        report.primaryRecords = assistant.primaryRecords
        report.damagedPrimaries = assistant.damage
        report.primaryDefects = defects.withLock { $0 }
        report.windows = windows
        report.sortedRuns = assistant.runs.reduce(0) { $0 + $1.count }
        report.lockHolds = holds.report
        report.losses = hook.stampCounts.losses
        report.olderThanRead = hook.stampCounts.older
    }

    private func detachAndDiscard() throws {
        guard unlocked == nil else { return endFeed() }
        do {
            try endAtBoundary()
        } catch {
            // The transaction is lost with what failed. That the run has ended needs less room.
            try? atBoundary { boundary in
                boundary.detach(self.hook)
                guard boundary.journal != nil else { return }
                try self.storedRecord?.store(at: boundary) { self.close(&$0) }
            }
            throw error
        }
    }

    private func endAtBoundary() throws {
        try atBoundary { boundary in
            if !self.options.mutants.have(.hookLeftAttached) { boundary.detach(self.hook) }
            if let loading = self.loading, !loading.isActive,
                !self.options.mutants.have(.discardForgotten)
            {
                try boundary.requireGenerations().discard(
                    generation: loading.generation, of: loading.slot)
            }
            // A load that it never came to go on with.
            if let interrupted = self.interrupted {
                try boundary.requireGenerations().discardUnfinished(of: interrupted.slot)
            }
            if boundary.journal != nil {
                try self.storedRecord?.store(at: boundary) { self.close(&$0) }
            }
        }
    }

    /// The record of a run that has ended.
    private func close(_ record: inout RunRecord) {
        record.state = state
        record.outcome = state == .completed ? report.outcome : nil
        record.reason = report.reason ?? hook.abortReason?.description
        record.logFrom = nil
        record.loading = nil
        record.costs = costs
        record.results = report.indexes.map(\.result)
        record.progress.primaryRecords = report.primaryRecords
        record.progress.windows = report.windows
        record.progress.applied = report.applied
        record.progress.elided = report.elided
    }
}
