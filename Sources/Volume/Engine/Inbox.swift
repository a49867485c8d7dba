// What waits to be done to the volume: jobs, in the order in which they came, and work for the
// next commit boundary, which goes before them. And whose turn it is: one thread at a time makes
// changes, and is *the writer* meanwhile.
//
// A caller who finds nothing waiting, and nobody at work, runs its job itself: handing it to
// another thread and waiting for that costs more than most jobs. What comes meanwhile waits for
// the writer thread, which runs all of it as one group, or as few as it can. Nobody is passed
// over: while anything waits, whoever comes waits behind it.
//
// Some jobs can wait a little, since nobody waits for them: giving back what was forgotten. They
// are put off until there are many, or some milliseconds have passed, and share a group of their
// own.
//
// Where groups are gathered (Operations+Gathering.swift) the writer thread leaves one open between
// two turns. A caller takes the turn only while there is one, runs its job in it, and leaves it
// open; the writer thread commits it when its time has come, when it is full, or when somebody
// waits for its end.

internal import Synchronization
internal import Threads
#if canImport(Glibc)
internal import Glibc
#endif

protocol BoundaryJob: AnyObject {
    /// Runs the work and tells the caller who waits for it.
    func run(_ operations: inout Operations)
}

/// What the writer thread does in one turn.
struct Turn {
    var jobs: [any Job]
    /// Whether the group that is open is committed before anything else: its time has come, or a
    /// boundary waits.
    let endsGroup: Bool
    /// Whether no turn comes after it that would end the group.
    let isLast: Bool
    /// Whether somebody waits for what the jobs give back: it goes on after their commit.
    let isHurried: Bool
}

/// Work of the writer thread for another that has the turn, and waits for it.
final class Errand: @unchecked Sendable {
    private var body: (() -> Void)?
    private let isDone = Monitor(false)

    init(_ body: @escaping () -> Void) { self.body = body }

    func run() {
        runBody()
        isDone.withLock(notify: true) { $0 = true }
    }

    /// The body, which must not outlive the caller's call, is let go of when this returns.
    private func runBody() { body.take()?() }

    func wait() { isDone.wait { $0 ? () : nil } }
}

final class Inbox: Sendable {
    private struct State {
        var jobs: [any Job] = []
        var boundaries: [any BoundaryJob] = []
        /// What was put off, and since when.
        var later: [any Job] = []
        var laterSince = 0.0
        /// Whether somebody waits for what was put off.
        var isHurried = false
        /// Whether whoever has the turn does what was put off.
        var isDoingLater = false
        /// Turns so far that did what was put off.
        var laterEnded: UInt64 = 0
        /// Whether a thread has the turn.
        var isTaken = false {
            didSet { holder = isTaken ? pthread_self() : nil }
        }
        var isClosed = false
        /// When the open group is to be committed; nil: none is open.
        var openUntil: Double?
        /// Whether that is now.
        var isCommitDue = false
        /// Gathered groups that have ended.
        var groupsEnded: UInt64 = 0
        /// Threads that wait for the turn inside the open group, or for its end.
        var lookers = 0
        /// Whose turn it is.
        var holder: pthread_t?
        var errand: Errand?

        /// Whether nothing waits but what was put off.
        var isEmpty: Bool {
            jobs.isEmpty && boundaries.isEmpty && !isHurried && !isCommitDue
        }

        /// Whether what was put off is to be put off no longer.
        var isLaterDue: Bool {
            guard !later.isEmpty else { return false }
            return isHurried || isClosed || later.count >= Inbox.mostLater
                || monotonicSeconds() - laterSince >= Inbox.laterSeconds
        }

        /// Whether there is something to do, and nobody does it.
        var isDue: Bool {
            !isTaken && (!isEmpty || isLaterDue || isClosed && openUntil != nil)
        }

        /// - Returns: nil where it is not the time yet; false where the group has ended.
        mutating func enterGroup(after ended: UInt64) -> Bool? {
            if groupsEnded != ended { return false }
            guard !isTaken, openUntil != nil, !isCommitDue, boundaries.isEmpty else { return nil }
            isTaken = true
            return true
        }

        /// Takes the turn, and what is to be done in it.
        mutating func take() -> Turn {
            isTaken = true
            var jobs: [any Job] = []
            let wasHurried = isHurried
            if isLaterDue {
                isHurried = false
                isDoingLater = true
                swap(&jobs, &later)
            } else {
                swap(&jobs, &self.jobs)
            }
            defer { isCommitDue = false }
            return Turn(
                jobs: jobs, endsGroup: isCommitDue || !boundaries.isEmpty, isLast: isClosed,
                isHurried: wasHurried)
        }
    }

