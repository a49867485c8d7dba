// Records that can't be decoded go to quarantine: a table of their own, which can be dumped, and
// from which a record can be put back. What they were is told by their key and by what is derived
// from them; the next survey finds what is missing then, and mends that.

internal import Bytes
internal import LMDB
internal import VolumeFormat
internal import VolumeVerify

extension Operations {
    mutating func mendRecord(
        _ kind: VolumeVerify.PrimaryDefect, _ finding: Finding
    ) throws -> Mend? {
        guard kind == .damagedRecord else { return nil }
        guard let key = finding.rawKey else {
            return .hopeless("a record of the volume as a whole: a copy has it")
        }
        guard let table = primaryTable(finding.object) else {
            return .hopeless("a record of the volume as a whole: a copy has it")
        }
        guard let value = try transaction.get(table, key.rawSpan)?.array else { return .gone }
        guard isDamaged(finding.object, key.rawSpan, value.rawSpan) else { return .gone }
        try quarantine(finding.object, key, value)
        _ = try transaction.delete(table, key.rawSpan)
        let number: UInt64? = key.count >= 8 ? key.rawSpan.integer(at: 0) : nil
        switch finding.object {
        case TableName.inodes:
            if counters.inodes > 0 { counters.inodes -= 1 }
            if let number { isMending(number) }
        case TableName.dirents:
            // It was counted among the entries of its directory.
            if let number, var directory = try readable(number), directory.type == .directory {
                directory.size.countDown()
                try put(directory, number)
            }
            if let number { isMending(number, Array(key.dropFirst(8))) }
        case TableName.free:
            // Nothing is known of its length: the count is settled by the next survey.
            break
        default:
            if let number { isMending(number) }
        }
        return .mended(
            "moved to quarantine: \(damage(finding.object, key.rawSpan, value.rawSpan))",
            loses: "what the record said and no other record says")
    }

    private func primaryTable(_ name: String) -> Table? {
        let tables = core.tables
        return [
            tables.inodes, tables.dirents, tables.extents, tables.xattrs, tables.symlinks,
            tables.free, tables.freeByLength, tables.reclaim, tables.freeInodes,
        ].first { $0.name == name }
    }

    private func isDamaged(_ table: String, _ key: RawSpan, _ value: RawSpan) -> Bool {
        damage(table, key, value) != "nothing"
    }

    /// Why the record can't be decoded, in words.
    private func damage(_ table: String, _ key: RawSpan, _ value: RawSpan) -> String {
        do throws(RecordDamage) {
            switch table {
            case TableName.inodes: _ = try InodeRecord(key: key, value: value)
            case TableName.dirents: _ = try DirentRecord(key: key, value: value)
            case TableName.extents: _ = try ExtentRecord(key: key, value: value)
            case TableName.xattrs: _ = try AttributeRecord(key: key, value: value)
            case TableName.symlinks: _ = try SymlinkRecord.target(key: key, value: value)
            case TableName.free: _ = try FreeRecord(key: key, value: value)
            case TableName.freeByLength: _ = try FreeRecord(lengthKey: key, value: value)
            case TableName.reclaim: _ = try ReclaimRecord(key: key, value: value)
            default: _ = try FreeInodeRecord.inode(key: key, value: value)
            }
            return "nothing"
        } catch {
            return "\(error)"
        }
    }

    /// Puts a record into quarantine. The caller takes it out of its table.
    mutating func quarantine(_ table: String, _ key: [UInt8], _ value: [UInt8]) throws {
        hasChanged = true
        guard let home = core.generations[TableName.quarantine] else {
            preconditionFailure("the quarantine is made before the first mend")
        }
        var last: UInt64 = 0
        do {
            var cursor = try transaction.readCursor(home)
            var isThere = try cursor.last()
            while isThere {
                if cursor.key.byteCount == 8 {
                    last = cursor.key.integer(at: 0)
                    break
                }
                isThere = try cursor.previous()
            }
        }
        guard last < .max else {
            throw VolumeError.damaged(
                table: TableName.quarantine, object: "record \(last)", .field("number"))
        }
        let record = QuarantineRecord(table: table, key: key, value: value, since: now)
        let place = QuarantineRecord.key(last + 1)
        try transaction.put(home, place.span, record.value(key: place.span).rawSpan)
    }

    /// Puts a record that is well-formed and contradicts others into quarantine, and takes it out.
    mutating func quarantineAndDelete(_ table: Table, _ key: RawSpan) throws {
        let key = key.array
        guard let value = try transaction.get(table, key.rawSpan)?.array else { return }
        try quarantine(table.name, key, value)
        _ = try transaction.delete(table, key.rawSpan)
    }

    /// nil where there is no such inode, or it can't be decoded.
    func readable(_ n: InodeNumber) throws -> InodeRecord? {
        do {
            return try inode(n)
        } catch VolumeError.damaged {
            return nil
        }
    }
}
