// A thread for requests that have to wait for other requests to be answered. A worker that waited
// so could be the last one, and nobody would be left to answer.

internal import Threads

final class AsideThread: Sendable {
    private struct State {
        var work: [@Sendable () -> Void] = []
        var isClosed = false
    }

    private let state: Monitor<State>
    private let thread: DedicatedThread

    init() {
        let state = Monitor(State())
        self.state = state
        thread = DedicatedThread(name: "mount aside") {
            while let work = AsideThread.take(state) {
                for part in work { part() }
            }
        }
    }

    private static func take(_ state: Monitor<State>) -> [@Sendable () -> Void]? {
        state.wait { state -> [@Sendable () -> Void]?? in
            if state.work.isEmpty { return state.isClosed ? .some(nil) : .none }
            defer { state.work = [] }
            return state.work
        }
    }

    func run(_ work: @escaping @Sendable () -> Void) {
        state.withLock(notify: true) { $0.work.append(work) }
    }

    /// Does what is left, and ends.
    func close() {
        state.withLock(notify: true) { $0.isClosed = true }
        thread.join()
    }
}
