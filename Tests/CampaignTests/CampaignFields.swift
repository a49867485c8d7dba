// Every field of every record of a volume, by the byte: what the campaign writes lies into.

import Bytes
import Testing
import VolumeFormat

/// One field of the records of one table.
struct CampaignField: Sendable, CustomTestStringConvertible {
    /// A file of the volume's directory instead of a table: `data`.
    var isFile = false
    /// Bytes of a file that its checksum is over, which follows them; nil: it has none.
    var sealedBytes: Range<Int>?
    /// Whether the checksum is over all of a file, at whose end it is.
    var isSealedWhole = false
    /// Where it is, in pages that the metadata's last meta page leads to.
    var page: MetaPlace?
    /// Where it is, in a file that has no fixed places; nil in one that has not got it.
    var place: (@Sendable ([UInt8]) -> Range<Int>?)?
    /// The member of a run's record that it is, as `limits.share`.
    var member: String?
    /// The LMDB file that its table is in.
    var environment = "meta.mdb"
    var volume = CampaignVolumeKind.closed
    let table: String
    let name: String
    let isInKey: Bool
    let offset: Int
    /// Bytes; 0: from the offset to the end, of which one byte is changed.
    let size: Int
    /// Whether any value could be right: nothing else in the volume says what it has to be.
    let isFree: Bool
    /// Which record: one whose key begins so, or that is chosen by its first bytes of the value.
    let record: @Sendable ([UInt8], [UInt8]) -> Bool

    var testDescription: String { "\(table).\(name)" }

    /// Its file in the volume's directory.
    var file: String { table }

    /// - Parameter count: bytes of the file.
    func sealed(_ count: Int) -> Range<Int>? {
        isSealedWhole ? 0..<count - checksumSize : sealedBytes
    }
}

/// Which volume has it.
enum CampaignVolumeKind: String, CaseIterable, Sendable {
    /// One at rest, with every kind of record; one with a run that can go on.
    case closed, suspended
}

/// Pages of the metadata.
enum MetaPlace: Sendable {
    /// The meta page of the last commit, and the root of the tree of tables.
    case meta, root
}

/// What is done to a field.
enum FieldLie: String, CaseIterable, Sendable {
    case zero, ones, firstBit, middleBit, lastBit, plus, minus, random

    func apply(to bytes: [UInt8], _ random: inout SplitMix64) -> [UInt8] {
        var result = bytes
        let last = bytes.count - 1
        switch self {
        case .zero: result = bytes.map { _ in 0 }
        case .ones: result = bytes.map { _ in 0xff }
        case .firstBit: result[0] ^= 0x80
        case .middleBit: result[bytes.count / 2] ^= 0x10
        case .lastBit: result[last] ^= 0x01
        case .plus, .minus:
            // Big-endian, modulo its size.
            for place in result.indices.reversed() {
                result[place] = self == .plus ? result[place] &+ 1 : result[place] &- 1
                if result[place] != (self == .plus ? 0 : 0xff) { break }
            }
        case .random: result = bytes.map { _ in UInt8(truncatingIfNeeded: random.next()) }
        }
        return result
    }
}

enum CampaignFields {
    typealias Layout = [(name: String, size: Int, isFree: Bool)]
    typealias Choice = @Sendable ([UInt8], [UInt8]) -> Bool

    static func fields(
        _ table: String, key: Layout, value: Layout, prefix: String = "",
        record: @escaping @Sendable ([UInt8], [UInt8]) -> Bool = { _, _ in true }
    ) -> [CampaignField] {
        var result: [CampaignField] = []
        for (layout, isInKey) in [(key, true), (value, false)] {
            var offset = 0
            for (name, size, isFree) in layout {
                result.append(
                    CampaignField(
                        table: table, name: prefix + (isInKey ? "key " : "") + name,
                        isInKey: isInKey, offset: offset, size: size, isFree: isFree,
                        record: record))
                offset += size
            }
        }
        return result
    }

    private static let inode: Layout = [
        ("type", 1, false), ("padding", 1, false), ("permissions", 2, true), ("uid", 4, false),
        ("gid", 4, false), ("project", 4, false), ("links", 4, false), ("generation", 4, false),
        ("size", 8, true), ("blocks", 8, false), ("device", 8, false), ("parent", 8, false),
        ("accessed", 12, true), ("modified", 12, true), ("changed", 12, true), ("born", 12, true),
    ]

