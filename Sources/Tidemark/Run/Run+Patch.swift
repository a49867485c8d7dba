// Patch: where the discrepancies are few, each is looked at again, against the shadow as it
// is under the commit lock, and mended in the live index.
//
// A key that a writer has changed since the cut needs no special case: its newest delta
// says what the entry must be, and making it so is idempotent.

internal import Bytes

extension Run {
    /// Mends the entries of one transaction's worth of discrepancies from `start` on.
    /// - Returns: where to go on, or nil when all are done.
    public func patch(_ comparison: Comparison, from start: Int) throws -> Int? {
        phase = .committing
        let all = comparison.kept.all
        let end = min(all.count, start + options.patchEntries)
        guard start < end else { return nil }
        let keys = all[start..<end].map(\.key).sorted { $0.lexicographicallyPrecedes($1) }
        let slot = comparison.slot
        // What changes from here on is looked up in the overlay.
        let overlay = Overlay()
        assistant.loading = (slot.rawValue, overlay, KeyBytes())
        defer { assistant.loading = nil }
        let known = try shadowValues(slot, keys)
        while try handleItem() {}
        let outcome = try atBoundary { boundary -> Patched in
            try self.checkAborted()
            try self.checkExact()
            let items = self.hook.takeAll()
            for item in items { self.absorb(item, slot, overlay, from: KeyBytes()) }
            let wanted = zip(keys, known).map { key, value in
                (key: key, value: unsafe overlay.newest(key.span.bytes) ?? value)
            }
            return Patched(items: items, count: try boundary.amend(slot, wanted))
        }
        assistant.loading = nil
        for item in outcome.items { try assistant.handle(item) }
        if let place = slots.firstIndex(of: slot) {
            report.indexes[place].patched += outcome.count
        }
        return end < all.count ? end : nil
    }

    private struct Patched: @unchecked Sendable {
        let items: [QueueItem]
        let count: Int
    }

    func absorb(_ item: QueueItem, _ slot: IndexSlot, _ overlay: Overlay, from key: KeyBytes) {
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
            batch.removeAll()
            try merge.seek(KeyBytes(key))
            _ = try merge.fill(batch, limit: 1)
            guard !batch.isEmpty, batch.key(at: 0).array == key else { return nil }
            return batch.value(at: 0).array
        }
    }
}
