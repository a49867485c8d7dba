// Merges batches ahead of their appending, on a thread of its own: while the owner appends
// one, the next ones are merged.

internal import Engine
internal import Threads

struct Prefetcher {
    private struct State {
        var ready: [LoadBatch] = []
        /// Entries that the next batch should have.
        var entries = 1024
        var failure: (any Error)?
        var isDone = false
        var isStopped = false
    }

    /// Batches that are merged ahead at the most.
    private static let depth = 4

    private let monitor = Monitor(State())
    private let thread: DedicatedThread

    /// What asking for the next batch has given.
    enum Next {
        case loadBatch(LoadBatch), end
        case notYet
    }

    init(_ merger: LoadMerger, niceness: Int32, _ pace: Pace) {
        let monitor = monitor
        thread = DedicatedThread(name: "run-merger", niceness: niceness) {
            var cycle = DutyCycle()
            while true {
                let entries: Int = monitor.wait { state in
                    if state.isStopped { return 0 }
                    return state.ready.count < Prefetcher.depth ? state.entries : nil
                }
                if entries == 0 { return }
                let began = pace.begin()
                do {
                    let loadBatch = try merger.next(entries: entries)
                    monitor.withLock(notify: true) { state in
                        if let loadBatch {
                            state.ready.append(loadBatch)
                        } else {
                            state.isDone = true
                        }
                    }
                    if loadBatch == nil { return }
                } catch {
                    monitor.withLock(notify: true) { $0.failure = error }
                    return
                }
                pace.rest(&cycle, since: began) { monitor.withLock { $0.isStopped } }
            }
        }
    }

    /// The next batch, where there is one within `seconds`.
    func next(entries: Int, within seconds: Double) throws -> Next {
        let result: Result<Next, any Error>? = monitor.wait(seconds: seconds) { state in
            state.entries = entries
            if !state.ready.isEmpty { return .success(.loadBatch(state.ready.removeFirst())) }
            if let failure = state.failure { return .failure(failure) }
            return state.isDone ? .success(.end) : nil
        }
        monitor.notify()
        return try result?.get() ?? .notYet
    }

    /// Ends the thread. Batches that nobody took are dropped.
    func stop() {
        monitor.withLock(notify: true) { $0.isStopped = true }
        thread.join()
    }
}
