// Patch: where the discrepancies are few, each is looked at again, against the shadow as it
// is under the commit lock, and mended in the live index.
//
// A key that a writer has changed since the cut needs no special case: its newest delta
// says what the entry must be, and making it so is idempotent.
//
// Of a summary the corrections are added, as they were found at the cut: see `Summary`.

package import Bytes
package import Contract
internal import Entries
package import Feed
internal import Mutation
package import Shadow

/// One transaction's worth of discrepancies on their way to being mended.
package struct Patch: @unchecked Sendable {
    package let slot: IndexSlot
    package let keys: [[UInt8]]
    /// The shadow's values when the patch began, nil where it had none; or corrections.
    package let known: [[UInt8]?]
    /// What has changed since; nil where that does not matter.
    package let overlay: Overlay?
    /// Where the next patch begins in the list of discrepancies.
    package let end: Int
    package let isLast: Bool
    /// Whether nothing is left behind the last one.
    package let isWhole: Bool
}

extension Run {
    /// Looks up in the shadow what the entries of one transaction's worth of discrepancies
    /// must be, from `start` on. What changes from here on goes into the patch's overlay, up
    /// to its `apply`.
    /// - Returns: nil where there are none.
    package func beginPatch(_ comparison: Comparison, from start: Int) throws -> Patch? {
        try move(to: .committing)
        if comparison.corrections != nil { return try beginCorrections(comparison, from: start) }
        try checkExact()
        // What was read again may still be queued.
        try drain()
        let all = comparison.remembered.all
        let end = min(all.count, start + options.patchEntries)
        guard start < end else { return nil }
        let keys = all[start..<end].map(\.key).sorted { $0.lexicographicallyPrecedes($1) }
        let slot = comparison.slot
        let overlay = Overlay()
        assistant.loading = (slot.rawValue, overlay, KeyBytes())
        do {
            return Patch(
                slot: slot, keys: keys, known: try shadowValues(slot, keys), overlay: overlay,
                end: end, isLast: end == all.count, isWhole: comparison.isWhole)
        } catch {
            assistant.loading = nil
            throw error
        }
    }

    /// Takes the next corrections of a summary.
    private func beginCorrections(_ comparison: Comparison, from start: Int) throws -> Patch? {
        guard let corrections = comparison.corrections else { return nil }
        let reader =
            try comparison.uncorrected
            ?? corrections.reader(all: false, index: owner.indexes[comparison.slot.rawValue])
        comparison.uncorrected = reader
        let batch = EntryBatch()
        let hasMore = try reader.fill(batch, limit: options.patchEntries)
        guard !batch.isEmpty else { return nil }
        var keys: [[UInt8]] = [], values: [[UInt8]?] = []
        var position = batch.startPosition
        while position < batch.endPosition {
            keys.append(batch.key(at: position).array)
            values.append(batch.value(at: position).array)
            position = batch.position(after: position)
        }
        return Patch(
            slot: comparison.slot, keys: keys, known: values, overlay: nil,
            end: start + keys.count, isLast: !hasMore, isWhole: true)
    }

    /// Mends the entries in one transaction. A `drain` before it makes that short.
    package func apply(_ patch: Patch) throws {
        defer { assistant.loading = nil }
        let outcome = try atBoundary { boundary -> Patched in
            try self.checkAborted()
            try self.checkExact()
            let items = patch.overlay == nil ? [] : self.hook.takeAll()
            if let overlay = patch.overlay {
                for item in items { self.absorb(item, patch.slot, overlay, from: KeyBytes()) }
            }
            let count = try self.mend(patch, boundary)
            if let place = self.slots.firstIndex(of: patch.slot) {
                self.report.indexes[place].patched += count
            }
            try self.noteResult(patch.slot, isMended: patch.isLast && patch.isWhole, at: boundary)
            return Patched(items: items)
        }
        assistant.loading = nil
        try assistant.handle(outcome.items)
    }

    /// - Returns: how many entries were changed.
    private func mend(_ patch: Patch, _ boundary: any CommitBoundary) throws -> Int {
        guard let overlay = patch.overlay else {
            let corrections = zip(patch.keys, patch.known).compactMap { key, value in
                value.map { (key: key, value: $0) }
            }
            return try boundary.requireCounters().correct(patch.slot, corrections)
        }
        let wanted = zip(patch.keys, patch.known).map { key, value in
            guard !options.mutants.have(.patchIsStale) else { return (key: key, value: value) }
            return (key: key, value: unsafe overlay.newest(key.span.bytes) ?? value)
        }
        return try boundary.requireAmending().amend(patch.slot, wanted)
    }

    private struct Patched: @unchecked Sendable {
        let items: [QueueItem]
    }

    package func absorb(
        _ item: QueueItem, _ slot: IndexSlot, _ overlay: Overlay, from key: KeyBytes
    ) {
        if case .deltas(let batches) = item, let batch = batches[slot.rawValue] {
            overlay.absorb(batch, from: key)
        }
    }

    /// The shadow's value of each key, as of now or a little earlier; nil where it has none.
    private func shadowValues(_ slot: IndexSlot, _ keys: [[UInt8]]) throws -> [[UInt8]?] {
        try assistant.spill()
        let merge = try assistant.freeze().merge(slot.rawValue, index: owner.indexes[slot.rawValue])
        let batch = EntryBatch()
        return try keys.map { key in
            // No entry has so long a key.
            guard key.count <= KeyBytes.capacity else { return nil }
            batch.removeAll()
            try merge.seek(KeyBytes(key))
            _ = try merge.fill(batch, limit: 1)
            guard !batch.isEmpty, batch.key(at: 0).array == key else { return nil }
            return batch.value(at: 0).array
        }
    }
}
