// The coordinator: what a run does, one step after the other, from its beginning to its end.
//
//     prepare → [replay…] → (scan) → settle → cut → compare → (parts) → compared → …each index…
//       → plan ─┬─ begin patch → drain → patch, again while there are more ──┐ …each index…
//               └─ begin load → (batch) → drain → load, … → commit ────────┘
//       → settle → cut → compare → compared → reap… → end
//
// A run that goes on after a crash or a stop replays the hook log first; an interrupted load
// is resumed behind the first settle, and indexes that were mended are compared at the
// recheck only.
//
// In brackets: what others do, and what the next step waits for. The threaded driver does
// those with threads of its own and calls `step` from one of them; a replay calls the same
// steps in an order of its own. No step waits, so each order that a replay can choose is one
// that threads could take.
//
// A step that fails ends the run: marked as aborted, unhooked, freed. So does the first step
// after the run was marked by somebody else, up to the moment where all that it is about has
// been committed.

internal import Shadow
internal import Bytes
public import Contract
internal import Feed
internal import Mutation

public final class Coordinator {
    public enum Step: String, Sendable, CaseIterable {
        case prepare, replay, settle, cut, compare, compared, plan
        case resumeLoad = "resume load"
        case beginPatch = "begin patch"
        case beginLoad = "begin load"
        case drain, patch, load, refreeze, commit, reap, end
        // Of owners that nobody can lock.
        case mark, judge
        case lookUp = "look up"
    }

    /// What the next step waits for.
    public enum Need {
        case nothing
        /// Scanners, stepped until `Run.isScanned`.
        case scan
        /// The parts of a comparison, each stepped to its end.
        case comparison(Comparison)
        /// The feed, polled until `Run.isDelivered`.
        case watermark
        /// A batch of the load, handed over in `loadBatch`.
        case loadBatch(LoadMerger)
        /// Nothing more will happen.
        case ended
    }

    public let run: Run
    /// The next step.
    public private(set) var next = Step.prepare
    public private(set) var need = Need.nothing
    /// The load batch that `need` asks for.
    public var loadBatch: LoadBatch?
    /// Nanoseconds for which the last step held the commit lock, where it was a long one.
    public private(set) var held: UInt64 = 0
    /// Entries of the index under work that have been loaded.
    public private(set) var loaded = 0
    /// The index under work.
    public internal(set) var slot: IndexSlot?

    /// Whether all has been mended, and is compared once more.
    public private(set) var isRecheck = false
    private var cut: Run.Cut?
    /// Indexes that are still to be compared, at this cut, in order.
    var uncompared: [IndexSlot] = []
    private var comparison: Comparison?
    /// What was compared and is to be mended, in order.
    private var comparisons: [Comparison] = []
    private var patch: Patch?
    /// Discrepancies that earlier transactions of a patch have mended.
    private var patched = 0
    private var merger: LoadMerger?
    /// Indexes whose live index was changed.
    private var changed: [IndexSlot] = []
    private var reapLimit: Int
    /// Indexes that have not been compared yet, but for the recheck.
    var toCompare: [IndexSlot] = []
    // Of owners that nobody can lock: the step behind a mark, the shadow as of the last one, and
    // the comparison under work.
    package internal(set) var behindMark = Step.cut
    var settledShadow: SettledShadow?
    package internal(set) var looking: Looking?
    /// Marks in a row behind which something was to be read again.
    var unsettledMarks = 0
    /// Indexes in which more was wrong than a patch remembers, and no rebuild is possible: they
    /// are compared again behind each patch.
    private var again: Set<IndexSlot> = []
    /// The index whose interrupted load is resumed.
    private var resumed: IndexSlot?

    public init(_ run: Run) {
        self.run = run
        reapLimit = run.options.reapEntries
    }

    /// Does the next step, for which everything it needs must be there, or the run be marked
    /// as aborted.
    public func step() {
        precondition(!isEnded, "nothing follows the end")
        held = 0
        do {
            if next != .reap, next != .end, !isAbortIgnored { try run.checkAborted() }
            try perform(next)
        } catch is RereadFirst {
            readAgain()
        } catch {
            fail(error)
        }
    }

    /// Whether nothing more will happen.
    public var isEnded: Bool {
        if case .ended = need { return true }
        return false
    }

    /// Whether the run may rest before the next step, with nothing done but the queue handled.
    /// What is kept of it in memory meanwhile has to be bounded: the overlay of a patch is as
    /// short-lived as the patch, that of a load goes into the side file when it is large.
    package var mayRest: Bool { patch == nil && !run.isRefreezeDue }

    /// By a mutant, which must have all that the step needs.
    private var isAbortIgnored: Bool {
        guard run.options.mutants.have(.abortIgnored) else { return false }
        switch next {
        case .commit: return true
        case .load: return loadBatch != nil
        default: return false
        }
    }

