// What each block of the device is used for: FS_IOC_GETFSMAP (ioctl_getfsmap(2)). On XFS with
// reverse mappings this is the reverse map itself; on ext4 it knows used and free.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// An extent of the device and what it is used for. Positions and lengths are in bytes.
public struct SpaceRecord: Hashable, Sendable {
    public let physical: UInt64
    public let length: UInt64
    /// An inode number, or a code where `isSpecial` is set.
    public let owner: UInt64
    /// Position in the fork of the inode.
    public let offset: UInt64
    public let flags: UInt32

    public var isUnwritten: Bool { flags & 0x1 != 0 }
    public var isAttributeFork: Bool { flags & 0x2 != 0 }
    /// A block of the inode's extent map itself.
    public var isExtentMap: Bool { flags & 0x4 != 0 }
    public var isShared: Bool { flags & 0x8 != 0 }
    public var isSpecial: Bool { flags & 0x10 != 0 }
    public var isFree: Bool { isSpecial && owner == SpaceOwner.free }

    init(_ raw: lfs_fsmap) {
        physical = raw.physical
        length = raw.length
        owner = raw.owner
        offset = raw.offset
        flags = raw.flags
    }
}

/// Owners that are no inodes: type in the upper, code in the lower 32 bits.
public enum SpaceOwner {
    public static let free: UInt64 = 1
    public static let unknown: UInt64 = 2
    public static let metadata: UInt64 = 3

    /// What xfs_fsmap calls it; nil for a code that is not known here.
    public static func name(_ code: UInt64) -> String? {
        switch code {
        case free: return "free space"
        case unknown: return "unknown owner"
        case metadata: return "metadata"
        default: break
        }
        let names: [UInt64: String]
        switch UInt8(truncatingIfNeeded: code >> 32) {
        case UInt8(ascii: "X") where code >> 32 < 256:
            names = [
                1: "static filesystem metadata", 2: "journal", 3: "allocation group metadata",
                4: "inode btree", 5: "inodes", 6: "reference count btree",
                7: "copy-on-write staging", 8: "bad blocks",
            ]
        case UInt8(ascii: "f") where code >> 32 < 256:
            names = [
                1: "static filesystem metadata", 2: "journal", 3: "inodes", 4: "group descriptors",
                5: "reserved group descriptors", 6: "block bitmaps", 7: "inode bitmaps",
            ]
        default: return nil
        }
        return names[code & 0xffff_ffff]
    }
}

/// Records of the space map, refilled piece by piece. Used by one thread at a time.
public final class SpaceBatch {
    public let capacity: Int
    public internal(set) var records: [SpaceRecord] = []
    let buffer: AnswerBuffer
    /// Where the next piece begins.
    var last: lfs_fsmap?

    static let headerSize = MemoryLayout<lfs_fsmap_head>.size
    static let recordSize = MemoryLayout<lfs_fsmap>.size

    public init(capacity: Int = 2048) {
        precondition(capacity > 0 && capacity <= 1 << 16)
        self.capacity = capacity
        records.reserveCapacity(capacity)
        buffer = AnswerBuffer(capacity: SpaceBatch.headerSize + capacity * SpaceBatch.recordSize)
    }

    /// Takes over an answer about `device`.
    /// - Returns: whether the kernel may have more.
    func parse(_ answer: RawSpan, device: UInt32) throws(LinuxCallError) -> Bool {
        records.removeAll(keepingCapacity: true)
        func malformed(_ what: String) -> LinuxCallError {
            .malformed("FS_IOC_GETFSMAP", "the space map", what)
        }
        guard answer.byteCount >= SpaceBatch.headerSize else { throw malformed("no header") }
        let count = Int(answer.native(at: 0, as: lfs_fsmap_head.self).entries)
        guard count <= capacity,
            answer.byteCount >= SpaceBatch.headerSize + count * SpaceBatch.recordSize
        else { throw malformed("\(count) records where \(capacity) were asked for") }
        var least = last?.physical ?? 0
        var isLast = count == 0
        for place in 0..<count {
            let raw = answer.native(
                at: SpaceBatch.headerSize + place * SpaceBatch.recordSize, as: lfs_fsmap.self)
            guard raw.device == device else { throw malformed("a record of another device") }
            guard !raw.physical.addingReportingOverflow(raw.length).overflow, raw.length > 0 else {
                throw malformed("\(raw.length) bytes from \(raw.physical) on")
            }
            // A record that the last call told of may have begun before where it was asked for.
            guard raw.physical >= least || place == 0 else {
                throw malformed("a record at \(raw.physical) behind one at \(least)")
            }
            least = raw.physical
            records.append(SpaceRecord(raw))
            last = raw
            isLast = raw.flags & 0x20 != 0
        }
        return !isLast && count == capacity
    }
}

extension MountedFilesystem {
    /// Reads the records of `[start, end)`, in bytes from the start of the filesystem's device:
    /// all that reach into it, in the order of their positions. The kernel locks a group at a
    /// time: records of different groups are of different times.
    /// - Parameter isFirst: false goes on behind the last record in `batch`.
    /// - Returns: whether there may be more.
    public func readSpace(
        _ range: Range<UInt64>, isFirst: Bool, into batch: SpaceBatch
    ) throws(LinuxCallError) -> Bool {
        precondition(!range.isEmpty)
        var head = lfs_fsmap_head()
        head.count = UInt32(batch.capacity)
        if isFirst { batch.last = nil }
        if let last = batch.last {
            head.low = last
            head.low.reserved = (0, 0, 0)
        } else {
            head.low.device = deviceCode
            head.low.physical = range.lowerBound
        }
        head.high.device = deviceCode
        head.high.flags = .max
        head.high.physical = range.upperBound - 1
        head.high.owner = .max
        head.high.offset = .max
        batch.buffer.store(head)
        guard unsafe lfs_ioctl(root.number, LFS_GETFSMAP, batch.buffer.pointer) == 0 else {
            throw LinuxCallError("FS_IOC_GETFSMAP", "\(path)")
        }
        let buffer = batch.buffer
        let answer = buffer.bytes(buffer.capacity)
        return try batch.parse(answer, device: deviceCode)
    }
}
