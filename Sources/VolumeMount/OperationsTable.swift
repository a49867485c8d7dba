// libfuse's table of operations: from C's arguments to the handlers, and from what they return or
// throw to an answer. What is missing here is missing on purpose:
// - release, flush: a file has no handle, its inode's number is all that a request needs. The
//   kernel is told so once, when it first opens one, and asks no more
//   (`FUSE_CAP_NO_OPEN_SUPPORT`). libfuse 3.14 would answer that it is open, each time.
// - create: the kernel then makes a node and opens it, which is one request, not two.
// - read: answered before libfuse sees it (MountedVolume+Reading.swift).
// - access: the kernel checks permissions (`default_permissions`).
// - getlk, setlk, flock: the kernel keeps the locks of a filesystem that is mounted once.
// - write_buf: requests are read into memory. Through a pipe writes of 1 MiB are somewhat faster,
//   those of 4 KiB are not (Docs/benchmarks.md), and libfuse would take all requests that way.

internal import CFUSE
internal import Volume
#if canImport(Glibc)
internal import Glibc
#endif

/// Built where nothing isolates the closures: they are called on libfuse's behalf by any thread.
func operationsTable() -> fuse_lowlevel_ops {
    var table = fuse_lowlevel_ops()
    unsafe table.`init` = { data, connection in
        unsafe MountedVolume.negotiate(&connection!.pointee)
    }
    addNames(&table)
    addAttributes(&table)
    addFiles(&table)
    addDirectories(&table)
    return table
}

private func addNames(_ table: inout fuse_lowlevel_ops) {
    unsafe table.lookup = { request, parent, name in
        unsafe serve(request) { unsafe try $0.lookUp(parent, name!) }
    }
    unsafe table.forget = { request, n, count in
        unsafe serve(request) { $0.forget(n, count) }
    }
    unsafe table.forget_multi = { request, count, list in
        unsafe serve(request) { mounted in
            for index in 0..<count {
                _ = unsafe mounted.forget(list![index].ino, list![index].nlookup)
            }
            return .none
        }
    }
    unsafe table.mknod = { request, parent, name, mode, device in
        unsafe serve(request) {
            unsafe try $0.makeNode(parent, name!, mode, device, Caller(request!))
        }
    }
    unsafe table.mkdir = { request, parent, name, mode in
        unsafe serve(request) { unsafe try $0.makeDirectory(parent, name!, mode, Caller(request!)) }
    }
    unsafe table.symlink = { request, target, parent, name in
        unsafe serve(request) { unsafe try $0.symlink(target!, parent, name!, Caller(request!)) }
    }
    unsafe table.link = { request, n, parent, name in
        unsafe serve(request) { unsafe try $0.link(n, parent, name!) }
    }
    unsafe table.unlink = { request, parent, name in
        unsafe serve(request) { unsafe try $0.unlink(parent, name!) }
    }
    unsafe table.rmdir = { request, parent, name in
        unsafe serve(request) { unsafe try $0.removeDirectory(parent, name!) }
    }
    unsafe table.rename = { request, parent, name, newParent, newName, flags in
        unsafe serve(request) { unsafe try $0.rename(parent, name!, newParent, newName!, flags) }
    }
    unsafe table.readlink = { request, n in unsafe serve(request) { try $0.readLink(n) } }
}

private func addAttributes(_ table: inout fuse_lowlevel_ops) {
    unsafe table.getattr = { request, n, info in
        unsafe serve(request) {
            unsafe info == nil ? try $0.attributes(n) : try $0.attributesBeforeWrite(request!, n)
        }
    }
    unsafe table.setattr = { request, n, attributes, which, _ in
        unsafe serve(request) { unsafe try $0.setAttributes(n, attributes!.pointee, which) }
    }
    unsafe table.statfs = { request, _ in unsafe serve(request) { try $0.statistics() } }
    unsafe table.setxattr = { request, n, name, value, size, flags in
        unsafe serve(request) {
            unsafe try $0.setXattr(
                n, name!, UnsafeRawBufferPointer(start: value, count: size), flags)
        }
    }
    unsafe table.getxattr = { request, n, name, size in
        unsafe serve(request) { unsafe try $0.xattr(n, name!, size) }
    }
    unsafe table.listxattr = { request, n, size in
        unsafe serve(request) { unsafe try $0.xattrNames(n, size, Caller(request!)) }
    }
    unsafe table.removexattr = { request, n, name in
        unsafe serve(request) { unsafe try $0.removeXattr(n, name!) }
    }
}

