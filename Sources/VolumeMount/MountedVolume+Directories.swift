// Reading directories, with or without the attributes of what is in them.

internal import CFUSE
internal import Synchronization
internal import Volume
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

extension MountedVolume {
    func openDirectory(_ n: InodeNumber) throws -> Answer {
        let inode = try volume.attributes(n)
        guard inode.record.type == .directory else { throw VolumeError.notDirectory("inode \(n)") }
        return .opened(streams.open())
    }

    func closeDirectory(_ handle: UInt64) { streams.close(handle) }

    func list(
        _ request: fuse_req_t, _ n: InodeNumber, _ size: Int, _ offset: off_t, _ handle: UInt64,
        isPlus: Bool
    ) throws -> Answer {
        guard let stream = streams[handle], offset >= 0 else {
            throw VolumeError.invalid("directory handle \(handle)")
        }
        let snapshot = try volume.read()
        let directory = try snapshot.attributes(n)
        guard directory.record.type == .directory else {
            throw VolumeError.notDirectory("inode \(n)")
        }
        if offset == 0, directory.record.isAccessDue(.now) { volume.noteAccess(n, at: .now) }
        let buffer = buffers.take()
        var listing = unsafe Listing(
            request, buffer.characters, min(size, Buffer.size), isPlus, volume)
        do {
            try stream.state.withLock { state in
                try fill(&listing, from: snapshot, directory, UInt64(offset), &state)
            }
        } catch {
            for n in listing.held { volume.forget(n) }
            buffers.give(buffer)
            throw error
        }
        return .listing(buffer, listing.used, held: listing.held)
    }

    private func fill(
        _ listing: inout Listing, from snapshot: VolumeSnapshot, _ directory: Inode,
        _ offset: UInt64, _ state: inout DirectoryStream.State
    ) throws {
        if offset == 0 {
            guard listing.add(".", directory.number, 1) else { return }
        }
        if offset <= 1 {
            let parent = directory.record.parent
            guard listing.add("..", parent, DirectoryStream.firstName) else { return }
        }
        let next = offset > DirectoryStream.firstName ? Int(offset - DirectoryStream.firstName) : 0
        guard next <= state.count else { throw VolumeError.invalid("position \(offset)") }
        let last = next == 0 ? [] : state.name(next - 1)
        var rank = next == 0 ? 0 : state.rank(after: next - 1)
        unsafe try snapshot.walk(directory.number, after: last.span.bytes) { name, target in
            let index = state.number(name, rank: &rank)
            let position = UInt64(index) + DirectoryStream.firstName + 1
            // A damaged entry, or one that leads to a damaged inode, is told by its name alone.
            var inode: Inode?
            if listing.isPlus, let target, let record = try? snapshot.inode(target.child),
                record.generation == target.generation, record.type == target.type
            {
                inode = Inode(number: target.child, record: record)
            }
            return unsafe state.withName(index) {
                unsafe listing.add($0, target, inode, position)
            }
        }
    }
}

/// The entries of one answer.
@safe private struct Listing {
    private let request: fuse_req_t
    private let bytes: UnsafeMutablePointer<CChar>
    private let size: Int
    private let volume: Volume
    let isPlus: Bool
    private(set) var used = 0
    private(set) var held: [InodeNumber] = []

    init(
        _ request: fuse_req_t, _ bytes: UnsafeMutablePointer<CChar>, _ size: Int, _ isPlus: Bool,
        _ volume: Volume
    ) {
        unsafe self.request = unsafe request
        unsafe self.bytes = unsafe bytes
        self.size = size
        self.isPlus = isPlus
        self.volume = volume
    }

    /// `.` or `..`.
    mutating func add(_ name: String, _ n: InodeNumber, _ position: UInt64) -> Bool {
        let target = DirentTarget(child: n, generation: 0, type: .directory)
        return unsafe name.withCString { unsafe add($0, target, nil, position) }
    }

    /// - Parameter inode: what the kernel shall know from here on, if anything.
    /// - Returns: false where there is no room left.
    mutating func add(
        _ name: UnsafePointer<CChar>, _ target: DirentTarget?, _ inode: Inode?, _ position: UInt64
    ) -> Bool {
        var entry = inode.map { fuse_entry_param($0, volume) } ?? fuse_entry_param()
        // Number 0 would hide the entry.
        entry.attr.st_ino = UInt(target?.child ?? .max)
        entry.attr.st_mode = target?.type.mode ?? 0
        if let inode { entry.attr = stat(inode, volume) }
        let place = unsafe bytes + used, room = size - used
        let needed =
            isPlus
            ? unsafe fuse_add_direntry_plus(request, place, room, name, &entry, off_t(position))
            : unsafe fuse_add_direntry(request, place, room, name, &entry.attr, off_t(position))
        guard needed <= room else { return false }
        used += needed
        if let inode {
            volume.hold(inode.number)
            held.append(inode.number)
        }
        return true
    }
}
