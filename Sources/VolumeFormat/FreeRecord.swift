// Free space, twice: by place, so that neighbours can be merged, and by length, so that
// a fitting run is found at once. The two tables hold the same runs.

public import Bytes

/// Table `free`. Key: start u64. Value: length u64, checksum u32.
/// Table `freelen`. Key: length u64, start u64. Value: checksum u32.
public struct FreeRecord: Hashable, Sendable {
    public var start: UInt64
    public var length: UInt64

    public init(start: UInt64, length: UInt64) {
        self.start = start
        self.length = length
    }

    public var end: UInt64 { start + length }

    public static func key(start: UInt64) -> FixedBytes<8> {
        var key = FixedBytes<8>()
        key.store(start, at: 0)
        return key
    }

    public var value: FixedBytes<12> {
        var value = FixedBytes<12>()
        value.store(length, at: 0)
        let key = FreeRecord.key(start: start)
        value.seal(key: key.span)
        return value
    }

    public init(key: RawSpan, value: RawSpan) throws(RecordDamage) {
        try key.require(8)
        try value.require(12)
        let body = try value.verified(key: key)
        self.init(start: key.integer(at: 0), length: body.integer(at: 0))
        try checkRange()
    }

    public static func lengthKey(length: UInt64, start: UInt64) -> FixedBytes<16> {
        var key = FixedBytes<16>()
        key.store(length, at: 0)
        key.store(start, at: 8)
        return key
    }

    public var lengthValue: FixedBytes<4> {
        var value = FixedBytes<4>()
        let key = FreeRecord.lengthKey(length: length, start: start)
        value.seal(key: key.span)
        return value
    }

    public init(lengthKey key: RawSpan, value: RawSpan) throws(RecordDamage) {
        try key.require(16)
        try value.require(4)
        _ = try value.verified(key: key)
        self.init(start: key.integer(at: 8), length: key.integer(at: 0))
        try checkRange()
    }

    private func checkRange() throws(RecordDamage) {
        guard length > 0 else { throw .field("length") }
        try FormatLimits.checkBlocks(start, length, "start")
    }
}
