// Sorting a budget full of entries: order matters more than anything else that can be done
// for speed, because sorted entries can be appended instead of inserted.
//
// Records stay where they are; what is sorted is 16 bytes for each, the first eight bytes
// of its key and its place. Those bytes usually decide, so they are sorted by radix, least
// significant digit first, over just the digits in which the keys differ. Runs of equal
// prefixes are then ordered by the whole key, and equal keys with the newest first.

internal import Bytes

/// A record in a batch that does not change meanwhile, with what usually decides its order.
@safe @usableFromInline
struct EntryReference {
    @usableFromInline let prefix: UInt64
    @usableFromInline let record: Record

    @usableFromInline
    init(prefix: UInt64, record: Record) {
        self.prefix = prefix
        self.record = record
    }

    func precedes(_ other: EntryReference) -> Bool {
        prefix != other.prefix ? prefix < other.prefix : record.precedes(other.record)
    }
}

/// Entries in order, as an `EntrySorter` has left them: good until it sorts again, or lets go of
/// its batches. A value, so that a loop over it checks nothing for exclusive access.
@safe
package struct SortedEntries {
    @usableFromInline let base: UnsafePointer<EntryReference>
    package let count: Int

    fileprivate init(_ base: UnsafePointer<EntryReference>, _ count: Int) {
        unsafe self.base = unsafe base
        self.count = count
    }

    /// The record at place `index` of the sorted order.
    @inlinable @inline(__always)
    package func record(_ index: Int) -> Record {
        precondition(index >= 0 && index < count, "beyond the sorted entries")
        return unsafe base[index].record
    }

    /// Asks for the record a few places further on: in sorted order each one lies elsewhere.
    @inlinable @inline(__always)
    package func prefetch(after index: Int) {
        let ahead = index + SortedEntries.distance
        guard ahead < count else { return }
        unsafe Bytes.prefetch(base[ahead].record.pointer)
        unsafe Bytes.prefetch(base[ahead].record.pointer + 48)
    }

    @usableFromInline static var distance: Int { @inlinable get { 16 } }

    /// The first eight bytes of its key.
    @inlinable @inline(__always)
    package func prefix(_ index: Int) -> UInt64 {
        precondition(index >= 0 && index < count, "beyond the sorted entries")
        return unsafe base[index].prefix
    }
}

/// Sorts entries of many batches. Keeps its memory for the next time.
@safe
package final class EntrySorter {
    /// Two buffers that a radix pass goes between.
    private var from = UnsafeMutablePointer<EntryReference>.allocate(capacity: 1)
    private var to = UnsafeMutablePointer<EntryReference>.allocate(capacity: 1)
    private var capacity = 1
    private var count = 0
    /// Whether the records came in the order of their prefixes: what is scanned in the order of
    /// its own keys does.
    private var isInOrder = true
    /// Kept alive for the records in them.
    private var batches: [EntryBatch] = []

    private static let digitBits = 11
    private static let buckets = 1 << digitBits
    private var histogram = [Int](repeating: 0, count: EntrySorter.buckets)

    package init() {}

    deinit {
        unsafe from.deallocate()
        unsafe to.deallocate()
    }

    /// Sorts the entries of `batches`: keys ascending, of one key the newest first.
    package func sort(_ batches: [EntryBatch]) -> SortedEntries {
        self.batches = batches
        count = batches.reduce(0) { $0 + $1.count }
        reserve(count)
        var differing = collect()
        if isInOrder {
            sortEqualPrefixes()
        } else if count > 256 {
            var shift: UInt64 = 0
            while differing != 0 {
                if differing & UInt64(EntrySorter.buckets - 1) != 0 { radixPass(shift) }
                differing >>= UInt64(EntrySorter.digitBits)
                shift += UInt64(EntrySorter.digitBits)
            }
            sortEqualPrefixes()
        } else {
            sortWhole(0, count)
        }
        return unsafe SortedEntries(from, count)
    }

    /// Lets go of the batches.
    package func removeAll() {
        batches = []
        count = 0
    }

    private func reserve(_ needed: Int) {
        guard needed > capacity else { return }
        unsafe from.deallocate()
        unsafe to.deallocate()
        capacity = needed
        unsafe from = .allocate(capacity: needed)
        unsafe to = .allocate(capacity: needed)
    }

    /// Writes a reference for each record.
    /// - Returns: the bits in which the prefixes differ.
    private func collect() -> UInt64 {
        var all: UInt64 = 0, common = UInt64.max, index = 0
        var last: UInt64 = 0, isInOrder = true
        for batch in batches {
            var position = 0
            let end = batch.endPosition
            while position < end {
                let record = batch.record(at: position)
                let prefix = record.prefix
                all |= prefix
                common &= prefix
                if prefix < last { isInOrder = false }
                last = prefix
                unsafe from[index] = EntryReference(prefix: prefix, record: record)
                index += 1
                position += record.size
            }
        }
        precondition(index == count, "a batch counts its entries wrong")
        self.isInOrder = isInOrder
        return count == 0 ? 0 : all ^ common
    }

    private func radixPass(_ shift: UInt64) {
        let mask = UInt64(EntrySorter.buckets - 1)
        for index in 0..<EntrySorter.buckets { histogram[index] = 0 }
        unsafe histogram.withUnsafeMutableBufferPointer { histogram in
            for index in 0..<count {
                unsafe histogram[Int(from[index].prefix >> shift & mask)] += 1
            }
            var sum = 0
            for index in 0..<EntrySorter.buckets {
                let size = unsafe histogram[index]
                unsafe histogram[index] = sum
                sum += size
            }
            for index in 0..<count {
                let reference = unsafe from[index]
                let bucket = Int(reference.prefix >> shift & mask)
                unsafe to[histogram[bucket]] = reference
                unsafe histogram[bucket] += 1
            }
        }
        unsafe swap(&from, &to)
    }

    private func sortEqualPrefixes() {
        var start = 0
        while start < count {
            var end = start + 1
            let prefix = unsafe from[start].prefix
            while unsafe end < count && from[end].prefix == prefix { end += 1 }
            if end - start > 1 { sortWhole(start, end) }
            start = end
        }
    }

    /// Sorts the references `[start, end)` by the whole order.
    private func sortWhole(_ start: Int, _ end: Int) {
        var slice = unsafe UnsafeMutableBufferPointer(start: from + start, count: end - start)
        unsafe slice.sort { $0.precedes($1) }
    }
}
