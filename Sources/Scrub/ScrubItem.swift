// What a scrub looks at, as a table: in which phase, which defects are whose, and what waits for
// what. The order is that of xfs_scrub(8): what everything stands on comes first.
//
// One survey checks all items at once: it reads every record anyway. An item is repaired when what
// it needs, and what it comes after, had nothing wrong in the same survey; then the next survey
// checks again. `needs` holds always; `after` is a matter of order: once nothing makes progress any
// more, the last call goes on without.

public import VolumeVerify

public enum ScrubPhase: Int, Sendable, CaseIterable, Comparable {
    case geometry = 1, volume, inodes, repairs, names, contents, summaries

    public static func < (a: ScrubPhase, b: ScrubPhase) -> Bool { a.rawValue < b.rawValue }

    /// In words, for a report.
    public var title: String {
        switch self {
        case .geometry: "geometry"
        case .volume: "volume metadata"
        case .inodes: "inodes"
        case .repairs: "repairs"
        case .names: "names, links and quota"
        case .contents: "contents"
        case .summaries: "summaries"
        }
    }
}

public struct ScrubItem: Hashable, Sendable {
    public let name: String
    public let phase: ScrubPhase
    /// The kinds of defects that are its own, in the order in which they are mended.
    public let kinds: [PrimaryDefect]
    /// The index that a run compares and repairs, if any.
    public let index: String?
    public let needs: [String]
    public let after: [String]

    init(
        _ name: String, _ phase: ScrubPhase, _ kinds: [PrimaryDefect], index: String? = nil,
        needs: [String] = [], after: [String] = []
    ) {
        self.name = name
        self.phase = phase
        self.kinds = kinds
        self.index = index
        self.needs = needs
        self.after = after
    }

    private static let primaries = [
        "types", "directories", "extents", "attributes", "symlinks", "sizes",
    ]

    /// Every item, in the order in which they are repaired.
    public static let all: [ScrubItem] = [
        ScrubItem(
            "geometry", .geometry,
            [.dataLabel, .dataLength, .missingTable, .activeGeneration, .missingRoot]),
        ScrubItem("records", .volume, [.damagedRecord], needs: ["geometry"]),
        ScrubItem("reserved areas", .volume, [.reservedArea], needs: ["records"]),
        ScrubItem(
            "numbers in use", .volume, [.counterNextInode, .freeInodeInUse], needs: ["geometry"]),
        ScrubItem(
            "free space", .volume,
            [.freeBeyondVolume, .freeOverlap, .freeTables, .extentOverFree, .freeNotMerged],
            needs: ["records"], after: ["reserved areas"]),
        ScrubItem("types", .inodes, [.entryType, .entryGeneration], needs: ["records"]),
        ScrubItem(
            "directories", .inodes,
            [
                .orphanInode, .linkCount, .danglingEntry, .entryWithoutDirectory, .directoryNames,
                .directoryParent, .directoryLoop,
            ], needs: ["records"], after: ["types"]),
        ScrubItem(
            "extents", .inodes,
            [
                .leakedBlocks, .extentBeyondVolume, .extentOverlap, .extentOffsetOverlap,
                .extentWithoutInode, .extentOfWrongType,
            ], needs: ["records", "free space", "reserved areas"], after: ["directories"]),
        ScrubItem(
            "attributes", .inodes,
            [.attributeWithoutInode, .attributeBlocks, .attributeOverlap, .attributeBlocksUnused],
            needs: ["records"], after: ["directories", "extents"]),
        ScrubItem(
            "symlinks", .inodes, [.symlinkWithoutInode, .symlinkWithoutTarget],
            needs: ["records"], after: ["types", "directories"]),
        ScrubItem(
            "sizes", .inodes, [.directorySize, .inodeBlocks, .symlinkSize], needs: ["records"],
            after: ["directories", "extents", "symlinks"]),
        ScrubItem(
            "rmap", .names, [], index: "rmap", needs: ["records"], after: primaries),
        ScrubItem(
            "parents", .names, [], index: "parents", needs: ["records"], after: primaries),
        ScrubItem(
            "quota", .names, [], index: "quota", needs: ["records"], after: primaries),
        ScrubItem(
            "links", .names, [], index: "links", needs: ["records"], after: primaries),
        ScrubItem(
            "reclaim", .names, [.reclaimWithoutInode, .unlinkedNotInReclaim, .reclaimInUse],
            needs: ["records", "parents", "links"], after: primaries),
        ScrubItem(
            "lost numbers", .names, [.lostInodeNumbers], needs: ["records"],
            after: primaries + ["reclaim"]),
        ScrubItem(
            "counters", .summaries, [.counterInodes, .counterFreeBlocks], needs: ["records"],
            after: ["free space"] + primaries),
        ScrubItem(
            "generation counts", .summaries, [.generationCounts], needs: ["records"],
            after: primaries),
    ]
}

extension PrimaryDefect {
    /// Nothing is wrong, and something could be better.
    public var isOptimisation: Bool { self == .freeNotMerged }

    /// Whose it is: every kind is some item's.
    var item: String { PrimaryDefect.items[self] ?? "geometry" }

    private static let items: [PrimaryDefect: String] = Dictionary(
        ScrubItem.all.flatMap { item in item.kinds.map { ($0, item.name) } }
    ) { first, _ in first }
}
