// What this kernel does for a mounted XFS: questions that change nothing.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// Whether the kernel checks and repairs metadata of a mounted XFS.
public enum OnlineScrub: Hashable, Sendable {
    case none
    /// It checks, and does not repair.
    case checks
    case repairs
}

extension XFSFilesystem {
    /// Asks for the kernel's scrub by its probe (`XFS_SCRUB_TYPE_PROBE`), which does nothing.
    public func onlineScrub() throws(LinuxCallError) -> OnlineScrub {
        guard try probe(flags: 0) else { return .none }
        // XFS_SCRUB_IFLAG_REPAIR.
        return try probe(flags: 1) ? .repairs : .checks
    }

    private func probe(flags: UInt32) throws(LinuxCallError) -> Bool {
        var request = lfs_scrub()
        request.flags = flags
        if unsafe lfs_ioctl(mount.root.number, LFS_XFS_SCRUB, &request) == 0 { return true }
        let error = LinuxCallError("XFS_IOC_SCRUB_METADATA", mount.path)
        // A filesystem that is mounted for reading only is checked and not repaired.
        if error.isUnsupported || error.errno == EROFS { return false }
        throw error
    }

    /// What mkfs or an administrator has set for automatic repair (`autofsck`: `none`, `check`,
    /// `optimize`, `repair`); nil where nothing is set.
    public func automaticRepair() throws(LinuxCallError) -> String? {
        var value = [UInt8](repeating: 0, count: 256)
        let count = unsafe value.withUnsafeMutableBytes {
            unsafe fgetxattr(
                mount.root.number, "trusted.xfs:autofsck", $0.baseAddress, $0.count)
        }
        guard count >= 0 else {
            if Glibc.errno == ENODATA || Glibc.errno == EOPNOTSUPP { return nil }
            throw LinuxCallError("fgetxattr", mount.path)
        }
        return String(decoding: value.prefix(count).prefix { $0 != 0 }, as: UTF8.self)
    }
}

/// The release of the running kernel: `6.18.44`.
public func kernelRelease() -> String {
    var names = utsname()
    guard unsafe uname(&names) == 0 else { return "unknown" }
    return unsafe withUnsafeBytes(of: &names.release) {
        unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
}
