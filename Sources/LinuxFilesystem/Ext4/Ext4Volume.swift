// The device of a mounted ext4, read beside it and never written to.
//
// Metadata of a mounted ext4 are buffers in the page cache of its block device, and a buffered read
// of the device sees these buffers: what the kernel works with now, not what the disk had before
// the journal was written out. Without locks, though: a read may fall between two steps of one
// change. So what is read here is not believed by itself; `Ext4Check` says when it is.
//
// Why not by system calls alone: the kernel opens only files and directories by handle, tells no
// blocks of extent trees, and answers a look at a damaged inode with an error in the superblock or
// by turning read-only. A check must not do that.

internal import Bytes
internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// Reads the device of one mounted ext4. Used by one thread at a time.
public final class Ext4Volume {
    public let superblock: Ext4Superblock
    public let device: String
    private let file: Descriptor
    let blocks: [AnswerBuffer]
    private let table: AnswerBuffer
    private let bitmap: AnswerBuffer
    private let inode: AnswerBuffer
    /// Called before each read: a scan takes long, and events are to be fetched meanwhile.
    public var onRead: () throws -> Void = {}

    public init(_ mount: MountedFilesystem) throws {
        device = try Ext4Volume.device(of: mount)
        file = try Descriptor.open(device, flags: O_RDONLY)
        let head = AnswerBuffer(capacity: 1024)
        try Ext4Volume.fill(head, 1024, at: 1024, file, device)
        do {
            superblock = try Ext4Superblock(head.bytes(1024))
        } catch {
            throw LinuxCallError.malformed("read", device, "\(error)")
        }
        let size = superblock.blockSize
        // An extent tree has at most five levels below the inode, indirect blocks three.
        blocks = (0..<7).map { _ in AnswerBuffer(capacity: size) }
        table = AnswerBuffer(capacity: max(1 << 18, size))
        bitmap = AnswerBuffer(capacity: size)
        inode = AnswerBuffer(capacity: superblock.inodeSize)
        try checkCoherence(mount)
    }

    /// The superblock as it is now: a resize changes it.
    public func readSuperblock() throws -> Ext4Superblock {
        let head = AnswerBuffer(capacity: 1024)
        try read(head, 1024, at: 1024)
        do {
            return try Ext4Superblock(head.bytes(1024))
        } catch {
            throw LinuxCallError.malformed("read", device, "\(error)")
        }
    }

