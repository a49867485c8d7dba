// Online scrub and repair of a mounted XFS: XFS_IOC_SCRUB_METADATA
// (ioctl_xfs_scrub_metadata(2), fs/xfs/libxfs/xfs_fs.h). One call is about one object. The kernel
// checks it; asked to repair, it rebuilds what is corrupt from other records, and checks again:
// what it answers then is the state behind the repair.
//
// Which other records it believes is fixed for each type. Nothing here decides whether they are
// right.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// What a scrub is about (`XFS_SCRUB_TYPE_*`). The raw value is the kernel's.
public enum ScrubType: UInt32, Sendable, CaseIterable {
    case probe = 0
    case superblock = 1, freeSpaceHeader, freeList, inodeHeader
    case freeSpaceByBlock = 5, freeSpaceBySize, inodes, freeInodes, reverseMap, referenceCounts
    case inode = 11, dataMap, attributeMap, copyOnWriteMap, directory, attributes, link, parents
    case realtimeBitmap = 19, realtimeSummary
    case userQuota = 21, groupQuota, projectQuota
    case counters = 24, quotaUsage, linkCounts, health
    case directoryTree = 28, metadataPath
    case realtimeGroupSuperblock = 30, realtimeGroupBitmap, realtimeReverseMap
    case realtimeReferenceCounts = 33

    public enum Scope: Sendable { case filesystem, group, inode, realtimeGroup, metadataPath }

    /// Which of the numbers of a request the kernel wants for it; it refuses all others (`EINVAL`).
    public var scope: Scope {
        switch self {
        case .probe, .userQuota, .groupQuota, .projectQuota, .counters, .quotaUsage, .linkCounts,
            .health:
            .filesystem
        case .superblock, .freeSpaceHeader, .freeList, .inodeHeader, .freeSpaceByBlock,
            .freeSpaceBySize, .inodes, .freeInodes, .reverseMap, .referenceCounts:
            .group
        case .inode, .dataMap, .attributeMap, .copyOnWriteMap, .directory, .attributes, .link,
            .parents, .directoryTree:
            .inode
        case .realtimeBitmap, .realtimeSummary, .realtimeGroupSuperblock, .realtimeGroupBitmap,
            .realtimeReverseMap, .realtimeReferenceCounts:
            .realtimeGroup
        case .metadataPath: .metadataPath
        }
    }
}

/// The one object of a request.
public enum ScrubObject: Hashable, Sendable {
    case filesystem
    /// An allocation group.
    case group(UInt32)
    /// An inode; of another generation the kernel answers `ENOENT`.
    case inode(UInt64, generation: UInt32)
}

public struct ScrubRequest: Hashable, Sendable {
    public enum Action: Sendable {
        case check
        /// Repair it if it is found to be corrupt.
        case repair
        /// Rebuild it, whatever the check says (`XFS_SCRUB_IFLAG_FORCE_REBUILD`).
        case rebuild
    }

    public let type: ScrubType
    public let object: ScrubObject
    public let action: Action

    /// - Precondition: `object` is what the scope of `type` wants.
    public init(_ type: ScrubType, _ object: ScrubObject, _ action: Action) {
        let fits =
            switch (type.scope, object) {
            case (.filesystem, .filesystem), (.group, .group), (.inode, .inode): true
            default: false
            }
        precondition(fits, "a scrub of \(type) is about another kind of object")
        self.type = type
        self.object = object
        self.action = action
    }

    /// As the kernel takes it.
    var raw: lfs_scrub {
        var raw = lfs_scrub()
        raw.type = type.rawValue
        raw.flags =
            switch action {
            case .check: 0
            case .repair: 1 << 0
            case .rebuild: 1 << 0 | 1 << 8
            }
        switch object {
        case .filesystem: break
        case .group(let number): raw.agno = number
        case .inode(let inode, let generation):
            raw.ino = inode
            raw.gen = generation
        }
        return raw
    }

    /// For messages: `reverse map of group 0`.
    public var label: String {
        switch object {
        case .filesystem: "\(type)"
        case .group(let number): "\(type) of group \(number)"
        case .inode(let inode, _): "\(type) of inode \(inode)"
        }
    }
}

