// What a request is answered with, and the one place from which answers are sent.
//
// Each request is answered exactly once. A handler only says with what; what it throws is
// answered with the error's number. An answer that hands the kernel an inode is sent with the
// inode held already: where the kernel doesn't take it (the request was interrupted), it is
// forgotten again.

internal import CFUSE
internal import Volume
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

@safe enum Answer {
    case done
    /// An inode, held for the kernel.
    case entry(Inode)
    /// There is no such name, and the kernel may remember that.
    case noEntry
    case attributes(Inode)
    /// A directory was opened under this handle.
    case opened(UInt64)
    /// The first bytes of a buffer.
    case bytes(Buffer, Int)
    /// A listing, whose entries are held for the kernel.
    case listing(Buffer, Int, held: [InodeNumber])
    case target([UInt8])
    /// So many bytes were written.
    case count(Int)
    /// An attribute, or the list of them, takes so many bytes.
    case size(Int)
    case offset(UInt64)
    case statistics(FileSystemStatistics)
    /// The kernel waits for no answer.
    case none
    /// Somebody else answers.
    case later
}

/// How long the kernel may keep what it was told, in seconds: all changes go through it.
let validity = 86400.0

extension MountedVolume {
    /// Sends the answer. A failure to is the kernel's: it has given the request up, or is gone.
    func send(_ answer: Answer, to request: fuse_req_t) {
        switch answer {
        case .done: unsafe fuse_reply_err(request, 0)
        case .entry(let inode):
            var entry = fuse_entry_param(inode, volume)
            if unsafe fuse_reply_entry(request, &entry) != 0 { volume.forget(inode.number) }
        case .noEntry:
            var entry = fuse_entry_param()
            entry.entry_timeout = validity
            unsafe fuse_reply_entry(request, &entry)
        case .attributes(let inode):
            var attributes = stat(inode, volume)
            unsafe fuse_reply_attr(request, &attributes, validity)
        case .opened(let handle):
            var info = fuse_file_info()
            info.fh = handle
            if unsafe fuse_reply_open(request, &info) != 0 { closeDirectory(handle) }
        case .bytes(let buffer, let count):
            unsafe fuse_reply_buf(request, buffer.characters, count)
            buffers.give(buffer)
        case .listing(let buffer, let count, let held):
            if unsafe fuse_reply_buf(request, buffer.characters, count) != 0 {
                for n in held { volume.forget(n) }
            }
            buffers.give(buffer)
        case .target(let bytes):
            unsafe (bytes + [0]).withUnsafeBytes {
                _ = unsafe fuse_reply_readlink(
                    request, $0.baseAddress!.assumingMemoryBound(to: CChar.self))
            }
        case .count(let count): unsafe fuse_reply_write(request, count)
        case .size(let size): unsafe fuse_reply_xattr(request, size)
        case .offset(let offset): unsafe fuse_reply_lseek(request, off_t(offset))
        case .statistics(let statistics):
            var result = statvfs(statistics)
            unsafe fuse_reply_statfs(request, &result)
        case .none: unsafe fuse_reply_none(request)
        case .later: break
        }
    }
}

extension fuse_entry_param {
    init(_ inode: Inode, _ volume: Volume) {
        self.init()
        ino = inode.number
        generation = UInt64(inode.record.generation)
        attr = stat(inode, volume)
        attr_timeout = validity
        entry_timeout = validity
    }
}

extension stat {
    init(_ inode: Inode, _ volume: Volume) {
        self.init()
        let record = inode.record
        let blockSize = UInt64(volume.geometry.blockSize)
        st_ino = UInt(inode.number)
        st_mode = record.type.mode | mode_t(record.permissions)
        st_nlink = nlink_t(record.links)
        st_uid = record.uid
        st_gid = record.gid
        st_rdev = fuse_shim_device(
            UInt32(record.device >> 32), UInt32(truncatingIfNeeded: record.device))
        st_size = off_t(clamping: record.size)
        st_blksize = blksize_t(blockSize)
        let (sectors, overflow) = record.blocks.multipliedReportingOverflow(by: blockSize / 512)
        st_blocks = overflow ? .max : blkcnt_t(clamping: sectors)
        // The kernel may hold contents that it has not written yet, and says nothing of it. A file
        // of size and no blocks is all zeroes to tar(1) and others, which then don't read it.
        if record.type == .regular, record.blocks == 0, !volume.isReadOnly { st_blocks = 1 }
        st_atim = timespec(record.accessed)
        st_mtim = timespec(record.modified)
        st_ctim = timespec(record.changed)
    }
}

extension timespec {
    init(_ time: Timestamp) {
        self.init(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
    }
}

extension Timestamp {
    init(_ time: timespec) {
        self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(clamping: time.tv_nsec))
    }

    static var now: Timestamp {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(time)
    }
}

extension FileType {
    /// The type's bits of `st_mode`: `d_type`, four bits up.
    var mode: mode_t { mode_t(rawValue) << 12 }

    init?(mode: mode_t) { self.init(rawValue: UInt8((mode & S_IFMT) >> 12)) }
}

extension statvfs {
    init(_ statistics: FileSystemStatistics) {
        self.init()
        f_bsize = UInt(statistics.blockSize)
        f_frsize = UInt(statistics.blockSize)
        f_blocks = fsblkcnt_t(statistics.blocks)
        f_bfree = fsblkcnt_t(statistics.freeBlocks)
        f_bavail = fsblkcnt_t(statistics.freeBlocks)
        // Inodes have no area of their own: as many as there are blocks, at the least.
        f_files = fsfilcnt_t(statistics.inodes + statistics.freeBlocks)
        f_ffree = fsfilcnt_t(statistics.freeBlocks)
        f_favail = fsfilcnt_t(statistics.freeBlocks)
        f_namemax = UInt(statistics.maximumNameLength)
    }
}
