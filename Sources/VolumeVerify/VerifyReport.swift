// What verify found: the counts that say whether a volume is right, and examples that
// say where it is not.

internal import Bytes
public import LMDBPages

/// How the live index differs from what the primary records derive.
public enum Discrepancy: String, Sendable, CaseIterable {
    /// Derived, and not in the live index.
    case missing
    /// In the live index, and not derived.
    case stray
    /// Under a derived key, with another value, or one that can't be decoded.
    case wrong
}

/// How primary records contradict each other, or themselves.
public enum PrimaryDefect: String, Sendable, CaseIterable {
    // The data area.
    case dataLabel, dataLength
    // The environment.
    case missingTable, damagedRecord, activeGeneration
    // Names.
    case missingRoot, danglingEntry, entryWithoutDirectory, entryGeneration, entryType
    case orphanInode, linkCount, directoryNames, directoryParent, directorySize, directoryLoop
    // Space.
    case extentOverlap, extentOverFree, extentBeyondVolume, extentOffsetOverlap
    case extentWithoutInode, extentOfWrongType, reservedArea, leakedBlocks
    case freeBeyondVolume, freeOverlap, freeTables, freeNotMerged, inodeBlocks
    // Attributes and symlinks.
    case attributeWithoutInode, attributeBlocks, attributeOverlap, attributeBlocksUnused
    case symlinkWithoutInode, symlinkWithoutTarget, symlinkSize
    // Inode numbers and counters.
    case unlinkedNotInReclaim, reclaimWithoutInode, reclaimInUse
    case freeInodeInUse, lostInodeNumbers
    case counterInodes, counterFreeBlocks, counterNextInode
    // Of an index whose entries are right.
    case generationCounts

    /// What it means, in words for a report.
    public var meaning: String {
        switch self {
        case .dataLabel: "the file data is missing, or not labelled as this volume's"
        case .dataLength: "the file data is shorter than the volume's blocks"
        case .missingTable: "a table that every volume has does not exist"
        case .damagedRecord: "a record that can't be decoded"
        case .activeGeneration: "an index with no active generation, or with several"
        case .missingRoot: "inode 1 is not a directory"
        case .danglingEntry: "a directory entry whose inode does not exist"
        case .entryWithoutDirectory: "a directory entry in what is not a directory"
        case .entryGeneration: "a directory entry with another generation than its inode"
        case .entryType: "a directory entry with another type than its inode"
        case .orphanInode: "an inode with links, but without a name"
        case .linkCount: "a link count that is not the number of names"
        case .directoryNames: "a directory with several names, or a root with one"
        case .directoryParent: "a directory whose parent is not the one that names it"
        case .directorySize: "a directory whose size is not the number of its entries"
        case .directoryLoop: "a directory inside itself"
        case .extentOverlap: "blocks with two owners"
        case .extentOverFree: "blocks that are owned and free"
        case .extentBeyondVolume: "an extent beyond the end of the volume"
        case .extentOffsetOverlap: "a file offset with two extents"
        case .extentWithoutInode: "an extent of an inode that does not exist"
        case .extentOfWrongType: "contents of an inode that can have none"
        case .reservedArea: "a reserved area that is missing or different"
        case .leakedBlocks: "blocks that are neither free nor owned"
        case .freeBeyondVolume: "free space beyond the end of the volume"
        case .freeOverlap: "free space that overlaps other free space"
        case .freeTables: "free space that is in only one of its two tables"
        case .freeNotMerged: "free space that touches other free space"
        case .inodeBlocks: "an inode whose blocks are not those of its extents"
        case .attributeWithoutInode: "an attribute of an inode that does not exist"
        case .attributeBlocks: "a large attribute without all of its blocks"
        case .attributeOverlap: "large attributes that share blocks"
        case .attributeBlocksUnused: "blocks for attributes that no attribute uses"
        case .symlinkWithoutInode: "a target of what is not a symlink"
        case .symlinkWithoutTarget: "a symlink without a target"
        case .symlinkSize: "a symlink whose size is not the length of its target"
        case .unlinkedNotInReclaim: "an unlinked inode that will never be reclaimed"
        case .reclaimWithoutInode: "an inode to be reclaimed that does not exist"
        case .reclaimInUse: "contents of a file with names that are to be reclaimed"
        case .freeInodeInUse: "a free inode number that can't be given out"
        case .lostInodeNumbers: "inode numbers that are neither in use nor free"
        case .counterInodes: "the counter of inodes"
        case .counterFreeBlocks: "the counter of free blocks"
        case .counterNextInode: "the next inode number is not above all that were used"
        case .generationCounts: "the record of a generation counts another table than it has"
        }
    }
}

