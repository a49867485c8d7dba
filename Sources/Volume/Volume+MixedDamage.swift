// Damage of every kind, done on purpose to primary records of a volume that is in use, as a failing
// memory or a bug would do it: the indexes do not follow, so they know what was there before.

internal import Bytes
internal import LMDB
internal import Tidemark
public import VolumeFormat
internal import VolumeVerify

/// One damage that was done, and to which inode; 0: to none.
public struct MixedDamage: Hashable, Sendable {
    public let kind: String
    public let inode: InodeNumber
}

extension Volume {
    /// Damages `count` records, of kinds and at places that the seed chooses. No inode is hit
    /// twice, and the root not at all.
    /// - Returns: what was done: fewer where the volume has too few records.
    public func damageMixed(count: Int, seed: UInt64) throws -> [MixedDamage] {
        guard (0...mostDamage).contains(count) else {
            throw VolumeError.invalid("damage of \(count) records: 0 to \(mostDamage)")
        }
        return try perform { operations in
            var vandal = MixedVandal(random: SplitMix64(seed: seed))
            var done: [MixedDamage] = []
            for attempt in 0..<(count * 8) where done.count < count {
                try operations.begin()
                // The kinds take turns, so that none of them is missing.
                let kind = MixedVandal.kinds[attempt % MixedVandal.kinds.count]
                guard let inode = try vandal.damage(kind, &operations) else { continue }
                done.append(MixedDamage(kind: kind.rawValue, inode: inode))
            }
            return done
        }
    }
}

private struct MixedVandal {
    enum Kind: String, CaseIterable {
        case lostName, lostInode, entryType, entryGeneration, ghostName, directoryParent
        case directorySize, linkCount, inodeBlocks, lostExtent, extentBeyond, extentOverlap
        case extentOverFree, leakedBlocks, freeTables, lostTarget, targetSize
        case damagedEntry, damagedInode, damagedExtent, lostNumber, strayReclaim
    }

    static let kinds = Kind.allCases

    var random: SplitMix64
    private var hit: Set<InodeNumber> = [.root]

    init(random: SplitMix64) { self.random = random }

    /// - Returns: the inode that was hit, 0 for none; nil where none was found that fits.
    mutating func damage(_ kind: Kind, _ operations: inout Operations) throws -> InodeNumber? {
        switch kind {
        case .extentOverFree, .leakedBlocks, .freeTables, .lostNumber, .strayReclaim:
            return try damageTables(kind, &operations)
        default: break
        }
        guard let (n, inode) = try choose(kind, operations) else { return nil }
        let isDone: Bool
        switch kind {
        case .lostName, .entryType, .entryGeneration, .damagedEntry:
            isDone = try damageName(kind, n, inode, &operations)
        case .lostExtent, .extentBeyond, .extentOverlap, .damagedExtent:
            isDone = try damageExtent(kind, n, &operations)
        default: isDone = try damageInode(kind, n, inode, &operations)
        }
        guard isDone else { return nil }
        hit.insert(n)
        return n
    }

    /// An inode with a name that was not hit before, of a type that fits the kind.
    private mutating func choose(
        _ kind: Kind, _ operations: borrowing Operations
    ) throws -> (InodeNumber, InodeRecord)? {
        let last = operations.counters.nextInode
        guard last > 2 else { return nil }
        for _ in 0..<64 {
            let n = InodeNumber.random(in: 2..<last, using: &random)
            guard !hit.contains(n),
                let inode = try operations.readable(n), inode.links > 0
            else { continue }
            let fits =
                switch kind {
                case .directoryParent, .directorySize: inode.type == .directory
                case .lostTarget, .targetSize: inode.type == .symlink
                case .lostExtent, .extentBeyond, .extentOverlap, .damagedExtent, .inodeBlocks,
                    .linkCount, .entryType:
                    inode.type == .regular && inode.blocks > 0
                default: true
                }
            if fits { return (n, inode) }
        }
        return nil
    }

    private mutating func damageName(
        _ kind: Kind, _ n: InodeNumber, _ inode: InodeRecord, _ operations: inout Operations
    ) throws -> Bool {
        guard let name = try operations.names(of: n).first, !hit.contains(name.parent),
            var target = try operations.dirent(name.parent, name.name)
        else { return false }
        let dirents = operations.core.tables.dirents
        let key = DirentRecord.key(name.parent, name.name.rawSpan)
        operations.isChanging(n)
        operations.isChanging(name.parent)
        switch kind {
        case .lostName: _ = try operations.transaction.delete(dirents, key.span)
        case .damagedEntry:
            try spoil(dirents, key.span, &operations)
        default:
            if kind == .entryType { target.type = .fifo } else { target.generation &+= 1000 }
            try operations.transaction.put(
                dirents, key.span, target.value(key: key.span).span)
        }
        return true
    }

