// Which workers wait for requests in the kernel, and which stand by.
//
// The kernel hands requests to those who wait in turn. With many waiting, one request after
// another, as a single program sends them, wakes one thread after another, each of which has slept
// longest and finds the processor's caches cold. So two wait at the most (decision 41). Whoever
// leaves to work, and leaves nobody waiting, calls one of those who stand by: the one that worked
// last.

internal import Synchronization
internal import Threads

final class Crew: Sendable {
    /// One worker's, to be called by.
    typealias Call = Monitor<Bool>

    private struct State {
        /// In the kernel, or called and on the way.
        var waiting = 0
        var standing: [Call] = []
        var isOver = false
    }

    private static let mostWaiting = 2
    private let state = Mutex(State())

    /// To be called before waiting for a request: stands by until it is this worker's turn.
    /// - Returns: false where the mount has ended.
    func enter(_ call: Call) -> Bool {
        let isTurn: Bool? = state.withLock { state in
            if state.isOver { return false }
            guard state.waiting == Crew.mostWaiting else {
                state.waiting += 1
                return true
            }
            state.standing.append(call)
            return nil
        }
        if let isTurn { return isTurn }
        call.wait { isCalled in
            defer { isCalled = false }
            return isCalled ? () : nil
        }
        return state.withLock { !$0.isOver }
    }

    /// To be called after waiting, with a request or without one.
    func leave() {
        let next: Call? = state.withLock { state in
            state.waiting -= 1
            guard state.waiting == 0, let next = state.standing.popLast() else { return nil }
            state.waiting += 1
            return next
        }
        next?.withLock(notify: true) { $0 = true }
    }

    /// Nobody waits any more.
    func end() {
        let standing = state.withLock { state in
            state.isOver = true
            defer { state.standing = [] }
            return state.standing
        }
        for call in standing { call.withLock(notify: true) { $0 = true } }
    }
}
