// Operations that make names: create, mkdir, mknod, symlink, link.
//
// Each reads and checks all it needs before it changes anything.

public import VolumeFormat

extension Operations {
    /// creat(2) with `O_EXCL`: an empty regular file.
    @discardableResult
    public mutating func create(
        _ dir: InodeNumber, _ name: [UInt8], _ new: NewInode = NewInode()
    ) throws -> Inode {
        let now = try beginMaking()
        return try make(dir, name, InodeRecord(new, .regular, now: now))
    }

    /// mkdir(2).
    @discardableResult
    public mutating func makeDirectory(
        _ dir: InodeNumber, _ name: [UInt8], _ new: NewInode = NewInode(permissions: 0o755)
    ) throws -> Inode {
        var inode = InodeRecord(new, .directory, now: try beginMaking())
        inode.links = 2
        inode.parent = dir
        return try make(dir, name, inode)
    }

    /// mknod(2): a fifo, a socket or a device. `device` has the major number in its upper 32
    /// bits and is 0 for what is no device.
    @discardableResult
    public mutating func makeNode(
        _ dir: InodeNumber, _ name: [UInt8], _ type: FileType, device: UInt64 = 0,
        _ new: NewInode = NewInode()
    ) throws -> Inode {
        let now = try beginMaking()
        let isDevice = type == .characterDevice || type == .blockDevice
        guard type != .directory, type != .symlink else {
            throw VolumeError.invalid("node \(entryText(dir, name)): of type \(type)")
        }
        guard isDevice || device == 0 else {
            throw VolumeError.invalid(
                "node \(entryText(dir, name)): a \(type) with a device number")
        }
        var inode = InodeRecord(new, type, now: now)
        inode.device = device
        return try make(dir, name, inode)
    }

    /// symlink(2).
    @discardableResult
    public mutating func symlink(
        _ dir: InodeNumber, _ name: [UInt8], to target: [UInt8],
        _ new: NewInode = NewInode(permissions: 0o777)
    ) throws -> Inode {
        let now = try beginMaking()
        guard !target.isEmpty else {
            throw VolumeError.noEntry("an empty target of \(entryText(dir, name))")
        }
        guard target.count <= SymlinkRecord.maximumLength else {
            throw VolumeError.nameTooLong("target of \(entryText(dir, name))")
        }
        guard !target.contains(0) else {
            throw VolumeError.invalid("target of \(entryText(dir, name)): it holds a NUL")
        }
        var inode = InodeRecord(new, .symlink, now: now)
        inode.size = UInt64(target.count)
        let made = try make(dir, name, inode)
        try putSymlink(made.number, target)
        return made
    }

    /// open(2) with `O_TMPFILE`: a regular file without a name, which goes when it is closed for
    /// the last time. The caller has it counted as open at once (`Volume.makeTemporary`).
    mutating func makeTemporary(
        in dir: InodeNumber, _ new: NewInode, opened: (InodeNumber) -> Void
    ) throws -> Inode {
        let now = try beginMaking()
        _ = try growingDirectory(dir)
        var inode = InodeRecord(new, .regular, now: now)
        inode.links = 0
        let (number, generation) = try allocateInode()
        inode.generation = generation
        try put(inode, number, usage: .new)
        try putReclaim(ReclaimRecord(inode: number, from: 0))
        opened(number)
        let made = Inode(number: number, record: inode)
        note(.made(made, nil))
        return made
    }

    /// link(2): one more name for an inode that is no directory.
    /// - Parameter isTemporary: whether the inode may be one without a name that was never
    ///   unlinked (`O_TMPFILE`); who calls knows the difference.
    @discardableResult
    public mutating func link(
        _ n: InodeNumber, _ dir: InodeNumber, _ name: [UInt8], isTemporary: Bool = false
    ) throws -> Inode {
        let now = try beginMaking()
        try checkName(name)
        var parent = try growingDirectory(dir)
        guard try dirent(dir, name) == nil else { throw VolumeError.exists(entryText(dir, name)) }
        var inode = try existing(n)
        guard inode.type != .directory else {
            throw VolumeError.notPermitted("a second name for directory \(n)")
        }
        guard inode.links > 0 || isTemporary else {
            throw VolumeError.noEntry("inode \(n), unlinked")
        }
        guard inode.links < InodeRecord.maximumLinks else {
            throw VolumeError.tooManyLinks("inode \(n)")
        }
        if inode.links == 0 { try removeReclaim(ReclaimRecord(inode: n, from: 0)) }
        inode.links += 1
        inode.changed = now
        parent.size += 1
        parent.touch(now)
        try put(inode, n, usage: .none)
        try putDirent(
            dir, name, DirentTarget(child: n, generation: inode.generation, type: inode.type))
        try put(parent, dir, usage: .none)
        note(.linked(n, VolumeName(directory: dir, name: name)))
        return Inode(number: n, record: inode)
    }

    /// The start of an operation that needs room for new records; its time.
    private mutating func beginMaking() throws -> Timestamp {
        try begin(growing: true)
        return now
    }

    /// Stores `prototype` as a new inode under a new name.
    private mutating func make(
        _ dir: InodeNumber, _ name: [UInt8], _ prototype: InodeRecord
    ) throws -> Inode {
        try checkName(name)
        var parent = try growingDirectory(dir)
        guard try dirent(dir, name) == nil else { throw VolumeError.exists(entryText(dir, name)) }
        if prototype.type == .directory {
            guard parent.links < InodeRecord.maximumLinks else {
                throw VolumeError.tooManyLinks("directory \(dir)")
            }
            parent.links += 1
        }
        parent.size += 1
        parent.touch(now)
        var inode = prototype
        let (number, generation) = try allocateInode()
        inode.generation = generation
        try put(inode, number, usage: .new)
        try putDirent(
            dir, name, DirentTarget(child: number, generation: generation, type: inode.type))
        try put(parent, dir, usage: .none)
        let made = Inode(number: number, record: inode)
        note(.made(made, VolumeName(directory: dir, name: name)))
        return made
    }
}

extension InodeRecord {
    /// A new inode with one name.
    fileprivate init(_ new: NewInode, _ type: FileType, now: Timestamp) {
        self.init(type: type, now: now)
        permissions = new.permissions & 0o7777
        uid = new.uid
        gid = new.gid
        project = new.project
        links = 1
    }
}
