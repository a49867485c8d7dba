// Names in the tree in memory: as Sources/Volume/Operations/Operations+Names*.swift has them.

internal import Bytes
internal import Volume
internal import VolumeFormat

extension MemoryOperations {
    // MARK: Paths

    /// The inode that a path leads to. Symlinks are not followed.
    func resolve(_ path: Path) throws(VolumeError) -> InodeNumber {
        try resolve(path.base, path.names[...])
    }

    private func resolve(
        _ base: InodeNumber?, _ names: ArraySlice<String>
    ) throws(VolumeError) -> InodeNumber {
        var inode = base ?? .root
        for name in names { inode = try target(inode, Array(name.utf8)).child }
        return inode
    }

    /// The directory and the name that a path ends in.
    func place(_ path: Path) throws(VolumeError) -> (directory: InodeNumber, name: [UInt8]) {
        guard let name = path.names.last else {
            throw .invalid("\(path.base.map { "inode \($0)" } ?? "the root"), which has no name")
        }
        return (try resolve(path.base, path.names[..<(path.names.count - 1)]), Array(name.utf8))
    }

    private func target(
        _ directory: InodeNumber, _ name: [UInt8]
    ) throws(VolumeError) -> DirentTarget {
        guard name.count <= DirentRecord.maximumNameLength,
            let target = record(directory, name)?.target
        else { throw .noEntry(text(directory, name)) }
        return target
    }

    func text(_ directory: InodeNumber, _ name: [UInt8]) -> String {
        "\"\(escapedName(name.rawSpan))\" in directory \(directory)"
    }

    // MARK: Rules

    func checkName(_ name: [UInt8]) throws(VolumeError) {
        guard name.count <= DirentRecord.maximumNameLength else {
            throw .nameTooLong("name of \(name.count) bytes")
        }
        guard !name.isEmpty else { throw .noEntry("an empty name") }
        let isDots = name.count <= 2 && name.allSatisfy { $0 == UInt8(ascii: ".") }
        guard !isDots, !name.contains(0), !name.contains(UInt8(ascii: "/")) else {
            throw .invalid("name \"\(escapedName(name.rawSpan))\"")
        }
    }

    func directory(_ number: InodeNumber) throws(VolumeError) -> MemoryInode {
        let inode = try existing(number)
        guard inode.type == .directory else { throw .notDirectory("inode \(number)") }
        return inode
    }

    /// A directory that can take names: one that is not itself removed.
    func growingDirectory(_ number: InodeNumber) throws(VolumeError) -> MemoryInode {
        let inode = try directory(number)
        guard inode.links > 0 else { throw .noEntry("directory \(number), removed") }
        return inode
    }

    func isEmpty(_ directory: InodeNumber) -> Bool {
        let key = PrimaryKey.dirent(directory, RawSpan())
        let place = state.records.firstPlace(atOrAbove: key.span)
        guard place < state.records.count else { return true }
        let record = state.records[place]
        return record.target == nil || record.inode != directory
    }

    // MARK: Making

    mutating func make(_ making: Operation.Making, _ path: Path) throws(VolumeError) {
        let (directory, name) = try place(path)
        try checkName(name)
        var parent = try growingDirectory(directory)
        guard record(directory, name) == nil else { throw .exists(text(directory, name)) }
        let type: FileType =
            switch making {
            case .create: .regular
            case .mkdir: .directory
            case .symlink: .symlink
            case .fifo: .fifo
            }
        let (number, generation) = allocateInode()
        let permissions: UInt16 =
            switch making {
            case .create, .fifo: 0o644
            case .mkdir: 0o755
            case .symlink: 0o777
            }
        put(
            MemoryInode(
                number: number, type: type, permissions: permissions,
                links: type == .directory ? 2 : 1, generation: generation,
                parent: type == .directory ? directory : 0))
        putDirent(
            directory, name, DirentTarget(child: number, generation: generation, type: type))
        if type == .directory { parent.links += 1 }
        put(parent)
    }

    mutating func link(_ path: Path, _ new: Path) throws(VolumeError) {
        let number = try resolve(path)
        let (directory, name) = try place(new)
        try checkName(name)
        _ = try growingDirectory(directory)
        guard record(directory, name) == nil else { throw .exists(text(directory, name)) }
        var inode = try existing(number)
        guard inode.type != .directory else {
            throw .notPermitted("a second name for directory \(number)")
        }
        guard inode.links > 0 else { throw .noEntry("inode \(number), unlinked") }
        inode.links += 1
        put(inode)
        putDirent(
            directory, name,
            DirentTarget(child: number, generation: inode.generation, type: inode.type))
    }

    // MARK: Removing

    mutating func unlink(_ path: Path) throws(VolumeError) {
        let (directory, name) = try place(path)
        try checkName(name)
        _ = try self.directory(directory)
        guard let record = record(directory, name), let target = record.target else {
            throw .noEntry(text(directory, name))
        }
        guard target.type != .directory else { throw .isDirectory(text(directory, name)) }
        var inode = try existing(target.child)
        removeDirent(record)
        inode.links &-= 1
        settle(inode)
    }

    mutating func removeDirectory(_ path: Path) throws(VolumeError) {
        let (directory, name) = try place(path)
        try checkName(name)
        var parent = try self.directory(directory)
        guard let record = record(directory, name), let target = record.target else {
            throw .noEntry(text(directory, name))
        }
        guard target.type == .directory else { throw .notDirectory(text(directory, name)) }
        var inode = try existing(target.child)
        guard isEmpty(target.child) else { throw .notEmpty(text(directory, name)) }
        removeDirent(record)
        parent.links -= 1
        put(parent)
        inode.links = 0
        settle(inode)
    }

    // MARK: Inodes without names

    /// Stores an inode that may have lost its last name: it goes with it, or stays until it
    /// is closed.
    mutating func settle(_ inode: MemoryInode) {
        if inode.links > 0 || state.opens.contains(where: { $0.inode == inode.number }) {
            put(inode)
        } else {
            reclaim(inode)
        }
    }

    /// Takes away all that belongs to an inode without names, and then the inode.
    mutating func reclaim(_ inode: MemoryInode) {
        hasChanged = true
        freeExtents(inode.number, from: 0)
        deleteInode(inode.number)
        let place = state.freeInodes.firstIndex { $0 > inode.number } ?? state.freeInodes.count
        state.freeInodes.insert(inode.number, at: place)
    }

    mutating func open(_ path: Path) throws(VolumeError) {
        let inode = try existing(try resolve(path))
        state.opens.append(MemoryOpen(path: path, inode: inode.number))
        hasOpenedOrClosed = true
    }

    /// Closes what was opened last by the same path.
    mutating func close(_ path: Path) throws(VolumeError) {
        guard let place = state.opens.lastIndex(where: { $0.path == path }) else {
            throw .invalid("closing what was not opened")
        }
        let number = state.opens.remove(at: place).inode
        hasOpenedOrClosed = true
        guard !state.opens.contains(where: { $0.inode == number }),
            let inode = state.inode(number), inode.links == 0
        else { return }
        reclaim(inode)
    }
}
