// A mounted filesystem: what it is, on which device, and where it is mounted.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// A mounted filesystem, held open by its root or a directory in it: it can't be unmounted while
/// this lives.
public final class MountedFilesystem: Sendable {
    public enum Kind: String, Sendable { case xfs, ext4, other }

    /// As the user gave it.
    public let path: String
    public let root: Descriptor
    public let kind: Kind
    /// Magic number of the filesystem type, statfs(2).
    public let type: UInt32
    public let major: UInt32
    public let minor: UInt32
    /// Bytes.
    public let blockSize: Int

    /// The device as `GETFSMAP` names it (`new_encode_dev`).
    public var deviceCode: UInt32 {
        (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)
    }

    /// The device as trace events name it (the kernel's `dev_t`).
    public var traceDevice: UInt32 { major << 20 | minor }

    /// Opens the filesystem that the directory `path` is on.
    public init(path: String) throws(LinuxCallError) {
        let root = try Descriptor.open(path, flags: O_RDONLY | O_DIRECTORY)
        var status = stat()
        guard unsafe fstat(root.number, &status) == 0 else { throw LinuxCallError("stat", path) }
        var numbers = statfs()
        guard unsafe fstatfs(root.number, &numbers) == 0 else {
            throw LinuxCallError("statfs", path)
        }
        self.path = path
        type = UInt32(truncatingIfNeeded: numbers.f_type)
        // linux/magic.h. ext2 and ext3 have the same number, and the same driver.
        kind = type == 0x5846_5342 ? .xfs : type == 0xef53 ? .ext4 : .other
        major = lfs_major(UInt64(status.st_dev))
        minor = lfs_minor(UInt64(status.st_dev))
        guard numbers.f_bsize > 0, numbers.f_bsize <= 1 << 20 else {
            throw .malformed("statfs", path, "blocks of \(numbers.f_bsize) bytes")
        }
        blockSize = Int(numbers.f_bsize)
        self.root = root
    }

    /// Whether the filesystem is still the one that was opened, and answers: a filesystem that
    /// has been shut down answers `EIO`.
    public func checkAlive() throws(LinuxCallError) {
        var numbers = statfs()
        guard unsafe fstatfs(root.number, &numbers) == 0 else {
            throw LinuxCallError("statfs", path)
        }
    }

    /// Has the root directory written out (fsync(2)), which fails with `EIO` where the filesystem
    /// has been shut down, whatever it still answers from memory. It takes its time.
    public func checkWritten() throws(LinuxCallError) {
        guard fsync(root.number) == 0 else { throw LinuxCallError("fsync", path) }
    }

    /// Its line in `/proc/self/mountinfo`; nil where this process sees none.
    public func mount() throws(LinuxCallError) -> MountLine? {
        let proc = try Descriptor.open("/proc/self", flags: O_RDONLY | O_DIRECTORY)
        return MountLine.all(in: try proc.text(of: "mountinfo"))
            .last { $0.major == major && $0.minor == minor }
    }
}

/// A line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
public struct MountLine: Hashable, Sendable {
    public let major, minor: UInt32
    /// The directory of the filesystem that is mounted, and where.
    public let root, point: String
    /// Of the mount and of the filesystem.
    public let options: [String]
    public let type, source: String

    /// The lines of `text` that are well-formed.
    public static func all(in text: String) -> [MountLine] {
        text.split(separator: "\n").compactMap { MountLine(String($0)) }
    }

    init?(_ line: String) {
        let fields = line.split(separator: " ").map(String.init)
        guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 3 else {
            return nil
        }
        let device = fields[2].split(separator: ":")
        guard device.count == 2, let major = UInt32(device[0]), let minor = UInt32(device[1]) else {
            return nil
        }
        self.major = major
        self.minor = minor
        root = MountLine.unescaped(fields[3])
        point = MountLine.unescaped(fields[4])
        options =
            fields[5].split(separator: ",").map(String.init)
            + fields[dash + 3].split(separator: ",").map(String.init)
        type = fields[dash + 1]
        source = MountLine.unescaped(fields[dash + 2])
    }

    /// Blanks and backslashes are written as three octal digits.
    static func unescaped(_ field: String) -> String {
        let bytes = Array(field.utf8)
        var result: [UInt8] = []
        var place = 0
        while place < bytes.count {
            if bytes[place] == UInt8(ascii: "\\"), place + 3 < bytes.count,
                let code = UInt8(
                    String(decoding: bytes[place + 1...place + 3], as: UTF8.self), radix: 8)
            {
                result.append(code)
                place += 4
            } else {
                result.append(bytes[place])
                place += 1
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