    private func perform(_ step: Step) throws {
        if run.unlocked != nil, try performUnlocked(step) { return }
        switch step {
        case .prepare:
            try run.prepare()
            takeStock()
            run.isResumed ? go(.replay) : go(.settle, .scan)
        case .replay: try run.replay() ? go(.replay) : go(.settle, .scan)
        case .settle:
            try run.settle()
            settled()
        case .cut: try takeCut()
        case .compare: try beginComparison()
        case .compared: try endComparison()
        case .plan: try plan()
        case .beginPatch: try beginPatch()
        case .drain:
            try run.drain()
            go(patch == nil ? .load : .patch)
        case .patch: try applyPatch()
        case .beginLoad: try beginLoad()
        case .resumeLoad: try resumeLoad()
        case .load: try load()
        case .refreeze:
            guard let merger = try run.refreeze() else { preconditionFailure("it is due") }
            goLoad(merger)
        case .commit:
            try run.commit()
            merger = nil
            endMending(true)
        case .reap: reap()
        case .mark, .judge, .lookUp:
            preconditionFailure("a step of an owner that nobody can lock")
        case .end:
            if !changed.isEmpty { try run.exactOwner.makeDurable() }
            if let left = run.finish(nil) { run.report.reason = left }
            go(.end, .ended)
        }
    }

    func go(_ step: Step, _ need: Need = .nothing) {
        next = step
        self.need = need
    }

    /// The step is made once what is to be read again was read. Corrections are of
    /// their cut, and stay.
    private func readAgain() {
        switch next {
        // What was looked up is looked up again.
        case .patch where patch == nil: go(.beginPatch, .scan)
        default: go(next == .load || next == .patch ? .drain : next, .scan)
        }
    }

    // MARK: Going on

    /// What an earlier process of the run has mended, and what is still to be looked at.
    private func takeStock() {
        // A patch that was interrupted has changed some, and is planned anew.
        changed = run.slots.filter { run.isMended($0) }
        let loading = run.interrupted?.slot
        toCompare = run.slots.filter { !changed.contains($0) && $0 != loading }
    }

    /// Where the way leads from a settled shadow.
    private func settled() {
        // An incomplete shadow ends the run at its cut.
        let isIncomplete = run.assistant.damageCount > 0
        if isRecheck || isIncomplete { return go(.cut) }
        if run.interrupted != nil { return go(run.isScanned ? .resumeLoad : .cut) }
        toCompare.isEmpty ? go(.plan) : go(.cut)
    }

    private func resumeLoad() throws {
        guard let load = run.interrupted else { preconditionFailure("a load was interrupted") }
        slot = load.slot
        resumed = load.slot
        loaded = 0
        guard let merger = try run.resumeLoad(load) else { return go(.commit) }
        goLoad(merger)
    }

    // MARK: Cut and compare

    private func takeCut() throws {
        guard let cut = try run.cut() else {
            return go(.settle, .scan)
        }
        guard run.assistant.damageCount == 0 || run.options.mutants.have(.incompleteCommits) else {
            return endIncomplete()
        }
        self.cut = cut
        uncompared = isRecheck ? changed : toCompare
        if !isRecheck { toCompare = [] }
        go(.compare)
    }

    func endIncomplete() {
        run.report.outcome = .incomplete
        run.report.reason =
            "\(run.assistant.damageCount) primary records could not be read; "
            + "nothing was compared or changed"
        go(.end)
    }

    private func beginComparison() throws {
        guard let cut else { preconditionFailure("a comparison is made at a cut") }
        let slot = uncompared.removeFirst()
        self.slot = slot
        let comparison = try run.compare(
            slot, at: cut, isRecheck: isRecheck, isAgain: !isRecheck && again.contains(slot))
        self.comparison = comparison
        go(.compared, .comparison(comparison))
    }

    private func endComparison() throws {
        guard let comparison else { preconditionFailure("a comparison has begun") }
        try run.finish(comparison, isRecheck: isRecheck)
        if !isRecheck { comparisons.append(comparison) }
        self.comparison = nil
        guard uncompared.isEmpty else { return go(.compare) }
        cut = nil
        slot = nil
        isRecheck ? try concludeRecheck() : go(.plan)
    }

    // MARK: Mend

    private func plan() throws {
        guard let comparison = comparisons.first else {
            return toCompare.isEmpty ? try conclude() : go(.settle)
        }
        slot = comparison.slot
        let action = try run.plan(comparison)
        guard !run.options.isDryRun else { return endMending(false) }
        switch action {
        case .none: endMending(false)
        case .patch:
            patched = 0
            go(.beginPatch)
        case .rebuild: go(.beginLoad)
        }
    }

    private func endMending(_ isChanged: Bool) {
        let slot = resumed.take() ?? comparisons.removeFirst().slot
        if isChanged, !changed.contains(slot) { changed.append(slot) }
        go(.plan)
    }

    private func beginPatch() throws {
        guard let patch = try run.beginPatch(comparisons[0], from: patched) else {
            return endMending(true)
        }
        self.patch = patch
        go(.drain)
    }

