// Byte strings of a fixed size on the stack: keys and values are composed here, without
// an allocation, before they are handed to a table as a span.
//
// Integers are stored big-endian, so that the order of the bytes is the order of the
// numbers: that is what lets a B-tree of byte strings keep primary keys sorted.

/// `count` bytes, all zero at first.
@frozen
public struct FixedBytes<let count: Int>: Sendable {
    @usableFromInline
    var storage: InlineArray<count, UInt8>

    @inlinable
    public init() {
        storage = InlineArray(repeating: 0)
    }

    /// The bytes, for as long as `self` is not changed.
    @inlinable
    public var span: RawSpan {
        @_lifetime(borrow self)
        get { unsafe storage.span.bytes }
    }

    /// Stores `source` at `offset` (bytes from the start).
    @inlinable
    public mutating func store(_ source: RawSpan, at offset: Int) {
        precondition(
            offset >= 0 && offset + source.byteCount <= count, "out of the byte string")
        var elements = storage.mutableSpan
        var bytes = unsafe elements.mutableBytes
        unsafe bytes.withUnsafeMutableBytes { target in
            unsafe source.withUnsafeBytes { source in
                guard let from = source.baseAddress, let base = target.baseAddress else { return }
                unsafe (base + offset).copyMemory(from: from, byteCount: source.count)
            }
        }
    }

    /// Stores `value` big-endian at `offset` (bytes from the start).
    @inlinable
    public mutating func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        precondition(
            offset >= 0 && offset + MemoryLayout<T>.size <= count, "out of the byte string")
        var elements = storage.mutableSpan
        var bytes = unsafe elements.mutableBytes
        unsafe bytes.withUnsafeMutableBytes {
            unsafe $0.storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
        }
    }
}
