// rename(2), with the flags of renameat2(2).
//
// One operation may change up to four inodes, some of which may be the same: both parents,
// what is moved, and what was there before. They are changed in `Affected`, which has one
// record per number, and put once at the end.

public import VolumeFormat

public enum RenameMode: Hashable, Sendable {
    /// What has the new name already is replaced.
    case replace
    /// The new name must not exist.
    case noReplace
    /// Both names must exist and change places.
    case exchange
}

/// One end of a rename: an entry that exists, or the place for one.
private struct End {
    let directory: InodeNumber
    let name: [UInt8]
    var target: DirentTarget?
}

/// The inodes that an operation changes, each once.
private struct Affected {
    private var inodes: [(number: InodeNumber, record: InodeRecord)] = []

    mutating func add(_ n: InodeNumber, _ record: InodeRecord) {
        if !inodes.contains(where: { $0.number == n }) { inodes.append((n, record)) }
    }

    subscript(n: InodeNumber) -> InodeRecord {
        get { inodes[index(n)].record }
        set { inodes[index(n)].record = newValue }
    }

    private func index(_ n: InodeNumber) -> Int {
        guard let index = inodes.firstIndex(where: { $0.number == n }) else {
            preconditionFailure("inode \(n) takes no part in the operation")
        }
        return index
    }

    /// Gives the record out for good.
    mutating func take(_ n: InodeNumber) -> InodeRecord { inodes.remove(at: index(n)).record }

    var all: [(number: InodeNumber, record: InodeRecord)] { inodes }
}

extension Operations {
    public mutating func rename(
        _ fromDir: InodeNumber, _ fromName: [UInt8], to toDir: InodeNumber, _ toName: [UInt8],
        _ mode: RenameMode = .replace
    ) throws {
        try begin(growing: mode != .exchange)
        try checkName(fromName)
        try checkName(toName)
        var affected = Affected()
        affected.add(fromDir, try directory(fromDir))
        affected.add(toDir, try growingDirectory(toDir))
        let source = try target(fromDir, fromName)
        let from = End(directory: fromDir, name: fromName, target: source)
        let to = End(directory: toDir, name: toName, target: try dirent(toDir, toName))
        if mode == .noReplace, to.target != nil {
            throw VolumeError.exists(entryText(toDir, toName))
        }
        if mode == .exchange, to.target == nil {
            throw VolumeError.noEntry(entryText(toDir, toName))
        }
        affected.add(source.child, try inode(at: source, fromDir, fromName))
        if let target = to.target {
            affected.add(target.child, try inode(at: target, toDir, toName))
        }
        if let target = to.target, target.child == source.child { return }
        try checkNoLoop(from, to, mode)
        if mode == .exchange {
            try exchange(from, to, &affected)
        } else {
            try move(from, to, &affected)
        }
        noteRename(from, to, mode)
    }

    private mutating func noteRename(_ from: End, _ to: End, _ mode: RenameMode) {
        guard changes != nil else { return }
        var lost: InodeNumber?
        if mode == .replace, let victim = to.target?.child {
            // With a name that is left it is not to be told of.
            lost = (try? inode(victim))?.links ?? 0 == 0 ? victim : nil
        }
        note(
            .renamed(
                VolumeName(directory: from.directory, name: from.name),
                VolumeName(directory: to.directory, name: to.name), mode, lost: lost))
    }

