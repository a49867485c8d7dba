// What the fields of a record can say at all. A record that says more is damaged, whatever its
// checksum: with these limits no sum or product of fields of sound records overflows 64 bits.
//
// The codecs refuse what no volume can hold. What only this volume can't hold (blocks beyond its
// end, an offset that its block size makes larger than a file can be) `Geometry` refuses, for
// whoever has one.

internal import Bytes

public enum FormatLimits {
    /// Bytes of a file, and of a data area: what `off_t` can say.
    public static let bytes = UInt64(Int64.max)
    /// Blocks of a volume, and of a file: as many bytes, in the smallest blocks. A block number is
    /// below it, and so is the end of a range of blocks.
    public static let blocks: UInt64 = 1 << 54
    /// The highest inode number.
    public static let inode: InodeNumber = 1 << 62

    static func checkBlocks(
        _ start: UInt64, _ length: UInt64, _ field: String
    ) throws(RecordDamage) {
        let (end, overflow) = start.addingReportingOverflow(length)
        guard !overflow, end <= blocks else { throw .field(field) }
    }

    /// - Parameter lowest: 0 where the volume itself may own it.
    static func check(
        _ inode: InodeNumber, from lowest: InodeNumber = .root, _ field: String = "inode"
    ) throws(RecordDamage) {
        guard inode >= lowest, inode <= Self.inode else { throw .field(field) }
    }

    /// A name of 1 to `most` bytes, without NUL.
    static func check(name: RawSpan, most: Int, slashes: Bool) throws(RecordDamage) {
        guard name.byteCount > 0, name.byteCount <= most else { throw .length }
        for index in 0..<name.byteCount {
            let byte: UInt8 = name.integer(at: index)
            if byte == 0 || byte == UInt8(ascii: "/") && !slashes { throw .field("name") }
        }
    }
}

extension Geometry {
    /// Whether the extent lies in the volume, and its offset in a file.
    public func check(_ extent: ExtentRecord) throws(RecordDamage) {
        guard extent.startEnd <= blocks else { throw .field("start") }
        guard extent.offsetEnd <= (FormatLimits.bytes + 1) / UInt64(blockSize) else {
            throw .field("offset")
        }
    }

    public func check(_ run: FreeRecord) throws(RecordDamage) {
        guard run.end <= blocks else { throw .field("length") }
    }
}
