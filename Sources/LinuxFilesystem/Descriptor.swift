// An open file descriptor, closed when it goes.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

public struct Descriptor: ~Copyable, @unchecked Sendable {
    public let number: Int32

    /// Takes over an open descriptor.
    public init(_ number: Int32) { self.number = number }

    deinit { close(number) }

    /// Opens `path`, which a user gave, with flags of open(2).
    public static func open(
        _ path: String, flags: Int32 = 0
    ) throws(LinuxCallError) -> Descriptor {
        let number = unsafe Glibc.open(path, flags | O_CLOEXEC)
        guard number >= 0 else { throw LinuxCallError("open", path) }
        return Descriptor(number)
    }

    /// Opens `path` relative to this directory; without flags for reading.
    public func open(
        _ path: String, flags: Int32 = 0
    ) throws(LinuxCallError) -> Descriptor {
        let number = unsafe openat(self.number, path, flags | O_CLOEXEC)
        guard number >= 0 else { throw LinuxCallError("open", path) }
        return Descriptor(number)
    }

    /// The number of the inode that is open; 0 where the system does not say.
    public var inode: UInt64 {
        var status = stat()
        return unsafe fstat(number, &status) == 0 ? UInt64(status.st_ino) : 0
    }

    /// Whether a directory is open.
    public var isDirectory: Bool {
        var status = stat()
        return unsafe fstat(number, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// The whole of a small file of the kernel; `path` is relative to this directory.
    public func text(of path: String) throws(LinuxCallError) -> String {
        let file = try open(path)
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16384)
        // The largest, an event's format, has some kilobytes.
        while bytes.count < 1 << 22 {
            let count = unsafe piece.withUnsafeMutableBytes {
                unsafe read(file.number, $0.baseAddress, $0.count)
            }
            if count < 0, Glibc.errno == EINTR { continue }
            guard count >= 0 else { throw LinuxCallError("read", path) }
            if count == 0 { break }
            bytes += piece.prefix(count)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Writes `text` to a control file of the kernel, in one call.
    public func write(_ text: String, to path: String) throws(LinuxCallError) {
        let file = try open(path, flags: O_WRONLY | O_TRUNC)
        try file.write(text, object: path)
    }

    /// Writes `text` in one call, as the kernel's control files want it.
    func write(_ text: String, object: String) throws(LinuxCallError) {
        var text = text
        while true {
            let count = text.withUTF8 { unsafe Glibc.write(number, $0.baseAddress, $0.count) }
            if count < 0, Glibc.errno == EINTR { continue }
            guard count == text.utf8.count else { throw LinuxCallError("write", object) }
            return
        }
    }

    /// The names in this directory, without `.` and `..`.
    public func names() throws(LinuxCallError) -> [String] {
        var names: [String] = []
        let reader = DirectoryReader()
        while try reader.read(self, object: "directory") {
            reader.forEach { _, _, name in
                let text = unsafe name.withUnsafeBytes {
                    unsafe String(decoding: $0, as: UTF8.self)
                }
                if text != ".", text != ".." { names.append(text) }
            }
        }
        return names
    }
}
