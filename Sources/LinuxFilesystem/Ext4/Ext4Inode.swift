// An inode as it stands in the inode table.

internal import Bytes
internal import CISAL

/// CRC32C as ext4 uses it: neither the start nor the end is inverted.
func ext4Checksum(_ state: UInt32, _ bytes: RawSpan) -> UInt32 {
    unsafe bytes.withUnsafeBytes { buffer in
        guard let base = buffer.baseAddress else { return state }
        return unsafe shim_crc32c(
            base.assumingMemoryBound(to: UInt8.self), Int32(buffer.count), state)
    }
}

/// What an inode says of itself. `raw` is a copy of its bytes.
public struct Ext4Inode: Sendable, Hashable {
    public let number: UInt32
    public let raw: [UInt8]

    public init(_ number: UInt32, _ bytes: RawSpan) {
        self.number = number
        raw = bytes.array
    }

    private func field<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, as: T.Type = T.self)
        -> T
    { raw.rawSpan.little(at: offset) }

    public var mode: UInt16 { field(0) }
    public var links: UInt16 { field(0x1a) }
    public var deleted: UInt32 { field(0x14) }
    public var flags: UInt32 { field(0x20) }
    public var generation: UInt32 { field(0x64) }
    public var size: UInt64 {
        UInt64(field(4, as: UInt32.self)) | UInt64(field(0x6c, as: UInt32.self)) << 32
    }
    /// The block of its attributes; 0: none.
    public var attributeBlock: UInt64 {
        UInt64(field(0x68, as: UInt32.self)) | UInt64(field(0x76, as: UInt16.self)) << 32
    }
    /// Nanoseconds since 1970.
    public var changed: Int64 {
        var seconds = Int64(field(0xc, as: Int32.self)), nanoseconds: Int64 = 0
        if raw.count > 128, extraSize >= 8 {
            let extra: UInt32 = field(0x84)
            seconds += Int64(extra & 3) << 32
            nanoseconds = Int64(extra >> 2)
        }
        let whole = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let sum = whole.partialValue.addingReportingOverflow(nanoseconds)
        return whole.overflow || sum.overflow ? (seconds < 0 ? .min : .max) : sum.partialValue
    }
    /// The latest time that `changed` can stand for: the end of its second where the inode has no
    /// room for nanoseconds (EXT4_FITS_IN_INODE of i_ctime_extra). Any number of changes within one
    /// second look the same there.
    public var changedUntil: Int64 {
        if raw.count > 128, extraSize >= 8 { return changed }
        let (end, isBeyond) = changed.addingReportingOverflow(999_999_999)
        return isBeyond ? .max : end
    }
    var extraSize: Int { raw.count > 128 ? Int(field(0x80, as: UInt16.self)) : 0 }

    public var type: UInt16 { mode & 0o170000 }
    public var isDirectory: Bool { type == 0o040000 }
    public var isFile: Bool { type == 0o100000 }
    public var isInline: Bool { flags & 0x1000_0000 != 0 }
    /// Holds the value of a large attribute.
    public var isAttributeValue: Bool { flags & 0x20_0000 != 0 }
    var hasExtents: Bool { flags & 0x8_0000 != 0 }

    /// Whether it maps blocks at all.
    public var hasMap: Bool {
        if isInline { return false }
        switch type {
        case 0o040000, 0o100000: return true
        case 0o120000: return hasExtents || size >= 60
        // Reserved inodes, as that of bad blocks, have no type.
        case 0: return true
        default: return false
        }
    }

    public func isVerified(_ superblock: Ext4Superblock) -> Bool {
        guard superblock.hasChecksums else { return true }
        var copy = raw
        let low: UInt16 = field(0x7c)
        let hasHigh = raw.count > 128 && extraSize >= 4
        let high: UInt16 = hasHigh ? field(0x82) : 0
        copy[0x7c] = 0
        copy[0x7d] = 0
        if hasHigh {
            copy[0x82] = 0
            copy[0x83] = 0
        }
        var state = ext4Checksum(superblock.checksumSeed, bytes(of: number).rawSpan)
        state = ext4Checksum(state, bytes(of: generation).rawSpan)
        state = ext4Checksum(state, copy.rawSpan)
        return UInt16(truncatingIfNeeded: state) == low
            && (!hasHigh || UInt16(state >> 16) == high)
    }

    private func bytes(of number: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: number >> (8 * UInt32($0))) }
    }

}
