// write(2) on a volume that is nearly full.
//
// The kernel keeps writes in its cache and answers them before the server has seen them: what does
// not fit fails later, when it is written back, and only fsync(2) and close(2) say so. A program
// that goes on writing would never learn of it. (The kernel's own filesystems reserve blocks
// first; ext4 allocates at once where few are free.)
//
// Before it takes a write, the kernel asks for the attributes of a file if they were invalidated,
// and says that it asks for an open file. So where less than `threshold` is free, a file that gets
// new blocks has its attributes invalidated; the request that follows is answered after the kernel
// has written back what it holds of the file, with ENOSPC where that did not fit. From there on
// each write(2) waits so for those before it, until there is more space. A file whose blocks are
// only overwritten is not affected.

internal import CFUSE
internal import Meters
internal import Synchronization
internal import Threads
internal import Volume
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

/// Files that grow while little is free, and whether a write to them has failed that no program
/// was told of.
final class NearlyFullFiles: Sendable {
    private let hasFailed = Mutex<[InodeNumber: Bool]>([:])
    /// Every request for attributes asks.
    private let isEmpty = Atomic<Bool>(true)

    func contains(_ n: InodeNumber) -> Bool {
        !isEmpty.load(ordering: .relaxed) && hasFailed.withLock { $0[n] != nil }
    }

    func insert(_ n: InodeNumber, hasFailed failed: Bool) {
        hasFailed.withLock { $0[n, default: false] = failed || $0[n] == true }
        isEmpty.store(false, ordering: .relaxed)
    }

    /// - Returns: whether a write has failed since this was last asked.
    func takeFailure(_ n: InodeNumber) -> Bool {
        hasFailed.withLock { failed in
            guard failed[n] == true else { return false }
            failed[n] = false
            return true
        }
    }

    func remove(_ n: InodeNumber) {
        guard !isEmpty.load(ordering: .relaxed) else { return }
        hasFailed.withLock { failed in
            failed[n] = nil
            isEmpty.store(failed.isEmpty, ordering: .relaxed)
        }
    }
}

extension MountedVolume {
    /// Free bytes of which fewer are few: more than the kernel holds of one mount's writes, which
    /// is 1 % of what it may hold in all, about 2 MiB for each GiB of memory.
    private static var threshold: UInt64 { 64 << 20 }

    private var isNearlyFull: Bool { volume.freeBytes < MountedVolume.threshold }

    /// A write that comes from the kernel's cache.
    func writeBack(_ n: InodeNumber, at offset: UInt64, _ bytes: RawSpan) throws {
        do {
            let allocates = try volume.write(n, at: offset, bytes, touching: false)
            if allocates, isNearlyFull { noteNearlyFull(n, hasFailed: false) }
        } catch let error as VolumeError where error.errno == ENOSPC {
            noteNearlyFull(n, hasFailed: true)
            throw error
        }
    }

    private func noteNearlyFull(_ n: InodeNumber, hasFailed: Bool) {
        nearlyFull.insert(n, hasFailed: hasFailed)
        // Not here: the kernel may wait for this write before it forgets the inode.
        aside.run { [self] in invalidateAttributes(n) }
    }

    private func invalidateAttributes(_ n: InodeNumber) {
        if let session = unsafe session {
            _ = unsafe fuse_lowlevel_notify_inval_inode(session, n, -1, 0)
        }
    }

    /// Attributes for who has the file open: for a write(2) that is about to be taken.
    func attributesBeforeWrite(_ request: fuse_req_t, _ n: InodeNumber) throws -> Answer {
        guard nearlyFull.contains(n) else { return try attributes(n) }
        let number = UInt(bitPattern: request), start = monotonicNanoseconds()
        aside.run { [self] in
            defer { meter.record(.getattr, since: start) }
            unsafe serve(fuse_req_t(bitPattern: number)) { _ in
                unsafe fuse_lowlevel_notify_inval_inode(session, n, 0, 0)
                if nearlyFull.takeFailure(n) {
                    throw VolumeError.noSpace("inode \(n)")
                }
                return try attributes(n)
            }
            if isNearlyFull { invalidateAttributes(n) } else { nearlyFull.remove(n) }
        }
        return .later
    }
}
