// Makes in the volume what the reader found, batch by batch; each batch is one job of the
// volume's writer, then the contents are copied.
//
// What must hold:
// - A file is there as a whole or not at all: where its blocks don't fit, its name goes
//   again.
// - A directory gets its times after everything in it has been made.
// - A name that exists already is a failure of that name, and of what is below it; the
//   import goes on. A full volume ends it.

internal import HostFiles
internal import Synchronization
internal import Volume
internal import VolumeFormat

struct ImportCounts: Sendable {
    var directories = 0
    var files = 0
    var symlinks = 0
    /// Fifos, sockets, devices.
    var others = 0
    /// Names of inodes that had one already.
    var hardLinks = 0
    var attributes = 0
    /// Sizes of all files.
    var bytes: UInt64 = 0
    /// Contents that were copied.
    var copied: UInt64 = 0

    /// What the volume has more than before, without hard links.
    var inodes: Int { directories + files + symlinks + others }
    var names: Int { inodes + hardLinks }
}

/// Used by one thread; `counts` may be looked at by others.
final class ImportWriter: @unchecked Sendable {
    /// An inode with several names, and how many of them are still to come.
    private struct Linked {
        let inode: InodeNumber
        var remaining: UInt64
    }

    /// What is to be done after a batch's job.
    private struct Later {
        let item: ImportItem
        let inode: InodeNumber
        /// The directory that it stands in.
        let parent: InodeNumber
    }

    private let volume: Volume
    private let log: ImportLog
    private let shared = Mutex(ImportCounts())
    private var counts = ImportCounts()
    private var paths: ImportPaths
    private var directories: [Int: InodeNumber] = [:]
    private var linked: [HostIdentity: Linked] = [:]
    private var later: [Later] = []

    init(_ volume: Volume, root: String, _ log: ImportLog) {
        self.volume = volume
        self.log = log
        paths = ImportPaths(root: root)
    }

    var progress: ImportCounts { shared.withLock { $0 } }

    /// Writes all that comes through `queue`.
    func run(_ queue: ImportQueue) {
        var isBroken = false
        while let batch = queue.next() {
            if isBroken { continue }
            do {
                later = []
                try volume.perform { operations in
                    for item in batch { try self.apply(item, &operations) }
                }
                for entry in later { finish(entry) }
            } catch {
                log.stop(explanation(of: error))
                isBroken = true
            }
            shared.withLock { $0 = counts }
        }
    }

    // MARK: On the volume's writer thread

    private func apply(_ item: ImportItem, _ operations: inout Operations) throws {
        do {
            switch item.action {
            case .enter(let number): try enter(number, item, &operations)
            case .leave(let number): try leave(number, item, &operations)
            default:
                guard log.stopReason == nil else { return }
                try make(item, &operations)
            }
        } catch let error as VolumeError {
            if case .groupAborted = error { throw error }
            failed(item, error)
        }
    }

    private func failed(_ item: ImportItem, _ error: VolumeError) {
        if case .noSpace = error {
            log.stop(
                "the volume is full at \(paths.path(item.parent, item.name)); what was imported "
                    + "before stays: make a larger volume (`tidemark create --size`), "
                    + "or import less"
            )
        } else {
            log.add(paths.path(item.parent, item.name), "\(error)")
        }
    }

    private func enter(
        _ number: Int, _ item: ImportItem, _ operations: inout Operations
    ) throws {
        if number == 0 {
            directories[0] = .root
            later += item.attributes.isEmpty ? [] : [Later(item: item, inode: .root, parent: .root)]
            return
        }
        paths.add(number, in: item.parent, item.name)
        guard log.stopReason == nil, let parent = directories[item.parent] else { return }
        let inode = try operations.makeDirectory(parent, item.name, NewInode(item.status))
        directories[number] = inode.number
        counts.directories += 1
        try setAttributes(item, inode.number, &operations)
    }

    private func leave(
        _ number: Int, _ item: ImportItem, _ operations: inout Operations
    ) throws {
        paths.remove(number)
        guard let inode = directories.removeValue(forKey: number) else { return }
        var changes = AttributeChanges(item.status)
        if number == 0 {
            changes.permissions = item.status.permissions
            changes.uid = item.status.uid
            changes.gid = item.status.gid
        }
        _ = try operations.setAttributes(inode, changes)
    }

    private func make(_ item: ImportItem, _ operations: inout Operations) throws {
        guard let parent = directories[item.parent] else { return }
        if try linkAgain(item, parent, &operations) { return }
        let new = NewInode(item.status)
        let inode: Inode
        switch item.action {
        case .file(let ranges, let source):
            inode = try operations.create(parent, item.name, new)
            do {
                let state = ExtentState.unwritten
                if source == nil, item.status.size > 0 {
                    try operations.reserve(inode.number, ranges, state, size: item.status.size)
                }
            } catch {
                try operations.unlink(parent, item.name)
                throw error
            }
            counts.files += 1
            counts.bytes += item.status.size
            if source != nil {
                later.append(Later(item: item, inode: inode.number, parent: parent))
            }
        case .symlink(let target):
            inode = try operations.symlink(parent, item.name, to: target, new)
            counts.symlinks += 1
        default:
            inode = try operations.makeNode(
                parent, item.name, item.status.type.fileType, device: item.status.deviceNumber, new)
            counts.others += 1
        }
        if item.status.links > 1 {
            linked[item.status.identity] = Linked(
                inode: inode.number, remaining: item.status.links - 1)
        }
        try setAttributes(item, inode.number, &operations)
        _ = try operations.setAttributes(inode.number, AttributeChanges(item.status))
    }

