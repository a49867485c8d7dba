// How far a run has come: one snapshot, for progress bars, `tidemark status` and scripts.

internal import Bytes
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
    public var primaryRecords = 0
    public var applied = 0
    public var elided = 0
    public var discrepancies = 0
    public var firstDiscrepancy: Discrepancy?
    public var queuedBytes = 0
    /// What the operator asks for.
    public var limits = RunLimits()
    /// Why the run is about to end, where somebody has asked for that.
    public var stopReason: String?

    public init() {}
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
    }

    private let run: Run
    private let controls: RunControls
    private let clock: RunClock
    private let state: Mutex<State>

    init(_ run: Run, _ controls: RunControls, _ clock: RunClock) {
        self.run = run
        self.controls = controls
        self.clock = clock
        let now = clock.now()
        state = Mutex(State(start: now, phaseStart: now))
    }

    /// - Parameter total: nil: as before.
    func note(_ phase: RunState, _ index: String?, _ done: Int, _ total: Int) {
        state.withLock { state in
            // Read with the lock held: times that are noted never go back.
            let now = clock.now()
            if state.progress.phase != phase || state.progress.index != index {
                state.progress.phase = phase
                state.progress.index = index
                state.phaseStart = now
                state.rate.removeAll()
            }
            state.progress.done = done
            state.progress.total = total
            state.rate.note(done, at: now)
        }
    }

    /// Notes how many entries the run is about.
    func note(entries: Int) { state.withLock { $0.entries = entries } }

    func note(primaryRecords: Int) {
        state.withLock { $0.progress.primaryRecords = primaryRecords }
    }

    var seconds: Double { Double(clock.now() - state.withLock { $0.start }) / 1e9 }

    var snapshot: RunProgress {
        let hook = run.hook.status, found = run.tally.found
        return state.withLock { state in
            let now = clock.now()
            var progress = state.progress
            progress.seconds = Double(now - state.start) / 1e9
            progress.phaseSeconds = Double(now - state.phaseStart) / 1e9
            progress.rate = state.rate.perSecond
            progress.applied = hook.applied
            progress.elided = hook.elided
            progress.queuedBytes = hook.queuedBytes
            if case .at(let key) = hook.cursor {
                progress.position = key.count >= 8 ? key.span.integer(at: 0) : 0
            }
            progress.discrepancies = found.count
            progress.firstDiscrepancy = found.first
            progress.limits = controls.limits
            progress.stopReason = run.hook.abortReason?.description
            estimate(&progress, state.entries)
            return progress
        }
    }

    /// Time left: of the phase by its rate, of later phases by what an entry costs.
    private func estimate(_ progress: inout RunProgress, _ known: Int) {
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
        progress.secondsLeft = later.map { left + $0 * 100 / Double(progress.limits.share) }
    }
}
