// What all records of a volume have in common. Docs/format.md gives every table byte by
// byte; the codecs here are its other half and must agree with it.
//
// - Integers are big-endian, in keys so that byte order is key order, in values for unity.
// - Every value ends in the CRC32C of the key followed by the value before the checksum:
//   a record that was changed, or that is under a wrong key, is distinguished from a good one.
// - Decoding checks length, checksum and the range of every field. It never traps: what
//   comes from the disk may be anything.

public import Bytes

/// Why the bytes of a record can't be one.
public enum RecordDamage: Error, Hashable, Sendable {
    /// The key or the value is shorter or longer than the table allows.
    case length
    /// The stored CRC32C is not that of the bytes.
    case checksum
    /// A field holds what it can't: its name.
    case field(String)
}

extension RecordDamage: CustomStringConvertible {
    public var description: String {
        switch self {
        case .length: "wrong length"
        case .checksum: "wrong checksum"
        case .field(let name): "impossible \(name)"
        }
    }
}

/// Bytes that the checksum takes at the end of every value.
public let checksumSize = 4

extension RawSpan {
    /// The value without its checksum, once that has been found right.
    @_lifetime(copy self)
    public func verified(key: RawSpan) throws(RecordDamage) -> RawSpan {
        guard byteCount >= checksumSize else { throw .length }
        let body = extracting(droppingLast: checksumSize)
        let stored: UInt32 = integer(at: byteCount - checksumSize)
        guard CRC32C.checksum(key, body) == stored else { throw .checksum }
        return body
    }

    func require(_ count: Int) throws(RecordDamage) {
        guard byteCount == count else { throw .length }
    }
}

extension FixedBytes {
    /// Stores the checksum in the last four bytes.
    @inlinable
    public mutating func seal(key: RawSpan) {
        store(
            CRC32C.checksum(key, span.extracting(droppingLast: checksumSize)),
            at: count - checksumSize)
    }
}

/// `body` followed by its checksum, for values of varying length.
public func sealedValue(key: RawSpan, body: [UInt8]) -> [UInt8] {
    var value = body
    let sum = CRC32C.checksum(key, body.span.bytes)
    for shift in [24, 16, 8, 0] as [UInt32] {
        value.append(UInt8(truncatingIfNeeded: sum >> shift))
    }
    return value
}

/// The tables of a volume's metadata, by their names in the environment.
public enum TableName {
    public static let superblock = "super"
    public static let inodes = "inodes"
    public static let dirents = "dirents"
    public static let extents = "extents"
    public static let xattrs = "xattrs"
    public static let symlinks = "symlinks"
    public static let free = "free"
    public static let freeByLength = "freelen"
    public static let reclaim = "reclaim"
    public static let freeInodes = "freeinos"
    public static let runs = "runs"
    public static let hookLog = "hooklog"
    /// Made with the first record that is put there.
    public static let quarantine = "quarantine"
    /// Made by the first scrub that mends something.
    public static let mends = "mends"

    /// The table of one generation of a secondary index: `rmap.g3`.
    public static func generation(_ index: String, _ number: UInt32) -> String {
        "\(index).g\(number)"
    }
}

public typealias InodeNumber = UInt64

extension InodeNumber {
    /// The owner of the volume's own reserved areas. It has no inode record.
    public static let volume: InodeNumber = 0
    public static let root: InodeNumber = 1
}

/// The order in which a scan takes the records of one inode: the second part of a primary
/// key `(inode, kind, subkey)`.
public enum RecordKind: UInt8, Sendable, CaseIterable {
    case inode = 1, dirent = 2, extent = 3, xattr = 4, symlink = 5
}
