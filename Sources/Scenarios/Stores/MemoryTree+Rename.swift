// Renames in the tree in memory: as Sources/Volume/Operations/Operations+NamesRename.swift has
// them. All is checked before anything changes.

internal import Volume
internal import VolumeFormat

/// One end of a rename: an entry that exists, or the place for one.
private struct End {
    let directory: InodeNumber
    let name: [UInt8]
    let record: MemoryRecord?

    var target: DirentTarget? { record?.target }
}

extension MemoryOperations {
    mutating func rename(
        _ mode: Operation.Renaming, _ path: Path, _ new: Path
    ) throws(VolumeError) {
        let (fromDirectory, fromName) = try place(path)
        let (toDirectory, toName) = try place(new)
        try checkName(fromName)
        try checkName(toName)
        _ = try directory(fromDirectory)
        _ = try growingDirectory(toDirectory)
        guard let record = record(fromDirectory, fromName), let source = record.target else {
            throw .noEntry(text(fromDirectory, fromName))
        }
        let from = End(directory: fromDirectory, name: fromName, record: record)
        let to = End(
            directory: toDirectory, name: toName, record: self.record(toDirectory, toName))
        if mode == .move, to.target != nil { throw .exists(text(toDirectory, toName)) }
        if mode == .exchange, to.target == nil { throw .noEntry(text(toDirectory, toName)) }
        if to.target?.child == source.child { return }
        try checkNoLoop(from, to, mode)
        if mode == .exchange {
            exchange(from, to)
        } else {
            if let victim = to.target {
                try checkReplaceable(victim, to, byDirectory: source.type == .directory)
            }
            move(from, to)
        }
    }

    private mutating func move(_ from: End, _ to: End) {
        guard let record = from.record, let source = from.target else {
            preconditionFailure("nothing to move")
        }
        removeDirent(record)
        putDirent(to.directory, to.name, source)
        if source.type == .directory {
            changeLinks(from.directory, by: -1)
            changeLinks(to.directory, by: 1)
            changeParent(source.child, to: to.directory)
        }
        guard let victim = to.target, var lost = state.inode(victim.child) else { return }
        if victim.type == .directory {
            changeLinks(to.directory, by: -1)
            lost.links = 0
        } else {
            lost.links &-= 1
        }
        settle(lost)
    }

    private mutating func exchange(_ from: End, _ to: End) {
        guard let a = from.target, let b = to.target else { preconditionFailure("nothing there") }
        putDirent(from.directory, from.name, b)
        if mutants.have(.exchangeReportedHalf) { isSilent = true }
        putDirent(to.directory, to.name, a)
        if mutants.have(.exchangeReportedHalf) { isSilent = false }
        if a.type == .directory {
            changeLinks(from.directory, by: -1)
            changeLinks(to.directory, by: 1)
            changeParent(a.child, to: to.directory)
        }
        if b.type == .directory {
            changeLinks(to.directory, by: -1)
            changeLinks(from.directory, by: 1)
            changeParent(b.child, to: from.directory)
        }
    }

    private mutating func changeLinks(_ number: InodeNumber, by difference: Int) {
        guard var inode = state.inode(number) else { return }
        inode.links &+= UInt32(truncatingIfNeeded: difference)
        put(inode)
    }

    private mutating func changeParent(_ number: InodeNumber, to parent: InodeNumber) {
        guard var inode = state.inode(number) else { return }
        inode.parent = parent
        put(inode)
    }

    // MARK: Checks

    private func checkReplaceable(
        _ victim: DirentTarget, _ to: End, byDirectory: Bool
    ) throws(VolumeError) {
        if victim.type == .directory {
            guard byDirectory else { throw .isDirectory(text(to.directory, to.name)) }
            guard isEmpty(victim.child) else { throw .notEmpty(text(to.directory, to.name)) }
        } else if byDirectory {
            throw .notDirectory(text(to.directory, to.name))
        }
    }

    /// A directory never becomes its own descendant.
    private func checkNoLoop(
        _ from: End, _ to: End, _ mode: Operation.Renaming
    ) throws(VolumeError) {
        guard from.directory != to.directory else { return }
        if let source = from.target, source.type == .directory,
            try isAncestor(source.child, of: to.directory)
        {
            throw .crossesItself(text(from.directory, from.name))
        }
        if mode == .exchange, let other = to.target, other.type == .directory,
            try isAncestor(other.child, of: from.directory)
        {
            throw .crossesItself(text(to.directory, to.name))
        }
    }

    /// Whether `ancestor` is `number`, or on its way up to the root. A directory that was
    /// removed has kept the parent that it had, which may be gone.
    private func isAncestor(
        _ ancestor: InodeNumber, of number: InodeNumber
    ) throws(VolumeError) -> Bool {
        var current = number
        var remaining = state.inodes.count
        while current != ancestor {
            guard current != .root else { return false }
            guard remaining > 0, let inode = state.inode(current), inode.type == .directory else {
                throw .damaged(
                    table: TableName.inodes, object: "inode \(number)", .field("parent"))
            }
            remaining -= 1
            current = inode.parent
        }
        return true
    }
}
