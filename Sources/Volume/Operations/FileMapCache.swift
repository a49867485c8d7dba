// The maps of files that are read again and again, each as of one commit: as long as nothing is
// committed, what was found is what would be found. Looking up the map is a sixth of what a small
// read costs.
//
// A map is kept whole, or not at all, and only after several have looked for it in one commit:
// where something is changed all the time nearly every look has a commit of its own.

internal import LMDB
internal import Synchronization
internal import VolumeFormat

/// A file as of one commit, with all of its map.
struct MappedFile: Sendable {
    let inode: InodeNumber
    let commit: UInt64
    let record: InodeRecord
    /// Of its contents, by their offsets.
    let extents: [ExtentRecord]

    /// What a snapshot's `map` says of `range`, which is not empty.
    func map(_ range: Range<UInt64>) -> [ExtentRecord] {
        var lower = 0, upper = extents.count
        while lower < upper {
            let middle = (lower + upper) / 2
            if extents[middle].offset <= range.lowerBound {
                lower = middle + 1
            } else {
                upper = middle
            }
        }
        // The one before may reach into the range.
        let first = max(lower - 1, 0)
        let inside = extents[first...].prefix { $0.offset < range.upperBound }
        return FileMap.normalized(inside.compactMap { $0.clipped(to: range) })
    }
}

final class FileMapCache: Sendable {
    private struct Slot {
        var file: MappedFile?
        /// Looks in vain.
        var missed: (inode: InodeNumber, commit: UInt64, times: Int) = (0, 0, 0)
    }

    private final class Place: Sendable {
        let slot = Mutex(Slot())
    }

    /// Files at the most.
    private let places = (0..<16).map { _ in Place() }
    /// Extents of one at the most: half a mebibyte of memory in all.
    static let mostExtents = 1024
    /// Looks in one commit after which a map is worth its reading.
    static let worthIt = 16

    private func place(_ n: InodeNumber) -> Place { places[Int(n % UInt64(places.count))] }

    func look(_ n: InodeNumber, commit: UInt64) -> MappedFile? {
        place(n).slot.withLock { slot in
            guard let file = slot.file, file.inode == n, file.commit == commit else { return nil }
            return file
        }
    }

    /// Somebody has looked in vain.
    /// - Returns: whether the map is to be read, by this caller, and kept.
    func miss(_ n: InodeNumber, commit: UInt64) -> Bool {
        place(n).slot.withLock { slot in
            let isSame = slot.missed.inode == n && slot.missed.commit == commit
            slot.missed = (n, commit, isSame ? slot.missed.times + 1 : 1)
            return slot.missed.times % FileMapCache.worthIt == 0
        }
    }

    func keep(_ file: MappedFile) {
        place(file.inode).slot.withLock { slot in
            // Whoever was slow has an old one.
            if let kept = slot.file, kept.inode == file.inode, kept.commit > file.commit { return }
            slot.file = file
        }
    }
}

/// An inode as of one commit, and its map, from wherever it is had.
struct FoundFile {
    let record: InodeRecord
    let commit: UInt64
    private let inode: InodeNumber
    private let kept: MappedFile?
    private let snapshot: VolumeSnapshot?

    fileprivate init(_ kept: MappedFile) {
        (record, commit, inode) = (kept.record, kept.commit, kept.inode)
        self.kept = kept
        snapshot = nil
    }

    fileprivate init(_ n: InodeNumber, _ record: InodeRecord, _ snapshot: VolumeSnapshot) {
        (self.record, commit, inode) = (record, snapshot.commit, n)
        kept = nil
        self.snapshot = snapshot
    }

    /// The extents of its contents in `range`, clipped to it, neighbours joined.
    func map(_ range: Range<UInt64>) throws -> [ExtentRecord] {
        guard !range.isEmpty else { return [] }
        if let kept { return kept.map(range) }
        return try snapshot?.map(inode, .data, range) ?? []
    }
}

extension Volume {
    /// The inode as of the last commit, or a newer one; nil where there is none.
    func find(_ n: InodeNumber) throws -> FoundFile? {
        try checkNotClosed()
        if core.touched.contains(n) { core.commitAcknowledged() }
        if let kept = core.maps.look(n, commit: core.environment.lastCommit) {
            return FoundFile(kept)
        }
        let snapshot = try VolumeSnapshot(core)
        guard let inode = try snapshot.inode(n) else { return nil }
        if inode.type == .regular, core.maps.miss(n, commit: snapshot.commit) {
            keepMap(n, inode, snapshot)
        }
        return FoundFile(n, inode, snapshot)
    }

    /// Damage elsewhere in the file is nothing to whoever asks: the map is not kept, then.
    private func keepMap(_ n: InodeNumber, _ inode: InodeRecord, _ snapshot: VolumeSnapshot) {
        let limit = FileMapCache.mostExtents
        guard let all = try? snapshot.extents(n, .data, limit: limit), all.count < limit
        else { return }
        core.maps.keep(
            MappedFile(inode: n, commit: snapshot.commit, record: inode, extents: all))
    }
}
