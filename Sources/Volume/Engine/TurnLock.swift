// Which thread makes changes: one at a time has the turn, a caller's or the writer thread's, and is
// *the writer* meanwhile. `Inbox` guards this value with its lock, and wakes those who wait.
//
// LMDB's lock belongs to the thread that began the transaction. A caller who has the turn inside a
// group that the writer thread has begun delegates calls to that thread, which waits for them.

internal import Threads
#if canImport(Glibc)
internal import Glibc
#endif

struct TurnLock {
    private var holder: pthread_t?
    private var call: DelegatedCall?

    var isTaken: Bool { holder != nil }
    var isOfThisThread: Bool { holder == pthread_self() }

    mutating func take() {
        precondition(!isTaken, "a turn inside a turn")
        holder = pthread_self()
    }

    mutating func release() {
        precondition(isTaken, "a turn ended twice")
        holder = nil
    }

    /// Leaves a call for the writer thread.
    mutating func delegate(_ call: DelegatedCall) {
        precondition(isTaken && self.call == nil, "a call delegated without a turn")
        self.call = call
    }

    var hasCall: Bool { call != nil }

    mutating func takeCall() -> DelegatedCall? { call.take() }
}

/// A call that the writer thread makes for the thread that has the turn and waits for it.
final class DelegatedCall: @unchecked Sendable {
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
