// Merges stretches ahead of their appending, on a thread of its own: while the owner appends
// one, the next ones are merged.

internal import Threads

struct Prefetcher {
    private struct State {
        var ready: [Stretch] = []
        /// Entries that the next stretch should have.
        var entries = 1024
        var failure: (any Error)?
        var isDone = false
        var isStopped = false
    }

    /// Stretches that are merged ahead at the most.
    private static let depth = 4

    private let monitor = Monitor(State())
    private let thread: DedicatedThread

    init(_ merger: StretchMerger, niceness: Int32) {
        let monitor = monitor
        thread = DedicatedThread(name: "run-merger", niceness: niceness) {
            while true {
                let entries: Int = monitor.wait { state in
                    if state.isStopped { return 0 }
                    return state.ready.count < Prefetcher.depth ? state.entries : nil
                }
                if entries == 0 { return }
                do {
                    let stretch = try merger.next(entries: entries)
                    monitor.withLock(notify: true) { state in
                        if let stretch { state.ready.append(stretch) } else { state.isDone = true }
                    }
                    if stretch == nil { return }
                } catch {
                    monitor.withLock(notify: true) { $0.failure = error }
                    return
                }
            }
        }
    }

    /// The next stretch; nil after the last.
    func next(entries: Int) throws -> Stretch? {
        let result: Result<Stretch?, any Error> = monitor.wait { state in
            state.entries = entries
            if !state.ready.isEmpty { return .success(state.ready.removeFirst()) }
            if let failure = state.failure { return .failure(failure) }
            return state.isDone ? .success(nil) : nil
        }
        monitor.notify()
        return try result.get()
    }

    /// Ends the thread. Stretches that nobody took are dropped.
    func stop() {
        monitor.withLock(notify: true) { $0.isStopped = true }
        thread.join()
    }
}
