// How often each inode is open, or known to the kernel. An inode without names is reclaimed when
// it is neither.
//
// A mount counts each inode that the kernel knows: millions. The counts are spread over shards,
// so that no table that grows makes anybody wait for long.

internal import Synchronization
internal import VolumeFormat

final class OpenInodes: Sendable {
    private struct Opens {
        var count: UInt64 = 0
        /// Whether its last name went while it was open.
        var isOrphan = false
    }

    private final class Shard: Sendable {
        let opens = Mutex<[InodeNumber: Opens]>([:])
    }

    private let shards = (0..<64).map { _ in Shard() }

    private func shard(_ n: InodeNumber) -> Shard { shards[Int(n % UInt64(shards.count))] }

    func isOpen(_ n: InodeNumber) -> Bool { shard(n).opens.withLock { $0[n] != nil } }

    func add(_ n: InodeNumber) {
        shard(n).opens.withLock { $0[n, default: Opens()].count += 1 }
    }

    /// The inode has lost its last name.
    /// - Returns: whether it is open, and its last `remove` is to say so.
    func markOrphan(_ n: InodeNumber) -> Bool {
        shard(n).opens.withLock {
            guard $0[n] != nil else { return false }
            $0[n]?.isOrphan = true
            return true
        }
    }

    /// Ends `count` opens. More than there are end all of them: the number may come from outside.
    /// - Returns: whether none is left of an inode that waits to be reclaimed.
    func remove(_ n: InodeNumber, _ count: UInt64 = 1) -> Bool {
        shard(n).opens.withLock {
            guard var entry = $0[n] else { return false }
            entry.count -= min(count, entry.count)
            $0[n] = entry.count > 0 ? entry : nil
            return entry.count == 0 && entry.isOrphan
        }
    }

    /// Ends all.
    /// - Returns: the inodes that waited for it to be reclaimed.
    func removeAll() -> [InodeNumber] {
        shards.flatMap { shard in
            shard.opens.withLock { opens in
                defer { opens = [:] }
                return opens.filter { $0.value.isOrphan }.map(\.key)
            }
        }
    }
}
