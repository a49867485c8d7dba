// The catalogue of defects: for each kind, beside its name and its meaning (`PrimaryDefect`), how
// bad it is, what it blocks, and what mends it. `Docs/defects.md` is made from it.

/// How bad a defect is.
public enum DefectSeverity: String, Sendable, CaseIterable {
    /// Contents may be wrong, or become wrong by writing.
    case danger
    /// Something can't be reached, or not used.
    case loss
    /// Room, numbers or counts that are wrong; nothing that anybody has written is.
    case waste
}

extension PrimaryDefect {
    public var severity: DefectSeverity {
        switch self {
        case .dataLabel, .dataLength, .missingTable, .damagedRecord, .activeGeneration,
            .extentOverlap, .extentOverFree, .extentBeyondVolume, .extentOffsetOverlap,
            .reservedArea, .freeBeyondVolume, .freeOverlap, .freeTables, .freeInodeInUse,
            .attributeOverlap, .counterNextInode, .generationCounts:
            .danger
        case .missingRoot, .danglingEntry, .entryWithoutDirectory, .entryGeneration, .entryType,
            .orphanInode, .directoryNames, .directoryParent, .directoryLoop, .linkCount,
            .extentWithoutInode, .extentOfWrongType, .attributeWithoutInode, .attributeBlocks,
            .symlinkWithoutInode, .symlinkWithoutTarget:
            .loss
        case .directorySize, .leakedBlocks, .freeNotMerged, .inodeBlocks, .attributeBlocksUnused,
            .symlinkSize, .unlinkedNotInReclaim, .reclaimWithoutInode, .lostInodeNumbers,
            .counterInodes, .counterFreeBlocks:
            .waste
        }
    }

    /// What can't be right, or be done, as long as it stands.
    public var blocks: String {
        switch self {
        case .dataLabel, .dataLength: "opening the volume"
        case .missingTable, .activeGeneration: "opening the volume; nothing is compared"
        case .damagedRecord: "reading the record, and a comparison of what is derived from it"
        case .missingRoot: "every path"
        case .danglingEntry: "using the name"
        case .entryWithoutDirectory: "reaching what the entry names"
        case .entryGeneration, .entryType: "trusting what the name leads to"
        case .orphanInode: "reaching the inode by a name"
        case .linkCount: "freeing the inode with its last name"
        case .directoryNames, .directoryParent: "the path of the directory"
        case .directorySize: "removing the directory"
        case .directoryLoop: "reaching the directories from the root"
        case .extentOverlap: "writing to either: the other would change"
        case .extentOverFree: "allocating there: they would be overwritten"
        case .extentBeyondVolume: "reading and writing it"
        case .extentOffsetOverlap: "knowing the contents there"
        case .extentWithoutInode, .extentOfWrongType: "freeing the blocks"
        case .reservedArea: "the volume's own areas: they could be given out"
        case .leakedBlocks: "using the blocks"
        case .freeBeyondVolume: "allocating there"
        case .freeOverlap: "allocating there: blocks would be given out twice"
        case .freeTables: "allocating there"
        case .freeNotMerged: "allocating large extents there"
        case .inodeBlocks: "the usage of its owner"
        case .attributeWithoutInode, .attributeBlocks: "reading the attribute"
        case .attributeOverlap: "writing either attribute: the other would change"
        case .attributeBlocksUnused: "using the blocks"
        case .symlinkWithoutInode: "using the inode number again"
        case .symlinkWithoutTarget: "following the symlink"
        case .symlinkSize: "programs that read as many bytes as the size says"
        case .unlinkedNotInReclaim: "using its blocks again"
        case .reclaimWithoutInode: "nothing but tidiness"
        case .freeInodeInUse: "making a file under this number"
        case .lostInodeNumbers: "using the numbers"
        case .counterInodes, .counterFreeBlocks: "statfs(2), and refusing what does not fit"
        case .counterNextInode: "making files: a number could be given out twice"
        case .generationCounts: "knowing that the index's table is whole"
        }
    }

    /// Which command mends it.
    public var mend: String {
        switch self {
        case .linkCount, .generationCounts, .counterFreeBlocks: "`repair`"
        case .dataLabel, .dataLength, .missingTable, .activeGeneration: "a copy"
        default: "nothing; a copy, or removing what is named"
        }
    }

    /// Whether `check` and `repair` tell of it, under the same name.
    public var isCheckedByRuns: Bool {
        switch self {
        // The volume can't be opened for a run.
        case .dataLabel, .dataLength, .missingTable, .activeGeneration: false
        default: true
        }
    }

    /// The lines of the table in `Docs/defects.md`.
    public static var table: [String] {
        ["| name | meaning | severity | `check`, `repair` | blocks | mended by |",
            "| --- | --- | --- | --- | --- | --- |"]
            + allCases.map {
                "| `\($0.rawValue)` | \($0.meaning) | \($0.severity.rawValue) | "
                    + ($0.isCheckedByRuns ? "tell of it" : "are refused")
                    + " | \($0.blocks) | \($0.mend) |"
            }
    }
}
