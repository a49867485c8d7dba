// The part of an owner that a run is about, where it is not about all of it.
//
// A scope is a set of primary records; or, of one index, a range of its keys, which then
// holds what stands there and what reaches in from below. The set is fixed when the run
// begins. The run's shadow is what the records of the scope derive; a comparison looks at
// entries of the scope and at no others. What lies outside is neither judged nor changed.

internal import Bytes
public import Entries

/// What a run is limited to.
public struct Scope: Sendable, Hashable {
    /// What it is, in the words of its owner: `inode 17`.
    public let label: String
    /// The primary records.
    public let records: RecordRanges
    /// Of the entries that these derive only those in here; nil: all.
    public let indexRange: IndexRange?

    public init(label: String, records: RecordRanges) {
        var records = records
        records.complete()
        self.label = label
        self.records = records
        indexRange = nil
    }

    public init(label: String, indexRange: IndexRange) {
        self.label = label
        records = RecordRanges(.all)
        self.indexRange = indexRange
    }

    /// A range of an index's keys. An entry belongs to it where its key does, or where its
    /// key lies below and the entry reaches in (`SecondaryIndex.reaches`).
    public struct IndexRange: Sendable, Hashable {
        public let lower: [UInt8]
        public let upper: [UInt8]
        /// Below this key no entry can reach in.
        public let lowest: [UInt8]

        public init(lower: [UInt8], upper: [UInt8], lowest: [UInt8]) {
            precondition(lowest.count <= KeyBytes.capacity && lower.count <= KeyBytes.capacity)
            self.lower = lower
            self.upper = upper
            self.lowest = lowest
        }

        /// Whether `key` is in the range or may belong to an entry that reaches in.
        package func mayHold(_ key: RawSpan) -> Bool {
            compareBytes(key, lowest.rawSpan) >= 0 && compareBytes(key, upper.rawSpan) < 0
        }

        package func isBelow(_ key: RawSpan) -> Bool { compareBytes(key, lower.rawSpan) < 0 }

        /// Whether the entry belongs to it.
        package func holds(_ index: any SecondaryIndex, key: RawSpan, value: RawSpan) -> Bool {
            guard mayHold(key) else { return false }
            return !isBelow(key) || index.reaches(lower.rawSpan, key: key, value: value)
        }
    }

    /// Whether a change of the entry `key`, derived from `primary`, is the run's concern. The
    /// value plays no part: where an entry may reach in, the run knows it whether it does or
    /// not, so that what it mends there is mended to what the entry is.
    package func takes(primary: RawSpan, key: RawSpan) -> Bool {
        if let indexRange { return indexRange.mayHold(key) }
        return records.contains(primary)
    }

    /// Parts of the primary keys that are read independently of each other.
    package static let parts = 64

    /// What is to be read of the primary keys at first.
    package var unread: [KeyRange] { records.hulls(Scope.parts).reversed() }
}
