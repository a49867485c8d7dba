// Requests about names. The kernel locks a directory while its names are changed, and shares the
// lock while they are looked up: no inode goes between being found and being held.

internal import CFUSE
internal import Volume
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

/// `S_ISGID`.
private let setgid: UInt16 = 0o2000

extension MountedVolume {
    func lookUp(_ parent: InodeNumber, _ name: UnsafePointer<CChar>) throws -> Answer {
        let bytes = unsafe UnsafeRawBufferPointer(start: name, count: strlen(name))
        guard bytes.count <= DirentRecord.maximumNameLength else {
            throw VolumeError.nameTooLong("name of \(bytes.count) bytes")
        }
        // The kernel asks so for what it knows by a handle only (open_by_handle_at).
        if unsafe strcmp(name, ".") == 0 { return try hold(parent) }
        if unsafe strcmp(name, "..") == 0 {
            return try hold(try volume.attributes(parent).record.parent)
        }
        let found = try unsafe volume.lookUp(parent, RawSpan(_unsafeBytes: bytes))
        return found.map { .entry($0) } ?? .noEntry
    }

    private func hold(_ n: InodeNumber) throws -> Answer {
        volume.hold(n)
        do {
            return .entry(try volume.attributes(n))
        } catch {
            volume.forget(n)
            throw error
        }
    }

    func forget(_ n: InodeNumber, _ count: UInt64) -> Answer {
        // The root is never given up.
        if n != .root { volume.forget(n, count) }
        nearlyFull.remove(n)
        return .none
    }

    // MARK: Making

    func makeNode(
        _ parent: InodeNumber, _ name: UnsafePointer<CChar>, _ mode: mode_t, _ device: dev_t,
        _ caller: Caller
    ) throws -> Answer {
        let name = unsafe Array(name)
        guard let type = FileType(mode: mode) else {
            throw VolumeError.invalid("a node of mode \(mode)")
        }
        let isDevice = type == .characterDevice || type == .blockDevice
        let number =
            isDevice ? UInt64(fuse_shim_major(device)) << 32 | UInt64(fuse_shim_minor(device)) : 0
        return try made {
            let new = NewInode(in: try $0.attributes(parent), mode, caller)
            return type == .regular
                ? try $0.create(parent, name, new)
                : try $0.makeNode(parent, name, type, device: number, new)
        }
    }

    func makeDirectory(
        _ parent: InodeNumber, _ name: UnsafePointer<CChar>, _ mode: mode_t, _ caller: Caller
    ) throws -> Answer {
        let name = unsafe Array(name)
        return try made {
            let new = NewInode(in: try $0.attributes(parent), mode | S_IFDIR, caller)
            return try $0.makeDirectory(parent, name, new)
        }
    }

    func symlink(
        _ target: UnsafePointer<CChar>, _ parent: InodeNumber, _ name: UnsafePointer<CChar>,
        _ caller: Caller
    ) throws -> Answer {
        let name = unsafe Array(name), target = unsafe Array(target)
        return try made {
            let new = NewInode(in: try $0.attributes(parent), 0o777, caller)
            return try $0.symlink(parent, name, to: target, new)
        }
    }

    /// The kernel lets an inode without a name have one only where it was made without one
    /// (`O_TMPFILE`).
    func link(
        _ n: InodeNumber, _ parent: InodeNumber, _ name: UnsafePointer<CChar>
    ) throws -> Answer {
        let name = unsafe Array(name)
        return try made { try $0.link(n, parent, name, isTemporary: true) }
    }

    /// Runs a change that gives an inode a name. The kernel has the directory locked until it
    /// is answered: nobody takes the name away before the inode is held.
    private func made(_ body: (inout Operations) throws -> Inode) throws -> Answer {
        let inode = try change(body)
        volume.hold(inode.number)
        return .entry(inode)
    }

    // MARK: Taking away, moving

    func unlink(_ parent: InodeNumber, _ name: UnsafePointer<CChar>) throws -> Answer {
        let name = unsafe Array(name)
        try change { try $0.unlink(parent, name) }
        return .done
    }

    func removeDirectory(_ parent: InodeNumber, _ name: UnsafePointer<CChar>) throws -> Answer {
        let name = unsafe Array(name)
        try change { try $0.removeDirectory(parent, name) }
        return .done
    }

    func rename(
        _ parent: InodeNumber, _ name: UnsafePointer<CChar>, _ newParent: InodeNumber,
        _ newName: UnsafePointer<CChar>, _ flags: UInt32
    ) throws -> Answer {
        let mode: RenameMode
        switch flags {
        case 0: mode = .replace
        case 1: mode = .noReplace
        case 2: mode = .exchange
        default: throw VolumeError.invalid("rename with flags \(flags)")
        }
        let name = unsafe Array(name), newName = unsafe Array(newName)
        try change { try $0.rename(parent, name, to: newParent, newName, mode) }
        return .done
    }

    func readLink(_ n: InodeNumber) throws -> Answer {
        .target(try volume.read(about: n).readlink(n))
    }
}

extension NewInode {
    /// What a new inode in a directory gets of its maker and of the directory: in one with the
    /// setgid bit, the directory's group, and a directory the bit too.
    init(in directory: Inode, _ mode: mode_t, _ caller: Caller) {
        self.init(
            permissions: UInt16(mode & 0o7777), uid: caller.uid, gid: caller.gid,
            project: directory.record.project)
        if directory.record.permissions & setgid != 0 {
            gid = directory.record.gid
            if mode & S_IFMT == S_IFDIR { permissions |= setgid }
        }
    }
}

extension Array where Element == UInt8 {
    /// The bytes of a C string.
    init(_ text: UnsafePointer<CChar>) {
        unsafe self.init(UnsafeRawBufferPointer(start: text, count: strlen(text)))
    }
}
