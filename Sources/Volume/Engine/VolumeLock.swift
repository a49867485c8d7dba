// The file `lock`: one process writes a volume, or several read it (flock(2)). The writer's
// process number stands in the file, for the error that others get.

internal import Bytes
internal import Threads
#if canImport(Glibc)
internal import Glibc
#endif

final class VolumeLock: Sendable {
    private let file: Int32

    /// Whoever only reads a volume, such as `tidemark status`, soon lets go of it: a writer
    /// waits so many times for so many milliseconds.
    private static let patience = (times: 50, milliseconds: 20)

    /// - Throws: `inUse` where another holds the lock, in this process or another.
    init(volume: String, exclusive: Bool) throws(VolumeError) {
        let path = volume + "/lock"
        var opened = unsafe open(path.hostPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        // On what can only be read, or by a user who may only read it.
        if opened < 0, !exclusive, [EROFS, EACCES, EPERM].contains(Glibc.errno) {
            opened = unsafe open(path.hostPath, O_RDONLY | O_CLOEXEC)
            // Nobody can write there: the directory stands for a lock that nobody has made.
            if opened < 0, Glibc.errno == ENOENT {
                opened = unsafe open(volume.hostPath, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            }
        }
        file = opened
        guard file >= 0 else { throw .system("open", path) }
        var left = exclusive ? VolumeLock.patience.times : 0
        while flock(file, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0 {
            let number = Glibc.errno
            // The file is closed by `deinit`, which runs also where this throws.
            guard number == EWOULDBLOCK else {
                throw .io(operation: "lock", object: path, errno: number)
            }
            let writer = VolumeLock.writer(path)
            guard left > 0, writer == nil else {
                throw .inUse(path: volume, holder: writer)
            }
            left -= 1
            usleep(UInt32(VolumeLock.patience.milliseconds) * 1000)
        }
    }

    /// The process that has written its number last, where it lives.
    private static func writer(_ path: String) -> Int32? {
        readSmallFile(path).flatMap { Int32($0.trimmed) }.flatMap {
            // Of a process that was killed, the number may still stand there.
            kill($0, 0) == 0 || Glibc.errno == EPERM ? $0 : nil
        }
    }

    /// Waits until nobody writes the volume.
    /// - Returns: false where somebody still does after so many seconds.
    static func waitUntilFree(volume: String, seconds: Double) throws(VolumeError) -> Bool {
        let path = volume + "/lock"
        let file = unsafe open(path.hostPath, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw .system("open", path) }
        defer { close(file) }
        let end = monotonicSeconds() + seconds
        while flock(file, LOCK_SH | LOCK_NB) != 0 {
            guard Glibc.errno == EWOULDBLOCK else { throw .system("lock", path) }
            guard monotonicSeconds() < end else { return false }
            usleep(UInt32(patience.milliseconds) * 1000)
        }
        return true
    }

    /// Says who holds the lock. Failing to is no harm.
    func writeHolder() {
        let text = Array("\(getpid())\n".utf8)
        ftruncate(file, 0)
        unsafe text.withUnsafeBytes { _ = unsafe pwrite(file, $0.baseAddress, $0.count, 0) }
    }

    /// Lets others have the volume. Called again it does nothing.
    func release() { flock(file, LOCK_UN) }

    deinit { close(file) }
}