    private static func type(_ wanted: FileType) -> @Sendable ([UInt8], [UInt8]) -> Bool {
        { key, value in value[0] == wanted.rawValue && key[7] != 1 }
    }

    private static func named(_ name: String) -> @Sendable ([UInt8], [UInt8]) -> Bool {
        { key, _ in key == Array(name.utf8) }
    }

    /// Of an index's active generation.
    private static let generation: Layout = [
        ("state", 1, false), ("entries", 8, false), ("sum", 8, false),
    ]

    /// The layouts of Docs/format.md. What no other record repeats may be anything: `isFree`.
    static let all: [CampaignField] = [
        geometry, counters, generations, inodes, dirents, inlineXattrs, remoteXattrs, small,
        extents, free, rmap, parents, quota, quarantine, mends, runs, hookLog, metaPage,
        rootPage, files, suspended,
    ].flatMap { $0 }

    /// Fields of a file, or of a page of the metadata, from `start` on.
    static func places(
        _ file: String, _ names: Layout, from start: Int = 0, sealed: Range<Int>? = nil,
        _ page: MetaPlace? = nil
    ) -> [CampaignField] {
        var offset = start
        return names.map { name, size, isFree in
            defer { offset += size }
            return CampaignField(
                isFile: true, sealedBytes: sealed, page: page, table: file, name: name,
                isInKey: false, offset: offset, size: size, isFree: isFree,
                record: { _, _ in true })
        }
    }

    static func tree(_ name: String) -> Layout {
        [
            ("\(name) pad", 4, true), ("\(name) flags", 2, false), ("\(name) depth", 2, false),
            ("\(name) branch pages", 8, true), ("\(name) leaf pages", 8, true),
            ("\(name) overflow pages", 8, true), ("\(name) entries", 8, true),
            ("\(name) root", 8, false),
        ]
    }

    /// What of it only counts, or is not read where it is right, may be anything.
    static let metaPageLayout: Layout =
        [
            ("meta page number", 8, true), ("meta pad", 2, true), ("meta flags", 2, false),
            ("meta bounds", 4, true), ("meta magic", 4, false), ("meta version", 4, false),
            ("meta address", 8, true), ("meta map size", 8, true),
        ] + tree("free pages") + tree("tables") + [
            ("meta last page", 8, true), ("meta commit", 8, true),
        ]

    private static let metaPage = places("meta.mdb", metaPageLayout, .meta)

    static let rootPageLayout: Layout = [
        ("root page number", 8, false), ("root pad", 2, true), ("root flags", 2, false),
        ("root lower", 2, false), ("root upper", 2, false), ("root first node", 2, false),
        ("root second node", 2, false),
    ]

    private static let rootPage = places("meta.mdb", rootPageLayout, .root)

    /// What a record was may be anything.
    private static let quarantine = fields(
        "quarantine", key: [("number", 8, true)],
        value: [
            ("time", 12, true), ("length of the table's name", 1, true), ("table", 6, true),
            ("length of the key", 2, true), ("key", 8, true), ("value", 0, true),
        ])

    private static let files: [CampaignField] = [
        places(
            "data", [("label magic", 8, false), ("label identity", 16, false)], sealed: 0..<24),
        places(
            "durable",
            [
                ("magic", 8, true), ("version", 4, true), ("clean", 1, true), ("zeroes", 3, true),
                ("number", 8, true), ("boot", 40, true), ("meta page", 152, true),
            ], sealed: 0..<216),
        places("lock", [("process", 1, true)]),
    ].flatMap { $0 }

    private static let geometry = fields(
        "super", key: [],
        value: [
            ("magic", 8, false), ("version", 4, false), ("block size", 4, false),
            ("blocks", 8, false), ("reserved at start", 4, false),
            ("reserved at end", 4, false), ("identity", 16, false),
        ], prefix: "geometry ", record: named("geometry"))

    private static let counters = fields(
        "super", key: [],
        value: [
            ("next inode", 8, false), ("next generation", 4, true), ("inodes", 8, false),
            ("free blocks", 8, false),
        ], prefix: "counters ", record: named("counters"))

    private static let generations: [CampaignField] = ["rmap", "parents", "quota"].flatMap {
        fields(
            "super", key: [("index and number", 0, false)], value: generation,
            prefix: "generation of \($0) ", record: named("generation/\($0)/1"))
    }

