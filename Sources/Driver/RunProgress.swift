// How far a run has come: one snapshot, for progress bars, `tidemark status` and scripts.

internal import Feed
internal import Bytes
public import Contract
public import Engine
internal import Synchronization

public struct RunProgress: Hashable, Sendable, Codable {
    public var phase = RunState.prepared
    /// The index that is worked on, in phases that are about one.
    public var index: String?
    /// What has been done of the phase, and what there is to do; in records or entries. 0: not
    /// known.
    public var done = 0
    public var total = 0
    /// Records, or entries, in a second, over the last seconds.
    public var rate = 0.0
    /// Since the start of the run, and of the phase.
    public var seconds = 0.0
    public var phaseSeconds = 0.0
    /// Until the end of the phase, and of the run; nil: nobody knows.
    public var phaseSecondsLeft: Double?
    public var secondsLeft: Double?
    /// Where the scan stands: the number that its primary keys begin with, of a volume the
    /// inode. Nil at the end of the scan.
    public var position: UInt64?
    /// What no such number reaches; nil: not known, or the run reads a part only.
    public var positionLimit: UInt64?
    public var primaryRecords = 0
    public var applied = 0
    public var elided = 0
    public var discrepancies = 0
    public var firstDiscrepancy: Discrepancy?
    public var queuedBytes = 0
    /// How long the run has held the owner's commit lock; nil: not so far.
    public var lockHolds: RunReport.LockHolds?
    /// The phases that it went through, the last ones if there were very many.
    public var phases: [Phase] = []
    /// What the operator asks for.
    public var limits = RunLimits()
    /// Why the run is about to end, where somebody has asked for that.
    public var stopReason: String?

    public init() {}

    public struct Phase: Hashable, Sendable, Codable {
        public let phase: RunState
        public let index: String?
        /// Since the start of the run.
        public let began: Double
    }

    /// The part of the key space that the scan has taken, 0 to 1; nil: not known.
    public var scanned: Double? {
        guard let positionLimit else { return nil }
        guard let position else { return 1 }
        return positionLimit > 0 ? min(Double(position) / Double(positionLimit), 1) : 0
    }
}

/// A rate over the last seconds.
struct RateMeter {
    private var samples: [(at: UInt64, done: Int)] = []
    private static let span: UInt64 = 2_000_000_000
    private static let interval: UInt64 = 100_000_000

    mutating func removeAll() { samples = [] }

    mutating func note(_ done: Int, at now: UInt64) {
        if let last = samples.last, now < last.at + RateMeter.interval { return }
        samples.append((now, done))
        while samples.count > 2, samples[1].at + RateMeter.span < now { samples.removeFirst() }
    }

    var perSecond: Double {
        guard let first = samples.first, let last = samples.last, last.at > first.at else {
            return 0
        }
        return Double(max(0, last.done - first.done)) / (Double(last.at - first.at) / 1e9)
    }
}

/// What the driver's threads write down of the progress, and anybody reads.
final class ProgressBoard: Sendable {
    private struct State {
        var progress = RunProgress()
        var start: UInt64 = 0
        var phaseStart: UInt64 = 0
        var rate = RateMeter()
        /// Entries of all indexes that the run is about, as far as they are known.
        var entries = 0
        /// The part of the time that the run may work just now.
        var share = 1.0

        /// Phases that are remembered.
        static let phases = 64

        mutating func begin(_ phase: RunState, _ index: String?, at now: UInt64) {
            progress.phase = phase
            progress.index = index
            phaseStart = now
            rate.removeAll()
            if progress.phases.count == State.phases { progress.phases.removeFirst() }
            progress.phases.append(
                RunProgress.Phase(
                    phase: phase, index: index, began: Double(now - start) / 1e9))
        }
    }

    private let run: Run
    private let controls: RunControls
    private let clock: RunClock
    private let positionLimit: UInt64?
    private let state: Mutex<State>

    /// - Parameter positionLimit: of the progress.
    init(
        _ run: Run, _ controls: RunControls, _ clock: RunClock, positionLimit: UInt64? = nil
    ) {
        self.positionLimit = run.hook.scope == nil ? positionLimit : nil
        self.run = run
        self.controls = controls
        self.clock = clock
        let now = clock.now()
        var first = State(start: now, phaseStart: now)
        first.begin(.prepared, nil, at: now)
        state = Mutex(first)
    }

    /// - Parameter total: nil: as before.
    func note(_ phase: RunState, _ index: String?, _ done: Int, _ total: Int) {
        state.withLock { state in
            // Read with the lock held: times that are noted never go back.
            let now = clock.now()
            if state.progress.phase != phase || state.progress.index != index {
                state.begin(phase, index, at: now)
            }
            state.progress.done = done
            state.progress.total = total
            state.rate.note(done, at: now)
        }
    }

    /// Notes how many entries the run is about.
    func note(entries: Int) { state.withLock { $0.entries = entries } }

    func note(share: Double) { state.withLock { $0.share = share } }

    func note(primaryRecords: Int) {
        state.withLock { $0.progress.primaryRecords = primaryRecords }
    }

    var seconds: Double { Double(clock.now() - state.withLock { $0.start }) / 1e9 }

    var snapshot: RunProgress {
        let hook = run.hook.status, found = run.tally.found, holds = run.holds.report
        return state.withLock { state in
            let now = clock.now()
            var progress = state.progress
            progress.seconds = Double(now - state.start) / 1e9
            progress.phaseSeconds = Double(now - state.phaseStart) / 1e9
            progress.rate = state.rate.perSecond
            progress.applied = hook.applied
            progress.elided = hook.elided
            progress.queuedBytes = hook.queuedBytes
            progress.lockHolds = holds.count > 0 ? holds : nil
            progress.positionLimit = positionLimit
            if case .at(let key) = hook.cursor {
                progress.position = key.count >= 8 ? key.span.integer(at: 0) : 0
            }
            progress.discrepancies = found.count
            progress.firstDiscrepancy = found.first
            progress.limits = controls.limits
            progress.stopReason = run.hook.abortReason?.description
            estimate(&progress, state.entries, state.share)
            return progress
        }
    }

    /// Time left: of the phase by its rate, of later phases by what an entry costs.
    private func estimate(_ progress: inout RunProgress, _ known: Int, _ share: Double) {
        guard progress.total > 0, progress.rate > 0, !progress.limits.isPaused else { return }
        let left = Double(max(0, progress.total - progress.done)) / progress.rate
        progress.phaseSecondsLeft = left
        var entries = Double(known)
        if progress.phase == .scanning, progress.done > 0 {
            entries *= Double(progress.total) / Double(progress.done)
        }
        let costs = run.options.costs
        let mending =
            run.options.strategy == .rebuild && !run.options.isDryRun
            ? entries * (costs.loadSeconds + costs.compareSeconds) : 0
        let later: Double? =
            switch progress.phase {
            case .scanning: entries * costs.compareSeconds + mending
            case .comparing: mending
            case .loading: entries * costs.compareSeconds
            case .rechecking: 0
            default: nil
            }
        progress.secondsLeft = later.map { left + $0 / share }
    }
}
