// What stat(2) returns.

internal import Bytes
#if canImport(Glibc)
internal import Glibc
#endif

public enum HostFileType: Sendable {
    case regular, directory, symlink, fifo, socket, characterDevice, blockDevice
}

/// A file of the host, whatever its names.
public struct HostIdentity: Hashable, Sendable {
    public let device, inode: UInt64

    public init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }
}

public struct HostTime: Hashable, Sendable {
    public let seconds: Int64
    public let nanoseconds: UInt32
}

public struct HostStatus: Hashable, Sendable {
    public let identity: HostIdentity
    /// nil: a type that this program does not know.
    public let type: HostFileType?
    /// The low 12 bits of `st_mode`.
    public var permissions: UInt16
    public let uid, gid: UInt32
    public let links: UInt64
    public let size: UInt64
    /// Bytes that the file takes on its file system.
    public let allocated: UInt64
    /// Of a device.
    public let major, minor: UInt32
    public let accessed, modified: HostTime

    init(_ status: stat) {
        identity = HostIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        type =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .regular
            case S_IFDIR: .directory
            case S_IFLNK: .symlink
            case S_IFIFO: .fifo
            case S_IFSOCK: .socket
            case S_IFCHR: .characterDevice
            case S_IFBLK: .blockDevice
            default: nil
            }
        permissions = UInt16(status.st_mode & 0o7777)
        uid = status.st_uid
        gid = status.st_gid
        links = UInt64(status.st_nlink)
        size = UInt64(max(status.st_size, 0))
        allocated = UInt64(max(status.st_blocks, 0)) * 512
        // sys/sysmacros.h, gnu_dev_major and gnu_dev_minor.
        let device = UInt64(status.st_rdev)
        major = UInt32((device >> 8) & 0xfff) | UInt32((device >> 32) & ~0xfff)
        minor = UInt32(device & 0xff) | UInt32((device >> 12) & 0xffff_ff00)
        accessed = HostTime(status.st_atim)
        modified = HostTime(status.st_mtim)
    }

    /// Whether the file may have holes: it takes less room than it is long.
    public var mayBeSparse: Bool { allocated < size }
}

extension HostTime {
    init(_ time: timespec) {
        self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
    }
}

/// Whether something is there: a symbolic link itself counts.
public func hostFileExists(_ path: String) -> Bool {
    var status = stat()
    return unsafe lstat(path.hostPath, &status) == 0
}