    private mutating func move(_ from: End, _ to: End, _ affected: inout Affected) throws {
        guard let source = from.target else { preconditionFailure("nothing to move") }
        let isDirectory = source.type == .directory
        if let victim = to.target {
            try checkReplaceable(victim, to, byDirectory: isDirectory)
        }
        let movesDirectory = isDirectory && from.directory != to.directory
        let freesLink = to.target?.type == .directory
        if movesDirectory, !freesLink {
            guard affected[to.directory].links < InodeRecord.maximumLinks else {
                throw VolumeError.tooManyLinks("directory \(to.directory)")
            }
        }
        try removeDirent(from.directory, from.name, source)
        try putDirent(to.directory, to.name, source)
        affected[from.directory].size.countDown()
        if isDirectory { affected[from.directory].links &-= 1 }
        if freesLink { affected[to.directory].links &-= 1 }
        if isDirectory { affected[to.directory].links &+= 1 }
        if to.target == nil { affected[to.directory].size += 1 }
        affected[from.directory].touch(now)
        affected[to.directory].touch(now)
        affected[source.child].changed = now
        if isDirectory { affected[source.child].parent = to.directory }
        var lost: Inode?
        if let victim = to.target {
            var record = affected.take(victim.child)
            if victim.type == .directory { record.links = 0 } else { record.links &-= 1 }
            record.changed = now
            lost = Inode(number: victim.child, record: record)
        }
        for (number, record) in affected.all { try put(record, number, usage: .none) }
        if let lost { try settle(lost.number, lost.record) }
    }

    private mutating func exchange(_ from: End, _ to: End, _ affected: inout Affected) throws {
        guard let a = from.target, let b = to.target else { preconditionFailure("nothing there") }
        if from.directory != to.directory, a.type != b.type {
            let gaining = a.type == .directory ? to.directory : from.directory
            if a.type == .directory || b.type == .directory {
                guard affected[gaining].links < InodeRecord.maximumLinks else {
                    throw VolumeError.tooManyLinks("directory \(gaining)")
                }
            }
        }
        try putDirent(from.directory, from.name, b)
        try putDirent(to.directory, to.name, a)
        if a.type == .directory {
            affected[from.directory].links &-= 1
            affected[a.child].parent = to.directory
        }
        if b.type == .directory {
            affected[to.directory].links &-= 1
            affected[b.child].parent = from.directory
        }
        if a.type == .directory { affected[to.directory].links &+= 1 }
        if b.type == .directory { affected[from.directory].links &+= 1 }
        for n in [a.child, b.child] { affected[n].changed = now }
        for n in [from.directory, to.directory] { affected[n].touch(now) }
        for (number, record) in affected.all { try put(record, number, usage: .none) }
    }

    private func checkReplaceable(
        _ victim: DirentTarget, _ to: End, byDirectory: Bool
    ) throws {
        if victim.type == .directory {
            guard byDirectory else {
                throw VolumeError.isDirectory(entryText(to.directory, to.name))
            }
            guard try isEmptyDirectory(victim.child) else {
                throw VolumeError.notEmpty(entryText(to.directory, to.name))
            }
        } else if byDirectory {
            throw VolumeError.notDirectory(entryText(to.directory, to.name))
        }
    }

    /// A directory never becomes its own descendant.
    private func checkNoLoop(_ from: End, _ to: End, _ mode: RenameMode) throws {
        guard from.directory != to.directory else { return }
        if let source = from.target, source.type == .directory,
            try isAncestor(source.child, of: to.directory)
        {
            throw VolumeError.crossesItself(entryText(from.directory, from.name))
        }
        if mode == .exchange, let other = to.target, other.type == .directory,
            try isAncestor(other.child, of: from.directory)
        {
            throw VolumeError.crossesItself(entryText(to.directory, to.name))
        }
    }

    /// Whether `ancestor` is `n`, or on its way up to the root.
    private func isAncestor(_ ancestor: InodeNumber, of n: InodeNumber) throws -> Bool {
        var current = n
        // No way is longer than there were ever inodes: a longer one is a loop, which is damage.
        var remaining = counters.nextInode
        while current != ancestor {
            guard current != .root else { return false }
            guard remaining > 0, let inode = try inode(current), inode.type == .directory else {
                throw VolumeError.damaged(
                    table: TableName.inodes, object: "inode \(n)", .field("parent"))
            }
            remaining -= 1
            current = inode.parent
        }
        return true
    }
}
