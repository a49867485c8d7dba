// Load and commit: the shadow is copied in key order into a new generation of the owner,
// which is then made the active one.
//
// The cursor rule applies a second time, in the order of index keys. A batch of the
// shadow is merged ahead of time from frozen runs. Under the commit lock the queue is
// drained into the overlay, the overlay goes over the batch, the batch is appended, and
// the load cursor moves to its end; from then on the owner's own transactions keep up what
// lies below it. So every change to an entry is made exactly once: by the overlay where it
// was committed before the batch was appended, by the owner where after.
//
// Of a summary the batches hold corrections, and the owner copies its own counters with them:
// no delta needs to reach the batch, so the queue is left alone.

package import Bytes
package import Contract
package import Entries
internal import Feed
package import Mutation
package import Shadow

/// A generation on its way.
package struct Loading: @unchecked Sendable {
    package let slot: IndexSlot
    package let generation: UInt32
    package let overlay: Overlay
    /// Whether the batches hold corrections of a summary.
    package let isSummary: Bool
    /// Keys below it are maintained by the owner.
    package var cursor: KeyBytes
    package var isComplete = false
    /// Set by the commit: it is the live index, and no longer the run's.
    package var isActive = false
    /// Entries of the next batch.
    package var batchEntries: Int
}

/// Records are to be read again before the step can be made.
package struct RereadFirst: Error {}

/// A batch of the shadow, merged and not yet appended.
public struct LoadBatch: @unchecked Sendable {
    /// Entries.
    public var count: Int { batch.count }
    package let batch: EntryBatch
    /// The first key that it does not cover; nil where it covers all that are left.
    package let end: KeyBytes?
}

/// Merges the batches of one load, ahead of their appending. Used by one thread.
public final class LoadMerger: @unchecked Sendable {
    private let merge: ShadowMerge
    private let pool: BatchPool
    /// The first entry of the next batch: it has been merged to learn where one ends.
    private let ahead = EntryBatch()
    private var isDone = false
    private let mutants: Mutants

    package init(_ merge: ShadowMerge, pool: BatchPool, mutants: Mutants) {
        self.mutants = mutants
        self.merge = merge
        self.pool = pool
    }

    /// The next batch, of about `entries` entries; nil after the last.
    public func next(entries: Int) throws -> LoadBatch? {
        guard !isDone else { return nil }
        let batch = pool.take()
        if !ahead.isEmpty, !mutants.have(.batchLosesEntry) { batch.append(ahead.record(at: 0)) }
        var hasMore = try merge.fill(batch, limit: entries)
        ahead.removeAll()
        if hasMore { hasMore = try merge.fill(ahead, limit: 1) || !ahead.isEmpty }
        guard !ahead.isEmpty else {
            isDone = true
            return LoadBatch(batch: batch, end: nil)
        }
        let first = ahead
        return LoadBatch(batch: batch, end: KeyBytes(cut: first.key(at: 0)))
    }
}

extension Run {
    /// Begins the load: looks whether there is room, freezes the runs, and makes an empty
    /// generation.
    /// - Throws: `AbortReason` where the owner has no room for it.
    public func beginLoad(_ comparison: Comparison) throws -> LoadMerger {
        try move(to: .loading)
        try checkExact()
        // What was read again may still be queued.
        try drain()
        let slot = comparison.slot
        if let shortage = try shortage(comparison) {
            throw AbortReason(
                "no space for a new generation of \(owner.indexes[slot.rawValue].name): "
                    + "\(shortage); make room, or use --strategy patch")
        }
        let overlay = Overlay(mutants: options.mutants)
        let index = owner.indexes[slot.rawValue]
        let merge: ShadowMerge
        if let corrections = comparison.corrections {
            merge = try corrections.reader(all: true, index: index)
        } else {
            assistant.loading = (slot.rawValue, overlay, KeyBytes())
            try assistant.spill()
            merge = try assistant.freeze().merge(slot.rawValue, index: index)
        }
        try atBoundary { boundary in
            let generation = try boundary.requireGenerations().createGeneration(of: slot)
            self.loading = Loading(
                slot: slot, generation: generation, overlay: overlay,
                isSummary: comparison.corrections != nil, cursor: KeyBytes(),
                batchEntries: self.options.batchEntries)
            try self.noteResult(slot, isMended: false, at: boundary, loading: generation)
        }
        return LoadMerger(merge, pool: hook.pool, mutants: options.mutants)
    }

    /// Throws where something is to be read again: the shadow lacks it.
    /// - Throws: `RereadFirst` where that can be done now, because nothing that was loaded depends
    ///   on it.
    package func checkExact() throws {
        guard !hook.status.isScanned else { return }
        guard let loading, !loading.isSummary else { throw RereadFirst() }
        throw AbortReason("the owner reported records to be read again after the comparison")
    }

    /// Entries that the next batch should have, for the commit lock to be held no longer
    /// than is wanted.
    public var batchEntries: Int { loading?.batchEntries ?? options.batchEntries }

