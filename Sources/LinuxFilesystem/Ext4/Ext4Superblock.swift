// The superblock and the group descriptors of an ext4 (fs/ext4/ext4.h,
// Documentation/filesystems/ext4/). All integers are little-endian.

internal import Bytes
/// What is wrong with bytes that ext4 has written.
public struct Ext4Damage: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}

extension RawSpan {
    @inline(__always)
    func little<T: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as: T.Type = T.self) -> T {
        T(littleEndian: native(at: offset))
    }
}

/// Sizes and features, checked: arithmetic with them does not overflow.
public struct Ext4Superblock: Hashable, Sendable {
    public let inodes: UInt32
    public let blocks: UInt64
    /// Bytes of a block, a power of two.
    public let blockSize: Int
    /// Blocks of a cluster, a power of two; 1 without bigalloc.
    public let clusterBlocks: UInt64
    public let firstDataBlock: UInt64
    public let blocksPerGroup: UInt64
    public let inodesPerGroup: UInt32
    public let inodeSize: Int
    public let firstInode: UInt32
    public let uuid: [UInt8]
    let compatible, incompatible, readOnly: UInt32
    let descriptorSize: Int
    let reservedDescriptorBlocks: UInt64
    let firstMetaGroup: UInt32
    let backupGroups: [UInt32]
    let mmpBlock: UInt64
    let checksumSeed: UInt32
    /// Inodes beyond the reserved ones that have no name: quota, orphan file. 0: none.
    let hiddenInodes: [UInt32]

    public var groups: UInt32 {
        UInt32((blocks - firstDataBlock + blocksPerGroup - 1) / blocksPerGroup)
    }
    public var clusters: UInt64 { (blocks - firstDataBlock + clusterBlocks - 1) / clusterBlocks }
    public func cluster(of block: UInt64) -> UInt64 { (block - firstDataBlock) / clusterBlocks }
    public func firstBlock(of cluster: UInt64) -> UInt64 {
        firstDataBlock + cluster * clusterBlocks
    }

    public var hasBigalloc: Bool { readOnly & 0x200 != 0 }
    /// Files may share blocks (Android's images).
    public var sharesBlocks: Bool { readOnly & 0x4000 != 0 }
    public var hasChecksums: Bool { readOnly & 0x400 != 0 }
    var hasGroupChecksums: Bool { readOnly & 0x410 != 0 }
    var hasMetaGroups: Bool { incompatible & 0x10 != 0 }

    /// Features that change where blocks lie or how names are written, and are not known here.
    /// Known are: filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed,
    /// largedir, inline_data, encrypt, casefold.
    static let knownIncompatible: UInt32 = 0x3e7d6
    static let magic: UInt16 = 0xef53

    init(_ bytes: RawSpan) throws(Ext4Damage) {
        guard bytes.byteCount >= 1024, bytes.little(at: 0x38, as: UInt16.self) == Self.magic else {
            throw Ext4Damage("no superblock of an ext4")
        }
        compatible = bytes.little(at: 0x5c)
        incompatible = bytes.little(at: 0x60)
        readOnly = bytes.little(at: 0x64)
        let unknown = incompatible & ~Self.knownIncompatible
        guard unknown == 0 else {
            throw Ext4Damage("features \(String(unknown, radix: 16)) that are not known here")
        }
        let log: UInt32 = bytes.little(at: 0x18), clusterLog: UInt32 = bytes.little(at: 0x1c)
        guard log <= 6, clusterLog <= 20 else { throw Ext4Damage("an impossible block size") }
        blockSize = 1024 << Int(log)
        let isClustered = bytes.little(at: 0x64, as: UInt32.self) & 0x200 != 0
        guard !isClustered || clusterLog >= log else {
            throw Ext4Damage("clusters smaller than blocks")
        }
        clusterBlocks = isClustered ? 1 << UInt64(clusterLog - log) : 1
        inodes = bytes.little(at: 0)
        let high = incompatible & 0x80 != 0 ? UInt64(bytes.little(at: 0x150, as: UInt32.self)) : 0
        blocks = UInt64(bytes.little(at: 4, as: UInt32.self)) | high << 32
        firstDataBlock = UInt64(bytes.little(at: 0x14, as: UInt32.self))
        blocksPerGroup = UInt64(bytes.little(at: 0x20, as: UInt32.self))
        inodesPerGroup = bytes.little(at: 0x28)
        let isOld = bytes.little(at: 0x4c, as: UInt32.self) == 0
        inodeSize = isOld ? 128 : Int(bytes.little(at: 0x58, as: UInt16.self))
        firstInode = isOld ? 11 : bytes.little(at: 0x54)
        let size = Int(bytes.little(at: 0xfe, as: UInt16.self))
        descriptorSize = incompatible & 0x80 != 0 ? size : 32
        reservedDescriptorBlocks = UInt64(bytes.little(at: 0xce, as: UInt16.self))
        firstMetaGroup = bytes.little(at: 0x104)
        backupGroups =
            compatible & 0x200 != 0 ? [bytes.little(at: 0x24c), bytes.little(at: 0x250)] : []
        mmpBlock = incompatible & 0x100 != 0 ? bytes.little(at: 0x168) : 0
        hiddenInodes = [
            bytes.little(at: 0x240), bytes.little(at: 0x244), bytes.little(at: 0x26c),
            compatible & 0x1000 != 0 ? bytes.little(at: 0x280) : 0,
        ]
        let identity: [UInt8] = bytes.extracting(0x68..<0x78).array
        uuid = identity
        checksumSeed =
            bytes.little(at: 0x60, as: UInt32.self) & 0x2000 != 0
            ? bytes.little(at: 0x270) : ext4Checksum(.max, bytes.extracting(0x68..<0x78))
        try check()
    }

