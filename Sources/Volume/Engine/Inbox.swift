// Where callers and the writer thread meet: whose turn it is (TurnLock), what waits to be done
// (JobQueue), and when the open group is committed (GroupTimer), under one lock.
//
// A caller who finds nothing waiting, and nobody at work, takes the turn and runs its job itself:
// handing it to another thread and waiting for that costs more than most jobs. What comes meanwhile
// waits for the writer thread, which runs all of it as one group, or as few as it can.
//
// With early acknowledgement the writer thread leaves a group open between two turns. A caller
// takes the turn only while there is one, runs its job in it, and leaves it open; the writer thread
// commits it when it is due, when it is full, or when somebody waits for its end.

internal import Threads

/// What the writer thread does in one turn.
struct Turn {
    var jobs: [any Job]
    /// Whether the group that is open is committed before anything else: it is due, or a boundary
    /// waits.
    let endsGroup: Bool
    /// Whether a caller waits for what the jobs give back. A reclaim goes on after its commit.
    let isExpedited: Bool
    /// Whether no turn comes after it that would end the group.
    let isLast: Bool
}

final class Inbox: Sendable {
    private struct State {
        var lock = TurnLock()
        var queue = JobQueue()
        var timer = GroupTimer()

        var isEmpty: Bool { queue.isEmpty && !timer.isDue }

        /// Whether there is something to do, whoever has the turn.
        func hasWork(_ now: @autoclosure () -> Double) -> Bool {
            !isEmpty || queue.isDeferredDue(now()) || queue.isClosed && timer.isOpen
        }

        /// - Returns: nil where it is not the time yet; false where the group has ended.
        mutating func enterGroup(after ended: UInt64) -> Bool? {
            if timer.groupsEnded != ended { return false }
            guard !lock.isTaken, timer.isOpen, !timer.isDue, !queue.hasBoundaries else {
                return nil
            }
            lock.take()
            return true
        }

        /// Takes the turn, and what is to be done in it.
        mutating func take(_ now: Double) -> Turn {
            lock.take()
            let (jobs, isExpedited) = queue.takeJobs(now)
            let isDue = timer.takeDue()
            return Turn(
                jobs: jobs, endsGroup: isDue || queue.hasBoundaries, isExpedited: isExpedited,
                isLast: queue.isClosed)
        }
    }

    /// The writer thread waits on it for its turn, and others for the open group or its end.
    private let state = Monitor(State())
    /// Seconds on a clock that never goes back.
    private let clock: @Sendable () -> Double

    init(_ clock: @escaping @Sendable () -> Double) { self.clock = clock }

    // MARK: Jobs

    /// - Returns: false where no more is taken.
    func add(_ job: any Job) -> Bool { add { $0.add(job) } }

    func add(boundary: any BoundaryJob) -> Bool { add { $0.add(boundary: boundary) } }

    private func add(_ body: (inout JobQueue) -> Bool) -> Bool {
        let (isAdded, wakes) = state.withLock { state in
            let wasEmpty = state.isEmpty
            let isAdded = body(&state.queue)
            return (isAdded, isAdded && wasEmpty && !state.lock.isTaken)
        }
        if wakes { state.notify() }
        return isAdded
    }

    /// Defers a job that nobody waits for.
    /// - Returns: false where no more is taken.
    func add(deferred job: any Job) -> Bool {
        let (isAdded, wakes) = state.withLock { state in
            let isAdded = state.queue.add(deferred: job, clock())
            return (isAdded, isAdded && state.queue.changesDueTime)
        }
        if wakes { state.notify() }
        return isAdded
    }

    /// Has deferred jobs run before what comes from here on, and waits for that. A reclaim goes on
    /// only after its group: where one is open, and nothing is deferred, that is ended first.
    /// - Returns: whether any ran; false where there is none, or the deadline has passed.
    func expedite(until deadline: Deadline) -> Bool {
        let (turns, groups) = state.withLock { ($0.queue.deferredTurns, $0.timer.groupsEnded) }
        let result: Bool? = state.wait(until: deadline) {
            if $0.queue.deferredTurns != turns { return true }
            if $0.queue.isRunningDeferred { return nil }
            var wakes = $0.queue.expedite()
            if !$0.queue.hasDeferred {
                // The turn under way may defer what goes on.
                if $0.lock.isTaken { return nil }
                guard $0.timer.isOpen, $0.timer.groupsEnded == groups else { return false }
                wakes = !$0.timer.isDue
                $0.timer.expire()
            }
            if wakes { self.state.notify() }
            return nil
        }
        return result ?? false
    }

    /// What waits, without deferred jobs.
    var waiting: Int { state.withLock { $0.queue.count } }

    func takeBoundaries() -> [any BoundaryJob] { state.withLock { $0.queue.takeBoundaries() } }