    /// A node of the device that `mount` is on.
    private static func device(of mount: MountedFilesystem) throws -> String {
        var places: [String] = []
        if let source = try mount.mount()?.source { places.append(source) }
        let numbers = "\(mount.major):\(mount.minor)"
        if let place = try? Descriptor.open(
            "/sys/dev/block/\(numbers)", flags: O_RDONLY | O_DIRECTORY),
            let text = try? place.text(of: "uevent"),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("DEVNAME=") })
        {
            places.append("/dev/\(line.dropFirst(8))")
        }
        places.append("/dev/block/\(numbers)")
        for place in places where place.hasPrefix("/") {
            var status = stat()
            if unsafe stat(place, &status) == 0, status.st_mode & 0o170000 == 0o060000,
                lfs_major(UInt64(status.st_rdev)) == mount.major,
                lfs_minor(UInt64(status.st_rdev)) == mount.minor
            {
                return place
            }
        }
        throw LinuxCallError.malformed(
            "open", "the device \(numbers)", "there is no node of it in /dev")
    }

    /// Whether what is read of the device is what the kernel works with: the root's status.
    private func checkCoherence(_ mount: MountedFilesystem) throws {
        for _ in 0..<20 {
            var before = stat(), after = stat()
            _ = unsafe fstat(mount.root.number, &before)
            guard before.st_ino <= UInt64(superblock.inodes),
                let found = try readInode(UInt32(before.st_ino))
            else { continue }
            _ = unsafe fstat(mount.root.number, &after)
            let change = Int64(before.st_ctim.tv_sec)
            guard before.st_ctim.tv_sec == after.st_ctim.tv_sec,
                before.st_ctim.tv_nsec == after.st_ctim.tv_nsec
            else { continue }
            let isWide = superblock.inodeSize > 128
            if UInt32(found.mode) == before.st_mode, UInt64(found.links) == before.st_nlink,
                isWide ? found.changed / 1_000_000_000 == change
                    : Int32(truncatingIfNeeded: found.changed / 1_000_000_000)
                        == Int32(truncatingIfNeeded: change)
            {
                return
            }
            usleep(10_000)
        }
        throw LinuxCallError.malformed(
            "read", device, "it does not show what the kernel works with")
    }

    // MARK: Reading

    private static func fill(
        _ buffer: AnswerBuffer, _ count: Int, at place: UInt64, _ file: borrowing Descriptor,
        _ device: String
    ) throws(LinuxCallError) {
        var done = 0
        while done < count {
            let size = unsafe pread(
                file.number, buffer.pointer + done, count - done, off_t(place) + off_t(done))
            if size < 0, Glibc.errno == EINTR { continue }
            guard size >= 0 else { throw LinuxCallError("read", device) }
            guard size > 0 else { throw .malformed("read", device, "it ends at \(place)") }
            done += size
        }
    }

    /// - Throws: `Ext4Damage` where the device can't be read there: what cannot be read is no
    ///   different from what was read and makes no sense.
    func read(_ buffer: AnswerBuffer, _ count: Int, at place: UInt64) throws {
        try onRead()
        do throws(LinuxCallError) {
            try Ext4Volume.fill(buffer, count, at: place, file, device)
        } catch {
            guard error.isDamaged else { throw error }
            throw Ext4Damage("\(error), at byte \(place)")
        }
    }

    /// Block `number`, whose range was checked, into `buffer`.
    func read(_ buffer: AnswerBuffer, block number: UInt64) throws {
        try read(buffer, superblock.blockSize, at: number * UInt64(superblock.blockSize))
    }

    /// All group descriptors.
    /// - Parameter onDamage: told of groups whose descriptors can't be read, and why.
    public func readGroups(
        onDamage: (ClosedRange<UInt32>, Ext4Damage) -> Void
    ) throws -> [Ext4Group] {
        var groups: [Ext4Group] = []
        for number in 0..<superblock.descriptorBlocks {
            let first = number * superblock.descriptorsPerBlock
            let last = min(first + superblock.descriptorsPerBlock, superblock.groups) - 1
            do {
                let place = superblock.descriptorBlock(number)
                guard place < superblock.blocks else {
                    throw Ext4Damage("group descriptors beyond the device")
                }
                try read(bitmap, block: place)
            } catch let damage as Ext4Damage {
                onDamage(first...last, damage)
                continue
            }
            let bitmap = self.bitmap
            let bytes = bitmap.bytes(superblock.blockSize)
            for group in first...last {
                let start = Int(group - first) * superblock.descriptorSize
                do throws(Ext4Damage) {
                    groups.append(
                        try Ext4Group(
                            group, bytes.extracting(start..<start + superblock.descriptorSize),
                            superblock))
                } catch {
                    onDamage(group...group, error)
                }
            }
        }
        return groups
    }

    /// A bitmap; bit n of the result is bit n of the block.
    public func readBitmap(_ block: UInt64) throws -> [UInt64] {
        try read(bitmap, block: block)
        let bitmap = self.bitmap
        let bytes = bitmap.bytes(superblock.blockSize)
        return (0..<superblock.blockSize / 8).map { bytes.little(at: $0 * 8) }
    }

    /// How many inodes a block of attributes says that it is of; 0: it is none. `block` lies within
    /// the filesystem (fs/ext4/xattr.h, `struct ext4_xattr_header`: magic, count of references).
    public func attributeReferences(of block: UInt64) throws -> UInt32 {
        let buffer = blocks[0]
        try read(buffer, block: block)
        let bytes = buffer.bytes(superblock.blockSize)
        return bytes.little(at: 0, as: UInt32.self) == 0xea02_0000 ? bytes.little(at: 4) : 0
    }

    /// Metadata of `group` at fixed places: first block, blocks, what they are.
    public func metadata(
        of group: Ext4Group, _ body: (UInt64, UInt64, Ext4Metadata) -> Void
    ) {
        let start = superblock.start(of: group.number)
        let base = superblock.baseBlocks(of: group.number)
        if base > 0 { body(start, min(base, superblock.blocks - start), .descriptors) }
        body(group.blockBitmap, 1, .blockBitmap)
        body(group.inodeBitmap, 1, .inodeBitmap)
        body(group.inodeTable, superblock.tableBlocks, .inodeTable)
    }

    /// Block of the multiple-mount protection; 0: none.
    public var mmpBlock: UInt64 { superblock.mmpBlock }

    /// Whether no name need lead to `inode`.
    public func isHidden(_ inode: UInt32) -> Bool {
        inode != 2 && (inode < superblock.firstInode || superblock.hiddenInodes.contains(inode))
    }

    /// The inodes of `group` that the table holds and that may be in use, in their order.
    /// - Parameters:
    ///   - onDamage: told of inodes that can't be read, and why.
    ///   - body: called with number, bytes, and whether the bitmap has it.
    public func forEachInode(
        in group: Ext4Group, onDamage: (ClosedRange<UInt32>, Ext4Damage) -> Void,
        _ body: (UInt32, RawSpan, Bool) throws -> Void
    ) throws {
        guard !group.hasNoInodes else { return }
        let below = UInt64(group.number) * UInt64(superblock.inodesPerGroup)
        guard below < UInt64(superblock.inodes) else { return }
        let count = Int(
            min(
                UInt64(superblock.inodesPerGroup - group.unusedInodes),
                UInt64(superblock.inodes) - below))
        guard count > 0 else { return }
        func numbers(_ first: Int, _ count: Int) -> ClosedRange<UInt32> {
            UInt32(below) + UInt32(first) + 1...UInt32(below) + UInt32(first + count)
        }
        let used: [UInt64]
        do {
            used = try readBitmap(group.inodeBitmap)
        } catch let damage as Ext4Damage {
            return onDamage(numbers(0, count), damage)
        }
        let size = superblock.inodeSize
        var share = table.capacity / size
        var next = 0
        while next < count {
            let some = min(share, count - next)
            do {
                try read(
                    table, some * size,
                    at: group.inodeTable * UInt64(superblock.blockSize) + UInt64(next * size))
            } catch let damage as Ext4Damage {
                // Block by block, so that no more is missing than has to be.
                let least = superblock.blockSize / size
                if share == least {
                    onDamage(numbers(next, some), damage)
                    next += some
                }
                share = least
                continue
            }
            let table = self.table
            let bytes = table.bytes(some * size)
            for place in 0..<some {
                let number = UInt32(below) + UInt32(next + place) + 1
                let isUsed =
                    used[(next + place) / 64] & 1 << UInt64((next + place) % 64) != 0
                try body(
                    number, bytes.extracting(place * size..<(place + 1) * size), isUsed)
            }
            next += some
        }
    }

    /// The descriptor of group `number`, which is below their count, as it is now.
    public func readGroup(_ number: UInt32) throws -> Ext4Group {
        let block = superblock.descriptorBlock(number / superblock.descriptorsPerBlock)
        guard block < superblock.blocks else {
            throw Ext4Damage("group descriptors beyond the device")
        }
        try read(bitmap, block: block)
        let start = Int(number % superblock.descriptorsPerBlock) * superblock.descriptorSize
        let bitmap = self.bitmap
        return try Ext4Group(
            number,
            bitmap.bytes(superblock.blockSize)
                .extracting(start..<start + superblock.descriptorSize), superblock)
    }

    /// One inode as it is now; nil where its group has none.
    public func readInode(_ number: UInt32) throws -> Ext4Inode? {
        guard number > 0, number <= superblock.inodes else { return nil }
        let slot = UInt64((number - 1) % superblock.inodesPerGroup)
        let group = try readGroup((number - 1) / superblock.inodesPerGroup)
        guard !group.hasNoInodes,
            slot < UInt64(superblock.inodesPerGroup - group.unusedInodes)
        else { return nil }
        try read(
            inode, superblock.inodeSize,
            at: group.inodeTable * UInt64(superblock.blockSize)
                + slot * UInt64(superblock.inodeSize))
        let inode = self.inode
        return Ext4Inode(number, inode.bytes(superblock.inodeSize))
    }
}

