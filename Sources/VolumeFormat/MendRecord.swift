// The journal of what scrubs have mended, so that it can be undone.

public import Bytes

/// What one transaction has made of one record.
public struct RecordChange: Hashable, Sendable {
    public var table: String
    public var key: [UInt8]
    /// The value before and after; nil: no record.
    public var before, after: [UInt8]?

    public init(table: String, key: [UInt8], before: [UInt8]?, after: [UInt8]?) {
        self.table = table
        self.key = key
        self.before = before
        self.after = after
    }
}

/// Table `mends`, mend 1 and up. Key: scrub u64, mend u64. Value: time (seconds i64, nanoseconds
/// u32), by how much the mend has changed the counters of inodes u64 and of free blocks u64 (modulo
/// 2^64), length of the defect's kind u8, the kind, number of changes u32, the changes, checksum
/// u32. A change: length of the table's name u8, the name, length of the key u16, the key, the
/// value before and the value after, each as its length u32 (2^32 - 1: no record) and its bytes.
public struct MendRecord: Hashable, Sendable {
    public var time: Timestamp
    /// Of the defect, as `verify` calls it.
    public var kind: String
    public var inodes, freeBlocks: UInt64
    public var changes: [RecordChange]

    public init(
        time: Timestamp, kind: String, inodes: UInt64, freeBlocks: UInt64, changes: [RecordChange]
    ) {
        self.time = time
        self.kind = kind
        self.inodes = inodes
        self.freeBlocks = freeBlocks
        self.changes = changes
    }

    public static let keySize = 16

    public static func key(scrub: UInt64, mend: UInt64) -> FixedBytes<16> {
        var key = FixedBytes<16>()
        key.store(scrub, at: 0)
        key.store(mend, at: 8)
        return key
    }

    public func value(key place: RawSpan) -> [UInt8] {
        var fixed = FixedBytes<28>()
        fixed.store(time, at: 0)
        fixed.store(inodes, at: 12)
        fixed.store(freeBlocks, at: 20)
        var body = fixed.span.array
        append(kind, &body)
        append(UInt32(truncatingIfNeeded: changes.count), &body)
        for change in changes {
            append(change.table, &body)
            body.append(UInt8(truncatingIfNeeded: change.key.count >> 8))
            body.append(UInt8(truncatingIfNeeded: change.key.count))
            body += change.key
            for value in [change.before, change.after] {
                append(value.map { UInt32(truncatingIfNeeded: $0.count) } ?? .max, &body)
                body += value ?? []
            }
        }
        return sealedValue(key: place, body: body)
    }

    private func append(_ text: String, _ body: inout [UInt8]) {
        let bytes = Array(text.utf8)
        body.append(UInt8(truncatingIfNeeded: bytes.count))
        body += bytes
    }

    private func append(_ number: UInt32, _ body: inout [UInt8]) {
        for shift in [24, 16, 8, 0] as [UInt32] {
            body.append(UInt8(truncatingIfNeeded: number >> shift))
        }
    }

    public init(key place: RawSpan, value: RawSpan) throws(RecordDamage) {
        try place.require(MendRecord.keySize)
        guard place.integer(at: 8, as: UInt64.self) > 0 else { throw .field("mend") }
        let body = try value.verified(key: place)
        guard body.byteCount >= 28 else { throw .length }
        let time = body.timestamp(at: 0)
        guard time.nanoseconds < 1_000_000_000 else { throw .field("time") }
        self.init(
            time: time, kind: "", inodes: body.integer(at: 12), freeBlocks: body.integer(at: 20),
            changes: [])
        var position = 28
        func take(_ count: Int) throws(RecordDamage) -> Int {
            guard count <= body.byteCount - position else { throw .length }
            defer { position += count }
            return position
        }
        func number() throws(RecordDamage) -> UInt32 { body.integer(at: try take(4)) }
        func bytes(_ count: Int) throws(RecordDamage) -> [UInt8] {
            let start = try take(count)
            return body.extracting(start..<start + count).array
        }
        func text() throws(RecordDamage) -> String {
            let count: UInt8 = body.integer(at: try take(1))
            return String(decoding: try bytes(Int(count)), as: UTF8.self)
        }
        func content() throws(RecordDamage) -> [UInt8]? {
            let count = try number()
            return count == .max ? nil : try bytes(Int(count))
        }
        kind = try text()
        for _ in 0..<(try number()) {
            let table = try text()
            let keySize: UInt16 = body.integer(at: try take(2))
            let key = try bytes(Int(keySize))
            let before = try content()
            changes.append(
                RecordChange(table: table, key: key, before: before, after: try content()))
        }
        guard position == body.byteCount else { throw .length }
    }
}

/// Table `mends`, mend 0: a scrub. Value: time (seconds i64, nanoseconds u32), mends in the journal
/// u64, their bytes u64, state u8 (0: all its mends are in the journal, or were undone; 1: some are
/// not, for lack of room), checksum u32.
public struct ScrubRecord: Hashable, Sendable {
    public var number: UInt64
    public var began: Timestamp
    public var mends: UInt64
    /// Keys and values.
    public var bytes: UInt64
    public var isWhole: Bool

    public init(number: UInt64, began: Timestamp) {
        self.number = number
        self.began = began
        mends = 0
        bytes = 0
        isWhole = true
    }

    public var key: FixedBytes<16> { MendRecord.key(scrub: number, mend: 0) }

    public var value: FixedBytes<33> {
        var value = FixedBytes<33>()
        value.store(began, at: 0)
        value.store(mends, at: 12)
        value.store(bytes, at: 20)
        value.store(UInt8(isWhole ? 0 : 1), at: 28)
        let key = key
        value.seal(key: key.span)
        return value
    }

    public init(key place: RawSpan, value: RawSpan) throws(RecordDamage) {
        try place.require(MendRecord.keySize)
        guard place.integer(at: 8, as: UInt64.self) == 0 else { throw .field("mend") }
        try value.require(33)
        let body = try value.verified(key: place)
        self.init(number: place.integer(at: 0), began: body.timestamp(at: 0))
        guard began.nanoseconds < 1_000_000_000 else { throw .field("time") }
        mends = body.integer(at: 12)
        bytes = body.integer(at: 20)
        switch body.integer(at: 28, as: UInt8.self) {
        case 0: isWhole = true
        case 1: isWhole = false
        default: throw .field("state")
        }
    }
}
