// A byte string of varying length with a fixed bound, on the stack: keys that end in a name.

/// At most `KeyBytes.capacity` bytes; appending beyond it is a precondition failure, so
/// check what comes from outside first.
@frozen
public struct KeyBytes: Sendable {
    /// Longest key: two inode numbers, a kind and a name of 255 bytes, rounded up.
    public static let capacity = 288

    @usableFromInline
    var storage: InlineArray<288, UInt8>
    public private(set) var count: Int

    public init() {
        storage = InlineArray(repeating: 0)
        count = 0
    }

    public init(_ bytes: RawSpan) {
        self.init()
        append(bytes)
    }

    public init(_ bytes: some Collection<UInt8>) {
        self.init()
        for byte in bytes { append(byte) }
    }

    /// As much of `bytes` as there is room for: the place of a key that is longer than any.
    public init(cut bytes: RawSpan) {
        self.init(bytes.extracting(first: min(bytes.byteCount, KeyBytes.capacity)))
    }

    /// The bytes so far, for as long as `self` is not changed.
    public var span: RawSpan {
        @_lifetime(borrow self)
        get { unsafe storage.span.bytes.extracting(first: count) }
    }

    public var array: [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(count)
        for index in 0..<count { result.append(storage[index]) }
        return result
    }

    /// Appends `value` big-endian.
    public mutating func append<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) {
        let size = MemoryLayout<T>.size
        precondition(count + size <= KeyBytes.capacity, "key longer than its bound")
        var elements = storage.mutableSpan
        var bytes = unsafe elements.mutableBytes
        let start = count
        unsafe bytes.withUnsafeMutableBytes {
            unsafe $0.storeBytes(of: value.bigEndian, toByteOffset: start, as: T.self)
        }
        count += size
    }

    public mutating func append(_ bytes: RawSpan) {
        precondition(count + bytes.byteCount <= KeyBytes.capacity, "key longer than its bound")
        let start = count
        var elements = storage.mutableSpan
        var target = unsafe elements.mutableBytes
        unsafe target.withUnsafeMutableBytes { target in
            unsafe bytes.withUnsafeBytes { source in
                if let base = source.baseAddress {
                    unsafe (target.baseAddress! + start).copyMemory(
                        from: base, byteCount: source.count)
                }
            }
        }
        count += bytes.byteCount
    }

    public mutating func removeAll() { count = 0 }
}

extension KeyBytes: Comparable {
    public static func == (a: borrowing KeyBytes, b: borrowing KeyBytes) -> Bool {
        compareBytes(a.span, b.span) == 0
    }

    public static func < (a: borrowing KeyBytes, b: borrowing KeyBytes) -> Bool {
        compareBytes(a.span, b.span) < 0
    }
}
