// How fast the threads of a run may work: a speed limit for the scan, a share of the time for
// all of them. The rules are values that are told the time; `Pace` waits as they say.

internal import Contract
internal import Engine
internal import Feed
internal import Synchronization

/// A speed limit that is kept on the average: what was read is owed, and is paid off by time.
struct TokenBucket {
    /// Records that may be read at once; below 0 they are owed.
    private(set) var balance = 0.0
    private var last: UInt64?
    private var rate = 0.0

    /// Seconds of records that can be saved up, or owed after the limit was lowered: a reader
    /// that was held up may catch up by so much, and a new limit holds after so long.
    static let depth = 0.1

    /// Notes that `records` were read at `now`.
    mutating func take(_ records: Int, at now: UInt64, perSecond: Int) {
        // The time that reading them took pays for them first.
        refill(at: now, Double(perSecond), after: Double(records))
    }

    /// Seconds until the next record may be read.
    mutating func wait(at now: UInt64, perSecond: Int) -> Double {
        refill(at: now, Double(perSecond))
        return balance >= 0 ? 0 : -balance / Double(perSecond)
    }

    private mutating func refill(at now: UInt64, _ rate: Double, after spent: Double = 0) {
        if rate != self.rate {
            // What was read under another limit is not held against this one.
            balance = max(balance, -rate * TokenBucket.depth)
            self.rate = rate
        }
        let elapsed = last.map { now > $0 ? Double(now - $0) / 1e9 : 0 } ?? 0
        last = now
        balance = min(balance + elapsed * rate - spent, rate * TokenBucket.depth)
    }
}

/// A share of the time, for one thread: each second of work owes its part of rest.
struct DutyCycle {
    /// Seconds of rest that are owed.
    private(set) var owed = 0.0

    /// Rests shorter than this are saved up: waking costs time too.
    private static let shortest = 0.002

    /// Notes `seconds` of work.
    /// - Parameter share: more than 0, up to 1.
    mutating func work(_ seconds: Double, share: Double) {
        guard share < 1 else {
            owed = 0
            return
        }
        owed += seconds * (1 - share) / share
    }

    /// Seconds to rest; 0 where it isn't worth it yet.
    var due: Double { owed >= DutyCycle.shortest ? owed : 0 }

    mutating func forget() { owed = 0 }

    /// Notes that the thread has rested. What is owed beyond that is forgotten where the limits
    /// have changed.
    mutating func rested(_ seconds: Double, isChanged: Bool) {
        owed = isChanged ? 0 : max(0, owed - seconds)
    }
}

/// What the threads of one run ask how fast they may go on.
final class Pace: Sendable {
    private let controls: RunControls
    private let hook: HookPoint
    private let clock: RunClock
    private let bucket = Mutex(TokenBucket())
    /// Until when writers count as being at work.
    private let busyUntil = Atomic<UInt64>(0)
    /// Others' commits at the last look.
    private let seenCommits = Atomic<UInt64>(0)
    private let rests = Atomic(false)

    /// The share that a run in the background has while writers are at work; and while it holds
    /// a snapshot of the owner: as long as it does the owner can't use the pages again that
    /// its writers free, which costs them more than a short burst of work.
    static let backgroundShare = 0.1, snapshotShare = 0.5
    /// Nanoseconds after a commit for which writers count as being at work: more than a mount may
    /// gather changes for.
    private static let busyTime: UInt64 = 200_000_000
    /// Seconds after which a resting thread looks whether the run has failed.
    private static let slice = 0.05

    init(_ controls: RunControls, _ hook: HookPoint, _ clock: RunClock) {
        self.controls = controls
        self.hook = hook
        self.clock = clock
    }

    var limits: RunLimits { controls.limits }

    /// Whether the run's threads rest between their steps.
    var isPaced: Bool { share() < 1 }

    /// Whether any of them ever has: what steps took then says little about their work.
    var hasRested: Bool { rests.load(ordering: .relaxed) }

