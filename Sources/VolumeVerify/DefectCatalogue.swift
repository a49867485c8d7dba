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
            .attributeOverlap, .reclaimInUse, .counterNextInode, .generationCounts:
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
        case .missingTable: "opening the volume, but for a table of an index, which is lost"
        case .activeGeneration: "using the index, or trusting it"
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
        case .reclaimInUse: "writing beyond the end of the file"
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
        case .linkCount, .generationCounts, .counterFreeBlocks: "`repair`, `scrub`"
        case .activeGeneration: "`repair`"
        case .missingTable: "`repair`, of an index; else a copy"
        case .damagedRecord: "`scrub`; of a generation `repair`"
        case .dataLabel, .dataLength, .missingRoot: "a copy"
        default: "`scrub`"
        }
    }

    /// What `scrub` makes of it.
    public var scrubbed: String {
        switch self {
        case .dataLabel, .dataLength, .missingTable, .activeGeneration, .missingRoot:
            "it is told"
        case .damagedRecord: "moved to quarantine; what others say of it is made again"
        case .danglingEntry: "removed where the number is free, else the inode is made again"
        case .entryWithoutDirectory:
            "the directory is made again; below a file the entry is removed"
        case .entryGeneration:
            "the side is set that parent pointer and link count contradict; a stale name is removed"
        case .entryType: "the side is set that other names and the contents contradict"
        case .orphanInode: "its name is put back where a parent pointer knows it, else lost+found"
        case .linkCount: "a name that a parent pointer knows is put back; else the count is set"
        case .directoryNames: "the name in the directory's own parent is kept"
        case .directoryParent: "the parent is set to the directory that names it"
        case .directorySize: "counted"
        case .directoryLoop: "put back where a parent pointer knows it, else lost+found"
        case .extentOverlap: "who has the reverse mapping keeps them, the other has a copy"
        case .extentOverFree: "no longer free"
        case .extentBeyondVolume: "put back from the reverse mapping, else cut at the end"
        case .extentOffsetOverlap: "the one with a reverse mapping is kept"
        case .extentWithoutInode: "removed where the number is free, else the inode is made again"
        case .extentOfWrongType: "removed, where entry and inode agree on the type"
        case .reservedArea: "set to what the geometry says"
        case .leakedBlocks: "the extent is put back that a reverse mapping knows; else freed"
        case .freeBeyondVolume: "cut at the end of the volume"
        case .freeOverlap: "one run is made of two"
        case .freeTables: "the table by start is believed"
        case .freeNotMerged: "one run is made of two"
        case .inodeBlocks: "counted"
        case .attributeWithoutInode:
            "removed where the number is free, else the inode is made again"
        case .attributeBlocks: "removed"
        case .attributeOverlap: "nothing, without a preference"
        case .attributeBlocksUnused: "freed"
        case .symlinkWithoutInode: "removed where the type is another, else the inode is made again"
        case .symlinkWithoutTarget: "it leads to a name that says that its target is lost"
        case .symlinkSize: "set to the length of the target"
        case .unlinkedNotInReclaim:
            "reclaimed, where no parent pointer knows a name; else that is put back"
        case .reclaimWithoutInode: "the record is removed"
        case .reclaimInUse: "the record is removed: the contents stay"
        case .freeInodeInUse: "no longer free"
        case .lostInodeNumbers: "freed"
        case .counterInodes: "counted"
        case .counterFreeBlocks: "counted"
        case .counterNextInode: "set above all that are used"
        case .generationCounts: "counted"
        }
    }

    /// Whether `check` and `repair` tell of it, under the same name.
    public var isCheckedByRuns: Bool {
        switch self {
        // The volume can't be opened for a run.
        case .dataLabel, .dataLength: false
        default: true
        }
    }

    /// The lines of the table in `Docs/defects.md`.
    public static var table: [String] {
        [
            "| name | meaning | severity | `check`, `repair` | blocks | mended by | "
                + "what `scrub` makes of it |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
            + allCases.map {
                "| `\($0.rawValue)` | \($0.meaning) | \($0.severity.rawValue) | "
                    + ($0.isCheckedByRuns ? "tell of it" : "are refused")
                    + " | \($0.blocks) | \($0.mend) | \($0.scrubbed) |"
            }
    }
}