    private func check() throws(Ext4Damage) {
        let bits = UInt64(blockSize) * 8
        guard blocks > firstDataBlock, blocks < 1 << 48, firstDataBlock <= 1,
            blocksPerGroup > 0, blocksPerGroup % clusterBlocks == 0,
            blocksPerGroup / clusterBlocks <= bits,
            inodesPerGroup > 0, UInt64(inodesPerGroup) <= bits, inodeSize >= 128,
            inodeSize <= blockSize, inodeSize.nonzeroBitCount == 1, firstInode >= 11,
            descriptorSize >= 32, descriptorSize <= blockSize,
            descriptorSize.nonzeroBitCount == 1,
            (blocks - firstDataBlock + blocksPerGroup - 1) / blocksPerGroup < 1 << 31,
            inodes > 0, UInt64(inodes) <= UInt64(groups) * UInt64(inodesPerGroup),
            mmpBlock < blocks
        else { throw Ext4Damage("a superblock with impossible sizes") }
    }

    // MARK: Where the metadata of groups lies (fs/ext4/balloc.c)

    var descriptorsPerBlock: UInt32 { UInt32(blockSize / descriptorSize) }
    var descriptorBlocks: UInt32 { (groups + descriptorsPerBlock - 1) / descriptorsPerBlock }
    /// The block of the superblock.
    var superBlock: UInt64 { blockSize == 1024 ? 1 : 0 }

    public func start(of group: UInt32) -> UInt64 {
        firstDataBlock + UInt64(group) * blocksPerGroup
    }
    public func end(of group: UInt32) -> UInt64 { min(blocks, start(of: group) + blocksPerGroup) }

    func hasSuperblock(_ group: UInt32) -> Bool {
        if group == 0 { return true }
        if compatible & 0x200 != 0 { return backupGroups.contains(group) }
        if group == 1 || readOnly & 1 == 0 { return true }
        return [3, 5, 7].contains { base in
            var power = UInt64(base)
            while power < group { power *= UInt64(base) }
            return power == group
        }
    }

    /// The block that holds the descriptors of block `number` of the table.
    func descriptorBlock(_ number: UInt32) -> UInt64 {
        guard hasMetaGroups, number >= firstMetaGroup else {
            return superBlock + 1 + UInt64(number)
        }
        let group = number * descriptorsPerBlock
        var block = start(of: group) + (hasSuperblock(group) ? 1 : 0)
        if blockSize == 1024, number == 0, firstDataBlock == 0 { block += 1 }
        return block
    }

    /// Superblock, descriptors and blocks that are reserved for them, at the start of `group`.
    func baseBlocks(of group: UInt32) -> UInt64 {
        let hasSuper = hasSuperblock(group)
        var count: UInt64 = hasSuper ? 1 : 0
        if hasMetaGroups, group / descriptorsPerBlock >= firstMetaGroup {
            let place = group % descriptorsPerBlock
            if place == 0 || place == 1 || place == descriptorsPerBlock - 1 { count += 1 }
        } else if hasSuper {
            count += UInt64(hasMetaGroups ? firstMetaGroup : descriptorBlocks)
            count += reservedDescriptorBlocks
        }
        // With blocks of 1 KiB and clusters block 0 is there too.
        if group == 0, firstDataBlock < superBlock { count += superBlock }
        return count
    }
}

/// A group descriptor.
public struct Ext4Group: Hashable, Sendable {
    public let number: UInt32
    public let blockBitmap, inodeBitmap, inodeTable: UInt64
    public let flags: UInt16
    public let freeClusters: UInt32
    /// Inodes at the end of the table that were never used.
    public let unusedInodes: UInt32

    public var hasNoInodes: Bool { flags & 1 != 0 }
    /// Its block bitmap was never written: metadata is all that is in use.
    public var hasNoBitmap: Bool { flags & 2 != 0 }

    init(_ number: UInt32, _ bytes: RawSpan, _ superblock: Ext4Superblock) throws(Ext4Damage) {
        self.number = number
        let isWide = superblock.descriptorSize >= 64
        func wide(_ low: Int, _ high: Int) -> UInt64 {
            UInt64(bytes.little(at: low, as: UInt32.self))
                | (isWide ? UInt64(bytes.little(at: high, as: UInt32.self)) << 32 : 0)
        }
        func half(_ low: Int, _ high: Int) -> UInt32 {
            UInt32(bytes.little(at: low, as: UInt16.self))
                | (isWide ? UInt32(bytes.little(at: high, as: UInt16.self)) << 16 : 0)
        }
        blockBitmap = wide(0, 0x20)
        inodeBitmap = wide(4, 0x24)
        inodeTable = wide(8, 0x28)
        freeClusters = half(0xc, 0x2c)
        // Both mean something only where descriptors have checksums.
        flags = superblock.hasGroupChecksums ? bytes.little(at: 0x12) : 0
        unusedInodes = superblock.hasGroupChecksums ? half(0x1c, 0x32) : 0
        let table = superblock.tableBlocks
        guard blockBitmap < superblock.blocks, inodeBitmap < superblock.blocks,
            inodeTable < superblock.blocks, superblock.blocks - inodeTable >= table,
            blockBitmap >= superblock.firstDataBlock, inodeBitmap >= superblock.firstDataBlock,
            inodeTable >= superblock.firstDataBlock, unusedInodes <= superblock.inodesPerGroup
        else { throw Ext4Damage("the descriptor of group \(number) points beyond the device") }
    }
}

extension Ext4Superblock {
    /// Blocks of a group's inode table.
    public var tableBlocks: UInt64 {
        (UInt64(inodesPerGroup) * UInt64(inodeSize) + UInt64(blockSize) - 1) / UInt64(blockSize)
    }
}
