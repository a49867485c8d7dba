// The secondary indexes of an XFS, as the framework sees them.

public import Bytes
public import Tidemark

/// Which block belongs to which file: the reverse map, block by block, without the metadata that
/// no file owns. The value is one byte: 0, or 1 for an unwritten block.
public struct XFSReverseMap: SecondaryIndex {
    public let name = "rmap"

    init() {}

    public func primaryKey(of key: RawSpan, value: RawSpan) -> KeyBytes {
        MappingKey(key)?.primary.key ?? KeyBytes(key)
    }

    public func fields(key: RawSpan, value: RawSpan) -> [(name: String, value: String)] {
        guard let mapping = MappingKey(key) else { return [("key", hexadecimal(key))] }
        return [
            ("block", "\(mapping.block)"), ("inode", "\(mapping.owner)"),
            ("fork", mapping.fork == 0 ? "data" : "attribute"), ("offset", "\(mapping.offset)"),
            ("unwritten", state(value) == 1 ? "true" : "false"),
        ]
    }

    public func isWellFormed(key: RawSpan, value: RawSpan) -> Bool {
        MappingKey(key) != nil && (state(value).map { $0 <= 1 } ?? false)
    }
}

/// Under which names a file stands in which directories: the parent pointers. The value is one
/// byte: 0, or 1 where the pointer names another generation of the directory than that which is
/// there.
public struct XFSParentPointers: SecondaryIndex {
    public let name = "parents"

    init() {}

    public func primaryKey(of key: RawSpan, value: RawSpan) -> KeyBytes {
        guard ParentKey.isWellFormed(key) else { return KeyBytes(key) }
        return XFSPosition(key.integer(at: 8), .entries).key
    }

    public func fields(key: RawSpan, value: RawSpan) -> [(name: String, value: String)] {
        guard ParentKey.isWellFormed(key) else { return [("key", hexadecimal(key))] }
        return [
            ("inode", "\(key.integer(at: 0, as: UInt64.self))"),
            ("directory", "\(key.integer(at: 8, as: UInt64.self))"),
            ("name", escapedName(key.extracting(ParentKey.headerSize..<key.byteCount))),
            ("generation", state(value) == 0 ? "right" : "wrong"),
        ]
    }

    public func isWellFormed(key: RawSpan, value: RawSpan) -> Bool {
        ParentKey.isWellFormed(key) && (state(value).map { $0 <= 1 } ?? false)
    }
}

/// The one byte of a value; nil where it has another size.
private func state(_ value: RawSpan) -> UInt8? {
    value.byteCount == 1 ? value.integer(at: 0) : nil
}

private func hexadecimal(_ bytes: RawSpan) -> String {
    bytes.array.map { byte in
        let digits = String(byte, radix: 16)
        return digits.count == 1 ? "0" + digits : digits
    }.joined()
}
