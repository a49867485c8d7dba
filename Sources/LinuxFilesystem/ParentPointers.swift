// Parent pointers of XFS: XFS_IOC_GETPARENTS_BY_HANDLE. A record is the parent's handle (24
// bytes), length u32, reserved u32, name and NUL.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// Reads the parent pointers of one inode after the other. Used by one thread at a time.
public final class ParentReader {
    private let buffer: AnswerBuffer
    private var request = lfs_getparents()
    private var used = 0
    private(set) var isDone = true

    static let headerSize = MemoryLayout<lfs_parent_record>.size
    /// `XFS_GETPARENTS_OFLAG_ROOT`, `_DONE`.
    static let rootFlag: UInt16 = 1, doneFlag: UInt16 = 2

    /// - Parameter capacity: bytes that are asked for at once; the kernel clears and copies all of
    ///   them for each call, however few it needs.
    public init(capacity: Int = 2048) {
        precondition(capacity >= 1024 && capacity <= 1 << 20)
        buffer = AnswerBuffer(capacity: capacity)
    }

    /// Begins with the parent pointers of `inode`, if it still has `generation`.
    public func begin(_ filesystem: XFSFilesystem, _ inode: UInt64, generation: UInt32) {
        request = lfs_getparents()
        request.handle.fsid = filesystem.identity
        // Length of what follows it in the handle.
        request.handle.fid_len = 14
        request.handle.gen = generation
        request.handle.ino = inode
        request.bufsize = UInt32(buffer.capacity)
        request.buffer = unsafe UInt64(UInt(bitPattern: buffer.pointer))
        used = 0
        isDone = false
    }

    /// Reads the next parent pointers. The inode is locked for the call alone.
    /// - Returns: false at the end, and where the inode is gone.
    public func read(_ filesystem: XFSFilesystem) throws(LinuxCallError) -> Bool {
        used = 0
        if isDone { return false }
        // Where the kernel has nothing to tell it may leave the buffer as it was.
        buffer.store(lfs_parent_record())
        guard
            unsafe lfs_ioctl(filesystem.mount.root.number, LFS_XFS_GETPARENTS, &request) == 0
        else {
            let error = LinuxCallError(
                "XFS_IOC_GETPARENTS_BY_HANDLE", "inode \(request.handle.ino)")
            isDone = true
            if error.isVanished { return false }
            throw error
        }
        // The root has none. An answer that is not the last holds at least one record.
        isDone = request.oflags & (ParentReader.doneFlag | ParentReader.rootFlag) != 0
        if request.oflags & ParentReader.rootFlag != 0 { return false }
        let buffer = self.buffer
        let answer = buffer.bytes(buffer.capacity)
        guard let size = ParentReader.size(of: answer) else {
            throw .malformed(
                "XFS_IOC_GETPARENTS_BY_HANDLE", "inode \(request.handle.ino)",
                "a record is longer than the answer, or its name does not end")
        }
        guard size > 0 || isDone else {
            throw .malformed(
                "XFS_IOC_GETPARENTS_BY_HANDLE", "inode \(request.handle.ino)", "nothing in it")
        }
        used = size
        return size > 0
    }

    /// Calls `body` with inode and generation of the parent, and the name, of each that was
    /// read last.
    public func forEach(_ body: (UInt64, UInt32, RawSpan) -> Void) {
        let buffer = self.buffer
        let records = buffer.bytes(used)
        ParentReader.forEach(records, body)
    }

    /// Bytes of the records in `answer`, which end at one of length 0 or with the answer; nil
    /// where one is malformed.
    static func size(of answer: RawSpan) -> Int? {
        var position = 0
        while position + headerSize <= answer.byteCount {
            let length = Int(answer.native(at: position, as: lfs_parent_record.self).reclen)
            if length == 0 { return position }
            guard length > headerSize, position + length <= answer.byteCount,
                let name = nameLength(
                    answer.extracting(position + headerSize..<position + length)),
                name > 0, name <= 255
            else { return nil }
            position += length
        }
        return position
    }

    static func forEach(
        _ records: RawSpan, _ body: (UInt64, UInt32, RawSpan) -> Void
    ) {
        var position = 0
        while position < records.byteCount {
            let record = records.native(at: position, as: lfs_parent_record.self)
            let field = records.extracting(
                position + headerSize..<position + Int(record.reclen))
            body(
                record.parent.ino, record.parent.gen,
                field.extracting(first: nameLength(field) ?? 0))
            position += Int(record.reclen)
        }
    }
}
