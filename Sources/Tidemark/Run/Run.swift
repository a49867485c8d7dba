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
// stretches of a load are prepared by any one thread each; everything else, the assistant's
// steps included, is called by one thread, the coordinator's.
//
// Failure rule: whatever goes wrong marks the run as aborted (`HookPoint.abort`), is then
// unhooked, then freed. Before each change to the live index the mark is looked at again,
// under the commit lock (I4).

internal import Bytes

public final class Run: @unchecked Sendable {
    public let owner: any Owner
    public let options: RunOptions
    package let hook: HookPoint
    let clock: RunClock
    let store: any SideStore
    let assistant: Assistant
    let holds = LockHoldRecorder()
    let tally: DiscrepancyTally
    public let slots: [IndexSlot]
    /// What is told of each discrepancy when it is found; by several threads.
    let onDiscrepancy: @Sendable (Discrepancy) -> Void

    /// Written by the coordinator alone.
    public internal(set) var phase = RunPhase.prepared
    public internal(set) var report = RunReport()
    /// When the run was unhooked for good.
    private(set) var endTime: UInt64 = 0
    /// The generation that is being loaded, if any.
    var loading: Loading?
    var scanners: [Scanner] = []
    /// What the work costs, as far as it is known.
    var costs: PlanCosts

    /// - Parameters:
    ///   - indexes: those that the run is about; one scan feeds them all.
    ///   - store: an empty side file, the run's own.
    ///   - onDiscrepancy: told of each discrepancy as it is found, by any thread.
    public init(
        owner: any Owner, indexes: [IndexSlot], store: any SideStore, options: RunOptions,
        clock: RunClock, onDiscrepancy: @escaping @Sendable (Discrepancy) -> Void = { _ in }
    ) {
        precondition(!indexes.isEmpty, "a run is about an index")
        self.owner = owner
        self.options = options
        self.clock = clock
        self.store = store
        self.onDiscrepancy = onDiscrepancy
        slots = indexes.sorted()
        let pool = BatchPool(capacity: options.batchBytes, limit: 16)
        let wanted = owner.indexes.indices.map { indexes.contains(IndexSlot($0)) }
        hook = HookPoint(
            wanted: wanted,
            limits: .init(
                bytes: options.queueBytes, patience: options.patience, batch: options.batchBytes),
            pool: pool, mutants: options.mutants)
        tally = DiscrepancyTally(limit: options.stopAfter, hook: hook)
        costs = options.costs
        assistant = Assistant(
            store: store, pool: pool, indexes: owner.indexes.count, budget: options.sortBudget,
            chunkBytes: options.chunkBytes, mutants: options.mutants)
        report.indexes = slots.map {
            IndexReport(slot: $0, name: owner.indexes[$0.rawValue].name)
        }
    }

    /// A number for each commit boundary that the run has asked for is not kept; what is
    /// kept is how long each was held.
    func atBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R {
        try owner.atCommitBoundary { boundary in
            let start = self.clock.now()
            defer { self.holds.record(self.clock.now() - start) }
            return try body(boundary)
        }
    }

    /// Throws where the run has been marked as aborted.
    func checkAborted() throws {
        if let reason = hook.abortReason { throw reason }
    }

    // MARK: Steps

    /// The first step: hooks are in force when it returns, and no window is open yet.
    public func prepare() throws {
        precondition(phase == .prepared, "a run is prepared once")
        try atBoundary { boundary in
            for slot in self.slots
            where boundary.hooks.contains(where: { $0.wants(slot) })
                && !self.options.mutants.have(.secondRunAdmitted)
            {
                let name = self.owner.indexes[slot.rawValue].name
                throw AbortReason("another run is at work on \(name): wait for its end")
            }
            if self.options.strategy != .check, !self.options.isDryRun {
                for slot in self.slots { try boundary.discardUnfinished(of: slot) }
            }
            self.hook.attached(at: boundary.lastCommit)
            if !self.options.mutants.have(.hooksAfterFirstWindow) { boundary.attach(self.hook) }
        }
        phase = .scanning
    }

    /// A scanner for one more thread.
    public func makeScanner() -> Scanner {
        let scanner = Scanner(
            owner: owner, hook: hook, options: options, clock: clock, holds: holds)
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
        phase = .settling
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
        let commit: UInt64
        let snapshots: [any OwnerSnapshot]
        let shadow: FrozenShadow
    }

    /// Cuts: under the commit lock the queue is drained and the owner's snapshots are taken.
    /// What comes before it in `settle` is what makes this short.
    /// - Returns: nil where something is to be read again first: go on scanning.
    public func cut() throws -> Cut? {
        let parts = max(1, options.compareParts)
        let drained = try atBoundary { boundary -> Drained in
            let snapshots = try (0..<parts).map { _ in try boundary.snapshot() }
            precondition(
                snapshots.allSatisfy { $0.commit == boundary.lastCommit },
                "a snapshot at a boundary is of its commit")
            return Drained(
                items: self.options.mutants.have(.cutWithoutDrain) ? [] : self.hook.takeAll(),
                commit: boundary.lastCommit, snapshots: snapshots,
                isScanned: self.hook.status.isScanned)
        }
        for item in drained.items { try assistant.handle(item) }
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

    /// The end: marked, unhooked, freed, in this order.
    /// - Returns: what could not be given back, in words.
    @discardableResult
    public func finish(_ failure: (any Error)?) -> String? {
        if let failure { hook.abort(failure as? AbortReason ?? AbortReason("\(failure)")) }
        hook.close()
        for scanner in scanners { scanner.letGo() }
        var left: String?
        do {
            try detachAndDiscard()
        } catch {
            left = "what it had begun to load is left to the next repair: \(error)"
        }
        endTime = clock.now()
        store.remove()
        let status = hook.status
        report.applied = status.applied
        report.elided = status.elided
        report.primaryRecords = assistant.primaryRecords
        report.damagedPrimaries = assistant.damage
        report.windows = scanners.reduce(0) { $0 + $1.windows }
        report.sortedRuns = assistant.runs.reduce(0) { $0 + $1.count }
        report.lockHolds = holds.report
        phase = .ended
        return left
    }

    private func detachAndDiscard() throws {
        try atBoundary { boundary in
            if !self.options.mutants.have(.hookLeftAttached) { boundary.detach(self.hook) }
            if let loading = self.loading, !loading.isActive,
                !self.options.mutants.have(.discardForgotten)
            {
                try boundary.discard(generation: loading.generation, of: loading.slot)
            }
        }
    }
}
