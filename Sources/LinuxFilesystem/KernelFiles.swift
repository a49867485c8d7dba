// Files that the kernel keeps for itself in an XFS: those of quotas (quotactl(2), Q_XGETQSTATV) and
// of the metadata directory. Bulkstat does not tell of them, and nobody can open them; they have
// blocks like other files.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

extension XFSFilesystem {
    /// Inodes of the files that hold quotas; none where quota is off, or where the kernel has none.
    public func quotaFiles() throws(LinuxCallError) -> [UInt64] {
        let buffer = AnswerBuffer(capacity: MemoryLayout<lfs_quota_state>.size)
        var request = lfs_quota_state()
        // FS_QSTATV_VERSION1.
        request.version = 1
        buffer.store(request)
        guard unsafe lfs_quota_state_of(mount.root.number, buffer.pointer) == 0 else {
            let error = LinuxCallError("Q_XGETQSTATV", mount.path)
            if error.isUnsupported || error.errno == ESRCH { return [] }
            throw error
        }
        let answer = buffer.bytes(buffer.capacity)
        return try XFSFilesystem.quotaFiles(in: answer)
    }

    /// The inodes in an answer to Q_XGETQSTATV (linux/dqblk_xfs.h, `struct fs_quota_statv`): of
    /// users, groups and projects, each once. 0 and -1: there is none.
    static func quotaFiles(in answer: RawSpan) throws(LinuxCallError) -> [UInt64] {
        guard answer.byteCount >= MemoryLayout<lfs_quota_state>.size else {
            throw .malformed("Q_XGETQSTATV", "quotas", "\(answer.byteCount) bytes")
        }
        let state = answer.native(at: 0, as: lfs_quota_state.self)
        guard state.version == 1 else {
            throw .malformed("Q_XGETQSTATV", "quotas", "version \(state.version)")
        }
        var inodes: [UInt64] = []
        for file in [state.users, state.groups, state.projects]
        where file.ino != 0 && file.ino != .max && !inodes.contains(file.ino) {
            inodes.append(file.ino)
        }
        return inodes
    }

    /// Whether `inode` is a file of the metadata directory, which bulkstat tells of only where it
    /// is asked to (XFS_BULK_IREQ_METADIR).
    public func isInMetadataDirectory(
        _ inode: UInt64, using batch: InodeBatch
    ) throws(LinuxCallError) -> Bool {
        guard geometry.hasMetadataDirectory else { return false }
        do throws(LinuxCallError) {
            return try readInodes(
                from: inode, limit: 1, includesMetadata: true, into: batch)
                && batch.inodes.first?.inode == inode && batch.inodes.first?.isDamaged == false
        } catch {
            // A kernel that does not know the flag.
            if error.errno == EINVAL { return false }
            throw error
        }
    }
}
