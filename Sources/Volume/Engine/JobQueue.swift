// What waits to be done to the volume, in FIFO order, so that no caller starves; and work for the
// next commit boundary, which goes before it. `Inbox` guards this value with its lock.
//
// Deferred jobs are those that no caller waits for: they give back what was forgotten. They wait
// until there are many, or some milliseconds have passed, and share a group of their own.

protocol BoundaryJob: AnyObject {
    /// Runs the work and tells the caller who waits for it.
    func run(_ operations: inout Operations)
}

struct JobQueue {
    /// Deferred jobs at the most, and seconds until they are due.
    static let mostDeferred = 256
    static let deferredSeconds = 0.01

    private var jobs: [any Job] = []
    private var boundaries: [any BoundaryJob] = []
    private var deferred: [any Job] = []
    /// When the first of them came.
    private var deferredSince = 0.0
    /// Whether a caller waits for the deferred jobs.
    private(set) var isExpedited = false
    /// Whether the turn under way runs deferred jobs; and turns so far that did.
    private(set) var isRunningDeferred = false
    private(set) var deferredTurns: UInt64 = 0
    private(set) var isClosed = false

    /// Whether nothing waits but deferred jobs.
    var isEmpty: Bool { jobs.isEmpty && boundaries.isEmpty && !isExpedited }
    var hasBoundaries: Bool { !boundaries.isEmpty }
    var hasDeferred: Bool { !deferred.isEmpty }
    /// What waits, without deferred jobs.
    var count: Int { jobs.count + boundaries.count }

    func isDeferredDue(_ now: @autoclosure () -> Double) -> Bool {
        guard hasDeferred else { return false }
        return isExpedited || isClosed || deferred.count >= JobQueue.mostDeferred
            || now() - deferredSince >= JobQueue.deferredSeconds
    }

    /// - Returns: false where no more is taken.
    mutating func add(_ job: any Job) -> Bool {
        guard !isClosed else { return false }
        jobs.append(job)
        return true
    }

    mutating func add(boundary: any BoundaryJob) -> Bool {
        guard !isClosed else { return false }
        boundaries.append(boundary)
        return true
    }

    mutating func add(deferred job: any Job, _ now: Double) -> Bool {
        guard !isClosed else { return false }
        if deferred.isEmpty { deferredSince = now }
        deferred.append(job)
        return true
    }

    /// Whether the writer thread has to compute anew when deferred jobs are due, after one more.
    var changesDueTime: Bool { deferred.count == 1 || deferred.count == JobQueue.mostDeferred }

    /// Makes the deferred jobs due.
    /// - Returns: whether they were not.
    mutating func expedite() -> Bool {
        guard hasDeferred, !isExpedited else { return false }
        isExpedited = true
        return true
    }

    /// What the turn that begins runs: the deferred jobs if they are due, else all others.
    mutating func takeJobs(_ now: Double) -> (jobs: [any Job], isExpedited: Bool) {
        var taken: [any Job] = []
        let wasExpedited = isExpedited
        if isDeferredDue(now) {
            isExpedited = false
            isRunningDeferred = true
            swap(&taken, &deferred)
        } else {
            swap(&taken, &jobs)
        }
        return (taken, wasExpedited)
    }

    mutating func takeBoundaries() -> [any BoundaryJob] {
        defer { boundaries = [] }
        return boundaries
    }

    /// - Returns: whether a caller may wait for what the turn did.
    mutating func turnEnded() -> Bool {
        guard isRunningDeferred else { return false }
        isRunningDeferred = false
        deferredTurns += 1
        return true
    }

    mutating func close() { isClosed = true }
}
