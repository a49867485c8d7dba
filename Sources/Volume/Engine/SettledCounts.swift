// Counts that were set right by a difference that a look at one commit had found.
//
// A count and what it counts are changed by the same operations, so what the count lacks does not
// change by itself, and is added at any later commit. Twice it must not be: whoever looked before
// somebody else added it looks again.

internal import LMDB
internal import Tidemark
internal import VolumeFormat

/// A count that nobody can take again in a transaction or two.
enum SettledCount: Hashable, Sendable {
    case freeBlocks
    /// Entries and sum of an index's active generation.
    case entries(IndexSlot)
    /// Of a large directory: its entries.
    case size(InodeNumber)
    /// Of a file of many extents.
    case blocks(InodeNumber)
}

/// When each count was settled last. Bounded: what it no longer knows counts as settled when it
/// was forgotten.
struct SettledCounts: Sendable {
    static let limit = 1 << 14
    private var commits: [SettledCount: UInt64] = [:]
    private var forgotten: UInt64 = 0

    mutating func note(_ count: SettledCount, _ commit: UInt64) {
        if commits.count >= SettledCounts.limit {
            commits.removeAll()
            forgotten = commit
        }
        commits[count] = commit
    }

    /// The last commit that has settled it; 0: none since the volume was opened.
    subscript(count: SettledCount) -> UInt64 { max(forgotten, commits[count] ?? 0) }
}

extension Operations {
    /// Whether the transaction may add what `count` lacked at a commit. From here on it counts as
    /// settled.
    mutating func maySettle(_ count: SettledCount, of commit: UInt64) -> Bool {
        guard state.settled[count] <= commit else { return false }
        state.settled.note(count, transaction.commit)
        return true
    }
}
