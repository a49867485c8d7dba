// The inodes of a mounted XFS that has no reverse map: extents of both forks, and entries.
//
// Events of extents are stamped with the inode's lock held (ILOCK), those of entries with the
// directory's; the readers take the same locks.

internal import Bytes
internal import LinuxFilesystem

package final class XFSInodes: InodeSource {
    package let label: String
    private let owner: XFSOwner
    private let bufferKilobytes: Int
    private let blockSize: UInt64

    package init(_ owner: XFSOwner) {
        self.owner = owner
        label = owner.label
        bufferKilobytes = owner.bufferKilobytes
        blockSize = UInt64(owner.xfs.geometry.blockSize)
    }

    package func now() -> UInt64 { monotonicTime() }

    package func subscribe() throws -> any InodeChanges {
        try InodeFeed(
            .xfsInodes, on: owner.xfs.mount, bufferKilobytes: bufferKilobytes, label: label,
            checkAlive: { [owner] in try owner.checkAlive() })
    }

    package func read(from first: UInt64, into receiver: any InodeReceiver) throws -> UInt64? {
        try owner.reading { readers in
            guard try owner.xfs.readInodes(from: first, into: readers.inodes) else { return nil }
            for inode in readers.inodes.inodes { try read(inode, readers, receiver) }
            return readers.inodes.inodes.last.map { $0.inode + 1 }
        }
    }

    package func read(_ inode: UInt64, into receiver: any InodeReceiver) throws {
        try owner.reading { readers in
            guard let status = try owner.xfs.status(of: inode, using: readers.one) else { return }
            try read(status, readers, receiver)
        }
    }

    private func read(
        _ inode: InodeStatus, _ readers: XFSReaders, _ receiver: any InodeReceiver
    ) throws {
        if inode.isDamaged { return receiver.skip(inode.inode, "the kernel can't read it") }
        guard inode.isReadable else { return }
        do {
            guard let file = try owner.xfs.open(inode.inode, generation: inode.generation) else {
                return
            }
            if inode.extents > 0 { try extents(of: inode.inode, file, .data, readers, receiver) }
            if inode.attributeExtents > 0 {
                try extents(of: inode.inode, file, .attribute, readers, receiver)
            }
            guard inode.kind == .directory else { return }
            try readers.directory.names(in: inode.inode, file, receiver)
        } catch let error as LinuxCallError where error.isDamaged || error.isBusy {
            try owner.checkAlive()
            receiver.skip(inode.inode, "\(error)")
        }
    }

    private func extents(
        of inode: UInt64, _ file: borrowing Descriptor, _ fork: Fork, _ readers: XFSReaders,
        _ receiver: any InodeReceiver
    ) throws {
        var offset: UInt64? = 0
        while let place = offset {
            offset = try owner.xfs.readExtents(
                of: file, fork, from: place, into: readers.extents, object: "inode \(inode)")
            try receiver.take(
                readers.extents, of: inode, fork, blockSize, owner.xfs.geometry.dataBlocks)
        }
    }
}

extension InodeReceiver {
    /// Takes what a call has told of extents.
    /// - Throws: where they are none of a device of `blocks` blocks.
    func take(
        _ batch: ExtentBatch, of inode: UInt64, _ fork: Fork, _ blockSize: UInt64, _ blocks: UInt64
    ) throws {
        for extent in batch.extents {
            let block = extent.physical / blockSize, count = extent.length / blockSize
            guard block < blocks, count <= blocks - block, extent.offset / blockSize <= 1 << 52
            else {
                throw LinuxCallError(
                    "reading extents", "inode \(inode)", .malformed("blocks beyond the device"))
            }
            self.extent(
                of: inode, fork: fork == .data ? 0 : 1, offset: extent.offset / blockSize,
                block: block, count: count, isUnwritten: extent.isUnwritten)
        }
    }
}

extension DirectoryReader {
    /// Tells every entry but `.` and `..`.
    func names(
        in directory: UInt64, _ file: borrowing Descriptor, _ receiver: any InodeReceiver
    ) throws {
        while try read(file, object: "inode \(directory)") {
            forEach { child, _, name in
                if !isDots(name) { receiver.name(name, of: child, in: directory) }
            }
        }
    }
}
