// Discrepancies as they are found, by several threads: how many, the first of them, and the
// number at which the run is to stop.

package import Contract
package import Feed
internal import Synchronization

package final class DiscrepancyTally: Sendable {
    private struct State {
        var count = 0
        var first: Discrepancy?
        var limit: Int?
        var isFull: Bool { limit.map { count >= $0 } ?? false }
    }

    private let state: Mutex<State>
    private let hook: HookPoint

    package init(limit: Int?, hook: HookPoint) {
        state = Mutex(State(limit: limit))
        self.hook = hook
    }

    package var found: (count: Int, first: Discrepancy?) { state.withLock { ($0.count, $0.first) } }

    /// Counts one.
    /// - Returns: false where it is one too many: the run has been asked to stop before.
    package func add(_ discrepancy: Discrepancy) -> Bool {
        let (isCounted, limit): (Bool, Int?) = state.withLock { state in
            guard !state.isFull else { return (false, nil) }
            if state.first == nil { state.first = discrepancy }
            state.count += 1
            return (true, state.isFull ? state.limit : nil)
        }
        if let limit { stop(limit) }
        return isCounted
    }

    /// Sets the number at which the run stops; at once, where so many were found already.
    package func stop(after limit: Int?) {
        let isFull = state.withLock { state in
            state.limit = limit
            return state.isFull
        }
        if isFull, let limit { stop(limit) }
    }

    /// Marks the run before anything is left uncounted: from here on it changes nothing.
    private func stop(_ limit: Int) {
        hook.abort(
            AbortReason(
                "it was to stop after \(counted(limit, "discrepancy", "discrepancies"))", .stop))
    }
}
