// What has changed since the runs were frozen, while they are copied into a new generation:
// the newest item of each key from the load cursor on, in key order.
//
// Each batch is merged from the frozen runs ahead of time; what the overlay holds for the
// batch goes over it under the commit lock, so that the lock is held for the few late
// changes only. Keys below the load cursor are the owner's to keep up, and are dropped.

package import Bytes
package import Entries
package import Mutation

/// Used by one thread at a time.
package final class Overlay: @unchecked Sendable {
    private var arena = EntryBatch()
    /// Places in the arena, keys ascending, one for each key.
    private var order: [Int] = []
    /// Places before it lie below the load cursor.
    private var start = 0
    private let sorter = EntrySorter()
    private let mutants: Mutants
    private let incoming = EntryBatch()

    package init(mutants: Mutants = Mutants()) { self.mutants = mutants }

    package var byteCount: Int { arena.byteCount }
    package var count: Int { order.count - start }

    /// Takes over the items of `batch` with keys at or above `loadCursor`.
    package func absorb(_ batch: EntryBatch, from loadCursor: KeyBytes) {
        incoming.removeAll()
        var position = batch.startPosition
        while position < batch.endPosition {
            let record = batch.record(at: position)
            position += record.size
            if compareBytes(record.key, loadCursor.span) >= 0 { incoming.append(record) }
        }
        guard !incoming.isEmpty else { return }
        merge(sorter.sort([incoming]))
        sorter.removeAll()
    }

    /// Merges the sorted incoming items into the order; of one key the newest stays. Few
    /// items into many: places are found by bisection and moved in blocks.
    private func merge(_ sorted: SortedEntries) {
        var merged: [Int] = []
        merged.reserveCapacity(count + sorted.count)
        var old = start
        for new in 0..<sorted.count {
            let record = sorted.record(new)
            if new > 0, record.compareKey(sorted.record(new - 1)) == 0 { continue }
            let place = firstPlace(atOrAbove: record.key, from: old)
            merged.append(contentsOf: order[old..<place])
            old = place
            var known: Int?
            if old < order.count, arena.record(at: order[old]).compareKey(record) == 0 {
                known = order[old]
                old += 1
            }
            merged.append(newest(known, record))
        }
        merged.append(contentsOf: order[old...])
        order = merged
        start = 0
    }

    private func newest(_ known: Int?, _ record: Record) -> Int {
        if let known, arena.record(at: known).sequence >= record.sequence { return known }
        let place = arena.endPosition
        arena.append(record)
        return place
    }

    /// The first index of `order`, from `lowest` on, whose key is at or above `key`.
    private func firstPlace(atOrAbove key: RawSpan, from lowest: Int) -> Int {
        var low = lowest, high = order.count
        while low < high {
            let middle = (low + high) / 2
            if compareBytes(arena.key(at: order[middle]), key) < 0 {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }

    /// Appends to `result` the entries of `batch` with the overlay's items below `end`
    /// over them, and forgets those items.
    package func apply(to batch: EntryBatch, end: KeyBytes?, into result: EntryBatch) {
        var position = batch.startPosition
        while let change = next(below: end) {
            while position < batch.endPosition {
                let record = batch.record(at: position)
                let sign = record.compareKey(change)
                if sign > 0 { break }
                let isKept = !change.isPresent && mutants.have(.overlayMissesRemovals)
                if sign < 0 || isKept { result.append(record) }
                position += record.size
            }
            if change.isPresent { result.append(change) }
            start += 1
        }
        while position < batch.endPosition {
            let record = batch.record(at: position)
            result.append(record)
            position += record.size
        }
        if start == order.count { removeAll() }
    }

    private func next(below end: KeyBytes?) -> Record? {
        guard start < order.count else { return nil }
        let record = arena.record(at: order[start])
        if let end, compareBytes(record.key, end.span) >= 0 { return nil }
        return record
    }

    /// The newest item of `key`: its value, nil inside where it says "absent", and nil
    /// where the overlay knows nothing of the key.
    package func newest(_ key: RawSpan) -> [UInt8]?? {
        let low = firstPlace(atOrAbove: key, from: start)
        guard low < order.count, compareBytes(arena.key(at: order[low]), key) == 0 else {
            return .none
        }
        let record = arena.record(at: order[low])
        return .some(record.isPresent ? record.value.array : nil)
    }

    /// All items, keys ascending.
    package var changes: [Record] { order[start...].map { arena.record(at: $0) } }

    package func removeAll() {
        arena.removeAll()
        order.removeAll(keepingCapacity: true)
        start = 0
    }
}