    /// Appends a batch under the commit lock. A `drain` before it makes that short.
    /// - Returns: whether more follow, and for how many nanoseconds the lock was held.
    public func load(_ loadBatch: LoadBatch) throws -> (more: Bool, held: UInt64) {
        guard let current = loading else { preconditionFailure("a load has begun") }
        precondition(!current.isComplete, "nothing follows the last batch")
        let result = hook.pool.take()
        let loaded = try atBoundary { boundary -> Loaded in
            let start = self.clock.now()
            let items = try self.append(loadBatch, into: result, current, boundary)
            return Loaded(items: items, held: self.clock.now() - start)
        }
        advance(to: loadBatch.end, held: loaded.held)
        // The owner keeps up what lies below the cursor; the overlay needs it no more.
        try assistant.handle(loaded.items)
        hook.pool.give(loadBatch.batch)
        hook.pool.give(result)
        return (loadBatch.end != nil, loaded.held)
    }

    private struct Loaded: @unchecked Sendable {
        let items: [QueueItem]
        let held: UInt64
    }

    private func append(
        _ loadBatch: LoadBatch, into result: EntryBatch, _ current: Loading,
        _ boundary: any CommitBoundary
    ) throws -> [QueueItem] {
        if !options.mutants.have(.abortIgnored) { try checkAborted() }
        // The batch may lack what is to be read again. An interrupted load is resumed, so
        // it is not to hold for a moment what a later step would refuse.
        try checkExact()
        if current.isSummary {
            try boundary.requireGenerations().append(
                loadBatch.batch, to: current.generation, of: current.slot, end: loadBatch.end)
            return []
        }
        let items = options.mutants.have(.loadWithoutDrain) ? [] : hook.takeAll()
        for item in items { absorb(item, current.slot, current.overlay, from: current.cursor) }
        current.overlay.apply(to: loadBatch.batch, end: loadBatch.end, into: result)
        try boundary.requireGenerations().append(
            result, to: current.generation, of: current.slot, end: loadBatch.end)
        return items
    }

    /// Moves the load cursor, and fits the size of the batches to the time they took.
    private func advance(to end: KeyBytes?, held: UInt64) {
        loading?.isComplete = end == nil
        let entries = batchEntries
        if held > options.holdTarget {
            loading?.batchEntries = max(256, entries / 2)
        } else if held < options.holdTarget / 2 {
            loading?.batchEntries = min(16384, entries + entries / 4)
        }
        if let end, let current = loading {
            loading?.cursor = end
            guard !current.isSummary else { return }
            assistant.loading = (current.slot.rawValue, current.overlay, end)
        } else {
            assistant.loading = nil
        }
    }

    /// Where so much has changed since the runs were frozen that the overlay has become
    /// large, freezes again: what it holds lies in the side file by then.
    /// - Returns: the merger to go on with, in place of the one before and of the batches
    ///   that it has merged ahead; nil where the overlay is small.
    public func refreeze() throws -> LoadMerger? {
        guard isRefreezeDue, let current = loading else { return nil }
        if !options.mutants.have(.refreezeWithoutSpill) { try assistant.spill() }
        current.overlay.removeAll()
        let merge = try assistant.freeze().merge(
            current.slot.rawValue, index: owner.indexes[current.slot.rawValue],
            from: current.cursor)
        return LoadMerger(merge, pool: hook.pool, mutants: options.mutants)
    }

    package var isRefreezeDue: Bool {
        guard let loading, !loading.isComplete else { return false }
        return loading.overlay.byteCount > options.overlayBytes
    }

    /// The commit: with the lock held the queue is drained, the generation is validated, and
    /// one transaction makes it the active one.
    public func commit() throws {
        guard let current = loading, current.isComplete else {
            preconditionFailure("a generation is loaded before it is committed")
        }
        try move(to: .committing)
        try atBoundary { boundary in
            if !self.options.mutants.have(.abortIgnored) { try self.checkAborted() }
            try self.checkExact()
            precondition(
                self.assistant.damageCount == 0 || self.options.mutants.have(.incompleteCommits),
                "an incomplete run commits nothing")
            let generations = try boundary.requireGenerations()
            if let problem = try generations.validate(
                generation: current.generation, of: current.slot)
            {
                throw AbortReason("the new generation is not valid: \(problem)")
            }
            let forgotten = try generations.previousGeneration(of: current.slot)
            try generations.activate(
                generation: current.generation, of: current.slot,
                keepsOld: self.options.keepsOld)
            self.loading?.isActive = true
            if let place = self.slots.firstIndex(of: current.slot) {
                self.report.indexes[place].generation = current.generation
                self.report.indexes[place].previous =
                    try generations.previousGeneration(of: current.slot)
                self.report.indexes[place].forgotten = forgotten
            }
            try self.noteResult(current.slot, isMended: true, at: boundary)
        }
        loading = nil
    }

    /// Deletes some of what is to be reaped. Returns false when nothing is left.
    public func reap(limit: Int) throws -> (more: Bool, held: UInt64) {
        try move(to: .reaping)
        let clock = clock
        return try atBoundary { boundary in
            let start = clock.now()
            let more = try boundary.generations?.reap(limit: limit) ?? false
            return (more, clock.now() - start)
        }
    }
}
