// An owner that nobody can lock: a mounted kernel filesystem, or any store whose writers do not
// wait and which has no snapshots. What it gives: objects that are read piece by piece under
// their own locks; events that are stamped under the lock of what they change, arrive late, and
// are lost when a buffer is full; an index that changes while it is read.
//
// What such an owner promises, and what breaks otherwise:
//
// - *One clock.* Events, windows, looks and losses are stamped with one clock that never goes
//   back. (With two clocks an event older than a read could pass for a newer one.)
// - *The event comes first.* A change takes the lock of its object, stamps its event with the lock
//   held, changes the primary record and the live index, and lets go of the lock. A reader takes
//   the same lock for each piece. So whoever reads a piece after an event was stamped sees the
//   change, in the primary records and in the index. (Otherwise a read could be stamped newer than
//   an event whose change it has not seen; the event would be dropped, and a false finding told.)
// - *Order within a buffer.* The events of a buffer are delivered with stamps that never fall. Two
//   events about one entry never bear the same stamp: they are made under one lock.
// - *Losses are told.* An event that is not delivered lies within a loss that is told, by its
//   bounds, in its buffer's order.
//
// None of this is believed: stamps that are zero, fall within a buffer, or lie ahead of the clock
// end the run with a reason. The owner's operations never notice (I3).

public import Bytes
public import Entries

/// The owner of primary records and live indexes whose writers wait for nobody.
///
/// A `SequenceNumber` is here the raw 64 bits of a point on the owner's event clock. For Linux that
/// is `CLOCK_MONOTONIC` in nanoseconds. Only the order of two of them counts. Zero is none, and so
/// is everything from 2^63 on.
public protocol UnlockedOwner: Owner {
    /// The time now: later than, or equal to, the stamp of every event so far. It never goes back,
    /// and moves on by itself. Called with a lock of the framework held, by any thread: it takes
    /// no lock, and costs about as much as `clock_gettime(2)`.
    func now() -> SequenceNumber

    /// The end of a window that begins at `key` and holds about `records` primary records, never
    /// many more, however large a single object is. The records may change meanwhile; any end
    /// above `key` is right.
    /// - Parameter wants: whether an index is wanted: records that no wanted index is derived from
    ///   need not be counted.
    /// - Returns: nil where nothing is known to lie beyond such a window: it is the last, and has
    ///   no end, so that records made later are below the cursor.
    /// - Throws: what makes the run fail: the store can't be read.
    func windowEnd(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes?

    /// Reads the objects of `range` in key order, piece by piece, each piece under the lock of its
    /// object, derives the entries of the indexes that `sink` wants, and emits them. The framework
    /// has stamped the range before the first call. Stops after about `limit` records. What changes
    /// between two pieces is in the events, with later stamps.
    ///
    /// A record that can't be read is told by `WindowSink.skip`; the run is then incomplete.
    /// - Returns: the key to go on from, above `range.lower`; nil when the range is done.
    /// - Throws: what makes the run fail: the store can't be read.
    func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes?

    /// Which records of `range` may have been changed by events stamped at or after `since`. Asked
    /// after a loss, so that not everything is read again. Called by the thread that polls.
    /// - Returns: nil where the owner can't say: all of the range is read again.
    /// - Throws: what makes the run fail.
    func changed(in range: KeyRange, since: SequenceNumber) throws -> RecordRanges?

    /// The records that an entry of `index` with this key can be derived from, now or ever: no
    /// record outside of them has such an entry. Where a difference is judged and changes are lost
    /// meanwhile, these are read again, and the others when they are needed.
    /// - Returns: nil where the key does not say it: then all that may have changed is read again
    ///   before anything is judged.
    func records(of key: KeyBytes, in index: IndexSlot) -> KeyRange?

    /// Appends up to `limit` entries of the live index, from `key` on in key order, each as it is
    /// when it is read, under the same locks as its changes are made; one that can't be decoded is
    /// marked as damaged. An entry that does not change during the call is never missed.
    /// - Returns: the key to go on from, above the last entry that was read; nil at the end.
    /// - Throws: what makes the run fail.
    func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes?

    /// Looks the keys up in the live index again: appends, in the order of `keys`, the entry of
    /// each that it holds, and nothing for the others. An index that is damaged in how it is
    /// searched may say something else than `entries`: then `entries` is asked, and counts.
    /// - Throws: what makes the run fail.
    func lookUp(_ keys: [KeyBytes], of index: IndexSlot, into batch: EntryBatch) throws

    /// Whether records of `index` may be withheld: the owner has them, and lets nobody read them (a
    /// file that nobody has a name for any more, until its blocks are freed). Where they may, a
    /// stray entry is a finding only if its record was not withheld before the look that found it.
    func mayWithhold(_ index: IndexSlot) -> Bool

    /// How the records of the entries `keys` stand, one answer for each. Asked before each look at
    /// them. Of a record that is open at that moment a stray entry has none to come from: a later
    /// one is told by an event. Where the owner can't tell, they are withheld.
    /// - Throws: what makes the run fail.
    func standing(of keys: [KeyBytes], of index: IndexSlot) throws -> [RecordStanding]

    /// Events from now on. The feed is in force when this returns: a change whose event is stamped
    /// later than the return is delivered to `receiver`, or lies within a loss.
    /// - Throws: where the owner can't report changes, with what to do about it.
    func subscribe(_ receiver: any ChangeReceiver) throws -> any ChangeFeed
}

extension UnlockedOwner {
    public func changed(in range: KeyRange, since: SequenceNumber) throws -> RecordRanges? { nil }
    public func records(of key: KeyBytes, in index: IndexSlot) -> KeyRange? { nil }
    public func mayWithhold(_ index: IndexSlot) -> Bool { false }
    public func standing(of keys: [KeyBytes], of index: IndexSlot) throws -> [RecordStanding] {
        keys.map { _ in .open }
    }
}

/// Whether what an entry is derived from can be read.
public enum RecordStanding: Hashable, Sendable {
    /// It can be read, or is not there.
    case open
    /// It is there, and can't be read for now.
    case withheld
    /// It is of a kind that is never read: what is derived from it is not judged.
    case notCovered
}

/// The owner's side of a subscription: several buffers, each in order within itself only, late, and
/// lossy. One thread at a time calls it, and it calls its receiver only from within `poll` and
/// `mark`, on the caller's thread.
public protocol ChangeFeed: AnyObject, Sendable {
    /// How many buffers there are, at least one. It never changes.
    var buffers: Int { get }

