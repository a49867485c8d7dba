// One record of any table, as fields.

internal import Bytes
internal import Reports
internal import RunService
internal import Tidemark
internal import Volume
internal import VolumeFormat
internal import VolumeIndexes

struct DumpedRecord {
    private let key: [(String, JSONValue)]
    private let value: [(String, JSONValue)]
    private let damage: String?

    var isDamaged: Bool { damage != nil }

    init(table: String, key: RawSpan, value: RawSpan) {
        do throws(RecordDamage) {
            let fields = try DumpedRecord.fields(table, key, value)
            self.key = fields.key
            self.value = fields.value
            damage = nil
        } catch {
            self.key = [("hex", .string(hexadecimal(key)))]
            self.value = [("hex", .string(hexadecimal(value)))]
            damage = "\(error)"
        }
    }

    var json: JSONValue {
        var members: [(String, JSONValue)] = [("key", .object(key)), ("value", .object(value))]
        if let damage { members.append(("damage", .string(damage))) }
        return .object(members)
    }

    typealias Fields = (key: [(String, JSONValue)], value: [(String, JSONValue)])

    private static func fields(
        _ table: String, _ key: RawSpan, _ value: RawSpan
    ) throws(RecordDamage) -> Fields {
        switch table {
        case TableName.superblock: try superblock(key, value)
        case TableName.inodes: try inode(key, value)
        case TableName.dirents: try dirent(key, value)
        case TableName.extents: try extent(key, value)
        case TableName.xattrs: try attribute(key, value)
        case TableName.symlinks: try symlink(key, value)
        case TableName.free: try free(FreeRecord(key: key, value: value))
        case TableName.freeByLength: try free(FreeRecord(lengthKey: key, value: value))
        case TableName.reclaim: try reclaim(key, value)
        case TableName.freeInodes:
            (
                key: [("inode", .unsigned(try FreeInodeRecord.inode(key: key, value: value)))],
                value: []
            )
        case TableName.runs: try run(key, value)
        case TableName.hookLog: try logged(key, value)
        case TableName.quarantine: try quarantined(key, value)
        case TableName.mends: try mended(key, value)
        default: try entry(table, key, value)
        }
    }

    private static func run(_ key: RawSpan, _ value: RawSpan) throws(RecordDamage) -> Fields {
        let record = try VolumeSnapshot.run(key: key, value: value)
        return ([("run", .unsigned(record.number))], record.members)
    }

    /// With the record as it would be dumped from its own table.
    private static func quarantined(
        _ key: RawSpan, _ value: RawSpan
    ) throws(RecordDamage) -> Fields {
        let record = try QuarantineRecord(key: key, value: value)
        let dumped = DumpedRecord(
            table: record.table, key: record.key.rawSpan, value: record.value.rawSpan)
        return (
            [("number", .unsigned(key.integer(at: 0)))],
            [
                ("table", .string(record.table)),
                ("seconds", .integer(Int(record.since.seconds))), ("record", dumped.json),
            ]
        )
    }

    /// A scrub, or one mend with the records that it has changed.
    private static func mended(_ key: RawSpan, _ value: RawSpan) throws(RecordDamage) -> Fields {
        if key.byteCount == MendRecord.keySize, key.integer(at: 8, as: UInt64.self) == 0 {
            let scrub = try ScrubRecord(key: key, value: value)
            return (
                [("scrub", .unsigned(scrub.number))],
                [
                    ("seconds", .integer(Int(scrub.began.seconds))),
                    ("mends", .unsigned(scrub.mends)), ("bytes", .unsigned(scrub.bytes)),
                    ("whole", .bool(scrub.isWhole)),
                ]
            )
        }
        let mend = try MendRecord(key: key, value: value)
        let changes = mend.changes.map { change in
            func record(_ value: [UInt8]?) -> JSONValue {
                guard let value else { return .null }
                return DumpedRecord(
                    table: change.table, key: change.key.rawSpan, value: value.rawSpan
                ).json
            }
            return JSONValue.object([
                ("table", .string(change.table)), ("before", record(change.before)),
                ("after", record(change.after)),
            ])
        }
        return (
            [("scrub", .unsigned(key.integer(at: 0))), ("mend", .unsigned(key.integer(at: 8)))],
            [
                ("seconds", .integer(Int(mend.time.seconds))), ("kind", .string(mend.kind)),
                ("changes", .array(changes)),
            ]
        )
    }

    private static func logged(_ key: RawSpan, _ value: RawSpan) throws(RecordDamage) -> Fields {
        let piece = try VolumeSnapshot.logged(key: key, value: value)
        return (
            [
                ("commit", .unsigned(piece.position.commit)),
                ("ordinal", .integer(piece.position.ordinal)),
            ],
            [("deltas", .integer(piece.deltas))]
        )
    }

