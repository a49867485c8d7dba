// Damage done on purpose to primary records: records that contradict each other, so that what
// checks say of them can be tried. The indexes follow, as they would if a bug of the allocator
// had done it: what is wrong is wrong in the primary records alone.
//
// Exactly as many defects as asked for, of one kind, called as `verify` calls it. No defect is
// made where another was made by the same call, so that the two don't become one.

internal import Bytes
internal import LMDB
internal import Tidemark
internal import VolumeFormat

/// What is damaged by one call at the most: it is planned in memory.
let mostDamage = 1 << 24

public enum PrimaryDamageKind: String, Sendable, CaseIterable {
    /// A block of an extent belongs to another extent, too.
    case extentOverlap
    /// A free block belongs to an extent, too.
    case extentOverFree
    /// A free block is free in two runs.
    case freeOverlap
    /// A free block is in no run any more.
    case leakedBlocks
}

extension Volume {
    /// Makes exactly `count` defects of primary records.
    /// - Throws: `invalid` where there are too few extents or free runs for that; then those
    ///   that were made before stay.
    public func damage(primary kind: PrimaryDamageKind, count: Int, seed: UInt64) throws {
        guard (0...mostDamage).contains(count) else {
            throw VolumeError.invalid("damage of \(count) records: 0 to \(mostDamage)")
        }
        try perform { operations in
            var vandal = PrimaryVandal(kind: kind, random: SplitMix64(seed: seed))
            for _ in 0..<count {
                try operations.begin()
                try vandal.damageOne(&operations)
            }
        }
    }
}

/// Chooses the blocks.
private struct PrimaryVandal {
    let kind: PrimaryDamageKind
    var random: SplitMix64
    /// Blocks that a defect was made at, and those beside them.
    private var touched: Set<UInt64> = []

    /// Beyond the end of any file, for blocks that a file is given.
    private static let offsets: Range<UInt64> = 1 << 40..<1 << 41
    private static let attempts = 10_000

    init(kind: PrimaryDamageKind, random: SplitMix64) {
        self.kind = kind
        self.random = random
    }

    mutating func damageOne(_ operations: inout Operations) throws {
        switch kind {
        case .extentOverlap:
            let (block, _) = try chooseExtent(operations)
            try give(block, &operations)
        case .extentOverFree:
            let (block, _) = try chooseFree(operations)
            try give(block, &operations)
        case .freeOverlap:
            let (block, _) = try chooseFree(operations)
            try operations.putFree(FreeRecord(start: block, length: 1))
            operations.counters.freeBlocks += 1
        case .leakedBlocks:
            let (block, run) = try chooseFree(operations)
            try operations.deleteFree(run)
            try operations.putFree(FreeRecord(start: run.start, length: block - run.start))
            try operations.putFree(FreeRecord(start: block + 1, length: run.end - block - 1))
            operations.counters.freeBlocks -= 1
        }
    }

    /// The file of some extent is given one block more.
    private mutating func give(_ block: UInt64, _ operations: inout Operations) throws {
        let (_, model) = try chooseExtent(operations)
        guard var inode = try operations.inode(model.inode) else {
            throw VolumeError.damaged(
                table: TableName.inodes, object: "inode \(model.inode)", .length)
        }
        let extent = ExtentRecord(
            inode: model.inode, fork: .data,
            offset: .random(in: PrimaryVandal.offsets, using: &random), start: block, length: 1,
            state: .written)
        try operations.putExtent(extent, replacing: nil)
        inode.blocks += 1
        try operations.put(inode, model.inode)
    }

    /// A block of an extent of some file, and the extent.
    private mutating func chooseExtent(
        _ operations: borrowing Operations
    ) throws -> (block: UInt64, extent: ExtentRecord) {
        let table = operations.core.tables.extents
        var cursor = try operations.transaction.readCursor(table)
        for _ in 0..<PrimaryVandal.attempts {
            var key = KeyBytes()
            key.append(UInt64.random(in: 1...operations.counters.nextInode, using: &random))
            var isThere = try cursor.seek(key.span)
            if !isThere { isThere = try cursor.seek(ExtentRecord.key(1, .data, 0).span) }
            guard isThere, let extent = try? ExtentRecord(key: cursor.key, value: cursor.value),
                extent.fork == .data
            else { continue }
            let block = extent.start + .random(in: 0..<UInt64(extent.length), using: &random)
            if take(block) { return (block, extent) }
        }
        throw VolumeError.invalid("damaging another extent: there are too few")
    }

    /// A block in the middle of a free run, and the run.
    private mutating func chooseFree(
        _ operations: borrowing Operations
    ) throws -> (block: UInt64, run: FreeRecord) {
        var cursor = try operations.transaction.readCursor(operations.core.tables.free)
        for _ in 0..<PrimaryVandal.attempts {
            let place = UInt64.random(in: 0..<operations.core.geometry.blocks, using: &random)
            guard try cursor.seek(atOrBefore: FreeRecord.key(start: place).span),
                let run = try? FreeRecord(key: cursor.key, value: cursor.value), run.length >= 3
            else { continue }
            let block = UInt64.random(in: run.start + 1..<run.end - 1, using: &random)
            if take(block) { return (block, run) }
        }
        throw VolumeError.invalid("damaging another free run: there are too few of some length")
    }

    private mutating func take(_ block: UInt64) -> Bool {
        guard !touched.contains(block) else { return false }
        touched.formUnion([block - 1, block, block + 1])
        return true
    }
}