/// What the kernel says of an object (`XFS_SCRUB_OFLAG_*`); after a repair, of what it has become.
public struct ScrubAnswer: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let corrupt = ScrubAnswer(rawValue: 1 << 1)
    /// It could be better, and is not wrong.
    public static let improvable = ScrubAnswer(rawValue: 1 << 2)
    /// Other metadata could not be read to compare it with.
    public static let notCompared = ScrubAnswer(rawValue: 1 << 3)
    /// It disagrees with other metadata.
    public static let disagrees = ScrubAnswer(rawValue: 1 << 4)
    public static let incomplete = ScrubAnswer(rawValue: 1 << 5)
    /// It looks suspicious, and nothing says that it is wrong.
    public static let suspicious = ScrubAnswer(rawValue: 1 << 6)
    /// A repair was asked for, and the kernel saw no need.
    public static let wasRight = ScrubAnswer(rawValue: 1 << 7)

    /// All that the kernel documents.
    static let known: ScrubAnswer = [
        .corrupt, .improvable, .notCompared, .disagrees, .incomplete, .suspicious, .wasRight,
    ]

    /// What keeps a repair from having mended the object: words for a user, empty where nothing.
    public var complaints: [String] {
        var words: [String] = []
        if contains(.corrupt) { words.append("corrupt") }
        if contains(.disagrees) { words.append("in disagreement with other metadata") }
        if contains(.notCompared) { words.append("not comparable with other metadata") }
        if contains(.incomplete) { words.append("not looked at as a whole") }
        return words
    }
}

/// Why a request was not carried out, as far as a caller acts on it.
public enum ScrubRefusal: Hashable, Sendable {
    /// `ENOTTY`, `EOPNOTSUPP`: this kernel has no scrub, or no repair of this type.
    case notSupported
    /// `ENOENT`: there is no such object any more, or this filesystem has none of this type.
    case noObject
    /// `EROFS`: mounted for reading only.
    case readOnly
    /// `EUCLEAN`: what the repair needs is corrupt itself, or it could not get all locks.
    case damaged
    /// `EBUSY`, `EAGAIN`, `EDEADLK`: others hold what it needs; it may do later.
    case busy
    /// `ENOSPC`, `EDQUOT`, `ENOMEM`: no room to build a new copy in.
    case noRoom
    case interrupted
    /// `EPERM`, `EACCES`.
    case forbidden
    /// `ESHUTDOWN`, `EIO`, `ENOTRECOVERABLE`: the filesystem works no more.
    case shutDown
    case other

    public init(_ error: LinuxCallError) {
        self =
            switch error.errno {
            case ENOTTY, EOPNOTSUPP, ENOSYS: .notSupported
            case ENOENT, ESTALE: .noObject
            case EROFS: .readOnly
            case EUCLEAN, EBADMSG: .damaged
            case EBUSY, EAGAIN, EDEADLK: .busy
            case ENOSPC, EDQUOT, ENOMEM: .noRoom
            case EINTR: .interrupted
            case EPERM, EACCES: .forbidden
            case ESHUTDOWN, EIO, ENOTRECOVERABLE: .shutDown
            default: .other
            }
    }
}

extension XFSFilesystem {
    /// Has the kernel check, repair or rebuild one object. Others wait for what it locks meanwhile.
    /// - Throws: what `ScrubRefusal` explains; nothing is known of the object then, but the
    ///   kernel makes each repair in transactions of its own: it is as before, or rebuilt.
    public func scrub(_ request: ScrubRequest) throws(LinuxCallError) -> ScrubAnswer {
        var raw = request.raw
        let asked = raw
        guard unsafe lfs_ioctl(mount.root.number, LFS_XFS_SCRUB, &raw) == 0 else {
            throw LinuxCallError("XFS_IOC_SCRUB_METADATA", request.label)
        }
        return try XFSFilesystem.answer(raw, to: asked, request.label)
    }

    /// The answer, if it can be one to `asked`.
    static func answer(
        _ raw: lfs_scrub, to asked: lfs_scrub, _ label: @autoclosure () -> String
    ) throws(LinuxCallError) -> ScrubAnswer {
        let flags = ScrubAnswer(rawValue: raw.flags & ~asked.flags)
        guard raw.type == asked.type, flags.isSubset(of: .known),
            raw.flags & asked.flags == asked.flags
        else {
            throw .malformed(
                "XFS_IOC_SCRUB_METADATA", label(),
                "type \(raw.type), flags \(raw.flags) for type \(asked.type), flags \(asked.flags)")
        }
        return flags
    }
}
