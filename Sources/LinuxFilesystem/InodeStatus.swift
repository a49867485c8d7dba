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
    /// Its data lies on the realtime device (FS_XFLAG_REALTIME); attributes never do.
    public let isRealtime: Bool
    /// Of the last change of the inode, in nanoseconds since 1970.
    public let changed: Int64
    /// The kernel can't read it, and nothing is known of it but its number.
    public let isDamaged: Bool

    public enum Kind: UInt16, Sendable {
        case fifo = 0o010000, characterDevice = 0o020000, directory = 0o040000
        case blockDevice = 0o060000, file = 0o100000, symbolicLink = 0o120000
        case socket = 0o140000
    }

    /// Extents of the data fork that are blocks of the data device.
    public var dataExtents: UInt64 { isRealtime ? 0 : extents }

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
        isRealtime = raw.xflags & 1 != 0
        isDamaged = false
    }

    /// An inode that the kernel can't read.
    init(damaged inode: UInt64) {
        self.inode = inode
        (generation, mode, links, size, blocks) = (0, 0, 0, 0, 0)
        (extents, attributeExtents, changed, isDamaged) = (0, 0, 0, true)
        isRealtime = false
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
    /// as it was at some time during the call. One that the kernel can't read comes alone, as
    /// `isDamaged`. Not among them: inodes that are removed, closed and not freed yet, and the
    /// kernel's own files.
    /// - Returns: false where there is none.
    public func readInodes(
        from first: UInt64, limit: Int = .max, into batch: InodeBatch
    ) throws(LinuxCallError) -> Bool {
        try readInodes(from: first, limit: limit, includesMetadata: false, into: batch)
    }

    func readInodes(
        from first: UInt64, limit: Int, includesMetadata: Bool, into batch: InodeBatch
    ) throws(LinuxCallError) -> Bool {
        var request = lfs_bulk_request()
        request.ino = first
        // XFS_BULK_IREQ_NREXT64: counts of extents in 64 bits. XFS_BULK_IREQ_METADIR.
        request.flags = 1 << 2 | (includesMetadata ? 1 << 3 : 0)
        request.icount = UInt32(min(limit, batch.capacity))
        batch.buffer.store(request)
        batch.inodes.removeAll(keepingCapacity: true)
        guard
            unsafe lfs_ioctl(mount.root.number, LFS_XFS_BULKSTAT, batch.buffer.pointer) == 0
        else {
            let error = LinuxCallError("XFS_IOC_BULKSTAT", "the inodes from \(first) on")
            // It stops at an inode that it can't read, and says not at which.
            guard error.isDamaged, let inode = try allocated(from: first) else { throw error }
            batch.inodes.append(InodeStatus(damaged: inode))
            return true
        }
        let buffer = batch.buffer
        let answer = buffer.bytes(buffer.capacity)
        try batch.parse(answer, from: first)
        return !batch.inodes.isEmpty
    }

    /// Whether the number `inode` is given to an inode, shown or not: XFS_IOC_INUMBERS.
    public func isAllocated(_ inode: UInt64) throws(LinuxCallError) -> Bool {
        guard let group = try inodeNumbers(from: inode) else { return false }
        return group.start <= inode && inode - group.start < 64
            && group.allocated >> (inode - group.start) & 1 != 0
    }

    /// The first number from `first` on that is given to an inode.
    private func allocated(from first: UInt64) throws(LinuxCallError) -> UInt64? {
        var next = first
        while let group = try inodeNumbers(from: next) {
            for place in 0..<64 as Range<UInt64> where group.allocated >> place & 1 != 0 {
                let (inode, isBeyond) = group.start.addingReportingOverflow(place)
                if !isBeyond, inode >= first { return inode }
            }
            let (behind, isBeyond) = group.start.addingReportingOverflow(64)
            guard !isBeyond, behind > next else { return nil }
            next = behind
        }
        return nil
    }

    /// The group of 64 numbers that holds `first` or is the next one behind it.
    private func inodeNumbers(from first: UInt64) throws(LinuxCallError) -> lfs_inumbers? {
        var request = (lfs_bulk_request(), lfs_inumbers())
        request.0.ino = first
        request.0.icount = 1
        guard unsafe lfs_ioctl(mount.root.number, LFS_XFS_INUMBERS, &request) == 0 else {
            throw LinuxCallError("XFS_IOC_INUMBERS", "the numbers from \(first) on")
        }
        return request.0.ocount == 1 ? request.1 : nil
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
