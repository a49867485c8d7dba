// The lanes of one run: scanners, assistant, parts of a comparison, merger, checkpoints,
// coordinator. Failures are treated as the threaded driver treats them: the run is marked as
// aborted.

internal import Bytes
internal import Inspection
internal import Synchronization
internal import Tidemark

/// What a run tells of as it is found.
final class Findings: Sendable {
    private let list = Mutex<[Discrepancy]>([])

    func add(_ finding: Discrepancy) { list.withLock { $0.append(finding) } }

    func take() -> [Discrepancy] {
        list.withLock { list in
            defer { list = [] }
            return list
        }
    }
}

final class RunLanes {
    let description: RunDescription
    let run: Run
    let coordinator: Coordinator
    private let scanners: [Scanner]
    /// Of the comparison under way: whether each part has come to its end.
    private var partsDone: [Bool] = []
    private var partSteps: [Int] = []
    private var comparison: Comparison?
    /// What merges for the load under way, and the batches that it has merged ahead.
    private var merger: LoadMerger?
    private var merged: [LoadBatch] = []
    private var isMerged = false
    /// The active generations when the run began, by index of the owner.
    let initial: [UInt32]
    /// How the live indexes differed from the primary records at the last cut.
    var atCut: [IndexSlot: DiscrepancyCounts] = [:]
    /// Indexes that have been compared at the first cut.
    private var comparedSlots: Set<IndexSlot> = []
    /// Whether some of the old generation was deleted.
    private(set) var hasReaped = false
    /// Whether it has found clean what the machine then took back to an earlier commit: what
    /// it said was of a later one.
    private(set) var isOutdated = false
    /// Whether its first step was made, and its owner knows of it.
    private(set) var hasBegun = false
    /// Whether a crash has ended it.
    private(set) var isLost = false
    /// The number under which its owner keeps it; 0: it doesn't.
    let number: UInt64
    /// Checkpoints that were begun, by earlier processes of the run too.
    private(set) var begunCheckpoints: Int
    /// What it has told when it was found.
    private let findings: Findings
    /// Keys that it has found, by index.
    private(set) var found: [IndexSlot: Set<[UInt8]>] = [:]
    /// What must be part of a state's digest because a comparison, a patch or a merger has
    /// seen it at its beginning.
    var memory: UInt64 = 0

    /// Batches that are merged ahead at the most.
    private static let mergedAhead = 2

    init(
        description: RunDescription, run: Run, initial: [UInt32], number: UInt64,
        begunCheckpoints: Int, findings: Findings = Findings()
    ) {
        self.findings = findings
        self.description = description
        self.run = run
        self.initial = initial
        self.number = number
        self.begunCheckpoints = begunCheckpoints
        coordinator = Coordinator(run)
        scanners = (0..<max(1, description.scanners)).map { _ in run.makeScanner() }
    }

    var isOver: Bool { isLost || coordinator.isEnded }
    var isAborted: Bool { run.abortReason != nil }
    /// Whether it has ended so that it can go on.
    var isSuspended: Bool { coordinator.isEnded && [.stopped, .paused].contains(run.state) }
    /// Whether its hook is in force.
    var isAttached: Bool { !isOver && coordinator.next != .prepare }

    /// A crash: nothing of it goes on.
    /// - Parameter withItsEnd: it struck within the step in which the run came to its end.
    func lose(withMachine: Bool, withItsEnd: Bool) {
        if !isOver || withItsEnd { isLost = true }
        if withMachine, run.report.outcome == .clean { isOutdated = true }
    }

    /// A writer has lost its patience.
    func refuseAdmission() { while !run.admitNow() {} }

    /// What the comparison of an index found, where it has come to its end.
    func compared(_ index: IndexReport) -> DiscrepancyCounts? {
        comparedSlots.contains(index.slot) ? index.found : nil
    }

    // MARK: What can go on

    func canScan(_ number: Int) -> Bool {
        guard !isOver, !isAborted, case .scan = coordinator.need else { return false }
        return scanners[number].hasWork && !run.isQueueFull
    }

    var canHandle: Bool {
        guard !isOver, !isAborted, !run.isQueueEmpty else { return false }
        switch coordinator.need {
        case .scan, .comparison, .watermark: return true
        default: return false
        }
    }

    func canCompare(_ number: Int) -> Bool {
        guard !isOver, !isAborted, case .comparison = coordinator.need else { return false }
        return number < partsDone.count && !partsDone[number]
    }

    /// Whether it takes changes from its feed.
    var canPoll: Bool { isAttached && !isAborted && run.hasFeed && !run.isQueueFull }

    /// Whether its next step waits for a mark that has not come through.
    var awaitsFeed: Bool {
        guard case .watermark = coordinator.need else { return false }
        return !run.isDelivered
    }

    /// Whether its next step looks keys up.
    var looksUp: Bool { coordinator.next == .lookUp && !isAborted }

    /// What the scanner still has to read of its window.
    func windowRange(_ number: Int) -> KeyRange? { scanners[number].windowRange }

    /// What it has told since this was asked last.
    func takeFindings() -> [Discrepancy] {
        let new = findings.take()
        for finding in new { found[finding.index, default: []].insert(finding.key) }
        return new
    }

    var canMerge: Bool {
        guard !isOver, !isAborted, merger != nil else { return false }
        return !isMerged && merged.count < RunLanes.mergedAhead
    }

