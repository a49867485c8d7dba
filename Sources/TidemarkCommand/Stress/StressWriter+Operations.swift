// The operations of the mix. Each says what it did, as a scenario says it: inodes by their
// numbers, offsets and lengths in blocks.

internal import Bytes
internal import Scenarios
internal import Volume
internal import VolumeFormat

extension Scenarios.Path {
    fileprivate init(_ inode: InodeNumber) { self.init(base: inode, names: []) }

    fileprivate init(_ directory: InodeNumber, _ name: [UInt8]) {
        self.init(base: directory, names: [String(decoding: name, as: UTF8.self)])
    }
}

extension StressWriter {
    typealias Done = Scenarios.Operation

    /// Sizes and offsets stay below it.
    private static let largestFile: UInt64 = 4 << 20
    private static let attributeName = Array("user.stress".utf8)

    /// - Returns: what was done, where anything was that a scenario can say.
    func perform(_ kind: StressOperation, _ operations: inout Operations) throws -> Done? {
        switch kind {
        case .create, .makeDirectory, .symlink, .makeNode, .link: try make(kind, &operations)
        case .unlink, .removeDirectory: try remove(kind, &operations)
        case .rename, .renameAcross, .renameDirectory, .renameReplacing, .exchange:
            try move(kind, &operations)
        case .extend, .truncate, .allocate, .punch, .zero: try map(kind, &operations)
        case .setAttribute, .removeAttribute, .setMode, .setOwner: try change(kind, &operations)
        case .renameExisting, .linkExisting, .changeExisting: try touch(kind, &operations)
        }
    }

    private func make(_ kind: StressOperation, _ operations: inout Operations) throws -> Done? {
        let isShared = UInt64.random(in: 0..<8, using: &random) == 0
        let directory = isShared ? shared : ownDirectory()
        let name = isShared ? sharedName() : newName()
        let path = Path(directory, name)
        let inode: InodeNumber
        let done: Done
        switch kind {
        case .makeDirectory: return try makeDirectory(name, &operations)
        case .symlink:
            inode = try operations.symlink(directory, name, to: newName()).number
            done = .make(.symlink, path)
        case .makeNode:
            inode = try operations.makeNode(directory, name, .fifo).number
            done = .make(.fifo, path)
        case .link:
            guard let target = files.randomElement(using: &random)?.inode else { return nil }
            inode = try operations.link(target, directory, name).number
            done = .link(Path(target), path)
        default:
            inode = try operations.create(directory, name).number
            done = .make(.create, path)
        }
        if !isShared { files.append(Known(directory: directory, name: name, inode: inode)) }
        return done
    }

    private func makeDirectory(
        _ name: [UInt8], _ operations: inout Operations
    ) throws -> Done? {
        guard directories.count < StressWriter.mostDirectories else { return nil }
        let made = try operations.makeDirectory(ownDirectory(), name)
        directories.append(Known(directory: made.record.parent, name: name, inode: made.number))
        return .make(.mkdir, Path(made.record.parent, name))
    }

    private func remove(_ kind: StressOperation, _ operations: inout Operations) throws -> Done? {
        if kind == .removeDirectory {
            guard directories.count > 1 else { return nil }
            let place = Int.random(in: 1..<directories.count, using: &random)
            let known = directories[place]
            try operations.removeDirectory(known.directory, known.name)
            directories.swapAt(place, directories.count - 1)
            directories.removeLast()
            return .rmdir(Path(known.directory, known.name))
        }
        if UInt64.random(in: 0..<8, using: &random) == 0 {
            let name = sharedName()
            try operations.unlink(shared, name)
            return .unlink(Path(shared, name))
        }
        guard let known = takeFile() else { return nil }
        try operations.unlink(known.directory, known.name)
        return .unlink(Path(known.directory, known.name))
    }

    /// One of the files, which is no longer known then.
    private func takeFile() -> Known? {
        guard !files.isEmpty else { return nil }
        files.swapAt(Int.random(in: files.indices, using: &random), files.count - 1)
        return files.removeLast()
    }

