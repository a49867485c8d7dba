// Where findings are collected: all are counted, a bounded number is held as text.

internal import Bytes
internal import VolumeFormat

/// The findings of one verification. Used by one thread.
final class Findings {
    private(set) var defects: [PrimaryDefect: UInt64] = [:]
    private(set) var damagedRecords: [String: UInt64] = [:]
    private(set) var examples: [Finding] = []
    private var exampleCounts: [ExampleClass: Int] = [:]
    private let exampleLimit: Int
    private let list: ((Finding) -> Void)?

    /// Examples are bounded for each object and kind, not for all together: a thousand
    /// missing entries must not hide the one stray one.
    private struct ExampleClass: Hashable {
        let object: String
        let kind: Finding.Kind
    }

    init(exampleLimit: Int, list: ((Finding) -> Void)?) {
        self.exampleLimit = exampleLimit
        self.list = list
    }

    func defect(
        _ defect: PrimaryDefect, in table: String, key: @autoclosure () -> [Finding.Field],
        found: @autoclosure () -> String?, expected: @autoclosure () -> String?,
        other: @autoclosure () -> [Finding.Field] = [], difference: UInt64? = nil
    ) {
        defects[defect, default: 0] += 1
        add(table, .defect(defect), key(), found(), expected(), other(), difference)
    }

    func discrepancy(
        _ discrepancy: Discrepancy, of index: String, key: @autoclosure () -> [Finding.Field],
        found: @autoclosure () -> String?, expected: @autoclosure () -> String?
    ) {
        add(index, .discrepancy(discrepancy), key(), found(), expected())
    }

    /// A record of `table` that can't be decoded. It counts as absent, except that what
    /// refers to a damaged inode does not dangle.
    func damaged(_ table: String, key: RawSpan, _ damage: RecordDamage) {
        damagedRecords[table, default: 0] += 1
        defects[.damagedRecord, default: 0] += 1
        let fields = describedKey(of: table, key)
        add(
            table, .defect(.damagedRecord), fields, "\(damage)", "a record", rawKey: key.array)
    }

    private func add(
        _ object: String, _ kind: Finding.Kind, _ key: @autoclosure () -> [Finding.Field],
        _ found: @autoclosure () -> String?, _ expected: @autoclosure () -> String?,
        _ other: @autoclosure () -> [Finding.Field] = [], _ difference: UInt64? = nil,
        rawKey: @autoclosure () -> [UInt8]? = nil
    ) {
        let kept = exampleCounts[ExampleClass(object: object, kind: kind), default: 0]
        guard list != nil || kept < exampleLimit else { return }
        let finding = Finding(
            object: object, kind: kind, key: key(), found: found(), expected: expected(),
            other: other(), difference: difference, rawKey: rawKey())
        list?(finding)
        if kept < exampleLimit {
            examples.append(finding)
            exampleCounts[ExampleClass(object: object, kind: kind)] = kept + 1
        }
    }
}

/// The fields of a primary record's key, as far as its length allows to tell them.
func describedKey(of table: String, _ key: RawSpan) -> [Finding.Field] {
    func number(_ offset: Int) -> UInt64 { key.integer(at: offset) }
    switch table {
    case TableName.dirents where key.byteCount > 8:
        return entryFields(directory: number(0), name: key.extracting(droppingFirst: 8))
    case TableName.xattrs where key.byteCount > 8:
        let name = key.extracting(droppingFirst: 8)
        return [
            .init("inode", number(0)), .init("name", bytes: name, text: escapedName(name)),
        ]
    case TableName.extents where key.byteCount == 17:
        return extentFields(inode: number(0), fork: key.integer(at: 8), offset: number(9))
    case TableName.free where key.byteCount == 8:
        return [.init("block", number(0))]
    case TableName.freeByLength where key.byteCount == 16:
        return [.init("length", number(0)), .init("block", number(8))]
    case TableName.superblock:
        return [.init("record", escapedName(key))]
    case _ where key.byteCount == 8:
        return [.init("inode", number(0))]
    default:
        return [.init("key", hexadecimal(key))]
    }
}

func entryFields(directory: UInt64, name: RawSpan) -> [Finding.Field] {
    [.init("directory", directory), .init("name", bytes: name, text: escapedName(name))]
}

func extentFields(inode: UInt64, fork: UInt8, offset: UInt64) -> [Finding.Field] {
    [
        .init("inode", inode), .init("fork", fork, text: forkName(fork)), .init("offset", offset),
    ]
}

func forkName(_ fork: UInt8) -> String {
    switch Fork(rawValue: fork) {
    case .data: "data"
    case .attributes: "attributes"
    case nil: "\(fork)"
    }
}

func hexadecimal(_ bytes: RawSpan) -> String {
    bytes.array.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}
