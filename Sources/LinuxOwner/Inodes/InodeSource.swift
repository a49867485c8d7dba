// A filesystem that is read inode by inode, and whose events say which inode changes, not how: an
// ext4, and an XFS that has no reverse map.
//
// What such a source promises, and what breaks otherwise:
//
// - *One clock.* Events and reads are stamped with CLOCK_MONOTONIC.
// - *Each change has an event that is not older than what a reader may still miss.* Either the
//   event is stamped under a lock that the reader takes too, before or after the change; or it is
//   stamped after the change. So whoever reads an inode after all of its events sees all of its
//   changes, and a read that has missed one is followed by an event. (With an event that comes
//   before its change, without the lock, a read between the two would stay as it is.)
// - *Losses are known* when the next mark is: an event that is not told is one of a loss.

/// Where what is read of inodes goes.
package protocol InodeReceiver: AnyObject {
    /// `count` blocks from `block` of the device on, at `offset` in a fork: 0 data, 1 attributes.
    func extent(
        of inode: UInt64, fork: UInt8, offset: UInt64, block: UInt64, count: UInt64,
        isUnwritten: Bool)
    /// An entry of a directory; never `.` or `..`.
    func name(_ name: RawSpan, of child: UInt64, in directory: UInt64)
    /// An inode that can't be read.
    func skip(_ inode: UInt64, _ problem: String)
}

package protocol InodeSource: AnyObject {
    var label: String { get }

    /// Nanoseconds of CLOCK_MONOTONIC.
    func now() -> UInt64

    /// Reads inodes from `first` on in ascending order, each piece under the inode's own locks: as
    /// many as a step may take.
    /// - Returns: the number to go on from, above `first`; nil where there is none beyond.
    func read(from first: UInt64, into receiver: any InodeReceiver) throws -> UInt64?

    /// Reads one inode; one that is not in use has nothing.
    func read(_ inode: UInt64, into receiver: any InodeReceiver) throws

    /// Events from now on.
    func subscribe() throws -> any InodeChanges
}

/// A subscription to the events of an `InodeSource`. One thread at a time uses it.
package protocol InodeChanges: AnyObject {
    /// Fetches some of what has arrived, and tells which inodes have changed and when.
    /// - Returns: false where nothing was there.
    func poll(_ changed: ChangedInodes) throws -> Bool

    /// Puts a marker behind all events so far.
    /// - Returns: a time at or after that of every event made before the call.
    /// - Throws: where the filesystem answers no more, or has been resized.
    func mark() throws -> UInt64

    /// Up to when every event has been told, or lies within a loss.
    var delivered: UInt64 { get }

    /// How often events were lost.
    var losses: Int { get }

    func end()
}

/// Inodes that have changed since they were read, each with the time of the first event since; and
/// the ranges of inodes that are not read yet, whose events say nothing new.
package final class ChangedInodes {
    /// Ascending in the order in which they are to be read; the last may be at the beginning again.
    package private(set) var unread: [Range<UInt64>]
    private var times: [UInt64: UInt64] = [:]
    private var last: (inode: UInt64, isKnown: Bool) = (0, false)

    package init(unread: [Range<UInt64>] = [0..<UInt64.max]) { self.unread = unread }

    package var isEmpty: Bool { times.isEmpty }
    package var count: Int { times.count }
    package var inodes: [UInt64] { Array(times.keys) }
    /// The time of the first event of all.
    package var first: UInt64? { times.values.min() }

    package func note(_ inode: UInt64, at time: UInt64) {
        // Events of one inode follow each other, and those of a buffer never fall.
        if last.isKnown, last.inode == inode { return }
        last = (inode, true)
        guard !unread.contains(where: { $0.contains(inode) }) else { return }
        let before = times[inode] ?? .max
        if time < before { times[inode] = time }
    }

    /// A buffer's events begin.
    package func begin() { last.isKnown = false }

    /// `inode` is about to be read.
    package func remove(_ inode: UInt64) {
        times[inode] = nil
        last.isKnown = false
    }

    /// The range to be read next has been read as far as `next`; nil: to its end.
    package func hasRead(to next: UInt64?) {
        guard let range = unread.first else { return }
        last.isKnown = false
        if let next, next < range.upperBound {
            unread[0] = max(next, range.lowerBound)..<range.upperBound
        } else {
            unread.removeFirst()
        }
    }

    /// Nothing that was read counts. Reading goes on where it is, and begins again after the end.
    package func forgetAll() {
        let place = unread.first?.lowerBound ?? 0
        unread = place > 0 ? [place..<UInt64.max, 0..<place] : [0..<UInt64.max]
        times = [:]
        last.isKnown = false
    }
}