    private static let kinds: [(String, Choice)] = [
        ("file ", type(.regular)), ("directory ", type(.directory)), ("symlink ", type(.symlink)),
        ("root ", { key, _ in key[7] == 1 }),
    ]

    private static let inodes: [CampaignField] = kinds.flatMap { kind in
        // Nothing names the root: its generation may be any.
        let value = inode.map {
            ($0.0, $0.1, $0.2 || kind.0 == "root " && $0.0 == "generation")
        }
        return fields(
            "inodes", key: [("inode", 8, false)], value: value, prefix: kind.0, record: kind.1)
    }

    private static let dirents = fields(
        "dirents", key: [("directory", 8, false), ("name", 0, false)],
        value: [("child", 8, false), ("generation", 4, false), ("type", 1, false)])

    private static let inlineXattrs = fields(
        "xattrs", key: [("inode", 8, true), ("name", 0, true)],
        value: [("place", 1, false), ("bytes", 0, true)], prefix: "inline ",
        record: { _, value in value[0] == 0 })

    private static let remoteXattrs = fields(
        "xattrs", key: [("inode", 8, false), ("name", 0, true)],
        value: [("place", 1, false), ("offset", 8, false), ("length", 4, true)],
        prefix: "remote ", record: { _, value in value[0] == 1 })

    private static let small: [CampaignField] = [
        fields("symlinks", key: [("inode", 8, false)], value: [("target", 0, true)]),
        fields("reclaim", key: [("inode", 8, true)], value: [("from", 8, true)]),
        fields("freeinos", key: [("inode", 8, false)], value: []),
    ].flatMap { $0 }

    private static let extents: [CampaignField] = [("file ", false), ("reserved ", true)].flatMap {
        kind in
        fields(
            "extents", key: [("inode", 8, false), ("fork", 1, false), ("offset", 8, false)],
            value: [("start", 8, false), ("length", 4, false), ("state", 1, false)],
            prefix: kind.0, record: { key, _ in (key[7] == 0) == kind.1 })
    }

    private static let free: [CampaignField] = [
        fields("free", key: [("start", 8, false)], value: [("length", 8, false)]),
        fields("freelen", key: [("length", 8, false), ("start", 8, false)], value: []),
    ].flatMap { $0 }

    private static let rmap = fields(
        "rmap.g1",
        key: [
            ("start", 8, false), ("inode", 8, false), ("fork", 1, false), ("offset", 8, false),
        ], value: [("length", 4, false), ("state", 1, false)])

    private static let parents = fields(
        "parents.g1", key: [("child", 8, false), ("parent", 8, false), ("name", 0, false)],
        value: [("generation", 4, false)])

    private static let quota = fields(
        "quota.g1", key: [("type", 1, false), ("id", 4, false)],
        value: [("blocks", 8, false), ("inodes", 8, false)])

    /// A scrub, and what it has mended.
    private static let mends: [CampaignField] =
        fields(
            "mends", key: [("scrub", 8, true), ("mend", 8, true)],
            value: [("time", 12, true), ("mends", 8, true), ("bytes", 8, true), ("state", 1, true)],
            prefix: "of a scrub ", record: { key, _ in key[15] == 0 })
        + fields(
            "mends", key: [("scrub", 8, true), ("mend", 8, true)],
            value: [
                ("time", 12, true), ("inodes", 8, true), ("free blocks", 8, true),
                ("length of the kind", 1, true), ("kind", 9, true), ("changes", 4, true),
                ("length of the table's name", 1, true), ("table", 6, true),
                ("length of the key", 2, true), ("key", 8, true),
                ("length of the value before", 4, true), ("values", 0, true),
            ], record: { key, _ in key[15] != 0 })

    private static let runs = fields(
        "runs", key: [("number", 8, true)], value: [("record", 0, true)])

    /// The first delta of a commit, and what follows it.
    static let hookLogValue: Layout = [
        ("kind", 1, true), ("index", 1, true), ("length of the primary key", 2, true),
        ("length of the key", 2, true), ("length of the value", 2, true), ("strings", 0, true),
    ]

    private static let hookLog = fields(
        "hooklog", key: [("commit", 8, true), ("ordinal", 4, true)], value: hookLogValue)
}