    private static func superblock(
        _ key: RawSpan, _ value: RawSpan
    ) throws(RecordDamage) -> Fields {
        let name: [(String, JSONValue)] = [("record", .string(escapedName(key)))]
        let text = key.array
        if text == Geometry.key {
            let geometry = try Geometry(value: value)
            return (
                name,
                [
                    ("version", .unsigned(UInt64(geometry.version))),
                    ("blockSize", .unsigned(UInt64(geometry.blockSize))),
                    ("blocks", .unsigned(geometry.blocks)),
                    ("reservedAtStart", .unsigned(UInt64(geometry.reservedAtStart))),
                    ("reservedAtEnd", .unsigned(UInt64(geometry.reservedAtEnd))),
                    ("identity", .string(uuid(geometry.identity))),
                ]
            )
        }
        if text == Counters.key {
            let counters = try Counters(value: value)
            return (
                name,
                [
                    ("nextInode", .unsigned(counters.nextInode)),
                    ("nextGeneration", .unsigned(UInt64(counters.nextGeneration))),
                    ("inodes", .unsigned(counters.inodes)),
                    ("freeBlocks", .unsigned(counters.freeBlocks)),
                ]
            )
        }
        let record = try GenerationRecord(key: key, value: value)
        return (
            name,
            [
                ("state", .string("\(record.state)")), ("entries", .unsigned(record.entries)),
                ("sum", .unsigned(record.sum)),
            ]
        )
    }

    private static func inode(_ key: RawSpan, _ value: RawSpan) throws(RecordDamage) -> Fields {
        let inode = try InodeRecord(key: key, value: value)
        let mode = String(inode.permissions, radix: 8)
        return (
            [("inode", .unsigned(key.integer(at: 0)))],
            [
                ("type", .string("\(inode.type)")),
                ("mode", .string(String(repeating: "0", count: max(0, 4 - mode.count)) + mode)),
                ("uid", .unsigned(UInt64(inode.uid))), ("gid", .unsigned(UInt64(inode.gid))),
                ("project", .unsigned(UInt64(inode.project))),
                ("links", .unsigned(UInt64(inode.links))),
                ("generation", .unsigned(UInt64(inode.generation))),
                ("size", .unsigned(inode.size)), ("blocks", .unsigned(inode.blocks)),
                ("major", .unsigned(inode.device >> 32)),
                ("minor", .unsigned(inode.device & 0xffff_ffff)),
                ("parent", .unsigned(inode.parent)),
                ("accessed", time(inode.accessed)), ("modified", time(inode.modified)),
                ("changed", time(inode.changed)), ("born", time(inode.born)),
            ]
        )
    }

    private static func time(_ time: Timestamp) -> JSONValue {
        let digits = "\(time.nanoseconds)"
        let zeros = String(repeating: "0", count: max(0, 9 - digits.count))
        return .string("\(time.seconds).\(zeros)\(digits)")
    }

    private static func dirent(_ key: RawSpan, _ value: RawSpan) throws(RecordDamage) -> Fields {
        let record = try DirentRecord(key: key, value: value)
        return (
            [
                ("directory", .unsigned(record.directory)),
                ("name", .string(escapedName(record.name))),
            ],
            [
                ("inode", .unsigned(record.target.child)),
                ("generation", .unsigned(UInt64(record.target.generation))),
                ("type", .string("\(record.target.type)")),
            ]
        )
    }

    private static func extent(_ key: RawSpan, _ value: RawSpan) throws(RecordDamage) -> Fields {
        let extent = try ExtentRecord(key: key, value: value)
        return (
            [
                ("inode", .unsigned(extent.inode)), ("fork", .string(extent.fork.name)),
                ("offset", .unsigned(extent.offset)),
            ],
            [
                ("start", .unsigned(extent.start)), ("length", .unsigned(UInt64(extent.length))),
                ("state", .string("\(extent.state)")),
            ]
        )
    }

    private static func attribute(
        _ key: RawSpan, _ value: RawSpan
    ) throws(RecordDamage) -> Fields {
        let record = try AttributeRecord(key: key, value: value)
        let content: [(String, JSONValue)] =
            switch record.content {
            case .inline(let bytes): [("bytes", .string(escapedName(bytes)))]
            case .remote(let offset, let length):
                [("offset", .unsigned(offset)), ("length", .unsigned(UInt64(length)))]
            }
        return (
            [("inode", .unsigned(record.inode)), ("name", .string(escapedName(record.name)))],
            content
        )
    }

    private static func symlink(_ key: RawSpan, _ value: RawSpan) throws(RecordDamage) -> Fields {
        let target = try SymlinkRecord.target(key: key, value: value)
        return (
            [("inode", .unsigned(key.integer(at: 0)))], [("target", .string(escapedName(target)))]
        )
    }

    private static func free(_ record: FreeRecord) -> Fields {
        ([("start", .unsigned(record.start))], [("length", .unsigned(record.length))])
    }

    private static func reclaim(_ key: RawSpan, _ value: RawSpan) throws(RecordDamage) -> Fields {
        let record = try ReclaimRecord(key: key, value: value)
        return ([("inode", .unsigned(record.inode))], [("from", .unsigned(record.from))])
    }

    /// An entry of a generation of an index.
    private static func entry(
        _ table: String, _ key: RawSpan, _ value: RawSpan
    ) throws(RecordDamage) -> Fields {
        let name = table.prefix { $0 != "." }
        guard let index = VolumeSlots.all.first(where: { $0.name == name }) else {
            throw .field("table")
        }
        let payload = try value.verified(key: key)
        guard index.isWellFormed(key: key, value: payload) else { throw .field("entry") }
        let fields = index.fields(key: key, value: payload)
        var parts: Fields = ([], [])
        for field in fields {
            var value = JSONValue.string(field.value)
            if field.name != "name", let number = UInt64(field.value) { value = .unsigned(number) }
            if DiscrepancyReport.namesOfValue.contains(field.name) {
                parts.value.append((field.name, value))
            } else {
                parts.key.append((field.name, value))
            }
        }
        return parts
    }
}

func hexadecimal(_ bytes: RawSpan) -> String {
    bytes.array.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}