    /// Jobs that are put off at a time at the most, and for how long.
    private static let mostLater = 256
    private static let laterSeconds = 0.01

    /// The writer thread waits on it for its turn, and readers beside an open group.
    private let state = Monitor(State())

    /// - Returns: false where no more is taken.
    func add(_ job: any Job) -> Bool { add { $0.jobs.append(job) } }

    func add(boundary: any BoundaryJob) -> Bool { add { $0.boundaries.append(boundary) } }

    private func add(_ body: (inout State) -> Void) -> Bool {
        let (isAdded, isDue) = state.withLock { state in
            guard !state.isClosed else { return (false, false) }
            let wasEmpty = state.isEmpty
            body(&state)
            return (true, wasEmpty && !state.isTaken)
        }
        if isDue { state.notify() }
        return isAdded
    }

    /// Takes the turn, if nobody has it and nothing waits; given back with `leave`.
    /// - Parameter openGroup: whether it is of use only while a group is open.
    func enter(openGroup: Bool) -> Bool {
        state.withLock {
            // What was put off long enough is not put off further by callers who come in turn.
            guard !$0.isTaken, $0.isEmpty, !$0.isLaterDue, !$0.isClosed,
                !openGroup || $0.openUntil != nil
            else { return false }
            $0.isTaken = true
            return true
        }
    }

    /// - Parameter isFull: whether the open group is to be committed at once.
    func leave(isFull: Bool = false) {
        leave { if isFull { $0.isCommitDue = true } }
    }

    /// For the writer thread.
    /// - Parameter openUntil: when the group that it leaves open is to be committed.
    func leave(openUntil: Double?) {
        leave { $0.openUntil = openUntil }
    }

    private func leave(_ note: (inout State) -> Void) {
        let isDue = state.withLock {
            precondition($0.isTaken, "a turn ended twice")
            note(&$0)
            $0.isTaken = false
            let wakesWaiters = $0.isDoingLater || $0.lookers > 0
            if $0.isDoingLater { $0.laterEnded += 1 }
            $0.isDoingLater = false
            return !$0.isEmpty || $0.isLaterDue || $0.isClosed || wakesWaiters
        }
        if isDue { state.notify() }
    }

    // MARK: The open group

    /// Gathered groups that have ended so far.
    var groupsEnded: UInt64 { state.withLock { $0.groupsEnded } }

    /// A gathered group has ended, committed or not.
    func groupEnded() {
        let isAwaited = state.withLock {
            $0.groupsEnded += 1
            return $0.lookers > 0
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
            if $0.groupsEnded == ended { $0.isCommitDue = true }
            return $0.groupsEnded != ended
        }
        if !hasEnded { waitForGroup { $0.groupsEnded != ended ? () : nil } }
    }

    private func waitForGroup<R>(_ body: (inout State) -> R?) -> R {
        state.withLock {
            precondition($0.holder != pthread_self(), "a job waits for its own group")
            $0.lookers += 1
        }
        defer { state.withLock { $0.lookers -= 1 } }
        return state.wait(body)
    }

    /// Has the writer thread run `errand`, for whoever has the turn, and waits for it.
    func run(_ errand: Errand) {
        state.withLock(notify: true) {
            precondition($0.isTaken && $0.errand == nil, "an errand of one who has no turn")
            $0.errand = errand
        }
        errand.wait()
    }

    /// Puts a job off: nobody waits for it.
    /// - Returns: false where no more is taken.
    func putOff(_ job: any Job) -> Bool {
        let (isAdded, isDue) = state.withLock { state in
            guard !state.isClosed else { return (false, false) }
            if state.later.isEmpty { state.laterSince = monotonicSeconds() }
            state.later.append(job)
            // The first has the writer thread look at the time.
            return (true, state.later.count == 1 || state.later.count == Inbox.mostLater)
        }
        if isDue { state.notify() }
        return isAdded
    }

