// Index entries in one piece of memory: the unit that scanner, queue, assistant, side file
// and owner hand to each other.
//
// A record is: sequence u64, key length u16, flags and value length u16 (bit 15 absent,
// bit 14 damaged), all in the processor's byte order, then key and value. A sorted run in
// the side file holds the same records; it never leaves the machine.

public import Bytes

/// A list of entries, in the order in which they were appended. Reused rather than freed;
/// used by one thread at a time and handed over through the queue.
@safe
public final class EntryBatch: @unchecked Sendable {
    @usableFromInline
    struct Storage: ~Copyable {
        @usableFromInline var arena: ByteArena
        @usableFromInline var count = 0
    }

    /// Behind a pointer: a class property would be checked for exclusive access at every
    /// use, which costs more than the use.
    @usableFromInline let storage: UnsafeMutablePointer<Storage>

    /// Bytes of a key at the most, of an entry that is none: what an owner's table has. Those of
    /// entries have `KeyBytes.capacity` at the most.
    public static let longestKey = 511

    /// Bytes of a value at the most.
    package static let longestValue = Int(Record.lengthMask)

    public init(capacity: Int = 4096) {
        unsafe storage = .allocate(capacity: 1)
        unsafe storage.initialize(to: Storage(arena: ByteArena(capacity: capacity)))
    }

    deinit {
        unsafe storage.deinitialize(count: 1)
        unsafe storage.deallocate()
    }

    /// Entries.
    @inlinable
    public var count: Int { unsafe storage.pointee.count }
    @inlinable
    public var byteCount: Int { unsafe storage.pointee.arena.count }
    @inlinable
    public var isEmpty: Bool { count == 0 }

    /// Appends an entry. `isPresent` false says that the key has no entry as of `sequence`;
    /// `isDamaged` that the owner holds bytes there which are no entry.
    @inlinable
    public func append(
        key: RawSpan, value: RawSpan, sequence: SequenceNumber = .none, isPresent: Bool = true,
        isDamaged: Bool = false
    ) {
        precondition(
            EntryBatch.canHold(
                keySize: isDamaged ? min(key.byteCount, KeyBytes.capacity) : key.byteCount,
                valueSize: value.byteCount), "entry longer than its bound")
        precondition(key.byteCount <= EntryBatch.longestKey, "key longer than its bound")
        var length = UInt16(truncatingIfNeeded: value.byteCount)
        if !isPresent { length |= Record.absent }
        if isDamaged { length |= Record.damaged }
        let size = Record.headerSize + key.byteCount + value.byteCount
        let place = unsafe storage.pointee.arena.claim(size)
        unsafe place.storeBytes(of: sequence.raw, as: UInt64.self)
        unsafe place.storeBytes(
            of: UInt16(truncatingIfNeeded: key.byteCount), toByteOffset: 8, as: UInt16.self)
        unsafe place.storeBytes(of: length, toByteOffset: 10, as: UInt16.self)
        unsafe copy(key, to: place + Record.headerSize)
        unsafe copy(value, to: place + Record.headerSize + key.byteCount)
        unsafe storage.pointee.count += 1
    }

    /// Whether an entry of so many bytes can be appended: what comes from an owner is asked first.
    @inlinable
    public static func canHold(keySize: Int, valueSize: Int) -> Bool {
        keySize > 0 && keySize <= KeyBytes.capacity && valueSize <= Int(Record.lengthMask)
    }

    @inlinable @inline(__always)
    func copy(_ bytes: RawSpan, to place: UnsafeMutableRawPointer) {
        unsafe bytes.withUnsafeBytes {
            guard let source = $0.baseAddress else { return }
            unsafe place.copyMemory(from: source, byteCount: $0.count)
        }
    }

    /// Appends a copy of `record`.
    @inlinable @inline(__always)
    package func append(_ record: Record) {
        let size = record.size
        let place = unsafe storage.pointee.arena.claim(size)
        unsafe place.copyMemory(from: record.pointer, byteCount: size)
        unsafe storage.pointee.count += 1
    }

    @inlinable
    public func removeAll() {
        unsafe storage.pointee.arena.removeAll()
        unsafe storage.pointee.count = 0
    }

    // MARK: Reading

    /// The place of the first entry.
    @inlinable
    public var startPosition: Int { 0 }
    /// The place behind the last entry.
    @inlinable
    public var endPosition: Int { byteCount }

    /// The place of the entry after the one at `position`.
    @inlinable
    public func position(after position: Int) -> Int {
        position + record(at: position).size
    }

    /// Calls `body` with key and value of each entry from `position` on, until it returns false.
    /// - Returns: the place of the first entry that it has not taken.
    @inlinable
    public func forEach(from position: Int, _ body: (RawSpan, RawSpan) -> Bool) -> Int {
        var position = position
        while position < endPosition {
            let record = record(at: position)
            guard body(record.key, record.value) else { return position }
            position += record.size
        }
        return position
    }

    @inlinable
    @_lifetime(borrow self)
    public func key(at position: Int) -> RawSpan {
        unsafe _overrideLifetime(record(at: position).key, borrowing: self)
    }

    @inlinable
    @_lifetime(borrow self)
    public func value(at position: Int) -> RawSpan {
        unsafe _overrideLifetime(record(at: position).value, borrowing: self)
    }

    @inlinable
    public func sequence(at position: Int) -> SequenceNumber { record(at: position).sequence }
    @inlinable
    public func isPresent(at position: Int) -> Bool { record(at: position).isPresent }
    @inlinable
    public func isDamaged(at position: Int) -> Bool { record(at: position).isDamaged }

    @inlinable
    package func record(at position: Int) -> Record {
        precondition(position >= 0 && position + Record.headerSize <= byteCount, "beyond the batch")
        return unsafe Record(storage.pointee.arena.base(at: position))
    }
}
