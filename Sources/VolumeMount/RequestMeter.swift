// How long the kernel's requests take, by kind: from the moment at which a worker has read one to
// that at which it is answered, whichever thread answers it.

internal import CFUSE
public import Meters
internal import Threads

/// What requests are told apart by.
enum RequestKind: Int, CaseIterable {
    case lookup, forget, getattr, setattr, readlink, create, unlink, rename, link
    case open, flush, release, read, write, fsync, allocate, copy, seek, opendir, readdir, xattr,
        statfs, other

    init(opcode: UInt32) {
        self =
            switch fuse_opcode(opcode) {
            case FUSE_LOOKUP: .lookup
            case FUSE_FORGET, FUSE_BATCH_FORGET: .forget
            case FUSE_GETATTR: .getattr
            case FUSE_SETATTR: .setattr
            case FUSE_READLINK: .readlink
            case FUSE_MKNOD, FUSE_MKDIR, FUSE_SYMLINK, FUSE_CREATE, FUSE_TMPFILE: .create
            case FUSE_UNLINK, FUSE_RMDIR: .unlink
            case FUSE_RENAME, FUSE_RENAME2: .rename
            case FUSE_LINK: .link
            case FUSE_OPEN: .open
            case FUSE_FLUSH: .flush
            case FUSE_RELEASE: .release
            case FUSE_READ: .read
            case FUSE_WRITE: .write
            case FUSE_FSYNC, FUSE_FSYNCDIR: .fsync
            case FUSE_FALLOCATE: .allocate
            case FUSE_COPY_FILE_RANGE: .copy
            case FUSE_LSEEK: .seek
            case FUSE_OPENDIR, FUSE_RELEASEDIR: .opendir
            case FUSE_READDIR, FUSE_READDIRPLUS: .readdir
            case FUSE_GETXATTR, FUSE_SETXATTR, FUSE_LISTXATTR, FUSE_REMOVEXATTR: .xattr
            case FUSE_STATFS: .statfs
            default: .other
            }
    }

    /// Whether another thread answers it.
    var isAnsweredLater: Bool { self == .fsync || self == .seek }
}

final class RequestMeter: Sendable {
    private let recorders = RequestKind.allCases.map { _ in LatencyRecorder() }

    func record(_ kind: RequestKind, since start: UInt64) {
        recorders[kind.rawValue].record(since: start)
    }

    /// Runs `body`, which answers the request or hands it on to who does.
    func measured(_ request: fuse_buf, _ body: () -> Void) {
        guard unsafe request.size >= MemoryLayout<fuse_in_header>.size else { return body() }
        let header = unsafe request.mem.loadUnaligned(as: fuse_in_header.self)
        let kind = RequestKind(opcode: header.opcode), start = monotonicNanoseconds()
        body()
        if !kind.isAnsweredLater { record(kind, since: start) }
    }

    var counts: [ActivityCount] {
        RequestKind.allCases.map { kind in
            let latencies = recorders[kind.rawValue].latencies
            return ActivityCount(
                "\(kind)", operations: UInt64(latencies.count), latencies)
        }
    }
}

extension MountedVolume {
    /// Requests so far, by kind; kinds in a fixed order.
    public var requests: [ActivityCount] { meter.counts }
}
