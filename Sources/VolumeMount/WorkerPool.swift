// The worker pool: which worker waits for requests in the kernel, and which stand by.
//
// The kernel wakes whoever has waited longest. With many waiting, one request after another, as a
// single program sends them, goes to one thread after another, each fresh from its sleep; and
// where many programs ask at once each request wakes a thread, although those at work would be back
// before it runs. So one waits, and a second where the last request was there already. Another is
// woken, the one that worked last, where
//
// - those at work come back to find requests that waited for them, again and again: there is more
//   to do than they can do;
// - for a millisecond nobody has waited, and nobody has come back: they wait themselves, for a
//   disk or for the writer. A thread of its own checks for that, the watchdog, which sleeps where
//   no requests come.
//
// Decision 41 has what each of these rules is worth.

internal import Meters
internal import Synchronization
internal import Threads

final class WorkerPool: Sendable {
    /// One worker's, to be called by.
    typealias Call = Monitor<Bool>

    private struct State {
        /// In the kernel, or called and on the way.
        var waiting = 0
        var standing: [Call] = []
        /// Requests in a row that were there before a worker asked for them.
        var backlog = 0
        /// Workers that have come to wait so far.
        var returns = 0
        /// Requests so far.
        var requests = 0
        var isWatchdogAsleep = false
        var isOver = false

        mutating func call() -> Call? {
            guard let next = standing.popLast() else { return nil }
            waiting += 1
            backlog = 0
            return next
        }
    }

    /// Requests in a row that waited already, and one more worker is called.
    private static let longBacklog = 32
    /// Nanoseconds in which the kernel hands over a request that it has.
    private static let atOnce: UInt64 = 3000
    /// Seconds in which nobody comes back, and one more is called: between the watchdog's looks.
    private static let patience = 0.001
    /// Looks without a request after which the watchdog sleeps.
    private static let idleLooks = 100
    private let state = Monitor(State())

    /// To be called before waiting for a request: stands by until it is this worker's turn.
    /// - Returns: false where the mount has ended.
    func enter(_ call: Call) -> Bool {
        let isTurn: Bool? = state.withLock { state in
            if state.isOver { return false }
            // Where the last request was there already, whoever is in the kernel for the next one
            // is as good as back with it.
            let isNeeded = state.waiting == 0 || (state.waiting == 1 && state.backlog > 0)
            guard isNeeded else {
                state.standing.append(call)
                return nil
            }
            state.waiting += 1
            state.returns += 1
            return true
        }
        if let isTurn { return isTurn }
        call.wait { isCalled in
            defer { isCalled = false }
            return isCalled ? () : nil
        }
        return state.withLock { !$0.isOver }
    }

    /// To be called after waiting since `start`, with a request or without one.
    func leave(waitedSince start: UInt64) {
        let wasThere = monotonicNanoseconds() - start < WorkerPool.atOnce
        let (next, wakes): (Call?, Bool) = state.withLock { state in
            state.waiting -= 1
            state.requests += 1
            state.backlog = wasThere ? state.backlog + 1 : 0
            let isLong = state.waiting == 0 && state.backlog >= WorkerPool.longBacklog
            defer { state.isWatchdogAsleep = false }
            return (isLong ? state.call() : nil, state.isWatchdogAsleep)
        }
        next?.withLock(notify: true) { $0 = true }
        if wakes { state.notify() }
    }

    /// The watchdog's work, until the mount has ended.
    func watch() {
        var seen = (returns: 0, requests: 0), idle = 0
        while true {
            let isOver: Bool? = state.wait(seconds: WorkerPool.patience) { $0.isOver ? true : nil }
            if isOver != nil { return }
            let next: Call? = state.withLock { state in
                idle = state.requests == seen.requests ? idle + 1 : 0
                let isUnattended = state.waiting == 0 && state.returns == seen.returns
                seen = (state.returns, state.requests)
                return isUnattended ? state.call() : nil
            }
            next?.withLock(notify: true) { $0 = true }
            guard idle >= WorkerPool.idleLooks else { continue }
            idle = 0
            state.withLock { $0.isWatchdogAsleep = $0.waiting > 0 }
            state.wait { $0.isOver || !$0.isWatchdogAsleep ? () : nil }
        }
    }

    /// Whether the watchdog waits for a request before it looks again.
    var isWatchdogAsleep: Bool { state.withLock { $0.isWatchdogAsleep } }

    /// Workers that stand by.
    var standBy: Int { state.withLock { $0.standing.count } }

    /// Nobody waits any more.
    func end() {
        let standing = state.withLock(notify: true) { state in
            state.isOver = true
            defer { state.standing = [] }
            return state.standing
        }
        for call in standing { call.withLock(notify: true) { $0 = true } }
    }
}
