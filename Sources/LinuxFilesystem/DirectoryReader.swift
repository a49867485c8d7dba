// Directories by descriptor: getdents64(2). A record is inode u64, cookie u64, length u16, type
// u8, name and NUL.

internal import Bytes
internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// Reads directories, one after the other, into one buffer. Used by one thread at a time.
public final class DirectoryReader {
    private let buffer: AnswerBuffer
    private var count = 0
    /// Where to go on behind what was read last, for `seek`.
    public private(set) var cookie: UInt64 = 0

    static let headerSize = 19

    public init(capacity: Int = 1 << 16) { buffer = AnswerBuffer(capacity: capacity) }

    /// Reads the next entries of `directory`. The directory is locked for the call alone: of one
    /// that changes meanwhile, each entry that stays is seen, others may be.
    /// - Returns: false at the end, and where the directory has been removed.
    public func read(
        _ directory: borrowing Descriptor, object: @autoclosure () -> String
    ) throws(LinuxCallError) -> Bool {
        count = 0
        var size = unsafe lfs_getdents(directory.number, buffer.pointer, buffer.capacity)
        while size < 0, Glibc.errno == EINTR {
            size = unsafe lfs_getdents(directory.number, buffer.pointer, buffer.capacity)
        }
        guard size >= 0 else {
            let error = LinuxCallError("getdents64", object())
            if error.isVanished { return false }
            throw error
        }
        let buffer = self.buffer
        guard size <= buffer.capacity else {
            throw .malformed("getdents64", object(), "\(size) bytes")
        }
        let answer = buffer.bytes(size)
        guard DirectoryReader.isWellFormed(answer) else {
            throw .malformed("getdents64", object(), "a record is longer than the answer")
        }
        count = size
        cookie = DirectoryReader.lastCookie(answer) ?? cookie
        return size > 0
    }

    /// Goes on from `cookie`, which came from an earlier reading of the same directory.
    public func seek(
        _ directory: borrowing Descriptor, to cookie: UInt64, object: @autoclosure () -> String
    ) throws(LinuxCallError) {
        guard lseek(directory.number, Int(bitPattern: UInt(cookie)), SEEK_SET) >= 0 else {
            throw LinuxCallError("lseek", object())
        }
        self.cookie = cookie
    }

    private static func lastCookie(_ answer: RawSpan) -> UInt64? {
        var position = 0, cookie: UInt64?
        while position < answer.byteCount {
            cookie = answer.native(at: position + 8)
            position += Int(answer.native(at: position + 16, as: UInt16.self))
        }
        return cookie
    }

    /// Calls `body` with inode, type (`DT_DIR`…, readdir(3)) and name of each entry that was
    /// read last, `.` and `..` among them.
    public func forEach(_ body: (UInt64, UInt8, RawSpan) -> Void) {
        let buffer = self.buffer
        let answer = buffer.bytes(count)
        DirectoryReader.forEach(answer, body)
    }

    /// Whether `answer` consists of whole records with names that end.
    static func isWellFormed(_ answer: RawSpan) -> Bool {
        var position = 0
        while position < answer.byteCount {
            guard position + headerSize < answer.byteCount else { return false }
            let length = Int(answer.native(at: position + 16, as: UInt16.self))
            guard length > headerSize, position + length <= answer.byteCount else { return false }
            let field = answer.extracting(position + headerSize..<position + length)
            guard let size = nameLength(field), size > 0, size <= 255 else { return false }
            position += length
        }
        return true
    }

    static func forEach(
        _ answer: RawSpan, _ body: (UInt64, UInt8, RawSpan) -> Void
    ) {
        var position = 0
        while position < answer.byteCount {
            let length = Int(answer.native(at: position + 16, as: UInt16.self))
            let field = answer.extracting(position + headerSize..<position + length)
            body(
                answer.native(at: position), answer.native(at: position + 18),
                field.extracting(first: nameLength(field) ?? 0))
            position += length
        }
    }
}

/// Bytes before the NUL; nil where there is none.
func nameLength(_ field: RawSpan) -> Int? {
    unsafe field.withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress else { return nil }
        guard let end = unsafe memchr(base, 0, bytes.count) else { return nil }
        return unsafe UnsafeRawPointer(end) - base
    }
}
