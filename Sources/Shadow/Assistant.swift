// The assistant: the one consumer of the queue, and the only writer of the side file.
//
// It collects entries and deltas in memory up to a budget, sorts them, and writes them out
// as one sorted run for each index. It reads nothing: a delta needs no look at what is
// there, because the merge resolves equal keys by their sequence.

package import Bytes
package import Contract
package import Entries
package import Feed
package import Mutation

package final class Assistant {
    package let store: any SideStore
    private let pool: BatchPool
    /// Bytes that are collected before they are sorted.
    package var budget: Int
    /// Throws where a long piece of work is to be given up; the driver's.
    package var checkAborted: () throws -> Void = {}
    /// Batches that are in memory, by slot, and the bytes of them all.
    package private(set) var memory: [[EntryBatch]]
    private var memoryBytes = 0
    /// Complete runs, by slot.
    package private(set) var runs: [[SortedRun]]
    /// Up to where what was derived from each primary key does not count.
    package private(set) var voids = RangeMap()
    package private(set) var primaryRecords = 0
    /// The first of the primary records that could not be read, and how many there are.
    package private(set) var damage: [PrimaryDamage] = []
    package private(set) var damageCount = 0
    static let rememberedDamage = 1000
    private var nextRun: UInt32 = 1
    /// Runs that are no longer part of the shadow, and still in the store.
    private var replaced: [UInt32] = []
    private var leases: [WeakLease] = []
    private let sorter = EntrySorter()
    private let mutants: Mutants
    /// Bytes of a chunk in the side file, at the most.
    package let chunkBytes: Int
    /// The index that is being loaded, if any: its deltas also go to the overlay.
    package var loading: (slot: Int, overlay: Overlay, cursor: KeyBytes)?

    /// Bytes that are handed to the store at once.
    private static let writeSize = 1 << 20

    package init(
        store: any SideStore, pool: BatchPool, indexes: Int, budget: Int,
        chunkBytes: Int = ChunkList.chunkSize, mutants: Mutants = Mutants(),
        from checkpoint: Checkpoint? = nil
    ) {
        self.mutants = mutants
        self.chunkBytes = chunkBytes
        self.store = store
        self.pool = pool
        self.budget = budget
        memory = Array(repeating: [], count: indexes)
        runs = checkpoint?.runs ?? Array(repeating: [], count: indexes)
        guard let checkpoint else { return }
        precondition(runs.count == indexes, "a checkpoint is of the same indexes")
        for void in checkpoint.voids { voids.raise(void.range, to: void.sequence) }
        primaryRecords = checkpoint.primaryRecords
        damage = checkpoint.damage
        damageCount = checkpoint.damageCount
        nextRun = checkpoint.nextRun
    }

    package func handle(_ item: QueueItem) throws {
        switch item {
        case .window(let sink):
            primaryRecords += sink.records
            damageCount += sink.damage.count
            damage += sink.damage.prefix(Assistant.rememberedDamage - damage.count)
            for (slot, batch) in sink.batches.enumerated() { keep(batch, slot) }
        case .deltas(let batches):
            for (slot, batch) in batches.enumerated() {
                if let batch, let loading, loading.slot == slot,
                    !mutants.have(.overlayMissesDeltas)
                {
                    loading.overlay.absorb(batch, from: loading.cursor)
                }
                keep(batch, slot)
            }
        case .void(let void):
            // What a patch has looked up is looked up again.
            guard loading.map({ $0.cursor.count == 0 }) ?? true else {
                throw AbortReason(
                    "the owner could not say exactly what changed while the index was written")
            }
            if !mutants.have(.voidForgotten) { voids.raise(void.range, to: void.sequence) }
        }
        if memoryBytes >= budget { try spill() }
    }

    /// Handles all of them, also where that fails for some: none is lost of those that a run
    /// that is stopped may go on from.
    package func handle(_ items: [QueueItem]) throws {
        var failure: (any Error)?
        for item in items {
            do { try handle(item) } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
    }

    private func keep(_ batch: EntryBatch?, _ slot: Int) {
        guard let batch else { return }
        if batch.isEmpty { return pool.give(batch) }
        memory[slot].append(batch)
        memoryBytes += batch.byteCount
    }

    /// Writes all that is in memory into sorted runs.
    /// - Parameter mergesSmall: whether the last run of each index is taken into the new one
    ///   where it is small: checkpoints come every few seconds, however little there is.
    package func spill(mergesSmall: Bool = false) throws {
        for slot in memory.indices where !memory[slot].isEmpty {
            let last = mergesSmall ? runs[slot].last.flatMap { isSmall($0) ? $0 : nil } : nil
            let run = try write(memory[slot] + (last.map { [try read($0)] } ?? []))
            if let last {
                runs[slot].removeLast()
                replaced.append(last.number)
            }
            runs[slot].append(run)
            for batch in memory[slot] { pool.give(batch) }
            memory[slot] = []
        }
        memoryBytes = 0
        try dropReplaced()
    }

    /// Bytes below which a run is written again rather than left beside a new one.
    private static let smallRun = 8 << 20

    private func isSmall(_ run: SortedRun) -> Bool {
        run.bytes < min(Assistant.smallRun, budget / 2)
    }

    private func read(_ run: SortedRun) throws -> EntryBatch {
        let batch = EntryBatch(capacity: run.bytes)
        try store.readers(of: [run.number])[0].readRest(into: batch, chunkBytes: chunkBytes)
        return batch
    }

    /// Drops runs that others have taken the place of, once no frozen shadow knows them.
    private func dropReplaced() throws {
        leases.removeAll { $0.lease == nil }
        guard leases.isEmpty, !replaced.isEmpty else { return }
        try store.drop(replaced)
        replaced = []
    }

    /// Sorts `batches` and writes them as a run: of each key only the newest item, which
    /// may be "absent", for that hides what older runs hold.
    private func write(_ batches: [EntryBatch]) throws -> SortedRun {
        try checkAborted()
        let sorted = sorter.sort(batches)
        defer { sorter.removeAll() }
        let number = nextRun
        nextRun += 1
        var entries = 0, bytes = 0
        // A local: a property would be checked for exclusive access at every record.
        var chunks = ChunkList(limit: chunkBytes)
        for index in 0..<sorted.count {
            sorted.prefetch(after: index)
            let record = sorted.record(index)
            if isHidden(index, in: sorted) { continue }
            if !record.isPresent, mutants.have(.tombstonesDropped) { continue }
            chunks.append(record)
            entries += 1
            bytes += record.size
            if chunks.byteCount >= Assistant.writeSize { try flush(&chunks, to: number) }
        }
        try flush(&chunks, to: number)
        return SortedRun(number: number, entries: entries, bytes: bytes)
    }

    /// Whether a newer item of the same key stands before the one at `index`.
    @inline(__always)
    private func isHidden(_ index: Int, in sorted: SortedEntries) -> Bool {
        let other = mutants.have(.oldestWins) ? index + 1 : index - 1
        guard other >= 0, other < sorted.count, sorted.prefix(index) == sorted.prefix(other)
        else { return false }
        return sorted.record(index).compareKey(sorted.record(other)) == 0
    }

    private func flush(_ chunks: inout ChunkList, to number: UInt32) throws {
        guard chunks.count > 0 else { return }
        try checkAborted()
        try store.append(chunks, to: number)
        chunks.removeAll()
    }

    /// All that is handled, for going on from `mark`. Nothing may be in memory.
    package func checkpoint(_ mark: HookPoint.Mark, windows: Int, scope: Scope?) -> Checkpoint {
        precondition(memory.allSatisfy(\.isEmpty), "a checkpoint is of what lies in the side file")
        return Checkpoint(
            commit: mark.commit, position: mark.position,
            voids: voids.pieces.map { VoidRange(range: $0.range, sequence: $0.value) }, runs: runs,
            nextRun: nextRun, primaryRecords: primaryRecords, windows: windows, damage: damage,
            damageCount: damageCount, scope: scope)
    }

    /// A number for a run that somebody else writes.
    package func takeRunNumber() -> UInt32 {
        defer { nextRun += 1 }
        return nextRun
    }

    /// Entries in all runs.
    package var entriesWritten: Int { runs.reduce(0) { $0 + $1.reduce(0) { $0 + $1.entries } } }

    /// The shadow as of the last spill, whatever is written later.
    package func freeze() -> FrozenShadow {
        let lease = RunLease()
        leases.append(WeakLease(lease))
        return FrozenShadow(
            store: store, runs: runs, voids: voids, chunkBytes: chunkBytes, lease: lease)
    }
}

/// Held by whoever may still open the runs of a frozen shadow.
package final class RunLease: Sendable {}

private struct WeakLease {
    weak var lease: RunLease?
    init(_ lease: RunLease) { self.lease = lease }
}

/// The shadow of every index at one moment: complete runs are never changed.
package struct FrozenShadow {
    fileprivate let store: any SideStore
    fileprivate let runs: [[SortedRun]]
    fileprivate let voids: RangeMap
    fileprivate let chunkBytes: Int
    fileprivate let lease: RunLease

    /// A reader of the shadow of `slot`, from `key` on.
    package func merge(
        _ slot: Int, index: any SecondaryIndex, from key: KeyBytes = KeyBytes()
    ) throws -> ShadowMerge {
        try ShadowMerge(
            runs[slot], in: store, voids: voids, index: index, from: key, chunkBytes: chunkBytes,
            lease: lease)
    }

    /// Entries of the shadow of `slot`, at the most: those of all runs.
    package func entries(_ slot: Int) -> Int { runs[slot].reduce(0) { $0 + $1.entries } }

    /// Keys that divide the shadow of `slot` into `parts` parts of about the same size, each
    /// moved to a place that `adjust` allows.
    package func dividers(
        _ slot: Int, parts: Int, adjust: (RawSpan) -> KeyBytes? = { KeyBytes($0) }
    ) throws -> [KeyBytes] {
        guard parts > 1, let run = runs[slot].max(by: { $0.bytes < $1.bytes }) else { return [] }
        let reader = try store.readers(of: [run.number])[0]
        var chunk = ByteArena(capacity: chunkBytes)
        let step = max(1, run.bytes / chunkBytes / parts)
        var result: [KeyBytes] = [], number = 0
        while try reader.next(into: &chunk), result.count < parts - 1 {
            number += 1
            if number % step == 0 {
                let key = unsafe adjust(Record(chunk.base(at: 0)).key)
                if let key, number > 1, result.last.map({ $0 < key }) ?? (key.count > 0) {
                    result.append(key)
                }
            }
        }
        return result
    }
}
