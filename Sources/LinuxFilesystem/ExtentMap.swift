// Which blocks of the device a file has: XFS_IOC_GETBMAPX for a fork of an XFS inode, FS_IOC_FIEMAP
// for ext4.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// An extent of a file. Positions and lengths are in bytes.
public struct FileExtent: Hashable, Sendable {
    public let offset: UInt64
    public let physical: UInt64
    public let length: UInt64
    public let isUnwritten: Bool
    public let isShared: Bool

    public var end: UInt64 { offset + length }
}

public enum Fork: Sendable { case data, attribute }

/// Extents of a file, refilled piece by piece; only those that have blocks of the device (no
/// holes, no data that waits for its blocks). Used by one thread at a time.
public final class ExtentBatch {
    public let capacity: Int
    public internal(set) var extents: [FileExtent] = []
    let buffer: AnswerBuffer

    static let recordSize = 56  // The larger one, fiemap_extent.
    /// Units of 512 bytes that a file may have: 2^54 of them are all that 63 bits of bytes hold.
    static let sectors: Int64 = 1 << 54

    public init(capacity: Int = 512) {
        precondition(capacity > 0 && capacity <= 1 << 16)
        self.capacity = capacity
        extents.reserveCapacity(capacity)
        buffer = AnswerBuffer(capacity: (capacity + 1) * ExtentBatch.recordSize)
    }

    /// Takes over an answer of XFS_IOC_GETBMAPX to a question for `asked` records.
    /// - Returns: where the next piece begins; nil at the end.
    func parseBMAP(
        _ answer: RawSpan, asked: Int, object: @autoclosure () -> String
    ) throws(LinuxCallError) -> UInt64? {
        extents.removeAll(keepingCapacity: true)
        let size = MemoryLayout<lfs_bmap>.size
        guard answer.byteCount >= size else {
            throw .malformed("XFS_IOC_GETBMAPX", object(), "no header")
        }
        let count = Int(answer.native(at: 0, as: lfs_bmap.self).entries)
        guard count >= 0, count <= asked, answer.byteCount >= (count + 1) * size else {
            throw .malformed("XFS_IOC_GETBMAPX", object(), "\(count) extents, asked: \(asked)")
        }
        var end: Int64 = 0
        var isLast = count == 0
        for place in 0..<count {
            let raw = answer.native(at: (place + 1) * size, as: lfs_bmap.self)
            let (next, overflow) = raw.offset.addingReportingOverflow(raw.length)
            guard !overflow, raw.length > 0, raw.offset >= end, next <= ExtentBatch.sectors,
                raw.block >= -2,
                raw.block <= 1 << 54
            else {
                throw .malformed(
                    "XFS_IOC_GETBMAPX", object(), "\(raw.length) sectors from \(raw.offset) on")
            }
            end = next
            isLast = raw.oflags & 0x4 != 0
            // -1: a hole; -2, BMV_OF_DELALLOC: no blocks yet.
            if raw.block < 0 || raw.oflags & 0x2 != 0 { continue }
            extents.append(
                FileExtent(
                    offset: UInt64(raw.offset) * 512, physical: UInt64(raw.block) * 512,
                    length: UInt64(raw.length) * 512, isUnwritten: raw.oflags & 0x1 != 0,
                    isShared: raw.oflags & 0x8 != 0))
        }
        return isLast || count < asked ? nil : UInt64(end) * 512
    }