    func close() { state.withLock(notify: true) { $0.queue.close() } }

    // MARK: A caller's turn

    /// Takes the turn, if nobody has it and nothing waits; given back with `leave`.
    /// - Parameter openGroup: whether it is of use only while a group is open.
    func enter(openGroup: Bool) -> Bool {
        state.withLock {
            // Callers who come in turn don't defer what is due any further.
            guard !$0.lock.isTaken, $0.isEmpty, !$0.queue.isClosed,
                !$0.queue.isDeferredDue(clock()),
                !openGroup || $0.timer.isOpen
            else { return false }
            $0.lock.take()
            return true
        }
    }

    /// - Parameter isFull: whether the open group is to be committed at once.
    func leave(isFull: Bool = false) {
        leave { if isFull { $0.expire() } }
    }

    private func leave(_ note: (inout GroupTimer) -> Void) {
        let wakes = state.withLock {
            note(&$0.timer)
            $0.lock.release()
            let isAwaited = $0.queue.turnEnded() || $0.timer.waiters > 0
            return isAwaited || $0.hasWork(clock()) || $0.queue.isClosed
        }
        if wakes { state.notify() }
    }

    /// Has the writer thread run `call`, for whoever has the turn, and waits for it.
    func run(_ call: DelegatedCall) {
        state.withLock(notify: true) { $0.lock.delegate(call) }
        call.wait()
    }

    // MARK: The open group

    /// Open groups that have ended so far.
    var groupsEnded: UInt64 { state.withLock { $0.timer.groupsEnded } }

    /// An open group has ended, committed or not.
    func groupEnded() {
        let isAwaited = state.withLock {
            $0.timer.groupEnded()
            return $0.timer.waiters > 0
        }
        if isAwaited { state.notify() }
    }

    /// Waits for the turn inside the group that was open after `ended` others; given back with
    /// `leave`. It goes before jobs that wait, since it is short and they may be long.
    /// - Returns: false where that group has ended.
    func enterGroup(after ended: UInt64) -> Bool {
        let result: Bool? = state.withLock { $0.enterGroup(after: ended) }
        return result ?? waitForGroup { $0.enterGroup(after: ended) }
    }

    /// Has the group that was open after `ended` others committed, and waits for its end.
    func endGroup(after ended: UInt64) {
        let hasEnded = state.withLock(notify: true) {
            if $0.timer.groupsEnded == ended { $0.timer.expire() }
            return $0.timer.groupsEnded != ended
        }
        if !hasEnded { waitForGroup { $0.timer.groupsEnded != ended ? () : nil } }
    }

    private func waitForGroup<R>(_ body: (inout State) -> R?) -> R {
        state.withLock {
            precondition(!$0.lock.isOfThisThread, "a job waits for its own group")
            $0.timer.waiters += 1
        }
        defer { state.withLock { $0.timer.waiters -= 1 } }
        return state.wait(body)
    }

    // MARK: The writer thread

    /// Threads that wait for the turn inside the open group, or for its end.
    var groupWaiters: Int { state.withLock { $0.timer.waiters } }

    var isClosed: Bool { state.withLock { $0.queue.isClosed } }

    private enum Next {
        case turn(Turn), call(DelegatedCall), pause(Double), end
    }

    /// Waits for work, and takes the turn.
    /// - Returns: nil when the inbox is closed and all its work is done.
    func takeTurn() -> Turn? {
        while true {
            switch state.wait(next) {
            case .turn(let turn): return turn
            case .call(let call): call.run()
            case .pause(let seconds): pause(seconds)
            case .end: return nil
            }
        }
    }

    private func next(_ state: inout State) -> Next? {
        if let call = state.lock.takeCall() { return .call(call) }
        let now = clock()
        state.timer.check(now)
        if !state.lock.isTaken, state.hasWork(now) { return .turn(state.take(now)) }
        // Nobody wakes this thread when the time has come.
        if let seconds = state.timer.remaining(now) { return .pause(seconds) }
        guard !state.queue.hasDeferred else { return .pause(JobQueue.deferredSeconds) }
        return state.queue.isClosed && !state.lock.isTaken ? .end : nil
    }

    private func pause(_ seconds: Double) {
        _ = state.wait(seconds: seconds) { state -> Void? in
            if state.lock.hasCall { return () }
            let now = clock()
            state.timer.check(now)
            return !state.lock.isTaken && state.hasWork(now) ? () : nil
        }
    }

    /// The clock, which is not the system's, has been turned.
    func checkClock() { state.notify() }

    /// - Parameter openUntil: when the group that the writer thread leaves open is due.
    func leave(openUntil: Double?) {
        leave { $0.set(openUntil) }
    }
}
