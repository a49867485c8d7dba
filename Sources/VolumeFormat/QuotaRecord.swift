// Quota usage: what inodes take, by user, group and project.

public import Bytes

/// Whose usage a counter is. The numbers are part of keys.
public enum QuotaType: UInt8, Sendable, CaseIterable {
    /// The volume itself, id 0: inodes in use and their blocks. It is in no quota table, but
    /// in `Counters`.
    case volume = 0
    case user = 1, group = 2, project = 3
}

/// Key of a quota table: type u8, id u32.
public struct QuotaKey: Hashable, Comparable, Sendable {
    public static let size = 5

    public let type: QuotaType
    public let id: UInt32

    public static let volume = QuotaKey(.volume, 0)

    public init(_ type: QuotaType, _ id: UInt32) {
        self.type = type
        self.id = id
    }

    /// nil where the bytes are none.
    public init?(_ key: RawSpan) {
        guard key.byteCount == QuotaKey.size, let type = QuotaType(rawValue: key.integer(at: 0))
        else { return nil }
        self.init(type, key.integer(at: 1))
    }

    public var bytes: FixedBytes<5> {
        var bytes = FixedBytes<5>()
        bytes.store(type.rawValue, at: 0)
        bytes.store(id, at: 1)
        return bytes
    }

    /// A number in the order of the keys.
    public var number: UInt64 { UInt64(type.rawValue) << 32 | UInt64(id) }

    public init(number: UInt64) {
        let raw = UInt8(truncatingIfNeeded: number >> 32)
        guard let type = QuotaType(rawValue: raw) else {
            preconditionFailure("a number is made of a key")
        }
        self.init(type, UInt32(truncatingIfNeeded: number))
    }

    public static func < (a: QuotaKey, b: QuotaKey) -> Bool { a.number < b.number }
}

/// Value of a quota table: blocks u64, inodes u64 (and a checksum u32); the correction of one:
/// the same without a checksum. All arithmetic is modulo 2^64, so that increments and
/// corrections may come in any order.
public struct QuotaUsage: Hashable, Sendable {
    public static let size = 16

    public var blocks: UInt64
    public var inodes: UInt64

    public static let zero = QuotaUsage(blocks: 0, inodes: 0)

    public init(blocks: UInt64, inodes: UInt64) {
        self.blocks = blocks
        self.inodes = inodes
    }

    /// nil where the bytes, without checksum, are none.
    public init?(_ payload: RawSpan) {
        guard payload.byteCount == QuotaUsage.size else { return nil }
        self.init(blocks: payload.integer(at: 0), inodes: payload.integer(at: 8))
    }

    public var bytes: FixedBytes<16> {
        var bytes = FixedBytes<16>()
        bytes.store(blocks, at: 0)
        bytes.store(inodes, at: 8)
        return bytes
    }

    public static func + (a: QuotaUsage, b: QuotaUsage) -> QuotaUsage {
        QuotaUsage(blocks: a.blocks &+ b.blocks, inodes: a.inodes &+ b.inodes)
    }

    public static func - (a: QuotaUsage, b: QuotaUsage) -> QuotaUsage {
        QuotaUsage(blocks: a.blocks &- b.blocks, inodes: a.inodes &- b.inodes)
    }

    /// What usage of `key` adds to the `sum` of a generation's record. It is linear in the
    /// counters: increments keep the sum up without a look at what the table holds.
    public func weight(of key: QuotaKey) -> UInt64 {
        let factor = GenerationRecord.mix(UInt32(truncatingIfNeeded: key.number))
        let salt = UInt64(key.type.rawValue) &* 0x9e37_79b9_7f4a_7c15
        return (factor ^ salt) &* (blocks &+ inodes &* 0xc2b2_ae3d_27d4_eb4f)
    }
}

/// What an inode takes, and whose it is: what it contributes to quota usage.
public struct QuotaShare: Hashable, Sendable {
    public static let size = 20

    public var uid, gid, project: UInt32
    public var blocks: UInt64

    public init(uid: UInt32, gid: UInt32, project: UInt32, blocks: UInt64) {
        self.uid = uid
        self.gid = gid
        self.project = project
        self.blocks = blocks
    }

    public init(_ inode: InodeRecord) {
        uid = inode.uid
        gid = inode.gid
        project = inode.project
        blocks = inode.blocks
    }

    /// Of the stored value of an inode, whose checksum somebody else looks at; nil where it has
    /// not the length of one.
    public init?(inodeValue value: RawSpan) {
        guard value.byteCount == InodeRecord.valueSize else { return nil }
        uid = value.integer(at: 4)
        gid = value.integer(at: 8)
        project = value.integer(at: 12)
        blocks = value.integer(at: 32)
    }

    /// nil where the bytes are none.
    public init?(_ bytes: RawSpan) {
        guard bytes.byteCount == QuotaShare.size else { return nil }
        uid = bytes.integer(at: 0)
        gid = bytes.integer(at: 4)
        project = bytes.integer(at: 8)
        blocks = bytes.integer(at: 12)
    }

    public var bytes: FixedBytes<20> {
        var bytes = FixedBytes<20>()
        bytes.store(uid, at: 0)
        bytes.store(gid, at: 4)
        bytes.store(project, at: 8)
        bytes.store(blocks, at: 12)
        return bytes
    }
}