    private mutating func damageInode(
        _ kind: Kind, _ n: InodeNumber, _ inode: InodeRecord, _ operations: inout Operations
    ) throws -> Bool {
        var inode = inode
        let inodes = operations.core.tables.inodes
        let key = InodeRecord.key(n)
        operations.isChanging(n)
        switch kind {
        case .lostInode: _ = try operations.transaction.delete(inodes, key.span)
        case .damagedInode: try spoil(inodes, key.span, &operations)
        case .lostTarget:
            _ = try operations.transaction.delete(operations.core.tables.symlinks, key.span)
        case .ghostName:
            guard inode.type == .directory else { return false }
            let name = Array("ghost-\(n)".utf8)
            let entry = DirentRecord.key(n, name.rawSpan)
            // Far above every number that is used.
            let target = DirentTarget(child: 1 << 50, generation: 1, type: .regular)
            try operations.transaction.put(
                operations.core.tables.dirents, entry.span, target.value(key: entry.span).span)
        default:
            switch kind {
            case .directoryParent: inode.parent = inode.parent == .root ? n : .root
            case .directorySize: inode.size += 7
            case .linkCount: inode.links += 3
            case .inodeBlocks: inode.blocks += 11
            default: inode.size += 1
            }
            try operations.transaction.put(inodes, key.span, inode.value(key: key.span).span)
        }
        return true
    }

    private mutating func damageExtent(
        _ kind: Kind, _ n: InodeNumber, _ operations: inout Operations
    ) throws -> Bool {
        guard var extent = try operations.extents(n, .data, from: 0, to: .max, limit: 1).first
        else { return false }
        let extents = operations.core.tables.extents
        let key = extent.key
        operations.isChanging(n)
        switch kind {
        case .lostExtent: _ = try operations.transaction.delete(extents, key.span)
        case .damagedExtent: try spoil(extents, key.span, &operations)
        default:
            // Of an overlap the blocks are those of a neighbour, or free.
            extent.start =
                kind == .extentBeyond
                ? operations.core.geometry.blocks + UInt64(n) * 1000
                : max(extent.start, 1 << 10) - UInt64(extent.length)
            try operations.transaction.put(extents, key.span, extent.value.span)
        }
        return true
    }

    private mutating func damageTables(
        _ kind: Kind, _ operations: inout Operations
    ) throws -> InodeNumber? {
        let tables = operations.core.tables
        operations.hasChanged = true
        switch kind {
        case .lostNumber, .strayReclaim:
            let n: InodeNumber
            do {
                var cursor = try operations.transaction.readCursor(tables.freeInodes)
                guard try cursor.last(), cursor.key.byteCount == 8 else { return nil }
                n = cursor.key.integer(at: 0)
            }
            let key = InodeRecord.key(n)
            if kind == .lostNumber {
                _ = try operations.transaction.delete(tables.freeInodes, key.span)
            } else {
                try operations.transaction.put(
                    tables.reclaim, key.span, ReclaimRecord(inode: n, from: 0).value.span)
            }
        default:
            guard let run = try chooseFree(operations), run.length > 4 else { return nil }
            let block = run.start + run.length / 2
            if kind == .extentOverFree {
                // A part of a file is free, too.
                guard let (n, _) = try choose(.lostExtent, operations),
                    let extent = try operations.extents(n, .data, from: 0, to: .max, limit: 1)
                        .first
                else { return nil }
                try operations.putFree(FreeRecord(start: extent.start, length: 1))
                hit.insert(n)
                return n
            }
            if kind == .freeTables {
                let key = FreeRecord.lengthKey(length: run.length, start: run.start)
                _ = try operations.transaction.delete(tables.freeByLength, key.span)
            } else {
                try operations.deleteFree(run)
                try operations.putFree(FreeRecord(start: run.start, length: block - run.start))
                try operations.putFree(FreeRecord(start: block + 1, length: run.end - block - 1))
            }
        }
        return .volume
    }

    private mutating func chooseFree(
        _ operations: borrowing Operations
    ) throws -> FreeRecord? {
        let block = UInt64.random(in: 0..<operations.core.geometry.blocks, using: &random)
        var cursor = try operations.transaction.readCursor(operations.core.tables.free)
        let isThere = try cursor.seek(FreeRecord.key(start: block).span)
        guard try isThere || cursor.last() else { return nil }
        return try? FreeRecord(key: cursor.key, value: cursor.value)
    }

    private func spoil(
        _ table: Table, _ key: RawSpan, _ operations: inout Operations
    ) throws {
        guard var value = try operations.transaction.get(table, key)?.array, !value.isEmpty
        else { return }
        value[value.count - 1] ^= 0x40
        try operations.transaction.put(table, key, value.rawSpan)
    }
}