    private func applyPatch() throws {
        guard let patch else { preconditionFailure("a patch has begun") }
        // Corrections are taken off their list once, and kept where they can't be made yet.
        if patch.overlay != nil { self.patch = nil }
        try run.apply(patch)
        self.patch = nil
        patched = patch.end
        guard patch.isLast else { return go(.beginPatch) }
        if !patch.isWhole {
            again.insert(patch.slot)
            toCompare.append(patch.slot)
        }
        endMending(true)
    }

    private func beginLoad() throws {
        loaded = 0
        goLoad(try run.beginLoad(comparisons[0]))
    }

    private func load() throws {
        guard let loadBatch else { preconditionFailure("a load needs a batch") }
        guard let merger else { preconditionFailure("a batch comes from a merger") }
        let count = loadBatch.count
        let step = try run.load(loadBatch)
        self.loadBatch = nil
        loaded += count
        held = step.held
        guard step.more else { return go(.commit) }
        run.isRefreezeDue ? go(.refreeze) : goLoad(merger)
    }

    private func goLoad(_ merger: LoadMerger) {
        self.merger = merger
        go(.drain, .loadBatch(merger))
    }

    // MARK: The end

    /// All has been mended that is to be.
    private func conclude() throws {
        let found = run.report.indexes.reduce(0) { $0 + $1.found.total }
        slot = nil
        guard !changed.isEmpty else {
            try run.judgeStored()
            run.report.outcome =
                found > 0 || hasDefects
                ? .corrupt
                : isUnsettled ? .unsettled : run.hasSettledCounts ? .repaired : .clean
            // An earlier run may have left something to be reaped.
            let mayChange = run.options.strategy != .check && !run.options.isDryRun
            return go(mayChange && run.parts.hasGenerations ? .reap : .end)
        }
        // The hooks have kept the shadow up all the while: no second scan is needed.
        isRecheck = true
        go(.settle)
    }

    /// Whether there is what no repair of an index can mend.
    private var hasDefects: Bool { run.report.primaryDefects.total > 0 }

    /// Whether there are keys that nobody could judge.
    private var isUnsettled: Bool { run.report.indexes.contains { $0.unsettled > 0 } }

    private func concludeRecheck() throws {
        try run.judgeStored()
        let found = run.report.indexes.reduce(0) { $0 + $1.found.total }
        let left = run.report.indexes.reduce(0) { $0 + ($1.recheck ?? $1.found).total }
        run.report.outcome =
            left > 0 || hasDefects
            ? .corrupt : found > 0 || run.hasSettledCounts ? .repaired : .clean
        go(run.parts.hasGenerations ? .reap : .end)
    }

    /// Returns a part of the old generations' storage. Where that fails all that matters is
    /// done all the same.
    private func reap() {
        if let stop = run.hook.abortReason, stop.isStop {
            run.report.reason = "\(stop); the old generation is left to the next repair"
            return go(.end)
        }
        do {
            try run.drain()
            let step = try run.reap(limit: reapLimit)
            held = step.held
            if step.held > run.options.holdTarget { reapLimit = max(64, reapLimit / 2) }
            if step.held < run.options.holdTarget / 2 {
                reapLimit = max(reapLimit, min(1 << 16, reapLimit + reapLimit / 4))
            }
            if !step.more { go(.end) }
        } catch {
            run.report.reason = "the old generation is left to the next repair: \(error)"
            go(.end)
        }
    }

    /// Ends the run in place of its next step, so that it can go on.
    private func suspend(_ end: RunState, _ reason: String) {
        run.suspend(end, reason)
        drop()
    }

    private func fail(_ error: any Error) {
        let reason = AbortReason(error)
        if reason.isStop {
            if let comparison, !isRecheck { run.note(unfinished: comparison) }
            if let looking { run.note(unfinished: looking) }
            return suspend(reason.kind == .pause ? .paused : .stopped, reason.description)
        }
        // Nothing of this attempt has begun: only what can't be used is given up.
        if run.isResumed, run.state == .prepared, reason.kind != .uselessPosition {
            run.leave(reason.description)
            return drop()
        }
        run.report.mustStartAgain = run.isResumed && reason.kind == .uselessPosition
        run.report.outcome = .aborted
        run.report.reason = "\(error)" + alreadyChanged
        if let left = run.finish(error) { run.report.reason? += "; \(left)" }
        drop()
    }

    private func drop() {
        cut = nil
        settledShadow = nil
        looking = nil
        comparison = nil
        comparisons = []
        patch = nil
        merger = nil
        loadBatch = nil
        go(.end, .ended)
    }

    /// What a run that is about several indexes had done before it was aborted.
    private var alreadyChanged: String {
        let changed = run.report.indexes.filter { $0.generation != nil || $0.patched > 0 }
        guard !changed.isEmpty else { return "" }
        let names = changed.map(\.name).joined(separator: ", ")
        let text = "; \(names) had been repaired before that, check again"
        do {
            try run.exactOwner.makeDurable()
            return text
        } catch {
            return text + " (and may not survive a failure of the machine: \(error))"
        }
    }
}
