// Extended attributes, symlink targets, and what is still to be reclaimed.

public import Bytes

/// Table `xattrs`. Key: inode u64, name (1–255 bytes, no NUL). Value: place u8, then for
/// place 0 the attribute's bytes (at most 1,024); for place 1 the offset u64, in blocks of
/// the attribute fork, and the length u32, in bytes, of the value that is stored there;
/// checksum u32.
public struct AttributeRecord: Hashable, Sendable {
    public enum Content: Hashable, Sendable {
        case inline([UInt8])
        case remote(offset: UInt64, length: UInt32)
    }

    /// A longer value goes to the attribute fork.
    public static let maximumInlineSize = 1024
    /// `XATTR_SIZE_MAX` of Linux.
    public static let maximumSize = 65536
    public static let maximumNameLength = 255

    public var inode: InodeNumber
    public var name: [UInt8]
    public var content: Content

    public init(inode: InodeNumber, name: [UInt8], content: Content) {
        self.inode = inode
        self.name = name
        self.content = content
    }

    public static func key(_ inode: InodeNumber, _ name: RawSpan) -> KeyBytes {
        var key = KeyBytes()
        key.append(inode)
        key.append(name)
        return key
    }

    public var value: [UInt8] {
        let key = AttributeRecord.key(inode, name.span.bytes)
        var body: [UInt8]
        switch content {
        case .inline(let bytes):
            body = [0] + bytes
        case .remote(let offset, let length):
            var place = FixedBytes<13>()
            place.store(1 as UInt8, at: 0)
            place.store(offset, at: 1)
            place.store(length, at: 9)
            body = place.span.array
        }
        return sealedValue(key: key.span, body: body)
    }

    public init(key: RawSpan, value: RawSpan) throws(RecordDamage) {
        guard key.byteCount > 8 else { throw .length }
        try FormatLimits.check(
            name: key.extracting(droppingFirst: 8), most: AttributeRecord.maximumNameLength,
            slashes: true)
        try FormatLimits.check(key.integer(at: 0))
        let body = try value.verified(key: key)
        guard body.byteCount >= 1 else { throw .length }
        let content: Content
        switch body.integer(at: 0, as: UInt8.self) {
        case 0:
            guard body.byteCount <= 1 + AttributeRecord.maximumInlineSize else { throw .length }
            content = .inline(body.extracting(droppingFirst: 1).array)
        case 1:
            try body.require(13)
            let offset: UInt64 = body.integer(at: 1), length: UInt32 = body.integer(at: 9)
            guard length > 0, length <= AttributeRecord.maximumSize else { throw .field("length") }
            // In blocks, of which a value has as many as bytes at the most.
            try FormatLimits.checkBlocks(offset, UInt64(length), "offset")
            content = .remote(offset: offset, length: length)
        default: throw .field("place")
        }
        self.init(
            inode: key.integer(at: 0), name: key.extracting(droppingFirst: 8).array,
            content: content)
    }
}

/// Table `symlinks`. Key: inode u64. Value: the target (1–4,095 bytes), checksum u32.
public enum SymlinkRecord {
    public static let maximumLength = 4095

    public static func value(inode: InodeNumber, target: [UInt8]) -> [UInt8] {
        let key = InodeRecord.key(inode)
        return sealedValue(key: key.span, body: target)
    }

    public static func target(key: RawSpan, value: RawSpan) throws(RecordDamage) -> [UInt8] {
        try key.require(8)
        let body = try value.verified(key: key)
        guard body.byteCount > 0, body.byteCount <= maximumLength else { throw .length }
        try FormatLimits.check(key.integer(at: 0))
        try FormatLimits.check(name: body, most: maximumLength, slashes: true)
        return body.array
    }
}

/// Table `reclaim`: inodes from which blocks are still to be taken, in bounded steps that
/// go on after a crash. Key: inode u64. Value: first block u64 of the data fork that is no
/// longer wanted, checksum u32. An inode without links is reclaimed as a whole, with its
/// attributes and its record, once it is not open.
public struct ReclaimRecord: Hashable, Sendable {
    public var inode: InodeNumber
    public var from: UInt64

    public init(inode: InodeNumber, from: UInt64) {
        self.inode = inode
        self.from = from
    }

    public var value: FixedBytes<12> {
        var value = FixedBytes<12>()
        value.store(from, at: 0)
        let key = InodeRecord.key(inode)
        value.seal(key: key.span)
        return value
    }

    public init(key: RawSpan, value: RawSpan) throws(RecordDamage) {
        try key.require(8)
        try value.require(12)
        let body = try value.verified(key: key)
        self.init(inode: key.integer(at: 0), from: body.integer(at: 0))
        try FormatLimits.check(inode)
        guard from <= FormatLimits.blocks else { throw .field("from") }
    }
}

/// Table `freeinos`: inode numbers that were in use once and may be given out again. Key:
/// inode u64. Value: checksum u32.
public enum FreeInodeRecord {
    public static func value(inode: InodeNumber) -> FixedBytes<4> {
        var value = FixedBytes<4>()
        let key = InodeRecord.key(inode)
        value.seal(key: key.span)
        return value
    }

    public static func inode(key: RawSpan, value: RawSpan) throws(RecordDamage) -> InodeNumber {
        try key.require(8)
        try value.require(4)
        _ = try value.verified(key: key)
        let inode: InodeNumber = key.integer(at: 0)
        try FormatLimits.check(inode, from: .volume)
        return inode
    }
}
