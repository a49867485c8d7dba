// liblmdb maps its lock file into memory and writes to it there. Where the file system has no
// room for the file's blocks, the kernel answers such a write with SIGBUS, and the process is
// gone. So the blocks are taken before the file is mapped.

internal import Bytes
internal import CLMDB
#if canImport(Glibc)
internal import Glibc
#endif

extension Environment {
    /// The size of the lock file of so many readers: liblmdb's head and a cache line for each.
    private static func lockFileSize(readers: Int) -> Int { 256 + 64 * readers }

    /// Takes the blocks of the lock file of the environment at `path`. What can't be opened is
    /// left for liblmdb to judge: it does without where the file system is read-only.
    static func prepareLockFile(of path: String, readers: Int) throws(LMDBError) {
        let name = path + "-lock"
        let file = unsafe open(name.hostPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { return }
        // Closing the file lets go of the locks that this process has on it: it has none, since
        // no process opens an environment twice.
        defer { close(file) }
        var status = stat()
        let size = lockFileSize(readers: readers)
        guard unsafe fstat(file, &status) == 0, status.st_blocks * 512 < size else { return }
        if lmdb_shim_allocate(file, Int64(size)) != 0, errno == ENOSPC || errno == EDQUOT {
            throw LMDBError(code: .system(errno), operation: "make room for", object: name)
        }
    }
}
