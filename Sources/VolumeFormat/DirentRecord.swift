// Directory entries: names. `.` and `..` are not stored as entries; a directory's inode
// record names its parent.

public import Bytes

/// Table `dirents`. Key: directory u64, name (1–255 bytes, no `/`, no NUL, not `.` or
/// `..`). Value: child u64, child generation u32, type u8, checksum u32.
public struct DirentRecord: Hashable, Sendable {
    public static let keyPrefixSize = 8
    public static let valueSize = 17
    public static let maximumNameLength = 255

    public var directory: InodeNumber
    public var name: [UInt8]
    public var target: DirentTarget

    public init(directory: InodeNumber, name: [UInt8], target: DirentTarget) {
        self.directory = directory
        self.name = name
        self.target = target
    }

    public static func key(_ directory: InodeNumber, _ name: RawSpan) -> KeyBytes {
        var key = KeyBytes()
        key.append(directory)
        key.append(name)
        return key
    }

    public init(key: RawSpan, value: RawSpan) throws(RecordDamage) {
        try DirentRecord.check(key: key)
        self.init(
            directory: key.integer(at: 0),
            name: key.extracting(droppingFirst: DirentRecord.keyPrefixSize).array,
            target: try DirentTarget(key: key, value: value))
    }

    /// Length and characters of the name in `key`.
    public static func check(key: RawSpan) throws(RecordDamage) {
        guard key.byteCount > keyPrefixSize else { throw .length }
        let name = key.extracting(droppingFirst: keyPrefixSize)
        try FormatLimits.check(name: name, most: maximumNameLength, slashes: false)
        let dot = UInt8(ascii: ".")
        if name.byteCount <= 2, name.integer(at: 0, as: UInt8.self) == dot,
            name.integer(at: name.byteCount - 1, as: UInt8.self) == dot
        {
            throw .field("name")
        }
        try FormatLimits.check(key.integer(at: 0), "directory")
    }
}

/// What an entry points to: the value of a directory entry.
public struct DirentTarget: Hashable, Sendable {
    public var child: InodeNumber
    public var generation: UInt32
    public var type: FileType

    public init(child: InodeNumber, generation: UInt32, type: FileType) {
        self.child = child
        self.generation = generation
        self.type = type
    }

    public func value(key: RawSpan) -> FixedBytes<17> {
        var value = FixedBytes<17>()
        value.store(child, at: 0)
        value.store(generation, at: 8)
        value.store(type.rawValue, at: 12)
        value.seal(key: key)
        return value
    }

    public init(key: RawSpan, value: RawSpan) throws(RecordDamage) {
        try value.require(DirentRecord.valueSize)
        let body = try value.verified(key: key)
        guard let type = FileType(rawValue: body.integer(at: 12)) else { throw .field("type") }
        self.init(child: body.integer(at: 0), generation: body.integer(at: 8), type: type)
        try FormatLimits.check(child, "child")
    }
}
