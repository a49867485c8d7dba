// Records that were taken out of their tables because they could not be decoded, or because
// better witnesses contradicted them.

public import Bytes

/// Table `quarantine`. Key: number u64, ascending. Value: time u64 (seconds since 1970) and u32
/// (nanoseconds), length of the table's name u8, the name, length of the record's key u16, the
/// key, the record's value, checksum u32.
public struct QuarantineRecord: Hashable, Sendable {
    /// The table it was in.
    public var table: String
    public var key: [UInt8]
    public var value: [UInt8]
    /// When it was put here.
    public var since: Timestamp

    public init(table: String, key: [UInt8], value: [UInt8], since: Timestamp) {
        self.table = table
        self.key = key
        self.value = value
        self.since = since
    }

    public static func key(_ number: UInt64) -> FixedBytes<8> {
        var key = FixedBytes<8>()
        key.store(number, at: 0)
        return key
    }

    private static let timeSize = 12

    public func value(key place: RawSpan) -> [UInt8] {
        var time = FixedBytes<12>()
        time.store(since, at: 0)
        let name = Array(table.utf8)
        var body = time.span.array
        body.append(UInt8(truncatingIfNeeded: name.count))
        body += name
        body.append(UInt8(truncatingIfNeeded: key.count >> 8))
        body.append(UInt8(truncatingIfNeeded: key.count))
        body += key + value
        return sealedValue(key: place, body: body)
    }

    public init(key place: RawSpan, value: RawSpan) throws(RecordDamage) {
        try place.require(8)
        let body = try value.verified(key: place)
        guard body.byteCount > QuarantineRecord.timeSize else { throw .length }
        let time = body.timestamp(at: 0)
        let nameSize = Int(body.integer(at: QuarantineRecord.timeSize, as: UInt8.self))
        let nameStart = QuarantineRecord.timeSize + 1
        guard body.byteCount >= nameStart + nameSize + 2 else { throw .length }
        let keyStart = nameStart + nameSize + 2
        let keySize = Int(body.integer(at: keyStart - 2, as: UInt16.self))
        guard body.byteCount >= keyStart + keySize else { throw .length }
        guard time.nanoseconds < 1_000_000_000 else { throw .field("time") }
        self.init(
            table: String(
                decoding: body.extracting(nameStart..<nameStart + nameSize).array, as: UTF8.self),
            key: body.extracting(keyStart..<keyStart + keySize).array,
            value: body.extracting(droppingFirst: keyStart + keySize).array, since: time)
    }
}