    /// Takes over an answer of FS_IOC_FIEMAP to a question for `asked` records.
    func parseFIEMAP(
        _ answer: RawSpan, asked: Int, object: @autoclosure () -> String
    ) throws(LinuxCallError) -> UInt64? {
        extents.removeAll(keepingCapacity: true)
        let header = MemoryLayout<lfs_fiemap>.size
        let size = MemoryLayout<lfs_fiemap_extent>.size
        guard answer.byteCount >= header else {
            throw .malformed("FS_IOC_FIEMAP", object(), "no header")
        }
        let count = Int(answer.native(at: 0, as: lfs_fiemap.self).mapped)
        guard count <= asked, answer.byteCount >= header + count * size else {
            throw .malformed("FS_IOC_FIEMAP", object(), "\(count) extents, asked: \(asked)")
        }
        var end: UInt64 = 0
        var isLast = count == 0
        for place in 0..<count {
            let raw = answer.native(at: header + place * size, as: lfs_fiemap_extent.self)
            let (next, overflow) = raw.logical.addingReportingOverflow(raw.length)
            guard !overflow, raw.length > 0, raw.logical >= end || place == 0,
                !raw.physical.addingReportingOverflow(raw.length).overflow
            else {
                throw .malformed(
                    "FS_IOC_FIEMAP", object(), "\(raw.length) bytes from \(raw.logical) on")
            }
            end = next
            isLast = raw.flags & 0x1 != 0
            // UNKNOWN, DELALLOC, ENCODED, NOT_ALIGNED, DATA_INLINE: no blocks of their own.
            if raw.flags & 0x30e != 0 { continue }
            extents.append(
                FileExtent(
                    offset: raw.logical, physical: raw.physical, length: raw.length,
                    isUnwritten: raw.flags & 0x800 != 0, isShared: raw.flags & 0x2000 != 0))
        }
        return isLast || count < asked ? nil : end
    }
}

extension XFSFilesystem {
    /// Reads extents of a fork of `file` from byte `offset` on. The inode is locked for the call;
    /// data that waits for its blocks is not flushed.
    /// - Returns: where the next piece begins; nil at the end.
    public func readExtents(
        of file: borrowing Descriptor, _ fork: Fork, from offset: UInt64, into batch: ExtentBatch,
        object: @autoclosure () -> String
    ) throws(LinuxCallError) -> UInt64? {
        var request = lfs_bmap()
        request.offset = Int64(clamping: offset / 512)
        // Not -1, "all": that ends at the size of the file, and so leaves out what is reserved
        // behind it, and the index blocks of a directory.
        request.length = max(0, ExtentBatch.sectors - request.offset)
        request.count = Int32(batch.capacity + 1)
        // BMV_IF_PREALLOC | BMV_IF_DELALLOC | BMV_IF_NO_HOLES, and BMV_IF_ATTRFORK.
        request.iflags = 0x1c | (fork == .attribute ? 0x1 : 0)
        batch.extents.removeAll(keepingCapacity: true)
        batch.buffer.store(request)
        guard unsafe lfs_ioctl(file.number, LFS_XFS_GETBMAPX, batch.buffer.pointer) == 0 else {
            // A file without an attribute fork.
            if fork == .attribute, Glibc.errno == ENOENT { return nil }
            throw LinuxCallError("XFS_IOC_GETBMAPX", object())
        }
        let buffer = batch.buffer
        let answer = buffer.bytes(buffer.capacity)
        return try batch.parseBMAP(
            answer, asked: batch.capacity, object: object())
    }
}

extension MountedFilesystem {
    /// Reads extents of `file` from byte `offset` on, of ext4's attribute block where `fork` says
    /// so; data that waits for its blocks is not flushed.
    /// - Returns: where the next piece begins; nil at the end.
    public func readExtents(
        of file: borrowing Descriptor, _ fork: Fork = .data, from offset: UInt64,
        into batch: ExtentBatch, object: @autoclosure () -> String
    ) throws(LinuxCallError) -> UInt64? {
        var request = lfs_fiemap()
        request.start = offset
        request.length = .max - offset
        // FIEMAP_FLAG_XATTR.
        request.flags = fork == .attribute ? 0x2 : 0
        request.count = UInt32(batch.capacity)
        batch.extents.removeAll(keepingCapacity: true)
        batch.buffer.store(request)
        guard unsafe lfs_ioctl(file.number, LFS_FIEMAP, batch.buffer.pointer) == 0 else {
            throw LinuxCallError("FS_IOC_FIEMAP", object())
        }
        let buffer = batch.buffer
        let answer = buffer.bytes(buffer.capacity)
        return try batch.parseFIEMAP(
            answer, asked: batch.capacity, object: object())
    }
}