    /// Where another name of the file has been imported: one more for the same inode.
    private func linkAgain(
        _ item: ImportItem, _ parent: InodeNumber, _ operations: inout Operations
    ) throws -> Bool {
        guard let known = linked[item.status.identity] else { return false }
        _ = try operations.link(known.inode, parent, item.name)
        counts.hardLinks += 1
        linked[item.status.identity]?.remaining -= 1
        if known.remaining <= 1 { linked[item.status.identity] = nil }
        return true
    }

    /// The small attributes at once; those that need blocks afterwards.
    private func setAttributes(
        _ item: ImportItem, _ inode: InodeNumber, _ operations: inout Operations
    ) throws {
        var isLate = false
        for attribute in item.attributes {
            guard attribute.value.count <= AttributeRecord.maximumInlineSize else {
                isLate = true
                continue
            }
            do {
                try operations.setXattr(inode, attribute.name, attribute.value)
                counts.attributes += 1
            } catch let error as VolumeError {
                if case .groupAborted = error { throw error }
                failed(item, error)
            }
        }
        if isLate, later.last?.inode != inode {
            later.append(Later(item: item, inode: inode, parent: directories[item.parent] ?? .root))
        }
    }

    // MARK: On the import's thread

    /// Contents and large attributes.
    private func finish(_ entry: Later) {
        let item = entry.item
        // The import has ended: what has no contents yet doesn't get any.
        guard log.stopReason == nil else { return remove(entry) }
        do {
            for attribute in item.attributes
            where attribute.value.count > AttributeRecord.maximumInlineSize
                || entry.inode == .root
            {
                try volume.setXattr(entry.inode, attribute.name, attribute.value)
                counts.attributes += 1
            }
            if case .file(let ranges, let source?) = item.action {
                try copy(source, ranges, item, to: entry.inode)
            }
        } catch let error as VolumeError {
            failed(item, error)
            if case .noSpace = error { remove(entry) }
        } catch {
            log.add(paths.path(item.parent, item.name), "\(error)")
        }
    }

    /// A file whose contents did not fit goes again.
    private func remove(_ entry: Later) {
        let item = entry.item
        guard case .file(_, _?) = item.action else { return }
        do {
            try volume.perform { try $0.unlink(entry.parent, item.name) }
            counts.files -= 1
            counts.bytes -= item.status.size
            linked[item.status.identity] = nil
        } catch {
            log.add(paths.path(item.parent, item.name), "\(error)")
        }
    }

    private func copy(
        _ source: ImportSource, _ ranges: [Range<UInt64>], _ item: ImportItem,
        to inode: InodeNumber
    ) throws {
        let piece: UInt64 = 1 << 20
        var isShort = false
        for range in ranges {
            var offset = range.lowerBound
            while offset < range.upperBound {
                let wanted = min(piece, range.upperBound - offset)
                let bytes = try source.file.read(Int(wanted), at: offset)
                if !bytes.isEmpty { try volume.write(inode, at: offset, bytes.span.bytes) }
                counts.copied += UInt64(bytes.count)
                isShort = isShort || bytes.count < wanted
                offset += wanted
            }
        }
        var changes = AttributeChanges(item.status)
        changes.size = item.status.size
        _ = try volume.perform { try $0.setAttributes(inode, changes) }
        if isShort {
            log.add(paths.path(item.parent, item.name), "became shorter while it was read")
        }
    }
}

extension NewInode {
    init(_ status: HostStatus) {
        self.init(permissions: status.permissions, uid: status.uid, gid: status.gid)
    }
}

extension AttributeChanges {
    /// The times.
    init(_ status: HostStatus) {
        self.init(accessed: Timestamp(status.accessed), modified: Timestamp(status.modified))
    }
}

extension Timestamp {
    init(_ time: HostTime) { self.init(seconds: time.seconds, nanoseconds: time.nanoseconds) }
}

extension HostStatus {
    /// As an inode record has it.
    var deviceNumber: UInt64 { UInt64(major) << 32 | UInt64(minor) }
}

extension Optional<HostFileType> {
    var fileType: FileType {
        switch self {
        case .fifo: .fifo
        case .socket: .socket
        case .characterDevice: .characterDevice
        case .blockDevice: .blockDevice
        case .directory: .directory
        case .symlink: .symlink
        case .regular, nil: .regular
        }
    }
}
