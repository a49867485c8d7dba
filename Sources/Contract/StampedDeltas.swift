// Changes as an owner reports them that nobody can lock: each with the time at which it was
// stamped, because they arrive late and from several buffers.

internal import Bytes
public import Entries

/// Deltas in the order in which they stand in one buffer of a `ChangeFeed`, each with its stamp.
///
/// A delta is absolute, as in `DeltaBatch`: "this entry is there with this value" or "this entry
/// is not there". So it may be told twice, and late. One event may give several deltas with the
/// same stamp, as long as they are about different entries.
public struct StampedDeltas: ~Copyable, Sendable {
    /// The same records as of an exact owner.
    package private(set) var deltas = DeltaBatch()
    /// The stamp of each, in the same order.
    package private(set) var stamps: [SequenceNumber] = []

    public init() {}

    /// How many there are.
    public var count: Int { deltas.count }

    /// What they take in memory.
    public var byteCount: Int { deltas.byteCount + 8 * stamps.count }

    /// At `stamp` the entry that `primary` derived was removed.
    public mutating func remove(
        _ index: IndexSlot, primary: RawSpan, key: RawSpan, at stamp: SequenceNumber
    ) {
        deltas.remove(index, primary: primary, key: key)
        stamps.append(stamp)
    }

    /// At `stamp` the entry was added, or its value replaced.
    public mutating func add(
        _ index: IndexSlot, primary: RawSpan, key: RawSpan, value: RawSpan,
        at stamp: SequenceNumber
    ) {
        deltas.add(index, primary: primary, key: key, value: value)
        stamps.append(stamp)
    }

    /// At `stamp` records of `range` changed in a way that can't be told exactly: what was read
    /// of them up to then is read again.
    public mutating func void(_ range: KeyRange, at stamp: SequenceNumber) {
        deltas.void(range)
        stamps.append(stamp)
    }

    /// Forgets them and keeps the memory.
    public mutating func removeAll() {
        deltas.removeAll()
        stamps.removeAll(keepingCapacity: true)
    }
}
