// Extents: runs of blocks of the data area that belong to a file.

public import Bytes

/// Which of an inode's two maps an extent belongs to.
public enum Fork: UInt8, Sendable, CaseIterable {
    /// The file's contents; offsets are blocks of the file.
    case data = 0
    /// The values of large extended attributes; offsets are handed out as they are needed.
    case attributes = 1
}

public enum ExtentState: UInt8, Sendable {
    case written = 0
    /// Allocated, reads as zeroes.
    case unwritten = 1
}

/// Table `extents`. Key: inode u64, fork u8, offset u64. Value: start u64, length u32,
/// state u8, checksum u32. Offset, start and length count blocks.
public struct ExtentRecord: Hashable, Sendable {
    public static let keySize = 17
    public static let valueSize = 17
    public static let maximumLength = UInt32.max

    public var inode: InodeNumber
    public var fork: Fork
    public var offset: UInt64
    public var start: UInt64
    public var length: UInt32
    public var state: ExtentState

    @inlinable
    public init(
        inode: InodeNumber, fork: Fork, offset: UInt64, start: UInt64, length: UInt32,
        state: ExtentState
    ) {
        self.inode = inode
        self.fork = fork
        self.offset = offset
        self.start = start
        self.length = length
        self.state = state
    }

    /// The first block, or file offset, after the extent.
    public var startEnd: UInt64 { start + UInt64(length) }
    public var offsetEnd: UInt64 { offset + UInt64(length) }

    public static func key(_ inode: InodeNumber, _ fork: Fork, _ offset: UInt64) -> FixedBytes<17> {
        var key = FixedBytes<17>()
        key.store(inode, at: 0)
        key.store(fork.rawValue, at: 8)
        key.store(offset, at: 9)
        return key
    }

    public var key: FixedBytes<17> { ExtentRecord.key(inode, fork, offset) }

    public var value: FixedBytes<17> {
        var value = FixedBytes<17>()
        value.store(start, at: 0)
        value.store(length, at: 8)
        value.store(state.rawValue, at: 12)
        let key = key
        value.seal(key: key.span)
        return value
    }

    public init(key: RawSpan, value: RawSpan) throws(RecordDamage) {
        try key.require(ExtentRecord.keySize)
        try value.require(ExtentRecord.valueSize)
        let body = try value.verified(key: key)
        guard let fork = Fork(rawValue: key.integer(at: 8)) else { throw .field("fork") }
        guard let state = ExtentState(rawValue: body.integer(at: 12)) else { throw .field("state") }
        self.init(
            inode: key.integer(at: 0), fork: fork, offset: key.integer(at: 9),
            start: body.integer(at: 0), length: body.integer(at: 8), state: state)
        guard length > 0 else { throw .field("length") }
        try FormatLimits.check(inode, from: .volume)
        try FormatLimits.checkBlocks(start, UInt64(length), "start")
        try FormatLimits.checkBlocks(offset, UInt64(length), "offset")
    }
}
