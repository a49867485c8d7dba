// An open file or directory of the host, closed when it goes.

internal import Bytes
#if canImport(Glibc)
internal import Glibc
#endif

public struct HostFile: ~Copyable, @unchecked Sendable {
    let descriptor: Int32

    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// What `open` shall be for.
    public enum Use: Sendable { case directory, contents }

    /// Opens a path that a user gave; a symbolic link at its end is followed.
    public static func directory(path: String) throws(HostError) -> HostFile {
        let descriptor = unsafe Glibc.open(path.hostPath, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw HostError("open") }
        return HostFile(descriptor: descriptor)
    }

    /// Opens `name` in this directory, and never what a symbolic link there points to. A
    /// fifo or a device that has taken the place of a file does not make it wait.
    public func open(_ name: [UInt8], for use: Use) throws(HostError) -> HostFile {
        let flags =
            O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY
            | (use == .directory ? O_DIRECTORY : 0)
        let descriptor = unsafe withName(name) { unsafe openat(self.descriptor, $0, flags) }
        guard descriptor >= 0 else { throw HostError("open") }
        return HostFile(descriptor: descriptor)
    }

    /// Opens the directory that contains this one.
    public func parent() throws(HostError) -> HostFile {
        try open(Array("..".utf8), for: .directory)
    }

    public func status() throws(HostError) -> HostStatus {
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw HostError("look at") }
        return HostStatus(status)
    }

    /// Of `name` in this directory; of a symbolic link itself.
    public func status(of name: [UInt8]) throws(HostError) -> HostStatus {
        var status = stat()
        let code = unsafe withName(name) {
            unsafe fstatat(descriptor, $0, &status, AT_SYMLINK_NOFOLLOW)
        }
        guard code == 0 else { throw HostError("look at") }
        return HostStatus(status)
    }

    /// The target of the symbolic link `name`.
    public func target(of name: [UInt8]) throws(HostError) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = unsafe withName(name) { name in
            unsafe buffer.withUnsafeMutableBytes {
                unsafe readlinkat(
                    descriptor, name, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
            }
        }
        guard count >= 0 else { throw HostError("read the target of") }
        return Array(buffer.prefix(count))
    }

    /// The names in this directory, without `.` and `..`, in the order of the file system.
    public func names() throws(HostError) -> [[UInt8]] {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw HostError("list") }
        guard let stream = unsafe fdopendir(copy) else {
            let error = HostError("list")
            close(copy)
            throw error
        }
        defer { unsafe closedir(stream) }
        unsafe rewinddir(stream)
        var names: [[UInt8]] = []
        while true {
            Glibc.errno = 0
            guard let entry = unsafe readdir(stream) else {
                guard Glibc.errno == 0 else { throw HostError("list") }
                return names
            }
            let name = unsafe nameBytes(entry)
            if name != [0x2e], name != [0x2e, 0x2e] { names.append(name) }
        }
    }

    /// Up to `count` bytes from `offset`; fewer only at the end of the file.
    public func read(_ count: Int, at offset: UInt64) throws(HostError) -> [UInt8] {
        var failed = false
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = 0
            while filled < count {
                let got = unsafe pread(
                    descriptor, buffer.baseAddress! + filled, count - filled,
                    Int(offset) + filled)
                if got < 0, Glibc.errno == EINTR { continue }
                failed = got < 0
                if got <= 0 { return }
                filled += got
            }
        }
        if failed { throw HostError("read") }
        return bytes
    }

    /// The ranges of `[0, size)` that hold data, in order; what lies between are holes. A
    /// file system that knows no holes has one range.
    public func dataRanges(size: UInt64) throws(HostError) -> [Range<UInt64>] {
        var ranges: [Range<UInt64>] = []
        var from: UInt64 = 0
        while from < size {
            let data = lseek(descriptor, Int(from), seekData)
            if data < 0 {
                if Glibc.errno == ENXIO { return ranges }
                if Glibc.errno == EINVAL || Glibc.errno == EOPNOTSUPP { return [0..<size] }
                throw HostError("find the holes of")
            }
            var end = lseek(descriptor, data, seekHole)
            // Cut short in between: what is left is read as far as it goes.
            if end <= data { end = Int(size) }
            let start = min(UInt64(data), size)
            let stop = min(UInt64(end), size)
            if start < stop { ranges.append(start..<stop) }
            from = max(UInt64(end), from + 1)
        }
        return ranges
    }
}

// glibc gives these only to sources that ask for GNU extensions; linux/fs.h.
private let seekData: Int32 = 3
private let seekHole: Int32 = 4

/// `name` as the system takes it. A NUL can't be in a name that the system gave.
@unsafe
func withName<R>(_ name: [UInt8], _ body: (UnsafePointer<CChar>) -> R) -> R {
    var bytes = name
    bytes.append(0)
    return unsafe bytes.withUnsafeBytes {
        unsafe body($0.baseAddress!.assumingMemoryBound(to: CChar.self))
    }
}

private func nameBytes(_ entry: UnsafeMutablePointer<dirent>) -> [UInt8] {
    guard let offset = MemoryLayout<dirent>.offset(of: \.d_name) else {
        preconditionFailure("a directory entry has a name")
    }
    let start = unsafe UnsafeRawPointer(entry) + offset
    let length = unsafe strlen(start.assumingMemoryBound(to: CChar.self))
    return unsafe [UInt8](UnsafeRawBufferPointer(start: start, count: length))
}
