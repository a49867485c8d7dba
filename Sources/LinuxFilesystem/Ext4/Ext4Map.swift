// Which blocks an inode has: its extent tree or its indirect blocks, and its attribute block.

internal import Bytes

/// A run of blocks of an inode.
public struct Ext4Claim: Hashable, Sendable {
    public enum Kind: String, Sendable { case data = "contents", tree = "block map" }
    public let kind: Kind
    /// Position in the file, in blocks; of a block of the map 0.
    public let logical: UInt64
    public let block: UInt64
    public let count: UInt64

    init(kind: Kind, logical: UInt64, block: UInt64, count: UInt64) {
        self.kind = kind
        self.logical = logical
        self.block = block
        self.count = count
    }
}

/// A run of blocks in 12 bytes: of one file millions may have to be held.
public struct Ext4PackedClaim: Sendable, BitwiseCopyable {
    private let logical, blockLow: UInt32
    private let blockHigh: UInt16
    /// One less than the count in the upper 15 bits, whether it is of the map in the lowest.
    private let countAndKind: UInt16

    /// - Parameter claim: as `forEachClaim` tells it: below 2^48, 32,768 blocks at the most. Files
    ///   have less than 2^32 blocks.
    public init(_ claim: Ext4Claim) {
        logical = UInt32(truncatingIfNeeded: claim.logical)
        blockLow = UInt32(truncatingIfNeeded: claim.block)
        blockHigh = UInt16(truncatingIfNeeded: claim.block >> 32)
        countAndKind =
            UInt16(truncatingIfNeeded: (claim.count - 1) << 1) | (claim.kind == .tree ? 1 : 0)
    }

    public var claim: Ext4Claim {
        Ext4Claim(
            kind: countAndKind & 1 != 0 ? .tree : .data, logical: UInt64(logical),
            block: UInt64(blockLow) | UInt64(blockHigh) << 32,
            count: UInt64(countAndKind >> 1) + 1)
    }
}

extension Ext4Volume {
    /// Tells every block of `inode` but that of its attributes.
    /// - Throws: `Ext4Damage` where the map can't be what ext4 writes; `LinuxCallError`.
    public func forEachClaim(
        of inode: Ext4Inode, _ tell: (Ext4Claim) throws -> Void
    ) throws {
        guard inode.hasMap else { return }
        // A map whose blocks lead to each other again and again has no end to speak of.
        var left = superblock.sharesBlocks ? 1 << 32 : superblock.blocks
        func body(_ claim: Ext4Claim) throws {
            guard claim.count <= left else {
                throw Ext4Damage("its map has more blocks than the filesystem")
            }
            left -= claim.count
            try tell(claim)
        }
        let root = inode.raw.rawSpan.extracting(0x28..<0x28 + 60)
        // The map of the inode for growth is that of blocks which groups reserve; but one.
        if inode.number == 7 {
            let block = UInt64(root.little(at: 13 * 4, as: UInt32.self))
            if block != 0 {
                try body(Ext4Claim(kind: .tree, logical: 0, block: try checked(block), count: 1))
            }
            return
        }
        if inode.hasExtents {
            try extents(root, nil, level: 0, body)
        } else {
            try indirect(root, body)
        }
    }

    private func checked(_ block: UInt64, _ count: UInt64 = 1) throws -> UInt64 {
        guard block >= superblock.firstDataBlock, block < superblock.blocks,
            count <= superblock.blocks - block
        else { throw Ext4Damage("its map leads to block \(block), beyond the device") }
        return block
    }

    private func extents(
        _ node: RawSpan, _ expected: UInt16?, level: Int, _ body: (Ext4Claim) throws -> Void
    ) throws {
        let entries = Int(node.little(at: 2, as: UInt16.self))
        let depth: UInt16 = node.little(at: 6)
        guard node.little(at: 0, as: UInt16.self) == 0xf30a, depth <= 5, level <= 5,
            expected == nil || expected == depth, 12 + entries * 12 <= node.byteCount
        else { throw Ext4Damage("its extent tree has a node that is none") }
        for entry in 0..<entries {
            let place = 12 + entry * 12
            let logical = UInt64(node.little(at: place, as: UInt32.self))
            if depth == 0 {
                let raw: UInt16 = node.little(at: place + 4)
                let count = UInt64(raw <= 32768 ? raw : raw - 32768)
                let block =
                    UInt64(node.little(at: place + 8, as: UInt32.self))
                    | UInt64(node.little(at: place + 6, as: UInt16.self)) << 32
                guard count > 0 else { throw Ext4Damage("its map has an empty extent") }
                try body(
                    Ext4Claim(
                        kind: .data, logical: logical, block: try checked(block, count),
                        count: count))
            } else {
                let block = try checked(
                    UInt64(node.little(at: place + 4, as: UInt32.self))
                        | UInt64(node.little(at: place + 8, as: UInt16.self)) << 32)
                try body(Ext4Claim(kind: .tree, logical: 0, block: block, count: 1))
                let buffer = blocks[level]
                try read(buffer, block: block)
                try extents(
                    buffer.bytes(superblock.blockSize), depth - 1, level: level + 1, body)
            }
        }
    }

    private func indirect(_ root: RawSpan, _ body: (Ext4Claim) throws -> Void) throws {
        for place in 0..<12 {
            let block = UInt64(root.little(at: place * 4, as: UInt32.self))
            if block != 0 {
                try body(
                    Ext4Claim(
                        kind: .data, logical: UInt64(place), block: try checked(block), count: 1))
            }
        }
        var logical: UInt64 = 12
        for level in 1...3 {
            let block = UInt64(root.little(at: (11 + level) * 4, as: UInt32.self))
            try indirect(block, level, above: (0, 0), &logical, body)
        }
    }

    /// `level` levels of indirect blocks below the blocks `above`; `logical` moves on behind them.
    private func indirect(
        _ block: UInt64, _ level: Int, above: (UInt64, UInt64), _ logical: inout UInt64,
        _ body: (Ext4Claim) throws -> Void
    ) throws {
        let count = superblock.blockSize / 4
        if block == 0 {
            logical += (0..<level).reduce(UInt64(1)) { size, _ in size * UInt64(count) }
            return
        }
        guard block != above.0, block != above.1 else {
            throw Ext4Damage("its map leads back to block \(block)")
        }
        try body(Ext4Claim(kind: .tree, logical: 0, block: try checked(block), count: 1))
        let buffer = blocks[level]
        try read(buffer, block: block)
        let bytes = buffer.bytes(superblock.blockSize)
        var place = 0
        while place < count {
            let next = UInt64(bytes.little(at: place * 4, as: UInt32.self))
            if level > 1 {
                try indirect(next, level - 1, above: (block, above.0), &logical, body)
                place += 1
            } else {
                // Neighbours are one run.
                var run = 1
                while next != 0, place + run < count,
                    UInt64(bytes.little(at: (place + run) * 4, as: UInt32.self))
                        == next + UInt64(run)
                { run += 1 }
                if next != 0 {
                    try body(
                        Ext4Claim(
                            kind: .data, logical: logical,
                            block: try checked(next, UInt64(run)), count: UInt64(run)))
                }
                logical += UInt64(run)
                place += run
            }
        }
    }
}
