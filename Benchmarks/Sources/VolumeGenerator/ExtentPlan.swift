// Which extents there are, and where they lie: as on a file system that has been full and
// emptied many times. Every extent is placed at random, so the order of blocks has nothing
// to do with the order of files.

internal import VolumeFormat

struct ExtentPlan: Sendable {
    /// By extent, in the order of the extents table.
    private(set) var owner: [UInt32] = []
    private(set) var offset: [UInt32] = []
    private(set) var length: [UInt8] = []
    private(set) var start: [UInt32]
    /// Whether the extent is in the attribute fork; whether it is unwritten.
    private(set) var flags: [UInt8] = []
    /// The extents in the order of their blocks.
    private(set) var byStart: [UInt32]
    /// Free runs between the extents, in the order of their blocks.
    private(set) var gaps: [FreeRecord] = []
    /// The first block behind all extents.
    private(set) var end: UInt64

    static let attributeFork: UInt8 = 1
    static let unwritten: UInt8 = 2

    /// - Parameter first: the first block that may be used.
    init(extents: Int, names: NamePlan, first: UInt64) {
        var random = Random(seed: names.seed, object: -1)
        owner.reserveCapacity(extents)
        offset.reserveCapacity(extents)
        length.reserveCapacity(extents)
        flags.reserveCapacity(extents)
        start = [UInt32](repeating: 0, count: extents)
        byStart = (0..<extents).map(UInt32.init)
        end = first
        let counts = ExtentPlan.counts(extents, names, &random)
        for inode in 1...names.inodes {
            addFile(inode, extents: Int(counts[inode]), &random)
        }
        precondition(owner.count == extents, "every extent has a file")
        place(&random)
    }

    /// How many extents each inode has: most files few or none, some tens, and one in two
    /// millions a quarter of a million or more.
    private static func counts(
        _ extents: Int, _ names: NamePlan, _ random: inout Random
    ) -> [UInt32] {
        var counts = [UInt32](repeating: 0, count: names.inodes + 1)
        var left = extents
        for inode in 1...names.inodes where names.types[inode] == .regular {
            let count: Int
            switch random.below(1000) {
            case 0..<350: count = 1
            case 350..<440: count = 2
            case 440..<470: count = 3 + random.below(3)
            case 470..<474: count = 8 + random.below(33)
            default: continue
            }
            counts[inode] = UInt32(min(count, left))
            left -= Int(counts[inode])
        }
        let huge = max(1, extents / 2_000_000)
        for number in 0..<huge {
            var inode = 0
            repeat {
                inode = 2 + random.below(names.inodes - 1)
            } while names.types[inode] != .regular
            let share = left / (huge - number)
            counts[inode] += UInt32(share)
            left -= share
        }
        return counts
    }

    private mutating func addFile(_ inode: Int, extents: Int, _ random: inout Random) {
        guard extents > 0 else { return }
        let hasAttribute = extents > 1 && random.chance(oneIn: 64)
        var next: UInt32 = 0
        for _ in 0..<(hasAttribute ? extents - 1 : extents) {
            if random.chance(oneIn: 10) { next += 1 + UInt32(random.below(64)) }
            let blocks = 1 + random.below(16)
            add(inode, next, blocks, random.chance(oneIn: 32) ? ExtentPlan.unwritten : 0)
            next += UInt32(blocks)
        }
        if hasAttribute { add(inode, 0, 1 + random.below(16), ExtentPlan.attributeFork) }
    }

    private mutating func add(_ inode: Int, _ at: UInt32, _ blocks: Int, _ flag: UInt8) {
        owner.append(UInt32(inode))
        offset.append(at)
        length.append(UInt8(blocks))
        flags.append(flag)
    }

    private mutating func place(_ random: inout Random) {
        random.shuffle(&byStart)
        for extent in byStart {
            if random.chance(oneIn: 16) {
                let gap = UInt64(1 + random.below(32))
                gaps.append(FreeRecord(start: end, length: gap))
                end += gap
            }
            start[Int(extent)] = UInt32(end)
            end += UInt64(length[Int(extent)])
        }
        precondition(end < UInt64(UInt32.max), "blocks have 32 bits here")
    }

    var count: Int { owner.count }

    func isAttribute(_ extent: Int) -> Bool { flags[extent] & ExtentPlan.attributeFork != 0 }

    func record(_ extent: Int) -> ExtentRecord {
        ExtentRecord(
            inode: InodeNumber(owner[extent]), fork: isAttribute(extent) ? .attributes : .data,
            offset: UInt64(offset[extent]), start: UInt64(start[extent]),
            length: UInt32(length[extent]),
            state: flags[extent] & ExtentPlan.unwritten != 0 ? .unwritten : .written)
    }
}