    /// Has what was put off done before what comes from here on, and waits for it. A reclaim goes
    /// on only after its group: where one is open, and nothing is put off, that is ended first.
    /// - Returns: whether any was done; false where there is none, or the deadline has passed.
    func expedite(until deadline: Deadline) -> Bool {
        let (turns, groups) = state.withLock(notify: true) {
            if !$0.later.isEmpty { $0.isHurried = true }
            return ($0.laterEnded, $0.groupsEnded)
        }
        let result: Bool? = state.wait(until: deadline) {
            if $0.laterEnded != turns { return true }
            if $0.isDoingLater || $0.isHurried { return nil }
            if !$0.later.isEmpty {
                $0.isHurried = true
            } else {
                guard $0.openUntil != nil, $0.groupsEnded == groups else { return false }
                guard !$0.isCommitDue else { return nil }
                $0.isCommitDue = true
            }
            self.state.notify()
            return nil
        }
        return result ?? false
    }

    /// What waits, without what was put off.
    var waiting: Int { state.withLock { $0.jobs.count + $0.boundaries.count } }

    /// Threads that wait for the turn inside the open group, or for its end.
    var groupWaiters: Int { state.withLock { $0.lookers } }

    var isClosed: Bool { state.withLock { $0.isClosed } }

    private enum Next {
        case turn(Turn), errand(Errand), pause(Double), end
    }

    /// Waits for work, and takes the turn.
    /// - Returns: nil when the inbox is closed and all its work is done.
    func takeTurn() -> Turn? {
        while true {
            switch state.wait(Inbox.next) {
            case .turn(let turn): return turn
            case .errand(let errand): errand.run()
            case .pause(let seconds): pause(seconds)
            case .end: return nil
            }
        }
    }

    private static func next(_ state: inout State) -> Next? {
        if let errand = state.errand.take() { return .errand(errand) }
        if state.isDue { return .turn(state.take()) }
        // Nobody wakes this thread when the time has come.
        if let end = state.openUntil, !state.isCommitDue {
            return .pause(max(0, end - monotonicSeconds()))
        }
        guard state.later.isEmpty else { return .pause(Inbox.laterSeconds) }
        return state.isClosed && !state.isTaken ? .end : nil
    }

    private func pause(_ seconds: Double) {
        _ = state.wait(seconds: seconds) { $0.isDue || $0.errand != nil ? () : nil }
        state.withLock {
            if let end = $0.openUntil, monotonicSeconds() >= end { $0.isCommitDue = true }
        }
    }

    func takeBoundaries() -> [any BoundaryJob] {
        state.withLock {
            let boundaries = $0.boundaries
            $0.boundaries = []
            return boundaries
        }
    }

    func close() { state.withLock(notify: true) { $0.isClosed = true } }
}

/// Makes all changes of a volume, on its own thread or on a caller's.
final class Writer: @unchecked Sendable {
    private let core: VolumeCore
    /// Whoever has the turn uses them.
    private var operations: Operations
    private let thread = Mutex<DedicatedThread?>(nil)

    init(_ core: VolumeCore, state: GroupState) {
        self.core = core
        operations = Operations(core, state: state)
    }

    /// Does from here on what is put into the inbox.
    func start() {
        thread.withLock {
            $0 = DedicatedThread(name: "volume writer") { [self] in
                while let turn = core.inbox.takeTurn() {
                    operations.run(turn)
                    core.inbox.leave(openUntil: operations.openUntil)
                }
            }
        }
    }

    /// Runs a job on the caller's thread: in a group of its own, or in the one that is gathered. It
    /// has ended then.
    /// - Returns: nil where it is not the caller's turn, and nothing was done.
    func runHere<J: Job>(_ job: () -> J) -> J? {
        guard core.inbox.enter(openGroup: core.gathers) else { return nil }
        let job = job()
        if core.gathers {
            operations.runInGroup(job)
            operations.commitUnlessGathered()
            core.inbox.leave(isFull: !operations.mayStayOpen)
        } else {
            operations.run([job])
            core.inbox.leave()
        }
        return job
    }

    /// Runs `body`, which changes nothing, on the caller's thread in the group that was open after
    /// `ended` others.
    /// - Returns: nil where that has ended.
    func look<R>(after ended: UInt64, _ body: (inout Operations) throws -> R) rethrows -> R? {
        guard core.inbox.enterGroup(after: ended) else { return nil }
        defer { core.inbox.leave(isFull: !operations.mayStayOpen) }
        guard operations.gathering.isOpen else { return nil }
        return try body(&operations)
    }

    /// Waits until the inbox, which is closed, is empty.
    func join() { thread.withLock { $0.take() }?.join() }
}
