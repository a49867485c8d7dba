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

internal import Synchronization
internal import Threads

protocol BoundaryJob: AnyObject {
    /// Runs the work and tells the caller who waits for it.
    func run(_ operations: inout Operations)
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
        /// Whether a thread has the turn.
        var isTaken = false
        var isClosed = false

        /// Whether nothing waits but what was put off.
        var isEmpty: Bool { jobs.isEmpty && boundaries.isEmpty && !isHurried }

        /// Whether what was put off is to be put off no longer.
        var isLaterDue: Bool {
            guard !later.isEmpty else { return false }
            return isHurried || isClosed || later.count >= Inbox.mostLater
                || monotonicSeconds() - laterSince >= Inbox.laterSeconds
        }

        /// Whether there is something to do, and nobody does it.
        var isDue: Bool { !isTaken && (!isEmpty || isLaterDue) }

        /// Takes the turn, and the jobs of a kind.
        mutating func take(_ kind: WritableKeyPath<State, [any Job]>) -> [any Job] {
            isTaken = true
            let jobs = self[keyPath: kind]
            self[keyPath: kind] = []
            return jobs
        }
    }

    /// Jobs that are put off at a time at the most, and for how long.
    private static let mostLater = 256
    private static let laterSeconds = 0.01

    /// Only the writer thread waits on it, for its turn.
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
    func enter() -> Bool {
        state.withLock {
            // What was put off long enough is not put off further by callers who come in turn.
            guard !$0.isTaken, $0.isEmpty, !$0.isLaterDue, !$0.isClosed else { return false }
            $0.isTaken = true
            return true
        }
    }

    func leave() {
        let isDue = state.withLock {
            precondition($0.isTaken, "a turn ended twice")
            $0.isTaken = false
            $0.isDoingLater = false
            return !$0.isEmpty || $0.isLaterDue || $0.isClosed
        }
        if isDue { state.notify() }
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

    /// Has what was put off done before what comes from here on.
    /// - Returns: whether there is any, or some is being done.
    func hurry() -> Bool {
        state.withLock(notify: true) {
            if !$0.later.isEmpty { $0.isHurried = true }
            return $0.isHurried || $0.isDoingLater
        }
    }

    /// What waits, without what was put off.
    var waiting: Int { state.withLock { $0.jobs.count + $0.boundaries.count } }

    private enum Next {
        case jobs([any Job]), pause, end
    }

    /// Waits for work, takes the turn and the jobs.
    /// - Returns: nil when the inbox is closed and all its work is done.
    func takeJobs() -> [any Job]? {
        while true {
            let next: Next = state.wait { state in
                if state.isDue {
                    guard state.isLaterDue else { return .jobs(state.take(\.jobs)) }
                    state.isHurried = false
                    state.isDoingLater = true
                    return .jobs(state.take(\.later))
                }
                // Nobody wakes this thread when the time has come.
                guard state.later.isEmpty else { return .pause }
                return state.isClosed && !state.isTaken ? .end : nil
            }
            switch next {
            case .jobs(let jobs): return jobs
            case .end: return nil
            case .pause:
                _ = state.wait(seconds: Inbox.laterSeconds) { $0.isDue ? () : nil }
            }
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
                while let jobs = core.inbox.takeJobs() {
                    operations.runBoundaryWork()
                    operations.run(jobs)
                    core.inbox.leave()
                }
            }
        }
    }

    /// Runs a job on the caller's thread, in a group of its own.
    /// - Returns: false where it is not the caller's turn, and nothing was done.
    func runHere(_ job: any Job) -> Bool {
        guard core.inbox.enter() else { return false }
        operations.run([job])
        core.inbox.leave()
        return true
    }

    /// Waits until the inbox, which is closed, is empty.
    func join() { thread.withLock { $0.take() }?.join() }
}
