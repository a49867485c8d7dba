// Batches are used again instead of freed: a run in its stride allocates nothing.

internal import Synchronization

package final class BatchPool: Sendable {
    private let free = Mutex<[EntryBatch]>([])
    private let capacity: Int
    private let limit: Int

    /// Keeps up to `limit` batches, made with room for `capacity` bytes.
    package init(capacity: Int, limit: Int) {
        self.capacity = capacity
        self.limit = limit
    }

    package func take() -> EntryBatch {
        free.withLock { $0.popLast() } ?? EntryBatch(capacity: capacity)
    }

    package func give(_ batch: EntryBatch) {
        batch.removeAll()
        free.withLock { if $0.count < limit { $0.append(batch) } }
    }
}
