// Memory that records are appended to, one behind the other: what keeps hot paths free of
// allocations. The only place outside the LMDB module that owns raw memory.

#if canImport(Glibc)
internal import Glibc
#endif

/// A growable run of bytes. Positions are offsets from its start and stay good when it grows.
@safe
public struct ByteArena: ~Copyable, @unchecked Sendable {
    @usableFromInline var base: UnsafeMutableRawPointer
    @usableFromInline var capacity: Int
    @usableFromInline var used = 0

    public init(capacity: Int = 4096) {
        self.capacity = max(capacity, 64)
        unsafe base = ByteArena.allocate(self.capacity)
    }

    deinit { unsafe ByteArena.deallocate(base, capacity) }

    /// Bytes appended so far.
    @inlinable
    public var count: Int { used }

    /// Where the bytes begin, until the arena grows or goes: for the hot loops that state
    /// their own proof.
    @unsafe @inlinable
    public var unsafeBase: UnsafeRawPointer { unsafe UnsafeRawPointer(base) }

    /// All bytes so far.
    @inlinable
    public var span: RawSpan {
        @_lifetime(borrow self)
        get {
            let buffer = unsafe UnsafeRawBufferPointer(start: base, count: used)
            return unsafe _overrideLifetime(RawSpan(_unsafeBytes: buffer), borrowing: self)
        }
    }

    /// `length` bytes from `offset`.
    @inlinable
    @_lifetime(borrow self)
    public func bytes(at offset: Int, _ length: Int) -> RawSpan {
        precondition(offset >= 0 && length >= 0 && offset + length <= used, "beyond the arena")
        let buffer = unsafe UnsafeRawBufferPointer(start: base + offset, count: length)
        return unsafe _overrideLifetime(RawSpan(_unsafeBytes: buffer), borrowing: self)
    }

    @inlinable
    public mutating func append(_ bytes: RawSpan) {
        let size = bytes.byteCount
        reserve(size)
        unsafe bytes.withUnsafeBytes {
            if let source = $0.baseAddress {
                unsafe (base + used).copyMemory(from: source, byteCount: size)
            }
        }
        used += size
    }

    /// Appends `value` in the processor's own byte order: arenas never leave the machine.
    @inlinable
    public mutating func append<T: FixedWidthInteger & BitwiseCopyable>(native value: T) {
        reserve(MemoryLayout<T>.size)
        unsafe base.storeBytes(of: value, toByteOffset: used, as: T.self)
        used += MemoryLayout<T>.size
    }

    /// The integer at `offset`, in the processor's own byte order.
    @inlinable
    public func load<T: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int, as: T.Type = T.self
    ) -> T {
        precondition(offset >= 0 && offset + MemoryLayout<T>.size <= used, "beyond the arena")
        return unsafe base.loadUnaligned(fromByteOffset: offset, as: T.self)
    }

    /// Appends `size` bytes that the caller fills in at once: a record of several fields is
    /// composed in place.
    @unsafe @inlinable
    public mutating func claim(_ size: Int) -> UnsafeMutableRawPointer {
        reserve(size)
        defer { used += size }
        return unsafe base + used
    }

    /// Forgets the bytes and keeps the memory.
    @inlinable
    public mutating func removeAll() { used = 0 }

    /// Forgets what was appended behind the first `count` bytes.
    public mutating func cut(to count: Int) {
        precondition(count >= 0 && count <= used, "beyond the arena")
        used = count
    }

    /// Makes room for `size` more bytes.
    @inlinable
    public mutating func reserve(_ size: Int) {
        if used + size > capacity { grow(to: used + size) }
    }

    /// Large arenas lie in huge pages where the system has them to give (madvise(2)): they are
    /// read in the order of a sort, and each record would miss the TLB. They are mapped one by
    /// one, so that what is freed is gone at once.
    private static func allocate(_ size: Int) -> UnsafeMutableRawPointer {
        guard size >= hugePage else {
            return UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        }
        let length = mappedLength(size), whole = length + hugePage
        guard
            let mapped = unsafe mmap(
                nil, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            unsafe mapped != MAP_FAILED
        else { fatalError("the system has no \(whole) bytes of memory left") }
        // Only an aligned part is kept of what was mapped.
        let before = (hugePage - Int(bitPattern: mapped) % hugePage) % hugePage
        let start = unsafe mapped + before
        if before > 0 { unsafe munmap(mapped, before) }
        if before < hugePage { unsafe munmap(start + length, hugePage - before) }
        unsafe madvise(start, size / hugePage * hugePage, MADV_HUGEPAGE)
        return unsafe start
    }

    private static func mappedLength(_ size: Int) -> Int { (size + 4095) / 4096 * 4096 }

    private static func deallocate(_ memory: UnsafeMutableRawPointer, _ size: Int) {
        if size >= hugePage {
            unsafe munmap(memory, mappedLength(size))
        } else {
            unsafe memory.deallocate()
        }
    }

    private static let hugePage = 2 << 20

    @usableFromInline
    mutating func grow(to needed: Int) {
        let size = max(needed, capacity * 2)
        let larger = unsafe ByteArena.allocate(size)
        unsafe larger.copyMemory(from: base, byteCount: used)
        unsafe ByteArena.deallocate(base, capacity)
        unsafe base = unsafe larger
        capacity = size
    }
}
