// One primary table, walked in the order of a scan.

internal import Bytes
internal import LMDB
internal import Tidemark
internal import VolumeFormat

/// A cursor that stands on the next record of a range, or at its end.
struct TableScan: ~Copyable {
    let kind: RecordKind
    var cursor: Cursor
    /// Whether there is a next record.
    private(set) var isThere = false
    /// The inode of the next record.
    private(set) var inode: InodeNumber = 0
    /// Whether the next record's key is too short or too long to be any. A window can't end
    /// at it.
    private(set) var isMisfit = false
    private let end: KeyBytes
    private let hasEnd: Bool
    /// Below this no key needs to be compared with `end`.
    private let endInode: InodeNumber

    /// Keys beyond it could not be told to the framework.
    private static let maximumKey = KeyBytes.capacity - 1

    /// Stands on the first record of `kind` in `range`.
    init(_ cursor: consuming Cursor, _ kind: RecordKind, _ range: KeyRange) throws {
        self.kind = kind
        self.cursor = cursor
        let upper = range.upper.flatMap { TableScan.bound($0.span, kind) }
        end = upper ?? KeyBytes()
        hasEnd = upper != nil
        endInode = upper.map { $0.count >= 8 ? $0.span.integer(at: 0) : 0 } ?? .max
        guard let start = TableScan.bound(range.lower.span, kind) else { return }
        isThere = start.count == 0 ? try self.cursor.first() : try self.cursor.seek(start.span)
        try settle()
    }

    @inline(__always)
    mutating func advance() throws {
        isThere = try cursor.next()
        isMisfit = false
        try settle()
    }

    /// Takes note of where the cursor has come to.
    @inline(__always)
    private mutating func settle() throws {
        guard isThere else { return }
        let size = cursor.key.byteCount
        inode = size >= 8 ? cursor.key.integer(at: 0) : 0
        isMisfit = size < 8 || size > TableScan.maximumKey
        if hasEnd, inode >= endInode || isMisfit, compareBytes(cursor.key, end.span) >= 0 {
            isThere = false
            isMisfit = false
        }
    }

    /// The primary key of the next record.
    var primaryKey: KeyBytes {
        var key = KeyBytes()
        key.append(inode)
        key.append(kind.rawValue)
        key.append(cursor.key.extracting(droppingFirst: 8))
        return key
    }

    /// The lowest key of the table of `kind` whose primary key is at or after `primary`; nil
    /// where there is none.
    static func bound(_ primary: RawSpan, _ kind: RecordKind) -> KeyBytes? {
        guard primary.byteCount > 8 else { return KeyBytes(primary) }
        let inode: InodeNumber = primary.integer(at: 0)
        let other: UInt8 = primary.integer(at: 8)
        var bound = KeyBytes()
        if other == kind.rawValue {
            bound.append(inode)
            bound.append(primary.extracting(droppingFirst: PrimaryKey.prefixSize))
        } else if other < kind.rawValue {
            bound.append(inode)
        } else {
            guard inode < .max else { return nil }
            bound.append(inode + 1)
        }
        return bound
    }
}
