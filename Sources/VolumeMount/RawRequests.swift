// What libfuse 3.14 does not know, or not as we need it: looked at before libfuse sees a request,
// by the kernel's own protocol (`linux/fuse.h`).
//
// - Reads are answered with pages of the data file (MountedVolume+Reading.swift).
// - O_TMPFILE is a request of its own; libfuse has no operation for it.
// - setuid and setgid bits go when others write to a file. Left to the kernel, that costs a
//   request for each write(2). It leaves it to us (FUSE_HANDLE_KILLPRIV_V2), and says with which
//   write they are to go, where libfuse answers its first request with the flag set. With
//   fallocate(2) and copy_file_range(2) it does not say, and relies on us as well.

internal import CFUSE
internal import Synchronization
internal import Volume
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

extension MountedVolume {
    /// Looks at a request.
    /// - Returns: whether it has been answered, and libfuse is not to see it.
    func intercept(_ request: fuse_buf) -> Bool {
        let bytes = unsafe UnsafeRawBufferPointer(start: request.mem, count: request.size)
        guard let header = unsafe bytes.value(fuse_in_header.self, at: 0) else { return false }
        let body = MemoryLayout<fuse_in_header>.size
        switch header.opcode {
        case FUSE_READ.rawValue:
            guard let read = unsafe bytes.value(fuse_read_in.self, at: body) else { return false }
            answer(header, read)
            return true
        case FUSE_TMPFILE.rawValue:
            guard let create = unsafe bytes.value(fuse_create_in.self, at: body) else {
                return false
            }
            makeTemporary(header, mode: create.mode)
            return true
        case FUSE_WRITE.rawValue:
            guard let write = unsafe bytes.value(fuse_write_in.self, at: body) else {
                return false
            }
            return write.write_flags & UInt32(FUSE_WRITE_KILL_SUIDGID) != 0
                && !dropPrivileges(header)
        case FUSE_INIT.rawValue:
            guard let start = unsafe bytes.value(fuse_init_in.self, at: body) else {
                return false
            }
            let flag = UInt32(FUSE_HANDLE_KILLPRIV_V2)
            firstAnswer.withLock { $0 = start.flags & flag != 0 ? header.unique : nil }
            return false
        default: return false
        }
    }

    private func makeTemporary(_ header: fuse_in_header, mode: UInt32) {
        do {
            let caller = Caller(uid: header.uid, gid: header.gid)
            let new = NewInode(in: try volume.attributes(header.nodeid), mode, caller)
            let inode = try volume.retrying {
                try volume.makeTemporary(in: header.nodeid, new)
            }
            var answer = TemporaryAnswer(inode, volume, header.unique)
            let sent = unsafe withUnsafeBytes(of: &answer) { unsafe sendRaw($0) }
            if !sent { volume.forget(inode.number) }
        } catch {
            refuse(header, number(of: error))
        }
    }

    /// - Returns: whether that went well; where not, the request has been answered.
    private func dropPrivileges(_ header: fuse_in_header) -> Bool {
        do {
            try dropPrivileges(header.nodeid)
            return true
        } catch {
            refuse(header, number(of: error))
            return false
        }
    }

    /// Has the setuid bit go, and the setgid bit of what its group may execute; and the kernel's
    /// copy of them, by which it runs programs: no answer to a change of contents tells it of a new
    /// mode. It has the file open, so it does not wait for an inode that it is about to forget.
    func dropPrivileges(_ n: InodeNumber) throws {
        let permissions = try volume.attributes(n).record.permissions
        guard permissions & 0o4000 != 0 || permissions & 0o2010 == 0o2010 else { return }
        var changes = AttributeChanges()
        changes.dropsPrivileges = true
        _ = try change { try $0.setAttributes(n, changes) }
        if let session = unsafe session {
            _ = unsafe fuse_lowlevel_notify_inval_inode(session, n, -1, 0)
        }
    }