private func addFiles(_ table: inout fuse_lowlevel_ops) {
    unsafe table.open = { request, _, _ in _ = unsafe fuse_reply_err(request, ENOSYS) }
    unsafe table.write = { request, n, bytes, size, offset, info in
        unsafe serve(request) {
            unsafe try $0.write(
                n, UnsafeRawBufferPointer(start: bytes, count: size), offset,
                isWriteback: fuse_shim_is_writeback(info) != 0)
        }
    }
    unsafe table.fsync = { request, _, _, _ in
        unsafe serve(request) { unsafe $0.sync(request!) }
    }
    unsafe table.fallocate = { request, n, mode, offset, length, _ in
        unsafe serve(request) {
            unsafe try $0.allocate(n, mode, offset, length, Caller(request!))
        }
    }
    unsafe table.copy_file_range = { request, from, fromOffset, _, to, toOffset, _, length, flags in
        unsafe serve(request) {
            guard flags == 0 else { throw VolumeError.invalid("copy_file_range with flags") }
            return unsafe try $0.copy(from, fromOffset, to, toOffset, length, Caller(request!))
        }
    }
    unsafe table.lseek = { request, n, offset, whence, _ in
        unsafe serve(request) { unsafe try $0.seek(request!, n, offset, whence) }
    }
}

private func addDirectories(_ table: inout fuse_lowlevel_ops) {
    unsafe table.opendir = { request, n, _ in
        unsafe serve(request) { try $0.openDirectory(n) }
    }
    unsafe table.readdir = { request, n, size, offset, info in
        unsafe serve(request) { mounted in
            unsafe try mounted.list(request!, n, size, offset, info!.pointee.fh, isPlus: false)
        }
    }
    unsafe table.readdirplus = { request, n, size, offset, info in
        unsafe serve(request) { mounted in
            unsafe try mounted.list(request!, n, size, offset, info!.pointee.fh, isPlus: true)
        }
    }
    unsafe table.releasedir = { request, _, info in
        unsafe serve(request) { mounted in
            unsafe mounted.closeDirectory(info!.pointee.fh)
            return .done
        }
    }
    unsafe table.fsyncdir = { request, _, _, _ in
        unsafe serve(request) { unsafe $0.sync(request!) }
    }
}

/// Who made a request.
struct Caller {
    let uid, gid: UInt32

    /// Whether setuid and setgid bits stay where it changes contents. That is CAP_FSETID, of which
    /// a request says nothing: root's.
    var mayKeepPrivileges: Bool { uid == 0 }

    init(uid: UInt32, gid: UInt32) {
        self.uid = uid
        self.gid = gid
    }

    init(_ request: fuse_req_t) {
        guard let context = unsafe fuse_req_ctx(request) else {
            preconditionFailure("a request has a context")
        }
        uid = unsafe context.pointee.uid
        gid = unsafe context.pointee.gid
    }
}

/// Runs a handler and sends its answer.
func serve(_ request: fuse_req_t?, _ body: (MountedVolume) throws -> Answer) {
    guard let request = unsafe request, let data = unsafe fuse_req_userdata(request) else {
        preconditionFailure("a request belongs to a session")
    }
    unsafe Unmanaged<MountedVolume>.fromOpaque(data)._withUnsafeGuaranteedRef { mounted in
        do {
            unsafe mounted.send(try body(mounted), to: request)
        } catch {
            _ = unsafe fuse_reply_err(request, mounted.number(of: error))
        }
    }
}
