// Memory that the kernel writes its answers to. What a parser sees of it is a span that ends
// where the kernel says that the answer ends, after that has been compared with what was asked.

internal import Bytes
#if canImport(Glibc)
internal import Glibc
#endif

@safe
final class AnswerBuffer: @unchecked Sendable {
    let capacity: Int
    private let base: UnsafeMutableRawPointer

    init(capacity: Int) {
        self.capacity = capacity
        unsafe base = .allocate(byteCount: capacity, alignment: 16)
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: capacity)
    }

    deinit { unsafe base.deallocate() }

    @unsafe var pointer: UnsafeMutableRawPointer { unsafe base }

    func store<T: BitwiseCopyable>(_ value: T, at offset: Int = 0) {
        precondition(offset >= 0 && offset + MemoryLayout<T>.size <= capacity)
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: T.self)
    }

    /// The first `count` bytes.
    @_lifetime(borrow self)
    func bytes(_ count: Int) -> RawSpan {
        precondition(count >= 0 && count <= capacity)
        let buffer = unsafe UnsafeRawBufferPointer(start: base, count: count)
        return unsafe _overrideLifetime(RawSpan(_unsafeBytes: buffer), borrowing: self)
    }
}

extension RawSpan {
    /// What lies at `offset` in the processor's byte order. The caller has checked the length.
    @inline(__always)
    func native<T: BitwiseCopyable>(at offset: Int, as: T.Type = T.self) -> T {
        precondition(
            offset >= 0 && offset + MemoryLayout<T>.size <= byteCount, "read beyond the span")
        return unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: T.self)
    }
}
