// What of an XFS that answers can't be read: a block of metadata that does not verify, of one inode
// or of one group's reverse map. Nothing that is compared with it is judged, and the check is
// incomplete. Where the filesystem answers no more, that is the error.

internal import Bytes
internal import LinuxFilesystem
internal import Synchronization
internal import Tidemark

/// What could not be read of the live index and of directories.
struct Unread: Sendable {
    /// By object: what is wrong with it.
    var problems: [String: String] = [:]
    /// Of these the parent pointers or the entries.
    var inodes: Set<UInt64> = []
    /// Of these the reverse map.
    var groups: Set<UInt64> = []
}

extension XFSOwner {
    /// Notes that the parent pointers or the entries of `inode` can't be read.
    /// - Throws: where the filesystem answers no more.
    func noteUnread(inode: UInt64, _ problem: String) throws {
        try checkAlive()
        unread.withLock { unread in
            unread.inodes.insert(inode)
            unread.problems["inode \(inode)"] = problem
        }
    }

    /// Notes that the reverse map of `group` can't be read.
    /// - Throws: where the filesystem answers no more.
    func noteUnread(group: UInt64, _ problem: String) throws {
        try checkAlive()
        unread.withLock { unread in
            unread.groups.insert(group)
            unread.problems["the reverse map of group \(group)"] = problem
        }
    }

    func isUnread(group: UInt64) -> Bool { unread.withLock { $0.groups.contains(group) } }

    /// Whether it was found where the live index can't be read, and so says nothing.
    func isUnread(_ discrepancy: Discrepancy) -> Bool {
        if discrepancy.index == parents {
            guard let child = ParentKey.child(discrepancy.key.rawSpan) else { return false }
            return unread.withLock { $0.inodes.contains(child) }
        }
        guard let key = MappingKey(discrepancy.key.rawSpan) else { return false }
        return isUnread(group: key.block / UInt64(xfs.geometry.groupBlocks))
    }

    /// What could not be read, in the order of the objects' names.
    var unreadObjects: [PrimaryDamage] {
        unread.withLock { $0.problems }.sorted { $0.key < $1.key }
            .map { PrimaryDamage(object: $0.key, problem: $0.value) }
    }
}
