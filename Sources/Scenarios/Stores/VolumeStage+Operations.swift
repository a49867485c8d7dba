// The operations of a scenario as operations of the volume.

internal import Bytes
internal import Volume
internal import VolumeFormat

extension Path {
    /// As it stands in a scenario, for errors.
    var words: String { Scenarios.words(self) }

    /// The directory of the last name, and that name.
    func split() throws -> (directory: Path, name: [UInt8]) {
        guard let last = names.last else {
            throw StageError.refused("\(words) is no name in a directory")
        }
        return (Path(base: base, names: Array(names.dropLast())), Array(last.utf8))
    }

    /// The inode that the path leads to; `lookup` says what a name leads to. Symlinks are not
    /// followed.
    func resolve(
        _ lookup: (InodeNumber, [UInt8]) throws -> DirentTarget?
    ) throws -> InodeNumber {
        var inode = base ?? .root
        for name in names {
            guard let target = try lookup(inode, Array(name.utf8)) else {
                throw StageError.refused("\(words): \(name) does not exist in inode \(inode)")
            }
            inode = target.child
        }
        return inode
    }
}

extension Operations {
    /// All of a transaction. It must be one group: what was committed of it can't be taken back.
    /// - Returns: the inodes that it has made.
    mutating func perform(_ transaction: Transaction) throws -> [InodeNumber] {
        let commit = commitUnderWay
        var made: [InodeNumber] = []
        for operation in transaction.operations {
            do {
                if let inode = try perform(operation) { made.append(inode) }
            } catch let error as VolumeError {
                throw VolumeStage.refusal(of: operation, error)
            }
            guard commitUnderWay == commit else {
                throw StageError.refused(
                    "a transaction of \(transaction.operations.count) operations: it is too large "
                        + "to be one; divide it")
            }
        }
        return made
    }

    /// - Returns: the inode that it has made, if any.
    @discardableResult
    mutating func perform(_ operation: Operation) throws -> InodeNumber? {
        switch operation {
        case .make(let kind, let path): return try make(kind, path)
        case .link(let from, let to):
            let (directory, name) = try place(to)
            try link(try inode(at: from), directory, name)
        case .unlink(let path):
            let (directory, name) = try place(path)
            try unlink(directory, name)
        case .rmdir(let path):
            let (directory, name) = try place(path)
            try removeDirectory(directory, name)
        case .rename(let mode, let from, let to):
            let old = try place(from), new = try place(to)
            try rename(old.directory, old.name, to: new.directory, new.name, mode.volumeMode)
        case .map(let kind, let path, let offset, let length):
            try map(kind, try inode(at: path), offset, length)
        case .truncate(let path, let length):
            try truncate(try inode(at: path), to: try bytes(length))
        case .chmod(let path, let permissions):
            try setAttributes(
                try inode(at: path), AttributeChanges(permissions: permissions))
        case .chown(let path, let uid, let gid, let project):
            try setAttributes(
                try inode(at: path), AttributeChanges(uid: uid, gid: gid, project: project))
        case .open, .close: preconditionFailure("opening and closing are no group's")
        case .set, .remove:
            throw StageError.refused("items and tags are of a catalogue, not of a tree")
        }
        return nil
    }

    private mutating func make(_ kind: Operation.Making, _ path: Path) throws -> InodeNumber {
        let (directory, name) = try place(path)
        switch kind {
        case .create: return try create(directory, name).number
        case .mkdir: return try makeDirectory(directory, name).number
        case .symlink:
            let target = Array(TreeLayout.symlinkTarget.utf8)
            return try symlink(directory, name, to: target).number
        case .fifo: return try makeNode(directory, name, .fifo).number
        }
    }

    private mutating func map(
        _ kind: Operation.Mapping, _ inode: InodeNumber, _ offset: UInt64, _ length: UInt64
    ) throws {
        let start = try bytes(offset), count = try bytes(length)
        switch kind {
        case .write:
            let (end, overflow) = start.addingReportingOverflow(count)
            guard !overflow, count > 0 else {
                throw StageError.refused("a write of \(length) blocks at \(offset)")
            }
            try reserve(inode, [start..<end], .written, size: end)
        case .allocate: try allocate(inode, start, count, .reserve(keepSize: false))
        case .punch: try allocate(inode, start, count, .punchHole)
        case .zero: try allocate(inode, start, count, .zeroRange(keepSize: false))
        }
    }

    /// The bytes of so many blocks.
    private func bytes(_ blocks: UInt64) throws -> UInt64 {
        let (bytes, overflow) = blocks.multipliedReportingOverflow(
            by: UInt64(TreeLayout.blockSize))
        guard !overflow else { throw StageError.refused("\(blocks) blocks are beyond any file") }
        return bytes
    }

    private func inode(at path: Path) throws -> InodeNumber {
        try path.resolve { directory, name in try entry(directory, name) }
    }

    private func place(_ path: Path) throws -> (directory: InodeNumber, name: [UInt8]) {
        let (directory, name) = try path.split()
        return (try inode(at: directory), name)
    }
}

extension VolumeSnapshot {
    func inode(at path: Path) throws -> InodeNumber {
        try path.resolve { directory, name in try lookup(directory, name) }
    }
}

extension Operation.Renaming {
    fileprivate var volumeMode: RenameMode {
        switch self {
        case .rename: .replace
        case .move: .noReplace
        case .exchange: .exchange
        }
    }
}
