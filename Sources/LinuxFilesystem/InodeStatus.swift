// Inodes in inode order: XFS_IOC_BULKSTAT.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// What bulkstat tells of an inode.
public struct InodeStatus: Hashable, Sendable {
    public let inode: UInt64
    /// Distinguishes files that have had this inode number one after the other.
    public let generation: UInt32
    public let mode: UInt16
    public let links: UInt32
    public let size: UInt64
    /// Filesystem blocks of both forks and of their extent maps, and blocks that are reserved
    /// for data not yet written (delayed allocation).
    public let blocks: UInt64
    /// Extents of the data fork and of the attribute fork, as they are in the inode.
    public let extents: UInt64
    public let attributeExtents: UInt32
    /// Of the last change of the inode, in nanoseconds since 1970.
    public let changed: Int64

    public enum Kind: UInt16, Sendable {
        case fifo = 0o010000, characterDevice = 0o020000, directory = 0o040000
        case blockDevice = 0o060000, file = 0o100000, symbolicLink = 0o120000
        case socket = 0o140000
    }

    /// nil where the mode says none of these.
    public var kind: Kind? { Kind(rawValue: mode & 0o170000) }

    init(_ raw: lfs_bulkstat) {
        inode = raw.ino
        generation = raw.gen
        mode = raw.mode
        links = raw.nlink
        size = raw.size
        blocks = raw.blocks
        extents = max(UInt64(raw.extents), raw.extents64)
        attributeExtents = raw.aextents
        let (seconds, overflow) = raw.ctime.multipliedReportingOverflow(by: 1_000_000_000)
        changed = overflow ? .max : seconds &+ Int64(raw.ctime_nsec)
    }
}

/// Inodes that bulkstat has told of, refilled window by window. Used by one thread at a time.
public final class InodeBatch {
    public let capacity: Int
    public internal(set) var inodes: [InodeStatus] = []
    let buffer: AnswerBuffer

    static let headerSize = MemoryLayout<lfs_bulk_request>.size
    static let recordSize = MemoryLayout<lfs_bulkstat>.size

    public init(capacity: Int = 1024) {
        precondition(capacity > 0 && capacity <= 1 << 16)
        self.capacity = capacity
        inodes.reserveCapacity(capacity)
        buffer = AnswerBuffer(
            capacity: InodeBatch.headerSize + capacity * InodeBatch.recordSize)
    }

    /// Takes over an answer of the kernel to a question for the inodes from `first` on.
    func parse(_ answer: RawSpan, from first: UInt64) throws(LinuxCallError) {
        inodes.removeAll(keepingCapacity: true)
        func malformed(_ what: String) -> LinuxCallError {
            .malformed("XFS_IOC_BULKSTAT", "the inodes from \(first) on", what)
        }
        guard answer.byteCount >= InodeBatch.headerSize else { throw malformed("no header") }
        let header = answer.native(at: 0, as: lfs_bulk_request.self)
        let count = Int(header.ocount)
        guard count <= capacity,
            answer.byteCount >= InodeBatch.headerSize + count * InodeBatch.recordSize
        else { throw malformed("\(count) inodes where \(capacity) were asked for") }
        var least = first
        for place in 0..<count {
            let raw = answer.native(
                at: InodeBatch.headerSize + place * InodeBatch.recordSize, as: lfs_bulkstat.self)
            guard raw.ino >= least, raw.ino < .max else {
                throw malformed("inode \(raw.ino) where \(least) is the least to come")
            }
            least = raw.ino + 1
            inodes.append(InodeStatus(raw))
        }
    }
}

extension XFSFilesystem {
    /// Reads up to `batch.capacity` inodes from number `first` on, in ascending order. Each is
    /// as it was at some time during the call.
    /// - Returns: false where there is none.
    public func readInodes(
        from first: UInt64, limit: Int = .max, into batch: InodeBatch
    ) throws(LinuxCallError) -> Bool {
        var request = lfs_bulk_request()
        request.ino = first
        // XFS_BULK_IREQ_NREXT64: counts of extents in 64 bits.
        request.flags = 1 << 2
        request.icount = UInt32(min(limit, batch.capacity))
        batch.buffer.store(request)
        batch.inodes.removeAll(keepingCapacity: true)
        guard
            unsafe lfs_ioctl(mount.root.number, LFS_XFS_BULKSTAT, batch.buffer.pointer) == 0
        else {
            throw LinuxCallError("XFS_IOC_BULKSTAT", "the inodes from \(first) on")
        }
        let buffer = batch.buffer
        let answer = buffer.bytes(buffer.capacity)
        try batch.parse(answer, from: first)
        return !batch.inodes.isEmpty
    }

    /// One inode; nil where it is not in use.
    public func status(
        of inode: UInt64, using batch: InodeBatch
    ) throws(LinuxCallError) -> InodeStatus? {
        guard try readInodes(from: inode, limit: 1, into: batch),
            let status = batch.inodes.first, status.inode == inode
        else { return nil }
        return status
    }
}
