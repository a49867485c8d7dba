// Buffers for answers: each as large as the largest read. As many are made as requests need at
// a time, and kept.

internal import Synchronization

@safe final class Buffer: @unchecked Sendable {
    static let size = 1 << 20

    private let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)

    deinit { unsafe bytes.deallocate() }

    /// The first `count` bytes, for who has taken the buffer.
    func withBytes<R>(_ count: Int, _ body: (inout MutableRawSpan) throws -> R) rethrows -> R {
        precondition(count <= Buffer.size, "an answer larger than a buffer")
        var span = unsafe MutableRawSpan(
            _unsafeBytes: UnsafeMutableRawBufferPointer(rebasing: bytes[0..<count]))
        return try body(&span)
    }

    @unsafe var characters: UnsafeMutablePointer<CChar> {
        unsafe bytes.baseAddress!.assumingMemoryBound(to: CChar.self)
    }
}

final class Buffers: Sendable {
    private let free = Mutex<[Buffer]>([])

    func take() -> Buffer { free.withLock { $0.popLast() } ?? Buffer() }
    func give(_ buffer: Buffer) { free.withLock { $0.append(buffer) } }
}
