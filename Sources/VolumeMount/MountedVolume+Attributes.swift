// Requests about attributes, extended attributes, and the volume as a whole.
//
// Sizes and times of files that are being written are the kernel's: it caches writes, and sends
// the times that it has given them. So a write that comes from its cache leaves the times alone.

internal import CFUSE
internal import Volume
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

extension MountedVolume {
    func attributes(_ n: InodeNumber) throws -> Answer {
        .attributes(try volume.attributes(n))
    }

    func setAttributes(_ n: InodeNumber, _ wanted: stat, _ which: Int32) throws -> Answer {
        func isSet(_ flag: Int32) -> Bool { which & flag != 0 }
        if which & ~(FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME) == 0,
            let inode = try orphan(n, modified: Timestamp(wanted.st_mtim))
        {
            return .attributes(inode)
        }
        let now = Timestamp.now
        var changes = AttributeChanges()
        // As chown(2) does, and truncate(2) by who may not set the bits.
        changes.dropsPrivileges = isSet(
            FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_KILL_SUID)
        if isSet(FUSE_SET_ATTR_MODE) { changes.permissions = UInt16(wanted.st_mode & 0o7777) }
        if isSet(FUSE_SET_ATTR_UID) { changes.uid = wanted.st_uid }
        if isSet(FUSE_SET_ATTR_GID) { changes.gid = wanted.st_gid }
        if isSet(FUSE_SET_ATTR_SIZE) {
            guard wanted.st_size >= 0 else { throw VolumeError.invalid("size of inode \(n)") }
            changes.size = UInt64(wanted.st_size)
        }
        if isSet(FUSE_SET_ATTR_ATIME) { changes.accessed = Timestamp(wanted.st_atim) }
        if isSet(FUSE_SET_ATTR_MTIME) { changes.modified = Timestamp(wanted.st_mtim) }
        if isSet(FUSE_SET_ATTR_ATIME_NOW) { changes.accessed = now }
        if isSet(FUSE_SET_ATTR_MTIME_NOW) { changes.modified = now }
        if isSet(FUSE_SET_ATTR_CTIME) { changes.changed = Timestamp(wanted.st_ctim) }
        return .attributes(try change { try $0.setAttributes(n, changes) })
    }

    /// An inode without a name, if that was its time of modification before: the kernel, which
    /// keeps the times of files, sends those of each that it has unlinked, and nobody can see
    /// them after it but by the kernel. One that gets a name again gets another time of change.
    private func orphan(_ n: InodeNumber, modified: Timestamp) throws -> Inode? {
        let inode = try volume.attributes(n)
        return inode.record.links == 0 && inode.record.modified == modified ? inode : nil
    }

    func statistics() throws -> Answer {
        .statistics(try volume.read().fileSystemStatistics())
    }

    // MARK: Extended attributes

    func setXattr(
        _ n: InodeNumber, _ name: UnsafePointer<CChar>, _ value: UnsafeRawBufferPointer,
        _ flags: Int32
    ) throws -> Answer {
        let mode: XattrMode
        switch flags {
        case 0: mode = .set
        case 1: mode = .create
        case 2: mode = .replace
        default: throw VolumeError.invalid("attribute flags \(flags)")
        }
        let name = unsafe try xattrName(name)
        let bytes = unsafe Array(value)
        try volume.setXattr(n, name, bytes, mode)
        return .done
    }

    func xattr(_ n: InodeNumber, _ name: UnsafePointer<CChar>, _ size: Int) throws -> Answer {
        let name = unsafe try xattrName(name)
        guard let value = try volume.xattr(n, name) else {
            throw VolumeError.noAttribute("inode \(n)")
        }
        return try answer(value, size)
    }

    /// The names of `trusted` attributes are root's to know.
    func xattrNames(_ n: InodeNumber, _ size: Int, _ caller: Caller) throws -> Answer {
        let trusted = Array("trusted.".utf8)
        var list: [UInt8] = []
        for name in try volume.read(about: n).xattrNames(n) {
            if caller.uid != 0, name.starts(with: trusted) { continue }
            list += name
            list.append(0)
        }
        return try answer(list, size)
    }

    func removeXattr(_ n: InodeNumber, _ name: UnsafePointer<CChar>) throws -> Answer {
        let name = unsafe try xattrName(name)
        try change { try $0.removeXattr(n, name) }
        return .done
    }

    /// Who asks with no room wants to know how much is needed.
    private func answer(_ value: [UInt8], _ size: Int) throws -> Answer {
        if size == 0 { return .size(value.count) }
        guard value.count <= size, value.count <= Buffer.size else {
            throw VolumeError.rangeTooSmall("attributes of \(value.count) bytes")
        }
        let buffer = buffers.take()
        buffer.withBytes(value.count) { bytes in
            unsafe bytes.withUnsafeMutableBytes { unsafe $0.copyBytes(from: value) }
        }
        return .bytes(buffer, value.count)
    }

    /// POSIX access control lists change what the mode means: they are refused, not kept and
    /// left without effect.
    private func xattrName(_ name: UnsafePointer<CChar>) throws(VolumeError) -> [UInt8] {
        let name = unsafe Array(name)
        guard !name.starts(with: "system.".utf8) else {
            throw .notSupported("attribute \"\(String(decoding: name, as: UTF8.self))\"")
        }
        return name
    }
}
