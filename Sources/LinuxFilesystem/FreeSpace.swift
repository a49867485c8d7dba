// Whether a block is free, as the index of free space has it. With CAP_SYS_ADMIN GETFSMAP reads the
// reverse map, and "free" is what that does not mention. Without, it reads the index of free space
// (fs/xfs/xfs_fsmap.c, `use_rmap`), and says of all else only that somebody uses it: a second
// witness, which does not depend on the first.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

extension MountedFilesystem {
    /// As statfs(2) has it: inodes that are given out; 0 where it does not say.
    public var inodesInUse: UInt64 {
        var numbers = statfs()
        guard unsafe fstatfs(root.number, &numbers) == 0 else { return 0 }
        return UInt64(numbers.f_files) - min(UInt64(numbers.f_files), UInt64(numbers.f_ffree))
    }

    /// Whether the index of free space has the block of `blockSize` bytes at `place`, in bytes from
    /// the start of the device; nil where that can't be asked.
    public func isFree(
        _ place: UInt64, blockSize: UInt64, using batch: SpaceBatch
    ) throws(LinuxCallError) -> Bool? {
        let isMore = try withoutAdministration { () throws(LinuxCallError) in
            try readSpace(place..<place + blockSize, isFirst: true, into: batch)
        }
        // One record covers the block, or two with a border in it, which can't be.
        guard !isMore, batch.records.count == 1, let record = batch.records.first,
            record.physical <= place, place + blockSize <= record.physical + record.length,
            record.isSpecial
        else { return nil }
        switch record.owner {
        case SpaceOwner.free: return true
        case SpaceOwner.unknown: return false
        default: return nil
        }
    }

    /// Runs `body` while the calling thread has no CAP_SYS_ADMIN in effect.
    private func withoutAdministration<R>(
        _ body: () throws(LinuxCallError) -> R
    ) throws(LinuxCallError) -> R {
        try without(capability: 21, body)
    }

    /// Runs `body` while the calling thread has not the capability of this number in effect.
    func without<R>(
        capability: UInt32, _ body: () throws(LinuxCallError) -> R
    ) throws(LinuxCallError) -> R {
        var before = lfs_capabilities()
        guard unsafe lfs_get_capabilities(&before) == 0 else {
            throw LinuxCallError("capget", "this thread")
        }
        var reduced = before
        reduced.effective &= ~(1 << capability)
        guard unsafe lfs_set_capabilities(&reduced) == 0 else {
            throw LinuxCallError("capset", "this thread")
        }
        // What is permitted may always be put into effect again.
        defer {
            let code = unsafe lfs_set_capabilities(&before)
            precondition(code == 0, "a permitted capability could not be put into effect")
        }
        return try body()
    }
}
