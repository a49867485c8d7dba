// One table from its first record to its last. Every primary table starts its key with a
// number (an inode, or a block), which is what the walks of several tables meet at.

internal import Bytes
internal import LMDB
internal import VolumeFormat

struct TableWalk: ~Copyable {
    let name: String
    private let findings: Findings?
    private var cursor: Cursor
    private(set) var isAtEnd = false
    /// The first eight bytes of the key.
    private(set) var number: UInt64 = 0
    /// Records that were passed, the damaged ones too.
    private(set) var passed: UInt64 = 0

    /// A walk that is at the first record.
    /// - Parameter findings: where damaged records go; nil in every walk of a table but one,
    ///   so that each is reported once.
    static func start(
        _ transaction: borrowing ReadTransaction, _ table: Table, _ findings: Findings?
    ) throws -> TableWalk {
        var walk = TableWalk(try transaction.cursor(table), table.name, findings)
        try walk.stop(at: try walk.cursor.first())
        return walk
    }

    private init(_ cursor: consuming Cursor, _ name: String, _ findings: Findings?) {
        self.cursor = cursor
        self.name = name
        self.findings = findings
    }

    var key: RawSpan {
        @_lifetime(borrow self)
        get { cursor.key }
    }

    var value: RawSpan {
        @_lifetime(borrow self)
        get { cursor.value }
    }

    mutating func advance() throws {
        passed += 1
        try stop(at: try cursor.next())
    }

    func damaged(_ damage: RecordDamage) {
        findings?.damaged(name, key: cursor.key, damage)
    }

    /// Keys too short to hold a number are damaged and left behind at once.
    private mutating func stop(at found: Bool) throws {
        var found = found
        while found, cursor.key.byteCount < 8 {
            damaged(.length)
            passed += 1
            found = try cursor.next()
        }
        isAtEnd = !found
        if found { number = cursor.key.integer(at: 0) }
    }
}

/// What the table of inodes has under a number.
enum Presence {
    case absent
    /// A record, but one that can't be decoded: what it says can't be judged.
    case damaged
    case readable(InodeRecord)
}

extension TableWalk {
    /// The inode record at the cursor.
    func inode() -> Presence {
        do {
            return .readable(try InodeRecord(key: key, value: value))
        } catch {
            damaged(error)
            return .damaged
        }
    }
}
