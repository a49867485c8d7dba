// The inodes of a mounted ext4: extents of files and directories, and entries.
//
// *Which* inodes there are stands in bitmaps and inode tables, which are read from the device, and
// only for that: an inode has its type before its first event is stamped, and a deleted one is
// refused by the kernel. *What* they have is asked of the kernel, which answers under its locks:
// FS_IOC_FIEMAP under `i_data_sem`, getdents64(2) under `i_rwsem`. A read of the device would not
// do: `ext4_mark_inode_dirty` is stamped before the inode's buffer is changed.
//
// - `ext4_allocate_blocks`, `ext4_free_blocks`, `ext4_ext_map_blocks_exit` (where it creates) and
//   `ext4_es_remove_extent` are stamped with `i_data_sem` held: they tell of extents that come, go,
//   change their state, move, or are exchanged with another file's (e4defrag).
// - `ext4_mark_inode_dirty` is the last step of every change of a directory, whose `i_rwsem` is
//   held, and of a file that is truncated, collapsed or converted.
// - `ext4_allocate_inode` is stamped when the inode is in bitmap and table.

internal import Bytes
package import LinuxFilesystem

package final class Ext4Inodes: InodeSource {
    package let label: String
    package let mount: MountedFilesystem
    package let superblock: Ext4Superblock
    private let volume: Ext4Volume
    private let bufferKilobytes: Int
    private let blockSize: UInt64
    private let extents = ExtentBatch()
    private let directory = DirectoryReader(capacity: 1 << 18)

    /// - Throws: `LinuxOwnerError`.
    package init(path: String, bufferKilobytes: Int) throws {
        label = path
        self.bufferKilobytes = bufferKilobytes
        do {
            mount = try MountedFilesystem(path: path)
            guard mount.kind == .ext4 else {
                throw LinuxOwnerError(path, .wrongFilesystem("no ext4"))
            }
            volume = try Ext4Volume(mount)
        } catch let error as LinuxCallError {
            throw LinuxOwnerError(path, error)
        }
        superblock = volume.superblock
        blockSize = UInt64(superblock.blockSize)
    }

    package func now() -> UInt64 { monotonicTime() }

    package func subscribe() throws -> any InodeChanges {
        try InodeFeed(
            .ext4Inodes, on: mount, bufferKilobytes: bufferKilobytes, label: label,
            checkAlive: { [self] in try checkAlive() })
    }

    /// Fails where the filesystem answers no more, or has been resized.
    package func checkAlive() throws {
        try calling {
            // An ext4 that has been shut down still answers most questions.
            if try mount.mount()?.options.contains("shutdown") ?? false {
                throw LinuxOwnerError(label, .shutDown)
            }
            let now = try volume.readSuperblock()
            guard now.blocks == superblock.blocks, now.uuid == superblock.uuid else {
                throw LinuxOwnerError(label, .grown)
            }
        }
    }

    private func calling<R>(_ body: () throws -> R) throws -> R {
        do {
            return try body()
        } catch let error as LinuxCallError {
            throw LinuxOwnerError(label, error)
        } catch let error as Ext4Damage {
            throw LinuxOwnerError(label, .malformed("\(error)"))
        }
    }

    package func read(from first: UInt64, into receiver: any InodeReceiver) throws -> UInt64? {
        try calling {
            // Inodes are counted from 1.
            let size = UInt64(superblock.inodesPerGroup), first = max(first, 1)
            guard first <= UInt64(superblock.inodes),
                let number = UInt32(exactly: (first - 1) / size), number < superblock.groups
            else { return nil }
            let group = try volume.readGroup(number)
            var found: [UInt32] = []
            let skip = { (inodes: ClosedRange<UInt32>, damage: Ext4Damage) in
                for inode in inodes where UInt64(inode) >= first {
                    receiver.skip(UInt64(inode), damage.description)
                }
            }
            try volume.forEachInode(in: group, onDamage: skip) { inode, bytes, isUsed in
                if isUsed, UInt64(inode) >= first, isReadable(Ext4Inode(inode, bytes)) {
                    found.append(inode)
                }
            }
            for inode in found { try read(inode, receiver) }
            let next = (UInt64(number) + 1) * size + 1
            return next <= UInt64(superblock.inodes) && number + 1 < superblock.groups ? next : nil
        }
    }

    /// Whether the kernel opens it by handle, and shows it to anybody.
    private func isReadable(_ inode: Ext4Inode) -> Bool {
        (inode.isFile || inode.isDirectory) && !inode.isAttributeValue
            && !volume.isHidden(inode.number)
    }

    package func read(_ inode: UInt64, into receiver: any InodeReceiver) throws {
        guard let inode = UInt32(exactly: inode) else { return }
        try calling { try read(inode, receiver) }
    }

    private func read(_ inode: UInt32, _ receiver: any InodeReceiver) throws {
        // A look at a damaged inode makes the kernel count an error, and maybe turn read-only.
        guard let raw = try verified(inode) else {
            return receiver.skip(UInt64(inode), "its checksum is wrong")
        }
        guard isReadable(raw) else { return }
        do {
            guard let file = try mount.openExt4(inode) else { return }
            var offset: UInt64? = 0
            while let place = offset {
                offset = try mount.readExtents(
                    of: file, from: place, into: extents, object: "inode \(inode)")
                try receiver.take(
                    extents, of: UInt64(inode), .data, blockSize, superblock.blocks)
            }
            // Its type as it is now: the number may have been given to another inode.
            if file.isDirectory { try directory.names(in: UInt64(inode), file, receiver) }
        } catch let error as LinuxCallError
            where error.isDamaged || error.isBusy || error.isLocked
        {
            // Either this inode can't be read, or nothing can.
            if error.isDamaged { try mount.checkWritten() }
            receiver.skip(UInt64(inode), "\(error)")
        }
    }

    /// The inode as the device has it; an empty one where it was never used, nil where its checksum
    /// is wrong. It may be read while it is written.
    private func verified(_ inode: UInt32) throws -> Ext4Inode? {
        for _ in 0..<100 {
            guard let raw = try volume.readInode(inode) else {
                return Ext4Inode(
                    inode, [UInt8](repeating: 0, count: superblock.inodeSize).rawSpan)
            }
            if raw.mode == 0 || raw.isVerified(superblock) { return raw }
            XFSOwner.sleep(1_000_000)
        }
        return nil
    }
}