    private func move(_ kind: StressOperation, _ operations: inout Operations) throws -> Done? {
        if kind == .renameDirectory { return try moveDirectory(&operations) }
        guard !files.isEmpty else { return nil }
        let place = Int.random(in: files.indices, using: &random)
        let known = files[place]
        let old = Path(known.directory, known.name)
        switch kind {
        case .rename:
            let name = newName()
            try operations.rename(known.directory, known.name, to: known.directory, name)
            files[place].name = name
            return .rename(.rename, old, Path(known.directory, name))
        case .renameAcross where UInt64.random(in: 0..<4, using: &random) == 0:
            // Into the shared directory, over whatever has the name there.
            let name = sharedName()
            try operations.rename(known.directory, known.name, to: shared, name)
            files.swapAt(place, files.count - 1)
            files.removeLast()
            return .rename(.rename, old, Path(shared, name))
        case .renameAcross:
            let target = ownDirectory(), name = newName()
            try operations.rename(known.directory, known.name, to: target, name, .noReplace)
            files[place].directory = target
            files[place].name = name
            return .rename(.move, old, Path(target, name))
        case .renameReplacing:
            let victim = Int.random(in: files.indices, using: &random)
            guard victim != place else { return nil }
            let other = files[victim]
            try operations.rename(known.directory, known.name, to: other.directory, other.name)
            // Two names of one inode stay both as they are.
            if known.inode != other.inode || known.inode == nil {
                files[victim].inode = known.inode
                files.swapAt(place, files.count - 1)
                files.removeLast()
            }
            return .rename(.rename, old, Path(other.directory, other.name))
        default:
            let name = sharedName()
            try operations.rename(known.directory, known.name, to: shared, name, .exchange)
            files[place].inode = nil
            return .rename(.exchange, old, Path(shared, name))
        }
    }

    private func moveDirectory(_ operations: inout Operations) throws -> Done? {
        guard directories.count > 1 else { return nil }
        let place = Int.random(in: 1..<directories.count, using: &random)
        let known = directories[place]
        let target = ownDirectory(), name = newName()
        try operations.rename(known.directory, known.name, to: target, name)
        directories[place].directory = target
        directories[place].name = name
        return .rename(.rename, Path(known.directory, known.name), Path(target, name))
    }

    private func map(_ kind: StressOperation, _ operations: inout Operations) throws -> Done? {
        guard let inode = files.randomElement(using: &random)?.inode else { return nil }
        var offset = UInt64.random(in: 0..<StressWriter.largestFile, using: &random)
        var count = UInt64.random(in: 1...(256 << 10), using: &random)
        let size = UInt64(volume.geometry.blockSize)
        if recorder != nil {
            // A scenario has whole blocks.
            offset -= offset % size
            count += (size - count % size) % size
        }
        let first = offset / size, length = count / size
        do {
            switch kind {
            case .extend:
                _ = try operations.truncate(inode, to: StressWriter.largestFile)
                return .truncate(Path(inode), StressWriter.largestFile / size)
            case .truncate:
                _ = try operations.truncate(inode, to: offset)
                return .truncate(Path(inode), first)
            case .punch:
                try operations.allocate(inode, offset, count, .punchHole)
                return .map(.punch, Path(inode), offset: first, length: length)
            case .zero:
                try operations.allocate(inode, offset, count, .zeroRange(keepSize: false))
                return .map(.zero, Path(inode), offset: first, length: length)
            default:
                try operations.allocate(inode, offset, count, .reserve(keepSize: false))
                return .map(.allocate, Path(inode), offset: first, length: length)
            }
        } catch VolumeError.invalid {
            // A symlink or a fifo has no contents.
            tally.refusals["EINVAL", default: 0] += 1
            return nil
        }
    }

    private func change(_ kind: StressOperation, _ operations: inout Operations) throws -> Done? {
        guard let inode = files.randomElement(using: &random)?.inode else { return nil }
        return try change(kind, inode, &operations)
    }

    private func change(
        _ kind: StressOperation, _ inode: InodeNumber, _ operations: inout Operations
    ) throws -> Done? {
        switch kind {
        // A scenario has no extended attributes.
        case .setAttribute where recorder == nil:
            let count = Int.random(in: 0...200, using: &random)
            try operations.setXattr(
                inode, StressWriter.attributeName, [UInt8](repeating: 0x61, count: count))
            return nil
        case .removeAttribute where recorder == nil:
            try operations.removeXattr(inode, StressWriter.attributeName)
            return nil
        case .setOwner:
            let ids = (0..<3).map { _ in UInt32.random(in: 0..<8, using: &random) }
            let changes = AttributeChanges(uid: ids[0], gid: ids[1], project: ids[2])
            _ = try operations.setAttributes(inode, changes)
            return .chown(Path(inode), uid: ids[0], gid: ids[1], project: ids[2])
        default:
            let mode = UInt16.random(in: 0...0o777, using: &random)
            _ = try operations.setAttributes(inode, AttributeChanges(permissions: mode))
            return .chmod(Path(inode), mode)
        }
    }

    /// What was in the volume before.
    private func touch(_ kind: StressOperation, _ operations: inout Operations) throws -> Done? {
        guard !existing.isEmpty else { return nil }
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
            return .rename(.move, Path(known.directory, known.name), Path(target, name))
        case .linkExisting:
            guard !known.isDirectory else { return nil }
            let directory = ownDirectory(), name = newName()
            _ = try operations.link(known.inode, directory, name)
            files.append(Known(directory: directory, name: name, inode: nil))
            return .link(Path(known.inode), Path(directory, name))
        default:
            let kinds: [StressOperation] = [.setAttribute, .removeAttribute]
            return try change(
                kinds.randomElement(using: &random) ?? .setAttribute, known.inode, &operations)
        }
    }
}