    func refuse(_ request: fuse_in_header, _ number: Int32) {
        var header = fuse_out_header(
            len: UInt32(MemoryLayout<fuse_out_header>.size), error: -number,
            unique: request.unique)
        _ = unsafe withUnsafeBytes(of: &header) { unsafe sendRaw($0) }
    }

    private func sendRaw(_ bytes: UnsafeRawBufferPointer) -> Bool {
        unsafe Glibc.write(descriptor, bytes.baseAddress, bytes.count) == bytes.count
    }

    // MARK: The first answer

    /// How libfuse reads and writes: as ever, but for the first answer.
    func useOwnAnswers(_ session: OpaquePointer) {
        var calls = fuse_custom_io()
        unsafe calls.read = { file, buffer, size, _ in unsafe Glibc.read(file, buffer, size) }
        unsafe calls.writev = { file, parts, count, data in
            if count == 2, let data = unsafe data, let parts = unsafe parts {
                unsafe Unmanaged<MountedVolume>.fromOpaque(data)._withUnsafeGuaranteedRef {
                    unsafe $0.amend(parts[0], parts[1])
                }
            }
            return unsafe Glibc.writev(file, parts, count)
        }
        unsafe fuse_session_custom_io(session, &calls, fuse_session_fd(session))
    }

    /// Sets the flag in the answer to the first request, if this is it.
    private func amend(_ header: iovec, _ body: iovec) {
        guard isStarting.load(ordering: .relaxed) else { return }
        let head = unsafe UnsafeRawBufferPointer(start: header.iov_base, count: header.iov_len)
        guard let answer = unsafe head.value(fuse_out_header.self, at: 0),
            firstAnswer.withLock({ $0 == answer.unique }), answer.error == 0
        else { return }
        isStarting.store(false, ordering: .relaxed)
        guard let flags = MemoryLayout<fuse_init_out>.offset(of: \.flags),
            unsafe body.iov_len >= flags + 4
        else { return }
        let place = unsafe body.iov_base + flags
        let value = unsafe place.loadUnaligned(as: UInt32.self)
        unsafe place.storeBytes(of: value | UInt32(FUSE_HANDLE_KILLPRIV_V2), as: UInt32.self)
    }
}

/// The answer to FUSE_TMPFILE.
private struct TemporaryAnswer {
    var header: fuse_out_header
    var entry: fuse_entry_out
    var file = fuse_open_out()

    init(_ inode: Inode, _ volume: Volume, _ unique: UInt64) {
        let size = MemoryLayout<TemporaryAnswer>.size
        header = fuse_out_header(len: UInt32(size), error: 0, unique: unique)
        entry = fuse_entry_out()
        entry.nodeid = inode.number
        entry.generation = UInt64(inode.record.generation)
        entry.entry_valid = UInt64(validity)
        entry.attr_valid = UInt64(validity)
        entry.attr = fuse_attr(stat(inode, volume))
    }
}

extension fuse_attr {
    fileprivate init(_ status: stat) {
        self.init()
        ino = UInt64(status.st_ino)
        size = UInt64(status.st_size)
        blocks = UInt64(status.st_blocks)
        atime = UInt64(bitPattern: Int64(status.st_atim.tv_sec))
        mtime = UInt64(bitPattern: Int64(status.st_mtim.tv_sec))
        ctime = UInt64(bitPattern: Int64(status.st_ctim.tv_sec))
        atimensec = UInt32(status.st_atim.tv_nsec)
        mtimensec = UInt32(status.st_mtim.tv_nsec)
        ctimensec = UInt32(status.st_ctim.tv_nsec)
        mode = status.st_mode
        nlink = UInt32(status.st_nlink)
        uid = status.st_uid
        gid = status.st_gid
        blksize = UInt32(status.st_blksize)
    }
}

extension UnsafeRawBufferPointer {
    /// The value of a C type at `offset`; nil where the bytes end before its end.
    fileprivate func value<T: BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T? {
        guard count >= offset + MemoryLayout<T>.size else { return nil }
        return unsafe loadUnaligned(fromByteOffset: offset, as: type)
    }
}
