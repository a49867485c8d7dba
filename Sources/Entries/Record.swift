// One record in place: a pointer into an arena, with names for what lies there. Records are
// written by `EntryBatch.append` alone, so their lengths can be trusted; what comes back
// from a side file has passed a checksum and `fill` first.

public import Bytes
#if canImport(Glibc)
public import Glibc
#endif

@safe @usableFromInline
package struct Record {
    @usableFromInline package static var headerSize: Int { @inlinable get { 12 } }
    @usableFromInline package static var absent: UInt16 { @inlinable get { 0x8000 } }
    @usableFromInline package static var damaged: UInt16 { @inlinable get { 0x4000 } }
    @usableFromInline package static var lengthMask: UInt16 { @inlinable get { 0x3fff } }

    /// Good as long as the arena neither grows nor goes.
    @usableFromInline package let pointer: UnsafeRawPointer

    @inlinable @inline(__always)
    package init(_ pointer: UnsafeRawPointer) { unsafe self.pointer = unsafe pointer }

    @inlinable @inline(__always)
    package var sequence: SequenceNumber {
        SequenceNumber(raw: unsafe pointer.loadUnaligned(as: UInt64.self))
    }

    @inlinable @inline(__always)
    package var keyLength: Int {
        Int(unsafe pointer.loadUnaligned(fromByteOffset: 8, as: UInt16.self))
    }

    @inlinable @inline(__always)
    package var flags: UInt16 {
        unsafe pointer.loadUnaligned(fromByteOffset: 10, as: UInt16.self)
    }

    @inlinable @inline(__always)
    package var valueLength: Int { Int(flags & Record.lengthMask) }

    @inlinable @inline(__always)
    package var size: Int { Record.headerSize + keyLength + valueLength }

    @inlinable
    package var isPresent: Bool { flags & Record.absent == 0 }
    @inlinable
    package var isDamaged: Bool { flags & Record.damaged != 0 }

    @inlinable
    package var key: RawSpan {
        @_lifetime(immortal)
        get { bytes(Record.headerSize, keyLength) }
    }

    @inlinable
    package var value: RawSpan {
        @_lifetime(immortal)
        get { bytes(Record.headerSize + keyLength, valueLength) }
    }

    @inlinable
    package var bytes: RawSpan {
        @_lifetime(immortal)
        get { bytes(0, size) }
    }

    @_lifetime(immortal)
    @inlinable @inline(__always)
    package func bytes(_ offset: Int, _ count: Int) -> RawSpan {
        let buffer = unsafe UnsafeRawBufferPointer(start: pointer + offset, count: count)
        return unsafe _overrideLifetime(RawSpan(_unsafeBytes: buffer), copying: ())
    }

    /// Whether `bytes` are whole records, one behind the other, with keys that ascend: what comes
    /// from a file is asked first.
    package static func fill(_ bytes: RawSpan) -> Bool {
        var position = 0, last = 0..<0
        while position < bytes.byteCount {
            guard bytes.byteCount - position >= headerSize else { return false }
            let keyLength = Int(
                unsafe bytes.unsafeLoadUnaligned(
                    fromByteOffset: position + 8, as: UInt16.self))
            let flags = unsafe bytes.unsafeLoadUnaligned(
                fromByteOffset: position + 10, as: UInt16.self)
            let longest = flags & damaged == 0 ? KeyBytes.capacity : EntryBatch.longestKey
            let start = position + headerSize
            guard keyLength > 0, keyLength <= longest, bytes.byteCount - start >= keyLength else {
                return false
            }
            let key = start..<start + keyLength
            let before = bytes.extracting(last)
            guard compareBytes(before, bytes.extracting(key)) < 0 else { return false }
            last = key
            position = key.upperBound + Int(flags & lengthMask)
        }
        return position == bytes.byteCount
    }

    /// `keyPrefix` of the key.
    @inlinable @inline(__always)
    package var prefix: UInt64 { keyPrefix(key) }

    /// Order of the keys: below 0, 0, above 0.
    @inlinable @inline(__always)
    package func compareKey(_ other: Record) -> Int {
        let a = keyLength, b = other.keyLength
        let order = unsafe memcmp(
            pointer + Record.headerSize, other.pointer + Record.headerSize, min(a, b))
        return order != 0 ? Int(order) : a - b
    }

    /// Keys ascending, and of one key the newest first.
    @inlinable @inline(__always)
    package func precedes(_ other: Record) -> Bool {
        let order = compareKey(other)
        return order != 0 ? order < 0 : sequence > other.sequence
    }
}

/// The first eight bytes of a key as a number, shorter keys filled with zeroes: two keys with
/// different prefixes are ordered as their prefixes are.
@inlinable @inline(__always)
package func keyPrefix(_ key: RawSpan) -> UInt64 {
    if key.byteCount >= 8 { return key.integer(at: 0) }
    var result: UInt64 = 0
    for index in 0..<key.byteCount {
        result |= UInt64(key.integer(at: index, as: UInt8.self)) << (56 - 8 * UInt64(index))
    }
    return result
}

extension ByteArena {
    @unsafe @inlinable @inline(__always)
    package func base(at offset: Int) -> UnsafeRawPointer { unsafe unsafeBase + offset }
}