    // MARK: Who else is at work

    /// Looks whether anybody else has committed since the last look. By one thread.
    func look() {
        let commits = hook.status.othersCommits
        guard commits > seenCommits.exchange(commits, ordering: .relaxed) else { return }
        busyUntil.store(clock.now() + Pace.busyTime, ordering: .relaxed)
    }

    /// The part of the time that threads may work just now: more than 0, up to 1.
    func share(holdingSnapshot isHolding: Bool = false) -> Double {
        let limits = limits
        let share = Double(limits.share) / 100
        guard limits.isBackground, clock.now() < busyUntil.load(ordering: .relaxed) else {
            return share
        }
        return min(share, isHolding ? Pace.snapshotShare : Pace.backgroundShare)
    }

    // MARK: Waiting

    /// The beginning of a piece of work of the calling thread.
    struct Beginning {
        fileprivate let time: UInt64
        /// What the thread had waited for a processor before.
        fileprivate let delay: UInt64
    }

    func begin() -> Beginning {
        Beginning(time: clock.now(), delay: isPaced ? clock.processorDelay : 0)
    }

    /// Seconds that the thread has worked since. Where others had its processor it has not.
    private func worked(since began: Beginning) -> Double {
        let delay = began.delay > 0 ? clock.processorDelay : 0
        let waited = delay > began.delay ? Double(delay - began.delay) / 1e9 : 0
        return max(0, seconds(since: began.time) - waited)
    }

    /// Rests as much as what was done since `began` asks for.
    /// - Parameters:
    ///   - isHolding: whether the thread goes on holding a snapshot of the owner.
    ///   - isNeeded: asked now and then: ends the rest.
    ///   - idling: called before a rest.
    func rest(
        _ cycle: inout DutyCycle, since began: Beginning, holdingSnapshot isHolding: Bool = false,
        unless isNeeded: () -> Bool = { false }, idling: () -> Void = {}
    ) {
        guard isPaced else { return cycle.forget() }
        rest(
            &cycle, after: worked(since: began), holdingSnapshot: isHolding, unless: isNeeded,
            idling: idling)
    }

    /// Rests as much as `seconds` of work ask for.
    func rest(
        _ cycle: inout DutyCycle, after seconds: Double, holdingSnapshot isHolding: Bool = false,
        unless isNeeded: () -> Bool = { false }, idling: () -> Void = {}
    ) {
        cycle.work(seconds, share: share(holdingSnapshot: isHolding))
        if cycle.due > 0 { idling() }
        while cycle.due > 0, hook.abortReason == nil, !isNeeded() {
            rests.store(true, ordering: .relaxed)
            let start = clock.now()
            let isChanged = controls.rest(seconds: min(cycle.due, Pace.slice), "share")
            cycle.rested(self.seconds(since: start), isChanged: isChanged)
        }
    }

    /// Waits as the speed limit asks for after `records` were read.
    func wait(afterReading records: Int, idling: () -> Void) {
        guard let rate = limits.speedLimit else { return }
        bucket.withLock { $0.take(records, at: clock.now(), perSecond: rate) }
        var isIdle = false
        while hook.abortReason == nil, let rate = limits.speedLimit {
            let left = bucket.withLock { $0.wait(at: clock.now(), perSecond: rate) }
            guard left > 0 else { return }
            if !isIdle { idling() }
            isIdle = true
            controls.rest(seconds: min(left, Pace.slice), "speed limit")
        }
    }

    /// Waits as long as the run is paused.
    func waitWhilePaused(idling: () -> Void) {
        var isIdle = false
        while limits.isPaused, hook.abortReason == nil {
            if !isIdle { idling() }
            isIdle = true
            controls.rest(seconds: Pace.slice, "pause")
        }
    }

    private func seconds(since start: UInt64) -> Double { Double(clock.now() - start) / 1e9 }
}