/// One thing that is not as it must be.
public struct Finding: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case discrepancy(Discrepancy)
        case defect(PrimaryDefect)

        public var name: String {
            switch self {
            case .discrepancy(let kind): kind.rawValue
            case .defect(let kind): kind.rawValue
            }
        }
    }

    /// One field of a key, as text, and as what it is.
    public struct Field: Hashable, Sendable {
        public let name, value: String
        /// What is a number in the record.
        public let number: UInt64?
        /// What is a name in the record; or a whole key that has no fields.
        public let bytes: [UInt8]?

        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
            number = nil
            bytes = nil
        }

        init(_ name: String, _ value: some BinaryInteger, text: String? = nil) {
            self.name = name
            self.value = text ?? "\(value)"
            number = UInt64(exactly: value)
            bytes = nil
        }

        init(_ name: String, bytes: RawSpan, text: String) {
            self.name = name
            value = text
            number = nil
            self.bytes = bytes.array
        }
    }

    /// The index, or the table of primary records.
    public let object: String
    public let kind: Kind
    public let key: [Field]
    /// nil where nothing was found, or nothing was expected.
    public let found, expected: String?
    /// The record that it contradicts, where that is one record.
    public let other: [Field]
    /// Of a count: what has to be added to it, modulo 2^64.
    public let difference: UInt64?
    /// Of a record that can't be decoded: its key.
    public let rawKey: [UInt8]?

    /// The number of the first key field called `name`.
    public func number(_ name: String) -> UInt64? { key.first { $0.name == name }?.number }
}

extension Finding: CustomStringConvertible {
    public var description: String {
        let place = key.map { "\($0.name) \($0.value)" }.joined(separator: ", ")
        return "\(object): \(kind.name): \(place): found \(found ?? "nothing"), "
            + "expected \(expected ?? "nothing")"
    }
}

/// One secondary index, compared with what the primary records derive.
public struct IndexReport: Hashable, Sendable {
    public let name: String
    /// The active generation; nil, and nothing was compared, where there is not exactly one
    /// (that is a defect of its own).
    public internal(set) var generation: UInt32?
    /// Entries of the live index.
    public internal(set) var entries: UInt64 = 0
    /// Entries that the primary records derive.
    public internal(set) var expected: UInt64 = 0
    public internal(set) var missing: UInt64 = 0
    public internal(set) var stray: UInt64 = 0
    public internal(set) var wrong: UInt64 = 0

    /// Whether it has generations, with records of their own.
    public internal(set) var hasGenerations = true
    /// What the generation's record says it holds: entries (of quota usage: inodes, once for each
    /// counter that they are in), and their sum.
    public internal(set) var recordedEntries: UInt64 = 0
    public internal(set) var recordedSum: UInt64 = 0
    /// What the table holds of the same.
    public internal(set) var countedEntries: UInt64 = 0
    public internal(set) var sum: UInt64 = 0

    public var discrepancies: UInt64 { missing + stray + wrong }

    /// Whether the record agrees with the table. The record follows what the primary records
    /// say, so it can't agree while the table is damaged: this is told besides the
    /// discrepancies, not as one of them.
    public var countAgrees: Bool { countedEntries == recordedEntries }
    public var sumAgrees: Bool { sum == recordedSum }

    /// Exactly what the primary records derive, and a record that says so.
    public var isClean: Bool {
        (generation != nil || !hasGenerations) && discrepancies == 0 && countAgrees && sumAgrees
    }

    init(name: String) { self.name = name }
}

public struct VerifyReport: Sendable {
    /// The commit that was verified.
    public internal(set) var commit: UInt64
    /// What a look at the pages of the metadata has found. Where they are not sound, nothing else
    /// was looked at: liblmdb would go where they lead.
    public internal(set) var pages = PageReport()
    /// `rmap`, `parents`, `quota`, `links`.
    public internal(set) var indexes: [IndexReport]
    /// A count for each kind of defect that was found.
    public internal(set) var primaries: [PrimaryDefect: UInt64]
    /// Records that can't be decoded, by table.
    public internal(set) var damagedRecords: [String: UInt64]
    /// By how much more blocks the tables of free space have than the counter says, modulo 2^64,
    /// where they are sound.
    public internal(set) var freeBlockDifference: UInt64 = 0
    /// Records of all tables but the indexes.
    public internal(set) var primaryRecords: UInt64
    /// The first findings of each kind.
    public internal(set) var examples: [Finding]

    init(
        commit: UInt64, indexes: [IndexReport], primaries: [PrimaryDefect: UInt64],
        damagedRecords: [String: UInt64], primaryRecords: UInt64, examples: [Finding]
    ) {
        self.commit = commit
        self.indexes = indexes
        self.primaries = primaries
        self.damagedRecords = damagedRecords
        self.primaryRecords = primaryRecords
        self.examples = examples
    }

    /// Nothing contradicts anything.
    public var isClean: Bool {
        pages.isSound && primaries.values.allSatisfy { $0 == 0 } && indexes.allSatisfy(\.isClean)
    }
}

extension VerifyReport {
    /// Of a volume whose pages are not sound.
    public init(pages: PageReport) {
        self.init(
            commit: pages.commit ?? 0, indexes: [], primaries: [:], damagedRecords: [:],
            primaryRecords: 0, examples: [])
        self.pages = pages
    }
}

/// Why verify could not look at all. (What it finds is no error.)
public enum VerifyError: Error, Hashable, Sendable {
    case notAVolume(path: String)
    case newerFormat(path: String, version: UInt32)
    case olderFormat(path: String, version: UInt32)
    case unreadable(path: String, errno: Int32)
}

extension VerifyError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .notAVolume(let path):
            "\(path): holds no volume: give the directory that `tidemark create` made"
        case .unreadable(let path, let number):
            "\(path): can't be read: \(systemText(number)); see that you may, and to the disk"
        case .newerFormat(let path, let version):
            "\(path): format version \(version) is newer than this program: use a newer one"
        case .olderFormat(let path, let version):
            "\(path): format version \(version) keeps no quota usage: use the program that made it"
        }
    }
}
