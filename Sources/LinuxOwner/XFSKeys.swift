// Keys of the primary records of an XFS, and of the entries that are derived from them. Integers
// are big-endian, so that the order of the bytes is the order of the numbers.
//
//   primary records   inode u64, kind u8, position u64
//   rmap              block u64, owner u64, fork u8, offset u64 -> state u8
//   parents           child u64, parent u64, name               -> state u8
//
// Blocks and offsets are in filesystem blocks; a block is numbered from the start of the device,
// not within its allocation group. Of the records of a directory events name no position: the key
// of all of them is `inode, kind`, and no window ends among them.

package import Bytes
package import Tidemark

/// The kinds of records of an inode, in the order in which they are read.
package enum XFSRecordKind: UInt8 {
    /// A block of the data fork, and of the attribute fork. The position is the offset.
    case data = 1, attribute = 2
    /// The entries of a directory. The position is a cookie of getdents64(2), while it is read.
    case entries = 3
}

/// A place among the primary records.
package struct XFSPosition: Hashable, Comparable {
    package var inode: UInt64
    package var kind: UInt8
    package var position: UInt64

    package init(_ inode: UInt64, _ kind: UInt8 = 0, _ position: UInt64 = 0) {
        self.inode = inode
        self.kind = kind
        self.position = position
    }

    package init(_ inode: UInt64, _ kind: XFSRecordKind, _ position: UInt64 = 0) {
        self.init(inode, kind.rawValue, position)
    }

    /// The place of `key`, which the framework may have cut short.
    package init(_ key: RawSpan) {
        inode = leading(key, 0)
        kind = UInt8(truncatingIfNeeded: leading(key, 8) >> 56)
        position = leading(key, 9)
    }

    package var key: KeyBytes {
        var key = KeyBytes()
        key.append(inode)
        if kind != 0 || position != 0 { key.append(kind) }
        if position != 0 { key.append(position) }
        return key
    }

    /// The records of a directory.
    package static func entries(of directory: UInt64) -> KeyRange {
        KeyRange(
            lower: XFSPosition(directory, .entries).key,
            upper: XFSPosition(directory, XFSRecordKind.entries.rawValue + 1).key)
    }

    package static func < (a: XFSPosition, b: XFSPosition) -> Bool {
        (a.inode, a.kind, a.position) < (b.inode, b.kind, b.position)
    }
}

/// Eight bytes of `key` from `offset` on as a number, zeroes for those that are missing.
func leading(_ key: RawSpan, _ offset: Int) -> UInt64 {
    if key.byteCount >= offset + 8 { return key.integer(at: offset) }
    var number: UInt64 = 0
    for place in 0..<max(0, key.byteCount - offset) {
        let byte = UInt64(key.integer(at: offset + place, as: UInt8.self))
        number |= byte << UInt64(56 - 8 * place)
    }
    return number
}

/// A reverse mapping of one block.
package struct MappingKey: Hashable, Comparable {
    package let block, owner: UInt64
    /// 0: data, 1: attribute.
    package let fork: UInt8
    package let offset: UInt64

    package static let size = 25

    package init(block: UInt64, owner: UInt64, fork: UInt8, offset: UInt64) {
        self.block = block
        self.owner = owner
        self.fork = fork
        self.offset = offset
    }

    /// nil where the bytes are no such key.
    package init?(_ key: RawSpan) {
        guard key.byteCount == MappingKey.size else { return nil }
        block = key.integer(at: 0)
        owner = key.integer(at: 8)
        fork = key.integer(at: 16)
        offset = key.integer(at: 17)
        guard fork <= 1 else { return nil }
    }

    package var bytes: FixedBytes<25> {
        var key = FixedBytes<25>()
        key.store(block, at: 0)
        key.store(owner, at: 8)
        key.store(fork, at: 16)
        key.store(offset, at: 17)
        return key
    }

    package var primary: XFSPosition {
        XFSPosition(owner, fork == 0 ? .data : .attribute, offset)
    }

    package static func < (a: MappingKey, b: MappingKey) -> Bool {
        (a.block, a.owner, a.fork, a.offset) < (b.block, b.owner, b.fork, b.offset)
    }
}

/// A parent pointer.
package enum ParentKey {
    static let headerSize = 16

    @inline(__always)
    package static func make(child: UInt64, parent: UInt64, name: RawSpan) -> KeyBytes {
        var key = KeyBytes()
        key.append(child)
        key.append(parent)
        key.append(name)
        return key
    }

    /// The inode that the pointer is of; nil where the bytes are no such key.
    package static func child(_ key: RawSpan) -> UInt64? {
        isWellFormed(key) ? key.integer(at: 0) : nil
    }

    package static func isWellFormed(_ key: RawSpan) -> Bool {
        key.byteCount > headerSize && key.byteCount <= headerSize + 255
    }
}
