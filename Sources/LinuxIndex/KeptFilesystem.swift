// The mounted filesystems whose index can be kept, and how each of them is.

internal import LinuxFilesystem
internal import LinuxOwner
internal import Threads

/// A mounted filesystem, open.
enum KeptFilesystem {
    /// With its reverse map its events say what changes, entry by entry; without one only where.
    case xfs(XFSOwner)
    case ext4(Ext4Inodes)

    init(_ target: String, _ options: KeeperOptions) throws {
        let kind: MountedFilesystem.Kind
        do throws(LinuxCallError) {
            kind = try MountedFilesystem(path: target).kind
        } catch {
            throw IndexFileError(target, .failed("\(error)"))
        }
        if kind == .ext4 {
            self = .ext4(
                try Ext4Inodes(path: target, bufferKilobytes: options.bufferKilobytes))
        } else {
            self = .xfs(
                try XFSOwner(
                    path: target, for: .index, bufferKilobytes: options.bufferKilobytes))
        }
    }

    var mount: MountedFilesystem {
        switch self {
        case .xfs(let owner): owner.xfs.mount
        case .ext4(let inodes): inodes.mount
        }
    }

    /// Blocks of its device.
    var blocks: UInt64 {
        switch self {
        case .xfs(let owner): owner.xfs.geometry.dataBlocks
        case .ext4(let inodes): inodes.superblock.blocks
        }
    }

    /// Whether files may lie on a second device.
    var hasRealtime: Bool {
        if case .xfs(let owner) = self { owner.xfs.geometry.hasRealtime } else { false }
    }

    /// What an index that is begun now says of itself.
    func header() throws -> IndexHeader {
        let mount = mount, device = BlockDevice(major: mount.major, minor: mount.minor)
        let kind: IndexHeader.Kind, identity: [UInt8], blockSize: Int, root: UInt64
        switch self {
        case .xfs(let owner):
            let geometry = owner.xfs.geometry
            (kind, identity, blockSize) = (.xfs, geometry.uuid, geometry.blockSize)
            root = try owner.rootInode()
        case .ext4(let inodes):
            let superblock = inodes.superblock
            (kind, identity, blockSize) = (.ext4, superblock.uuid, superblock.blockSize)
            root = 2
        }
        return IndexHeader(
            kind: kind, identity: identity, blockSize: UInt32(blockSize), major: mount.major,
            minor: mount.minor, blocks: blocks,
            partitionStart: device.start ?? IndexHeader.unknownStart, root: root, epoch: 1,
            boot: bootIdentity(), mount: mountNumber(mount), asOf: 0, device: device.name,
            disk: device.disk)
    }

    /// Events are in force when it returns, and nothing is read yet.
    func session(_ options: KeeperOptions) throws -> any Session {
        switch self {
        case .xfs(let owner) where owner.rmap != nil:
            try KeeperSession(owner, blocks: owner.rmap, names: owner.parents, options: options)
        case .xfs(let owner):
            try InodeSession(XFSInodes(owner), options: options, time: monotonicNanoseconds)
        case .ext4(let inodes):
            try InodeSession(inodes, options: options, time: monotonicNanoseconds)
        }
    }
}