    /// A step: delivers up to about `limit` deltas of what has arrived, with losses and ends in
    /// their places. It does not wait. The framework does not call it while the run's queue is
    /// full; what the buffers can't hold then is lost, and told as a loss.
    /// - Returns: false where nothing was there.
    /// - Throws: what makes the run fail.
    func poll(limit: Int) throws -> Bool

    /// Puts a marker into each buffer, behind all events so far, so that an idle buffer has an end
    /// to be delivered up to: `delivered(upTo:in:)` reaches the result for every buffer after
    /// enough calls of `poll`, unless the marker is lost. Then the loss is told, and the framework
    /// marks again.
    /// - Returns: a stamp that is at or after that of every event made before the call, and not
    ///   after `now()` on return.
    /// - Throws: what makes the run fail.
    func mark() throws -> SequenceNumber

    /// The subscription is over: the receiver is not called any more once this returns. Called
    /// once, also after `ChangeReceiver.ended`.
    func end()
}

/// The run's side of a subscription. The framework implements it, once for each run. No call throws
/// or waits: whatever is wrong with what is delivered ends the run, never the caller (I3).
public protocol ChangeReceiver: AnyObject, Sendable {
    /// Whether the run wants the deltas of this index.
    func wants(_ index: IndexSlot) -> Bool

    /// Deltas from `buffer`, in its order; they are copied.
    func deliver(_ deltas: borrowing StampedDeltas, from buffer: Int)

    /// Events of `buffer` were lost, all stamped at or after `from` and at or before `to`. Told in
    /// the place of the loss: after what stood before it in the buffer, before what follows. Bounds
    /// that are too wide cost time; bounds that are too narrow make the result wrong.
    func lost(from: SequenceNumber, to: SequenceNumber, in buffer: Int)

    /// Every event of `buffer` stamped at or before `upTo` has been delivered, or lies within a
    /// loss that has been told; and each loss that *begins* at or before `upTo` has been told,
    /// however late it ends. It never falls.
    func delivered(upTo: SequenceNumber, in buffer: Int)

    /// No more events will come, for `reason`, a sentence for the user: the filesystem was
    /// unmounted. The run ends with it.
    func ended(_ reason: String)
}
