// Whether somebody keeps an index: a lock of the open file (fcntl(2), F_OFD_SETLK) on one byte that
// no file has. It goes with the process, however that ends.

internal import Bytes
#if canImport(Glibc)
internal import Glibc
#endif

final class FileLock: Sendable {
    private let file: Int32

    private static let place: Int = 1 << 62
    /// `F_OFD_GETLK`, `F_OFD_SETLK`.
    private static let ask: Int32 = 36, set: Int32 = 37

    /// Opens the file, or makes an empty one.
    init(_ path: String) throws {
        file = unsafe open(path.hostPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else {
            throw IndexFileError(
                path,
                errno == ENOSPC || errno == EDQUOT
                    ? .noRoom(systemText(errno)) : .failed("open: \(systemText(errno))"))
        }
        var lock = FileLock.lock
        guard unsafe fcntl(file, FileLock.set, &lock) == 0 else {
            let number = errno
            // The file is closed by `deinit`, which runs also where this throws.
            throw IndexFileError(
                path,
                number == EAGAIN || number == EACCES
                    ? .served : .failed("lock: \(systemText(number))"))
        }
    }

    deinit { close(file) }

    private static var lock: flock {
        var lock = flock()
        lock.l_type = Int16(F_WRLCK)
        lock.l_whence = Int16(SEEK_SET)
        lock.l_start = place
        lock.l_len = 1
        return lock
    }

    /// Whether somebody holds the lock of `path`.
    static func isHeld(_ path: String) -> Bool {
        let file = unsafe open(path.hostPath, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return false }
        defer { close(file) }
        var lock = FileLock.lock
        // Asked for with a lock for reading: the file is open for no more.
        lock.l_type = Int16(F_WRLCK)
        return unsafe fcntl(file, ask, &lock) == 0 && lock.l_type != Int16(F_UNLCK)
    }
}
