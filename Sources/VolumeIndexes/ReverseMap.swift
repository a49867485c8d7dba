// The reverse map: physical block → owner. Derived from extents, of both forks and of the
// volume's reserved areas, so that every block is either free or has an entry.
//
// Key: start block u64, owner inode u64, fork u8, file offset u64. Value: length u32, state u8.
// (In a live generation a checksum u32 follows the value.) Owner, fork and offset are
// in the key, as in the reverse map of XFS (fs/xfs/libxfs/xfs_format.h, struct
// xfs_rmap_key): two owners of one block are two entries, and both can be seen.

public import Bytes
public import Tidemark
public import VolumeFormat

public struct ReverseMap: SecondaryIndex {
    public static let keySize = 25
    public static let valueSize = 5

    public let name = "rmap"

    public init() {}

    public static func key(_ extent: ExtentRecord) -> FixedBytes<25> {
        var key = FixedBytes<25>()
        key.store(extent.start, at: 0)
        key.store(extent.inode, at: 8)
        key.store(extent.fork.rawValue, at: 16)
        key.store(extent.offset, at: 17)
        return key
    }

    public static func value(_ extent: ExtentRecord) -> FixedBytes<5> {
        var value = FixedBytes<5>()
        value.store(extent.length, at: 0)
        value.store(extent.state.rawValue, at: 4)
        return value
    }

    /// The mapping as the extent that it mirrors; nil where the bytes are none.
    public static func extent(key: RawSpan, value: RawSpan) -> ExtentRecord? {
        guard key.byteCount == keySize, value.byteCount == valueSize,
            let fork = Fork(rawValue: key.integer(at: 16)),
            let state = ExtentState(rawValue: value.integer(at: 4))
        else { return nil }
        let length: UInt32 = value.integer(at: 0)
        let start: UInt64 = key.integer(at: 0), offset: UInt64 = key.integer(at: 17)
        // As of an extent record: no sum of these overflows.
        guard length > 0, start <= FormatLimits.blocks - UInt64(length),
            offset <= FormatLimits.blocks - UInt64(length)
        else { return nil }
        return ExtentRecord(
            inode: key.integer(at: 8), fork: fork, offset: key.integer(at: 17),
            start: key.integer(at: 0), length: length, state: state)
    }

    public func primaryKey(of key: RawSpan, value: RawSpan) -> KeyBytes {
        guard key.byteCount == ReverseMap.keySize else { return KeyBytes() }
        var primary = KeyBytes()
        primary.append(key.integer(at: 8, as: UInt64.self))
        primary.append(RecordKind.extent.rawValue)
        primary.append(key.extracting(16..<25))
        return primary
    }

    /// Between two blocks: an audit sees all extents that begin at one block in one part.
    public func divider(near key: RawSpan) -> KeyBytes {
        key.byteCount > 8 ? KeyBytes(key.extracting(first: 8)) : KeyBytes()
    }

    /// Whether the mapping covers the block that `position` stands for.
    public func reaches(_ position: RawSpan, key: RawSpan, value: RawSpan) -> Bool {
        guard position.byteCount >= 8, let extent = ReverseMap.extent(key: key, value: value)
        else { return false }
        let block: UInt64 = position.integer(at: 0)
        return extent.start > block || block - extent.start < UInt64(extent.length)
    }

    public func fields(key: RawSpan, value: RawSpan) -> [(name: String, value: String)] {
        guard let extent = ReverseMap.extent(key: key, value: value) else {
            return undecodable(key, value)
        }
        return [
            ("block", "\(extent.start)"), ("length", "\(extent.length)"),
            ("inode", "\(extent.inode)"), ("fork", extent.fork == .data ? "data" : "attributes"),
            ("offset", "\(extent.offset)"),
            ("state", extent.state == .written ? "written" : "unwritten"),
        ]
    }

    public func isWellFormed(key: RawSpan, value: RawSpan) -> Bool {
        ReverseMap.extent(key: key, value: value) != nil
    }
}

/// The fields of an entry that can't be decoded.
func undecodable(_ key: RawSpan, _ value: RawSpan) -> [(name: String, value: String)] {
    [("key", hexadecimal(key)), ("value", hexadecimal(value))]
}

func hexadecimal(_ bytes: RawSpan) -> String {
    bytes.array.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}
