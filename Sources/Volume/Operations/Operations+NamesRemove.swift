// Operations that take names away: unlink, rmdir. What becomes of an inode that has lost its
// last name is in Operations+Reclaim.swift.

public import VolumeFormat

extension Operations {
    /// unlink(2). The inode goes with its last name, or when it is closed for the last time.
    public mutating func unlink(_ dir: InodeNumber, _ name: [UInt8]) throws {
        try begin(growing: false)
        try checkName(name)
        var parent = try directory(dir)
        let target = try target(dir, name)
        var inode = try inode(at: target, dir, name)
        guard inode.type != .directory else {
            throw VolumeError.isDirectory(entryText(dir, name))
        }
        try removeDirent(dir, name, target)
        parent.size.countDown()
        parent.touch(now)
        try put(parent, dir, usage: .none)
        inode.links &-= 1
        inode.changed = now
        try settle(target.child, inode)
        note(
            .unlinked(
                target.child, VolumeName(directory: dir, name: name), isLast: inode.links == 0))
    }

    /// rmdir(2).
    public mutating func removeDirectory(_ dir: InodeNumber, _ name: [UInt8]) throws {
        try begin(growing: false)
        try checkName(name)
        var parent = try directory(dir)
        let target = try target(dir, name)
        var inode = try inode(at: target, dir, name)
        guard inode.type == .directory else {
            throw VolumeError.notDirectory(entryText(dir, name))
        }
        guard try isEmptyDirectory(target.child) else {
            throw VolumeError.notEmpty(entryText(dir, name))
        }
        try removeDirent(dir, name, target)
        parent.size.countDown()
        parent.links &-= 1
        parent.touch(now)
        try put(parent, dir, usage: .none)
        inode.links = 0
        inode.changed = now
        try settle(target.child, inode)
        note(.removedDirectory(target.child, VolumeName(directory: dir, name: name)))
    }
}
