// A run's way to an owner that nobody can lock: its feed, and the marks up to which the feed is to
// be delivered.

internal import Bytes
package import Contract
package import Entries
package import Feed
internal import Synchronization

/// The feed of a run, which one thread at a time uses: whoever polls, and the coordinator where it
/// marks.
package final class UnlockedAccess: Sendable {
    let owner: any UnlockedOwner
    private let hook: HookPoint

    private struct State {
        /// nil before it is in force, and after its end.
        var feed: (any ChangeFeed)?
        /// What the coordinator waits for.
        var mark: SequenceNumber?
    }

    private let state = Mutex(State())

    package init(_ owner: any UnlockedOwner, _ hook: HookPoint) {
        self.owner = owner
        self.hook = hook
    }

    /// The feed is in force when this returns.
    package func subscribe() throws {
        try state.withLock { state in
            precondition(state.feed == nil, "a run subscribes once")
            let feed = try owner.subscribe(StampedReceiver(hook, owner))
            state.feed = feed
            try hook.subscribed(buffers: feed.buffers)
        }
    }

    var isInForce: Bool { state.withLock { $0.feed != nil } }

    /// Deltas that one step delivers, about.
    private static let limit = 1024

    /// Fetches some of what has arrived. Where nothing has, and a mark has not come through, it was
    /// lost with what it was put behind: it is put once more.
    /// - Returns: false where nothing was there.
    package func poll() throws -> Bool {
        try state.withLock { state in
            guard let feed = state.feed else { return false }
            if try feed.poll(limit: UnlockedAccess.limit) { return true }
            if let mark = state.mark, !hook.isDelivered(upTo: mark) { _ = try feed.mark() }
            return false
        }
    }

    /// Marks the feed.
    /// - Returns: a time up to which the feed has to be delivered for all that has happened so far
    ///   to be known.
    package func mark() throws -> SequenceNumber {
        try state.withLock { state in
            guard let feed = state.feed else { return .none }
            let before = hook.time(), mark = try feed.mark()
            guard mark >= before, mark <= hook.time() else {
                throw AbortReason(
                    "the owner's changes can't be relied on: a mark of \(mark.raw) at the time "
                        + "\(before.raw)")
            }
            state.mark = mark
            return mark
        }
    }

    /// Whether the last mark has come through.
    package var isDelivered: Bool {
        guard let mark = state.withLock({ $0.mark }) else { return true }
        return hook.isDelivered(upTo: mark)
    }

    package func end() {
        state.withLock { state in
            state.feed?.end()
            state.feed = nil
        }
    }
}