    var canCoordinate: Bool {
        guard !isOver else { return false }
        if isAborted { return true }
        switch coordinator.need {
        case .nothing: return true
        case .scan: return run.isScanned
        case .comparison: return partsDone.allSatisfy { $0 }
        case .watermark: return run.isDelivered
        case .loadBatch: return coordinator.loadBatch != nil || !merged.isEmpty
        case .ended: return false
        }
    }

    // MARK: Checkpoints

    /// The steps of a checkpoint.
    enum CheckpointStep: String, CaseIterable { case begin, sync, save }

    /// The next step of its checkpoints, where one is possible. As in the driver, a run that
    /// was marked as aborted and has not noticed yet may still get there.
    var nextCheckpointStep: CheckpointStep? {
        guard description.isResumable, isAttached else { return nil }
        if run.checkpointUnderWay != nil { return run.maySaveCheckpoint ? .save : .sync }
        guard run.mayBeginCheckpoint, begunCheckpoints < description.checkpoints else {
            return nil
        }
        return .begin
    }

    func stepCheckpoint(_ step: CheckpointStep) {
        aborting {
            switch step {
            case .begin:
                begunCheckpoints += 1
                try run.beginCheckpoint()
            case .sync: try run.exactOwner.makeDurable()
            case .save: try run.saveCheckpoint()
            }
        }
    }

    // MARK: Steps

    func scan(_ number: Int) -> StepEvent {
        var progress = Scanner.Progress.nothing
        aborting { progress = try scanners[number].step() }
        return .scanned(progress)
    }

    func handle() -> StepEvent {
        aborting { _ = try run.handleItem() }
        return .handled
    }

    func compare(_ number: Int) -> StepEvent {
        partSteps[number] += 1
        aborting {
            if let part = comparison?.parts[number], try !part.step() { partsDone[number] = true }
        }
        return .compared
    }

    func poll(_ number: Int) -> StepEvent {
        aborting { _ = try run.pollFeed() }
        return .polled(buffer: number)
    }

    func merge() -> StepEvent {
        aborting {
            guard let loadBatch = try merger?.next(entries: run.batchEntries) else {
                isMerged = true
                return
            }
            merged.append(loadBatch)
        }
        return .merged
    }

    func coordinate() -> StepEvent {
        let step = coordinator.next
        if step == .reap { hasReaped = true }
        if step == .compared, let slot = coordinator.slot { comparedSlots.insert(slot) }
        if case .loadBatch = coordinator.need, coordinator.loadBatch == nil, !merged.isEmpty {
            coordinator.loadBatch = merged.removeFirst()
        }
        coordinator.step()
        if run.state != .prepared, !isOver { hasBegun = true }
        if step == .commit { merger = nil }
        takeNeed()
        return .coordinated(step)
    }

    /// A comparison or a load that has begun makes work for its lanes.
    private func takeNeed() {
        if case .comparison(let comparison) = coordinator.need, comparison !== self.comparison {
            self.comparison = comparison
            partsDone = comparison.parts.map { _ in false }
            partSteps = comparison.parts.map { _ in 0 }
        }
        if case .loadBatch(let merger) = coordinator.need, merger !== self.merger {
            self.merger = merger
            merged = []
            isMerged = false
        }
    }

    private func aborting(_ body: () throws -> Void) {
        do { try body() } catch { run.abort(error) }
    }

    // MARK: For those who watch

    func isIdle(_ number: Int) -> Bool { !scanners[number].hasWindow }
    var hasMerged: Bool { !merged.isEmpty || coordinator.loadBatch != nil }
    func isInOpenWindow(_ key: KeyBytes) -> Bool { scanners.contains { $0.isOpen(at: key) } }

    // MARK: State

    /// What is looked at when all has come to its end.
    private func describeEnd(into digest: inout StateDigest) {
        let outcomes: [RunReport.Outcome] = [
            .clean, .repaired, .corrupt, .incomplete, .aborted, .stopped, .unsettled,
        ]
        digest.add(outcomes.firstIndex(of: run.report.outcome) ?? -1)
        let reason = Array((run.report.reason ?? "").utf8)
        digest.add(reason.rawSpan)
        for index in run.report.indexes {
            digest.add(Int(index.generation ?? 0))
            digest.add(index.patched)
        }
    }

    /// Entries that one step of reaping may delete: it is fitted to the time that they take.
    var largestReap: Int { max(description.reap, 64) }

    /// Whether what a comparison remembers is of no use to what follows.
    var neverPatches: Bool { [.check, .rebuild].contains(description.strategy) }

    /// Whether it corrects counters by what a comparison has found.
    var corrects: Bool {
        run.slots.contains { run.owner.indexes[$0.rawValue].summary != nil }
    }

    /// Everything that the further steps depend on.
    func describe(
        into digest: inout StateDigest, snapshots: (any OwnerSnapshot) -> UInt64
    ) throws {
        digest.add(isLost ? 1 : 0)
        digest.add(coordinator.isEnded ? 1 : 0)
        guard !isOver else { return describeEnd(into: &digest) }
        for (place, step) in Coordinator.Step.allCases.enumerated() where step == coordinator.next {
            digest.add(place)
        }
        digest.add(coordinator.slot?.rawValue ?? -1)
        digest.add(coordinator.isRecheck ? 1 : 0)
        digest.add(coordinator.loadBatch == nil ? 0 : 1)
        digest.add(merged.count)
        digest.add(isMerged ? 1 : 0)
        for steps in partSteps { digest.add(steps) }
        for part in partsDone { digest.add(part ? 1 : 0) }
        digest.add(memory)
        digest.add(begunCheckpoints)
        coordinator.describeUnlocked(into: &digest)
        try run.describe(into: &digest, snapshots: snapshots)
    }
}
