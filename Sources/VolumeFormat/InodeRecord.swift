// Inodes: what a file is, whatever its names.

public import Bytes

/// The numbers are those of `d_type` in readdir(3).
public enum FileType: UInt8, Sendable, CaseIterable {
    case fifo = 1, characterDevice = 2, directory = 4, blockDevice = 6
    case regular = 8, symlink = 10, socket = 12
}

/// A point in time since 1970, as in `struct timespec`.
public struct Timestamp: Hashable, Comparable, Sendable {
    public var seconds: Int64
    public var nanoseconds: UInt32

    public init(seconds: Int64, nanoseconds: UInt32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    public static func < (a: Timestamp, b: Timestamp) -> Bool {
        (a.seconds, a.nanoseconds) < (b.seconds, b.nanoseconds)
    }
}

/// Table `inodes`. Key: inode u64. Value: type u8, zero u8, permissions u16, uid u32, gid u32,
/// project u32, links u32, generation u32, size u64, blocks u64, device u64, parent u64,
/// then access, modification, change and birth time (seconds i64, nanoseconds u32 each),
/// checksum u32.
public struct InodeRecord: Hashable, Sendable {
    public static let keySize = 8
    public static let valueSize = 108

    public var type: FileType
    /// The low 12 bits of `st_mode`.
    public var permissions: UInt16 = 0
    public var uid: UInt32 = 0
    public var gid: UInt32 = 0
    public var project: UInt32 = 0
    /// Names that lead here; for a directory also its `.` and the `..` of its children.
    /// 0: unlinked, but still open or not yet reclaimed.
    public var links: UInt32 = 0
    /// Changes each time the inode number is used again.
    public var generation: UInt32 = 0
    /// Bytes; for a symlink the length of its target, for a directory its entries.
    public var size: UInt64 = 0
    /// Blocks of both forks.
    public var blocks: UInt64 = 0
    /// Major number in the upper 32 bits, minor in the lower; 0 where it is no device.
    public var device: UInt64 = 0
    /// For a directory the one that holds it (the root holds itself), else 0.
    public var parent: InodeNumber = 0
    public var accessed, modified, changed, born: Timestamp

    public init(type: FileType, now: Timestamp) {
        self.type = type
        accessed = now
        modified = now
        changed = now
        born = now
    }

    public static func key(_ inode: InodeNumber) -> FixedBytes<8> {
        var key = FixedBytes<8>()
        key.store(inode, at: 0)
        return key
    }

    /// The first block of the data fork behind the end of the file.
    /// - Parameter blockSize: bytes.
    public func endBlock(blockSize: UInt32) -> UInt64 {
        let (blocks, rest) = size.quotientAndRemainder(dividingBy: UInt64(blockSize))
        return blocks + (rest > 0 ? 1 : 0)
    }

    public func value(key: RawSpan) -> FixedBytes<108> {
        var value = FixedBytes<108>()
        value.store(type.rawValue, at: 0)
        value.store(permissions, at: 2)
        value.store(uid, at: 4)
        value.store(gid, at: 8)
        value.store(project, at: 12)
        value.store(links, at: 16)
        value.store(generation, at: 20)
        value.store(size, at: 24)
        value.store(blocks, at: 32)
        value.store(device, at: 40)
        value.store(parent, at: 48)
        value.store(accessed, at: 56)
        value.store(modified, at: 68)
        value.store(changed, at: 80)
        value.store(born, at: 92)
        value.seal(key: key)
        return value
    }

    public init(key: RawSpan, value: RawSpan) throws(RecordDamage) {
        try key.require(InodeRecord.keySize)
        try value.require(InodeRecord.valueSize)
        let body = try value.verified(key: key)
        guard let type = FileType(rawValue: body.integer(at: 0)) else { throw .field("type") }
        self.init(type: type, now: body.timestamp(at: 56))
        permissions = body.integer(at: 2)
        uid = body.integer(at: 4)
        gid = body.integer(at: 8)
        project = body.integer(at: 12)
        links = body.integer(at: 16)
        generation = body.integer(at: 20)
        size = body.integer(at: 24)
        blocks = body.integer(at: 32)
        device = body.integer(at: 40)
        parent = body.integer(at: 48)
        modified = body.timestamp(at: 68)
        changed = body.timestamp(at: 80)
        born = body.timestamp(at: 92)
        try FormatLimits.check(key.integer(at: 0))
        guard body.integer(at: 1, as: UInt8.self) == 0 else { throw .field("padding") }
        guard permissions <= 0o7777 else { throw .field("permissions") }
        guard size <= FormatLimits.bytes else { throw .field("size") }
        guard blocks <= FormatLimits.blocks else { throw .field("blocks") }
        guard parent <= FormatLimits.inode else { throw .field("parent") }
        guard device == 0 || type == .characterDevice || type == .blockDevice else {
            throw .field("device")
        }
        guard (parent != 0) == (type == .directory) else { throw .field("parent") }
        for time in [accessed, modified, changed, born] where time.nanoseconds >= 1_000_000_000 {
            throw .field("time")
        }
    }
}

extension RawSpan {
    func timestamp(at offset: Int) -> Timestamp {
        Timestamp(seconds: integer(at: offset), nanoseconds: integer(at: offset + 8))
    }
}

extension FixedBytes {
    mutating func store(_ time: Timestamp, at offset: Int) {
        store(time.seconds, at: offset)
        store(time.nanoseconds, at: offset + 8)
    }
}
