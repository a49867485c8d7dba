// Commit boundaries: the moments between two groups, in the writer's turn.

internal import Bytes
internal import LMDB
internal import Synchronization
internal import Threads
internal import Tidemark
internal import VolumeFormat

/// Work for a boundary, and the caller who waits for it.
final class BoundaryWork<Result>: BoundaryJob, @unchecked Sendable {
    /// Owned by the caller until it is queued, then by the writer until it has run.
    private var body: ((inout Operations) throws -> Result)?
    private var outcome: Swift.Result<Result, any Error>?
    private let isDone = Monitor(false)

    init(_ body: @escaping (inout Operations) throws -> Result) { self.body = body }

    func run(_ operations: inout Operations) {
        runBody(&operations)
        isDone.withLock(notify: true) { $0 = true }
    }

    /// The body, which must not outlive the caller's call, is let go of when this returns.
    private func runBody(_ operations: inout Operations) {
        guard let body = body.take() else { preconditionFailure("work is run once") }
        do { outcome = .success(try body(&operations)) } catch { outcome = .failure(error) }
    }

    func wait() throws -> Result {
        isDone.wait { $0 ? () : nil }
        guard let outcome else { preconditionFailure("work ended that never ran") }
        return try outcome.get()
    }
}

extension VolumeCore {
    /// Runs `body` in the writer's turn at the next commit boundary, and waits for it.
    func atBoundary<R>(_ body: (inout Operations) throws -> R) throws -> R {
        try withoutActuallyEscaping(body) { body in
            let work = BoundaryWork(body)
            guard inbox.add(boundary: work) else { throw VolumeError.closed(path) }
            return try work.wait()
        }
    }
}

extension VolumeError {
    static func closed(_ path: String) -> VolumeError {
        .stopped(path: path, why: "it has been closed")
    }
}
