// One page in memory, read with pread(2): not through a map, where a file that is cut short, or a
// sector that can't be read, ends the process with SIGBUS.

internal import Bytes
#if canImport(Glibc)
internal import Glibc
#endif

/// `size` bytes of memory, used again for page after page.
@safe
final class PageBuffer {
    private let base: UnsafeMutableRawPointer
    let size: Int

    init(size: Int) {
        self.size = size
        unsafe base = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    }

    deinit { unsafe base.deallocate() }

    /// The integer at `offset`, in the processor's own byte order, as liblmdb writes it.
    @inline(__always)
    func load<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, as: T.Type = T.self) -> T {
        precondition(offset >= 0 && offset <= size - MemoryLayout<T>.size, "beyond the page")
        return unsafe base.loadUnaligned(fromByteOffset: offset, as: T.self)
    }

    /// Byte order of `range` here and `other` in `page`, the shorter first: below 0, 0, above 0.
    func compare(_ range: Range<Int>, _ page: PageBuffer, _ other: Range<Int>) -> Int {
        precondition(range.lowerBound >= 0 && range.upperBound <= size, "beyond the page")
        precondition(other.lowerBound >= 0 && other.upperBound <= page.size, "beyond the page")
        let common = min(range.count, other.count)
        let order = unsafe memcmp(base + range.lowerBound, page.base + other.lowerBound, common)
        return order != 0 ? Int(order) : range.count - other.count
    }

    func bytes(_ range: Range<Int>) -> [UInt8] {
        precondition(range.lowerBound >= 0 && range.upperBound <= size, "beyond the page")
        return unsafe [UInt8](
            UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count))
    }

    /// Fills the buffer with what `file` has from `offset` on.
    /// - Returns: nil where all of it is there, else why not: 0 for the end of the file, or
    ///   errno(3).
    func fill(_ file: Int32, at offset: UInt64) -> Int32? {
        guard offset <= UInt64(Int.max - size) else { return 0 }
        var done = 0
        while done < size {
            let count = unsafe pread(file, base + done, size - done, Int(offset) + done)
            if count < 0, errno == EINTR { continue }
            if count < 0 { return errno }
            if count == 0 { return 0 }
            done += count
        }
        return nil
    }
}

/// A set of page numbers: a bit each, in pieces that are made when they are needed, so that memory
/// follows what is reached and not what a damaged page claims. 32 KiB for each GiB of pages of
/// 4 KiB.
struct PageSet {
    private static let words = 512
    private var pieces: [UInt64: [UInt64]] = [:]

    /// - Returns: false where it was in the set.
    mutating func insert(_ page: UInt64) -> Bool {
        let word = page / 64, bit = (1 as UInt64) << (page % 64)
        let index = Int(word % UInt64(PageSet.words))
        let empty = [UInt64](repeating: 0, count: PageSet.words)
        return setBit(&pieces[word / UInt64(PageSet.words), default: empty][index], bit)
    }

    private func setBit(_ word: inout UInt64, _ bit: UInt64) -> Bool {
        defer { word |= bit }
        return word & bit == 0
    }

    func contains(_ page: UInt64) -> Bool {
        let word = page / 64
        guard let piece = pieces[word / UInt64(PageSet.words)] else { return false }
        return piece[Int(word % UInt64(PageSet.words))] & 1 << (page % 64) != 0
    }
}

/// A file that is open for reading.
final class PageFile {
    let descriptor: Int32
    let path: String
    /// Bytes, when it was opened.
    let size: UInt64

    init(_ path: String) throws(PageCheckError) {
        self.path = path
        descriptor = unsafe open(path.hostPath, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw PageCheckError(operation: "open", path: path, errno: errno)
        }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            let number = errno
            close(descriptor)
            throw PageCheckError(operation: "look at", path: path, errno: number)
        }
        size = UInt64(max(status.st_size, 0))
    }

    deinit { close(descriptor) }
}
