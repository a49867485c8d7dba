// Link counts: how many names lead to each inode, against the counts that are stored in the inode
// records. A summary without generations. It is folded from the shadow of the parent pointers,
// which has every name, and from contributions of its own, which say what those can't:
//
// - child u64, 1 u8, directory u64, name → type u8: the type that the entry gives, where that is
//   not "regular".
// - directory u64, 2 u8, name → child u64: the `..` of a child directory.
//
// An entry, as the owner gives it: inode u64 → links u32, type u8, generation u32, parent u64,
// out of the inode record. A correction: links u32, to be added modulo 2^32, generation u32 of
// the inode that it is for.

public import Bytes
public import Tidemark
public import VolumeFormat

public struct LinkIndex: SecondaryIndex {
    static let typeKind: UInt8 = 1
    static let childKind: UInt8 = 2
    /// Inode and kind.
    static let keyPrefixSize = 9

    public let name = "links"

    public init() {}

    public static func typeKey(child: InodeNumber, parent: InodeNumber, name: RawSpan) -> KeyBytes {
        var key = KeyBytes()
        key.append(child)
        key.append(typeKind)
        key.append(parent)
        key.append(name)
        return key
    }

    public static func typeValue(_ type: FileType) -> FixedBytes<1> {
        var value = FixedBytes<1>()
        value.store(type.rawValue, at: 0)
        return value
    }

    public static func childKey(parent: InodeNumber, name: RawSpan) -> KeyBytes {
        var key = KeyBytes()
        key.append(parent)
        key.append(childKind)
        key.append(name)
        return key
    }

    public static func childValue(_ child: InodeNumber) -> FixedBytes<8> {
        var value = FixedBytes<8>()
        value.store(child, at: 0)
        return value
    }

    public func primaryKey(of key: RawSpan, value: RawSpan) -> KeyBytes {
        // A key that is none may be as long as LMDB lets it be.
        guard key.byteCount > LinkIndex.keyPrefixSize, key.byteCount <= KeyBytes.capacity
        else { return KeyBytes() }
        var primary = KeyBytes()
        if key.integer(at: 8, as: UInt8.self) == LinkIndex.childKind {
            primary.append(key.extracting(first: 8))
            primary.append(RecordKind.dirent.rawValue)
            primary.append(key.extracting(droppingFirst: LinkIndex.keyPrefixSize))
        } else if key.byteCount >= 17 {
            primary.append(key.extracting(9..<17))
            primary.append(RecordKind.dirent.rawValue)
            primary.append(key.extracting(droppingFirst: 17))
        }
        return primary
    }

    public func fields(key: RawSpan, value: RawSpan) -> [(name: String, value: String)] {
        guard key.byteCount == InodeRecord.keySize, let stored = StoredLinks(value) else {
            return undecodable(key, value)
        }
        return [
            ("inode", "\(key.integer(at: 0, as: UInt64.self))"), ("links", "\(stored.links)"),
        ]
    }

    public func isWellFormed(key: RawSpan, value: RawSpan) -> Bool {
        key.byteCount == InodeRecord.keySize && StoredLinks(value) != nil
    }

    public var summary: (any Summary)? { LinkSummary() }
}

/// What an inode record says that its names must agree with.
public struct StoredLinks: Sendable {
    public static let size = 17

    public var links: UInt32
    public let type: FileType
    public let generation: UInt32
    public let parent: InodeNumber

    public init(links: UInt32, type: FileType, generation: UInt32, parent: InodeNumber) {
        self.links = links
        self.type = type
        self.generation = generation
        self.parent = parent
    }

    public init(_ inode: InodeRecord) {
        links = inode.links
        type = inode.type
        generation = inode.generation
        parent = inode.parent
    }

    /// nil where the bytes are none.
    public init?(_ bytes: RawSpan) {
        guard bytes.byteCount == StoredLinks.size,
            let type = FileType(rawValue: bytes.integer(at: 4))
        else { return nil }
        links = bytes.integer(at: 0)
        self.type = type
        generation = bytes.integer(at: 5)
        parent = bytes.integer(at: 9)
    }

    public var bytes: FixedBytes<17> {
        var bytes = FixedBytes<17>()
        bytes.store(links, at: 0)
        bytes.store(type.rawValue, at: 4)
        bytes.store(generation, at: 5)
        bytes.store(parent, at: 9)
        return bytes
    }
}

/// What is to be added to an inode's link count.
public struct LinkCorrection: Hashable, Sendable {
    /// Modulo 2^32.
    public let links: UInt32
    /// Of the inode that was compared: its number may be another's by now.
    public let generation: UInt32

    public init(links: UInt32, generation: UInt32) {
        self.links = links
        self.generation = generation
    }

    /// nil where the bytes are none.
    public init?(_ bytes: RawSpan) {
        guard bytes.byteCount == 8 else { return nil }
        self.init(links: bytes.integer(at: 0), generation: bytes.integer(at: 4))
    }

    public var bytes: FixedBytes<8> {
        var bytes = FixedBytes<8>()
        bytes.store(links, at: 0)
        bytes.store(generation, at: 4)
        return bytes
    }
}

struct LinkSummary: Summary {
    let sources = [VolumeSlots.parents, VolumeSlots.links]
    let hasGenerations = false

    /// Everything known of an inode is adjacent.
    func divider(near key: RawSpan) -> KeyBytes? {
        key.byteCount < 8 ? nil : KeyBytes(key.extracting(first: 8))
    }

    func makeFold(_ part: any SummaryPart) -> any SummaryFold { LinkFold(part) }
}
