// What waits for the writer thread: jobs, in the order in which they came, and work for
// the next commit boundary, which goes before them.

internal import Threads

protocol BoundaryJob: AnyObject {
    /// Runs the work and tells the caller who waits for it.
    func run(_ operations: inout Operations)
}

final class Inbox: Sendable {
    private struct State {
        var jobs: [any Job] = []
        var boundaries: [any BoundaryJob] = []
        var isClosed = false

        var isEmpty: Bool { jobs.isEmpty && boundaries.isEmpty }
    }

    private let state = Monitor(State())

    /// - Returns: false where the writer takes no more.
    func add(_ job: any Job) -> Bool {
        state.withLock(notify: true) {
            guard !$0.isClosed else { return false }
            $0.jobs.append(job)
            return true
        }
    }

    func add(boundary: any BoundaryJob) -> Bool {
        state.withLock(notify: true) {
            guard !$0.isClosed else { return false }
            $0.boundaries.append(boundary)
            return true
        }
    }

    /// Waits for work, and takes the jobs.
    /// - Returns: nil when the inbox is closed and all its work is done.
    func takeJobs() -> [any Job]? {
        state.wait { state -> [any Job]?? in
            if state.isEmpty { return state.isClosed ? .some(nil) : .none }
            let jobs = state.jobs
            state.jobs = []
            return jobs
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

/// The thread that makes all changes of a volume.
final class Writer: Sendable {
    private let thread: DedicatedThread

    init(_ core: VolumeCore, state: GroupState) {
        thread = DedicatedThread(name: "volume writer") {
            var operations = Operations(core, state: state)
            while let jobs = core.inbox.takeJobs() {
                operations.runBoundaryWork()
                operations.run(jobs)
            }
        }
    }

    /// Waits until the inbox, which is closed, is empty.
    func join() { thread.join() }
}
