// Parent pointers: inode → (parent, name), one entry for each name that leads to the inode.
// Derived from directory entries.
//
// Key: child inode u64, parent inode u64, name. Value: child generation u32. (In a live
// generation a checksum u32 follows the value.) The root, which has no name, has no entry.

public import Bytes
public import Tidemark
public import VolumeFormat

public struct ParentPointers: SecondaryIndex {
    public static let keyPrefixSize = 16
    public static let valueSize = 4

    public let name = "parents"

    public init() {}

    public static func key(child: InodeNumber, parent: InodeNumber, name: RawSpan) -> KeyBytes {
        var key = KeyBytes()
        key.append(child)
        key.append(parent)
        key.append(name)
        return key
    }

    public static func value(generation: UInt32) -> FixedBytes<4> {
        var value = FixedBytes<4>()
        value.store(generation, at: 0)
        return value
    }

    public func primaryKey(of key: RawSpan, value: RawSpan) -> KeyBytes {
        // A key that is none may be as long as LMDB lets it be.
        guard key.byteCount > ParentPointers.keyPrefixSize, key.byteCount <= KeyBytes.capacity
        else { return KeyBytes() }
        var primary = KeyBytes()
        primary.append(key.integer(at: 8, as: UInt64.self))
        primary.append(RecordKind.dirent.rawValue)
        primary.append(key.extracting(droppingFirst: ParentPointers.keyPrefixSize))
        return primary
    }

    public func fields(key: RawSpan, value: RawSpan) -> [(name: String, value: String)] {
        guard isWellFormed(key: key, value: value) else { return undecodable(key, value) }
        return [
            ("inode", "\(key.integer(at: 0, as: UInt64.self))"),
            ("parent", "\(key.integer(at: 8, as: UInt64.self))"),
            ("name", escapedName(key.extracting(droppingFirst: ParentPointers.keyPrefixSize))),
            ("generation", "\(value.integer(at: 0, as: UInt32.self))"),
        ]
    }

    public func isWellFormed(key: RawSpan, value: RawSpan) -> Bool {
        key.byteCount > ParentPointers.keyPrefixSize
            && key.byteCount <= ParentPointers.keyPrefixSize + DirentRecord.maximumNameLength
            && value.byteCount == ParentPointers.valueSize
    }
}
