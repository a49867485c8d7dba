// fsync for everybody who waits: one thread makes the volume durable and answers all who asked
// before it began. So no worker is held by a disk, and a hundred programs cost one durable point.

internal import CFUSE
internal import Meters
internal import Threads
internal import Volume

final class SyncQueue: Sendable {
    private struct State {
        /// Requests, as numbers: pointers that belong to whoever answers.
        var waiting: [(request: UInt, since: UInt64)] = []
        var isClosed = false
    }

    private let state: Monitor<State>
    private let thread: DedicatedThread

    /// - Parameter sync: makes durable what was acknowledged.
    /// - Returns: the number that answers the requests.
    init(_ meter: RequestMeter, _ sync: @escaping @Sendable () -> Int32) {
        let state = Monitor(State())
        self.state = state
        thread = DedicatedThread(name: "mount sync") {
            while let requests = SyncQueue.take(state) {
                let number = sync()
                for (request, since) in requests {
                    _ = unsafe fuse_reply_err(fuse_req_t(bitPattern: request), number)
                    meter.record(.fsync, since: since)
                }
            }
        }
    }

    private static func take(_ state: Monitor<State>) -> [(request: UInt, since: UInt64)]? {
        state.wait { state -> [(request: UInt, since: UInt64)]?? in
            if state.waiting.isEmpty { return state.isClosed ? .some(nil) : .none }
            defer { state.waiting = [] }
            return state.waiting
        }
    }

    func add(_ request: fuse_req_t) {
        state.withLock(notify: true) {
            $0.waiting.append((UInt(bitPattern: request), monotonicNanoseconds()))
        }
    }

    /// Answers all who wait, and ends.
    func close() {
        state.withLock(notify: true) { $0.isClosed = true }
        thread.join()
    }
}
