// Sorting more records than should be in memory at once.
//
// The verifier needs entries by child and extents by block, but the tables have them by
// directory and by inode. A first walk counts how many records fall into each of many
// equal ranges of the new key (buckets). Then the records are taken in slices: as many
// whole buckets as fit into the budget, gathered by one more walk of the table, placed by
// bucket, and sorted bucket by bucket. Memory depends on the budget, not on the volume;
// only a bucket larger than the budget is taken as a whole.

struct Buckets {
    /// The number of records in each bucket.
    private(set) var counts: [UInt32]
    private let shift: UInt64

    /// Buckets for about `records` keys up to about `highest`; keys above it share the last
    /// bucket.
    init(records: Int, highest: UInt64) {
        // Small enough to sort in the processor's cache, and not too many to keep.
        var count = 64
        while count < 1 << 18, count * 32 < records { count *= 2 }
        counts = Array(repeating: 0, count: count)
        var shift: UInt64 = 0
        while highest >> shift >= UInt64(count) { shift += 1 }
        self.shift = shift
    }

    func bucket(of key: UInt64) -> Int {
        Int(min(key >> shift, UInt64(counts.count - 1)))
    }

    mutating func count(_ key: UInt64) {
        let bucket = bucket(of: key)
        precondition(counts[bucket] < .max, "more records in a bucket than it can count")
        counts[bucket] += 1
    }

    /// Consecutive ranges of buckets that hold at most `budget` records each, if possible.
    func slices(budget: Int) -> [Range<Int>] {
        var slices: [Range<Int>] = []
        var start = 0, held = 0
        for bucket in counts.indices {
            let more = Int(counts[bucket])
            if held > 0, held + more > budget {
                slices.append(start..<bucket)
                start = bucket
                held = 0
            }
            held += more
        }
        if held > 0 { slices.append(start..<counts.count) }
        return slices
    }
}

/// The records of one slice, each in its bucket's range of one array.
struct SliceRecords<Record> {
    let slice: Range<Int>
    private var records: [Record]
    /// Where the next record of each bucket goes.
    private var next: [Int]
    private var starts: [Int]

    init(_ slice: Range<Int>, of buckets: Buckets, filler: Record) {
        self.slice = slice
        starts = []
        starts.reserveCapacity(slice.count + 1)
        var total = 0
        for bucket in slice {
            starts.append(total)
            total += Int(buckets.counts[bucket])
        }
        next = starts
        starts.append(total)
        records = Array(repeating: filler, count: total)
    }

    mutating func place(_ record: Record, bucket: Int) {
        let index = bucket - slice.lowerBound
        precondition(next[index] < starts[index + 1], "a record that was not counted")
        records[next[index]] = record
        next[index] += 1
    }

    /// The buckets of the slice that hold anything, as positions for `subscript`.
    var filled: some Sequence<Int> {
        (0..<slice.count).lazy.filter { starts[$0] < starts[$0 + 1] }
    }

    /// The records of one bucket, in the order in which they were placed.
    subscript(index: Int) -> [Record] {
        precondition(next[index] == starts[index + 1], "a record that was counted is gone")
        return Array(records[starts[index]..<starts[index + 1]])
    }
}
