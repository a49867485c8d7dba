// Pipes through which pages of the data file go to the kernel, as references, without coming into
// our memory.
//
// The kernel has taken what it was given when the call that gives it returns: it copies the bytes
// from the referenced pages into those of its own cache. Pages are never given for good
// (SPLICE_F_MOVE): decision 41 says why.

internal import CSplice
internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

final class AnswerPipe: Sendable {
    private let outlet: Int32
    /// What is spliced into it.
    let inlet: Int32
    /// Bytes that it takes for sure, wherever in their pages they begin and end.
    let capacity: Int

    /// nil where the kernel gives us no pipe, or a small one.
    init?() {
        var ends: [Int32] = [-1, -1]
        guard unsafe splice_shim_pipe(&ends) == 0 else { return nil }
        (outlet, inlet) = (ends[0], ends[1])
        // A place for each page, one more where the first is begun in the middle, and the header.
        // Only the privileged get more than a mebibyte, in powers of two.
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        var size: Int32 = -1
        for wanted in [Buffer.size * 2, Buffer.size] where size < 0 {
            size = splice_shim_resize(inlet, Int32(wanted))
        }
        capacity = Int(size) - 2 * page
    }

    deinit {
        close(outlet)
        close(inlet)
    }

    /// Puts bytes into it.
    func put(_ bytes: UnsafeRawBufferPointer) -> Bool {
        unsafe write(inlet, bytes.baseAddress, bytes.count) == bytes.count
    }

    /// Hands `count` bytes, all that it holds, to `file`.
    func hand(_ count: Int, to file: Int32) -> Bool {
        splice_shim_drain(outlet, file, count) == count
    }
}

/// As many as requests need at a time are made, and kept.
final class AnswerPipes: Sendable {
    private let free = Mutex<[AnswerPipe]>([])

    func take() -> AnswerPipe? { free.withLock { $0.popLast() } ?? AnswerPipe() }
    /// Only what is empty.
    func give(_ pipe: AnswerPipe) { free.withLock { $0.append(pipe) } }
}
