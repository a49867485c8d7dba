// The operations of the mix.

internal import Bytes
internal import Volume
internal import VolumeFormat

extension StressWriter {
    /// Sizes and offsets stay below it.
    private static let largestFile: UInt64 = 4 << 20
    private static let attributeName = Array("user.stress".utf8)

    func perform(_ kind: StressOperation, _ operations: inout Operations) throws {
        switch kind {
        case .create, .makeDirectory, .symlink, .makeNode, .link: try make(kind, &operations)
        case .unlink, .removeDirectory: try remove(kind, &operations)
        case .rename, .renameAcross, .renameDirectory, .renameReplacing, .exchange:
            try move(kind, &operations)
        case .extend, .truncate, .allocate, .punch, .zero: try map(kind, &operations)
        case .setAttribute, .removeAttribute, .setMode: try change(kind, &operations)
        case .renameExisting, .linkExisting, .changeExisting: try touch(kind, &operations)
        }
    }

    private func make(_ kind: StressOperation, _ operations: inout Operations) throws {
        let isShared = UInt64.random(in: 0..<8, using: &random) == 0
        let directory = isShared ? shared : ownDirectory()
        let name = isShared ? sharedName() : newName()
        let inode: InodeNumber
        switch kind {
        case .makeDirectory:
            guard directories.count < StressWriter.mostDirectories else { return }
            let made = try operations.makeDirectory(ownDirectory(), name)
            directories.append(
                Known(directory: made.record.parent, name: name, inode: made.number))
            return
        case .symlink: inode = try operations.symlink(directory, name, to: newName()).number
        case .makeNode: inode = try operations.makeNode(directory, name, .fifo).number
        case .link:
            guard let target = files.randomElement(using: &random)?.inode else { return }
            inode = try operations.link(target, directory, name).number
        default: inode = try operations.create(directory, name).number
        }
        if !isShared { files.append(Known(directory: directory, name: name, inode: inode)) }
    }

    private func remove(_ kind: StressOperation, _ operations: inout Operations) throws {
        if kind == .removeDirectory {
            guard directories.count > 1 else { return }
            let place = Int.random(in: 1..<directories.count, using: &random)
            let known = directories[place]
            try operations.removeDirectory(known.directory, known.name)
            directories.swapAt(place, directories.count - 1)
            directories.removeLast()
            return
        }
        if UInt64.random(in: 0..<8, using: &random) == 0 {
            return try operations.unlink(shared, sharedName())
        }
        guard let known = takeFile() else { return }
        try operations.unlink(known.directory, known.name)
    }

    /// One of the files, which is no longer known then.
    private func takeFile() -> Known? {
        guard !files.isEmpty else { return nil }
        files.swapAt(Int.random(in: files.indices, using: &random), files.count - 1)
        return files.removeLast()
    }

    private func move(_ kind: StressOperation, _ operations: inout Operations) throws {
        if kind == .renameDirectory { return try moveDirectory(&operations) }
        guard !files.isEmpty else { return }
        let place = Int.random(in: files.indices, using: &random)
        let known = files[place]
        switch kind {
        case .rename:
            let name = newName()
            try operations.rename(known.directory, known.name, to: known.directory, name)
            files[place].name = name
        case .renameAcross where UInt64.random(in: 0..<4, using: &random) == 0:
            // Into the shared directory, over whatever has the name there.
            try operations.rename(known.directory, known.name, to: shared, sharedName())
            files.swapAt(place, files.count - 1)
            files.removeLast()
        case .renameAcross:
            let target = ownDirectory(), name = newName()
            try operations.rename(known.directory, known.name, to: target, name, .noReplace)
            files[place].directory = target
            files[place].name = name
        case .renameReplacing:
            let victim = Int.random(in: files.indices, using: &random)
            guard victim != place else { return }
            let other = files[victim]
            try operations.rename(known.directory, known.name, to: other.directory, other.name)
            // Two names of one inode stay both as they are.
            guard known.inode != other.inode || known.inode == nil else { return }
            files[victim].inode = known.inode
            files.swapAt(place, files.count - 1)
            files.removeLast()
        default:
            let name = sharedName()
            try operations.rename(known.directory, known.name, to: shared, name, .exchange)
            files[place].inode = nil
        }
    }

    private func moveDirectory(_ operations: inout Operations) throws {
        guard directories.count > 1 else { return }
        let place = Int.random(in: 1..<directories.count, using: &random)
        let known = directories[place]
        let target = ownDirectory(), name = newName()
        try operations.rename(known.directory, known.name, to: target, name)
        directories[place].directory = target
        directories[place].name = name
    }

    private func map(_ kind: StressOperation, _ operations: inout Operations) throws {
        guard let inode = files.randomElement(using: &random)?.inode else { return }
        let offset = UInt64.random(in: 0..<StressWriter.largestFile, using: &random)
        let count = UInt64.random(in: 1...(256 << 10), using: &random)
        do {
            switch kind {
            case .extend: _ = try operations.truncate(inode, to: StressWriter.largestFile)
            case .truncate: _ = try operations.truncate(inode, to: offset)
            case .punch: try operations.allocate(inode, offset, count, .punchHole)
            case .zero: try operations.allocate(inode, offset, count, .zeroRange(keepSize: false))
            default: try operations.allocate(inode, offset, count, .reserve(keepSize: false))
            }
        } catch VolumeError.invalid {
            // A symlink or a fifo has no contents.
            tally.refusals["EINVAL", default: 0] += 1
        }
    }

    private func change(_ kind: StressOperation, _ operations: inout Operations) throws {
        guard let inode = files.randomElement(using: &random)?.inode else { return }
        try change(kind, inode, &operations)
    }

    private func change(
        _ kind: StressOperation, _ inode: InodeNumber, _ operations: inout Operations
    ) throws {
        switch kind {
        case .setAttribute:
            let count = Int.random(in: 0...200, using: &random)
            try operations.setXattr(
                inode, StressWriter.attributeName, [UInt8](repeating: 0x61, count: count))
        case .removeAttribute:
            try operations.removeXattr(inode, StressWriter.attributeName)
        default:
            let mode = UInt16.random(in: 0...0o777, using: &random)
            _ = try operations.setAttributes(inode, AttributeChanges(permissions: mode))
        }
    }

    /// What was in the volume before.
    private func touch(_ kind: StressOperation, _ operations: inout Operations) throws {
        guard !existing.isEmpty else { return }
        let place = Int.random(in: existing.indices, using: &random)
        let known = existing[place]
        switch kind {
        case .renameExisting:
            var target = known.directory
            if !known.isDirectory, UInt64.random(in: 0..<2, using: &random) == 0 {
                target = existingDirectories.randomElement(using: &random) ?? target
            }
            let name = newName()
            try operations.rename(known.directory, known.name, to: target, name, .noReplace)
            existing[place].directory = target
            existing[place].name = name
        case .linkExisting:
            guard !known.isDirectory else { return }
            let directory = ownDirectory(), name = newName()
            _ = try operations.link(known.inode, directory, name)
            files.append(Known(directory: directory, name: name, inode: nil))
        default:
            let kinds: [StressOperation] = [.setAttribute, .removeAttribute]
            try change(
                kinds.randomElement(using: &random) ?? .setAttribute, known.inode, &operations)
        }
    }
}
