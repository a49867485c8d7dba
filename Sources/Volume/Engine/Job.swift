// Work for whoever makes the changes.

internal import LMDB
internal import Threads

/// One call of `perform`: run in a group, told when the group has committed.
protocol Job: AnyObject {
    /// Runs the work. What it returns or throws is kept until the group's commit.
    func run(_ operations: inout Operations)

    /// The group has committed (nil), or nothing of it has happened.
    func end(_ failure: LMDBError?)

    /// Whether the work failed with an LMDBError: changes may be half made.
    var mustAbort: LMDBError? { get }

    /// Whether it has a group of its own.
    var isAlone: Bool { get }

    /// Whether somebody waits for its end. With early acknowledgement they are told as soon as
    /// it has run.
    var isAwaited: Bool { get }
}

extension Job {
    var isAlone: Bool { false }
    var isAwaited: Bool { false }
}

/// The work of one `perform`, and the caller who waits for it.
final class Work<Result>: Job, @unchecked Sendable {

    /// Owned by the caller until it is queued, then by whoever runs it until it has ended.
    private var body: ((inout Operations) throws -> Result)?
    private var outcome: Swift.Result<Result, any Error>?
    /// nil where nobody has to wait: the caller runs it.
    private let ended: Monitor<Bool>?
    private var hasEnded = false
    let isAwaited = true

    init(isQueued: Bool, _ body: @escaping (inout Operations) throws -> Result) {
        self.body = body
        ended = isQueued ? Monitor(false) : nil
    }

    /// The body, which must not outlive the caller's call, is let go of when this returns.
    func run(_ operations: inout Operations) {
        guard let body = body.take() else { preconditionFailure("a job is run once") }
        do { outcome = .success(try body(&operations)) } catch { outcome = .failure(error) }
    }

    var mustAbort: LMDBError? {
        guard case .failure(let error) = outcome else { return nil }
        return error as? LMDBError
    }

    func end(_ failure: LMDBError?) {
        // Still there where the group failed before it came to this job.
        body = nil
        if let failure { outcome = .failure(VolumeError(failure)) }
        hasEnded = true
        ended?.withLock(notify: true) { $0 = true }
    }

    /// Waits for the end.
    func wait() throws -> Result {
        ended?.wait { $0 ? () : nil }
        return try result()
    }

    /// After the end.
    func result() throws -> Result {
        guard hasEnded, let outcome else { preconditionFailure("a job ended that never ran") }
        return try outcome.get()
    }
}
