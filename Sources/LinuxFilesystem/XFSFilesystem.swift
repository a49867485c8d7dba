// A mounted XFS: geometry and features, and files opened by inode number and generation.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// A mounted XFS.
public final class XFSFilesystem: Sendable {
    public let mount: MountedFilesystem
    /// As of the last call of `readGeometry`, or of the opening.
    public let geometry: XFSGeometry
    /// What the kernel puts before an inode number in a handle of this filesystem.
    let identity: (UInt32, UInt32)

    /// - Throws: also where the filesystem is no XFS.
    public init(_ mount: MountedFilesystem) throws(LinuxCallError) {
        self.mount = mount
        geometry = try XFSFilesystem.readGeometry(mount)
        identity = try XFSFilesystem.readIdentity(mount)
    }

    /// The geometry as it is now: growfs changes it.
    public func readGeometry() throws(LinuxCallError) -> XFSGeometry {
        try XFSFilesystem.readGeometry(mount)
    }

    private static func readGeometry(
        _ mount: MountedFilesystem
    ) throws(LinuxCallError) -> XFSGeometry {
        var raw = lfs_geometry()
        guard unsafe lfs_ioctl(mount.root.number, LFS_XFS_GEOMETRY, &raw) == 0 else {
            throw LinuxCallError("XFS_IOC_FSGEOMETRY", mount.path)
        }
        guard let geometry = XFSGeometry(raw) else {
            throw .malformed("XFS_IOC_FSGEOMETRY", mount.path, "impossible sizes")
        }
        return geometry
    }

    private static func readIdentity(
        _ mount: MountedFilesystem
    ) throws(LinuxCallError) -> (UInt32, UInt32) {
        var handle = lfs_handle()
        var size: UInt32 = 0
        let code = unsafe lfs_identity(mount.root.number, &handle, &size)
        guard code == 0 else { throw LinuxCallError("XFS_IOC_FD_TO_HANDLE", mount.path) }
        guard size == 24 else {
            throw .malformed("XFS_IOC_FD_TO_HANDLE", mount.path, "a handle of \(size) bytes")
        }
        return handle.fsid
    }

    /// Opens the file or directory `inode`, if it still has `generation`. Nothing but files and
    /// directories can be opened this way. Its time of access stays as it is, where the process may
    /// say so: of another owner's file that takes CAP_FOWNER (open(2), O_NOATIME).
    /// - Returns: nil where it is gone.
    public func open(
        _ inode: UInt64, generation: UInt32
    ) throws(LinuxCallError) -> Descriptor? {
        let flags = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY
        var number = lfs_open_xfs(mount.root.number, inode, generation, flags | LFS_O_NOATIME)
        if number < 0, Glibc.errno == EPERM {
            number = lfs_open_xfs(mount.root.number, inode, generation, flags)
        }
        if number >= 0 { return Descriptor(number) }
        let error = LinuxCallError("open_by_handle_at", "inode \(inode)")
        if error.isVanished { return nil }
        throw error
    }
}

/// Sizes, counts and features of a mounted XFS (`xfs_fsop_geom`). Blocks are filesystem blocks.
public struct XFSGeometry: Hashable, Sendable {
    public let blockSize: Int
    public let groupBlocks: UInt32
    public let groups: UInt32
    public let dataBlocks: UInt64
    public let inodeSize: Int
    public let uuid: [UInt8]
    public let hasRealtime: Bool
    let flags: UInt32

    public var hasQuota: Bool { flags & 1 << 2 != 0 }
    public var hasReverseMap: Bool { flags & 1 << 19 != 0 }
    public var hasReflink: Bool { flags & 1 << 20 != 0 }
    public var hasParentPointers: Bool { flags & 1 << 25 != 0 }
    public var hasMetadataDirectory: Bool { flags & 1 << 26 != 0 }

    init?(_ raw: lfs_geometry) {
        let block = raw.blocksize
        guard block >= 512, block <= 1 << 16, block.nonzeroBitCount == 1, raw.agblocks > 0,
            raw.agcount > 0, raw.datablocks > 0, raw.datablocks <= .max >> 16,
            UInt64(raw.agblocks) * UInt64(raw.agcount) >= raw.datablocks
        else { return nil }
        blockSize = Int(block)
        groupBlocks = raw.agblocks
        groups = raw.agcount
        dataBlocks = raw.datablocks
        inodeSize = Int(raw.inodesize)
        let id = raw.uuid
        uuid = [
            id.0, id.1, id.2, id.3, id.4, id.5, id.6, id.7, id.8, id.9, id.10, id.11, id.12, id.13,
            id.14, id.15,
        ]
        hasRealtime = raw.rtblocks > 0
        flags = raw.flags
    }
}