extension MountedFilesystem {
    /// Opens the file or directory `inode` of an ext4, of whatever generation. Nothing but files
    /// and directories can be opened this way.
    /// - Parameter open: opens by handle, with these flags, as open(2) answers. For tests.
    /// - Returns: nil where it is not in use.
    public func openExt4(
        _ inode: UInt32, open: ((Int32) -> Int32)? = nil
    ) throws(LinuxCallError) -> Descriptor? {
        let root = root.number
        let open = open ?? { lfs_open_ext4(root, inode, 0, $0) }
        var flags = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | LFS_O_NOATIME
        for attempt in 1...1000 {
            let number = open(flags)
            if number >= 0 { return Descriptor(number) }
            let error = LinuxCallError("open_by_handle_at", "inode \(inode)")
            if error.isVanished { return nil }
            if error.errno == EPERM, flags & LFS_O_NOATIME != 0 {
                // Another owner's file, and no CAP_FOWNER.
                flags &= ~LFS_O_NOATIME
                continue
            }
            // The kernel says that of an inode that is being made (fs/inode.c, `iget_locked`: none
            // for one with I_CREATING, which ext4 takes for want of memory). It is made at once.
            guard error.errno == ENOMEM, attempt < 1000 else { throw error }
            usleep(1000)
        }
        return nil
    }
}

/// Metadata at fixed places.
public enum Ext4Metadata: String, Sendable {
    case descriptors = "superblocks and group descriptors"
    case blockBitmap = "block bitmaps"
    case inodeBitmap = "inode bitmaps"
    case inodeTable = "inode tables"
    case mmp = "multiple-mount protection"
}
