// Entries of a summary's sources, one after the other: what a fold reads. A fold looks at each
// entry several times, from another module, so all that is asked of one is inlined there.

internal import Bytes
public import Entries

/// Entries one after the other, refilled batch by batch. Used by one thread at a time.
@safe
public final class EntryFeed {
    /// The entry where the feed stands, and the end of its batch.
    @usableFromInline
    @safe package struct Place {
        @usableFromInline package var current: UnsafeRawPointer
        @usableFromInline package var end: UnsafeRawPointer
        @usableFromInline package var passed = 0
    }

    private let refill: (EntryBatch, Int) throws -> Bool
    private let batch: EntryBatch
    /// Behind a pointer: a class property would be checked for exclusive access at every use.
    @usableFromInline package let place: UnsafeMutablePointer<Place>
    private var hasMore = true

    /// Entries that are asked for at once.
    private static let limit = 1024

    package init(_ batchBytes: Int, _ refill: @escaping (EntryBatch, Int) throws -> Bool) {
        self.refill = refill
        batch = EntryBatch(capacity: batchBytes)
        unsafe place = .allocate(capacity: 1)
        let bounds = unsafe batch.bounds
        unsafe place.initialize(to: Place(current: bounds.lower, end: bounds.upper))
    }

    deinit { unsafe place.deallocate() }

    /// Entries that were passed.
    public var passed: Int { unsafe place.pointee.passed }

    /// Whether there is an entry: `key` and `value` are its own until `advance`.
    @inlinable
    public func isThere() throws -> Bool {
        if unsafe place.pointee.current != place.pointee.end { return true }
        return try fill()
    }

    @usableFromInline
    package func fill() throws -> Bool {
        while hasMore {
            batch.removeAll()
            hasMore = try refill(batch, EntryFeed.limit)
            let bounds = unsafe batch.bounds
            unsafe place.pointee.current = unsafe bounds.lower
            unsafe place.pointee.end = unsafe bounds.upper
            if !batch.isEmpty { return true }
        }
        return false
    }

    /// The entry where the feed stands.
    @usableFromInline
    package var record: Record {
        @inlinable
        get {
            precondition(
                unsafe place.pointee.current < place.pointee.end, "the feed stands on no entry")
            return unsafe Record(place.pointee.current)
        }
    }

    @inlinable
    public func advance() {
        unsafe place.pointee.current += record.size
        unsafe place.pointee.passed += 1
    }

    @inlinable
    public var key: RawSpan {
        @_lifetime(borrow self)
        get { unsafe _overrideLifetime(record.key, borrowing: self) }
    }

    @inlinable
    public var value: RawSpan {
        @_lifetime(borrow self)
        get { unsafe _overrideLifetime(record.value, borrowing: self) }
    }

    @inlinable
    public var isDamaged: Bool { record.isDamaged }

    /// The value; nil where it can't be decoded.
    public var decoded: RawSpan? {
        @_lifetime(borrow self)
        get { isDamaged ? nil : value }
    }
}

extension EntryBatch {
    /// Where its entries lie in memory, until something is appended or removed.
    @unsafe
    fileprivate var bounds: (lower: UnsafeRawPointer, upper: UnsafeRawPointer) {
        guard !isEmpty else {
            let nowhere = unsafe EntryBatch.nowhere
            return unsafe (lower: nowhere, upper: nowhere)
        }
        let lower = unsafe record(at: 0).pointer
        return unsafe (lower: lower, upper: lower + byteCount)
    }

    /// An address at which nothing is read.
    private static var nowhere: UnsafeRawPointer {
        guard let address = unsafe UnsafeRawPointer(bitPattern: 16) else {
            preconditionFailure("not zero")
        }
        return unsafe address
    }
}
