// Which blocks of the data file may not be touched just now.
//
// Metadata is transactional, the data file is not: what is written there is there at once.
// Two things can go wrong, and this class prevents both.
//
// 1. A block that was freed since the last durable point may belong to its former file again
//    after a failure of the system, which takes the volume back to that point. Whoever is
//    about to write to such a block makes a durable point first (`isSettled`), so whoever takes
//    free blocks passes such over while there are others (`unsettled`).
// 2. A block that one thread reads or writes may be freed meanwhile and given to another file.
//    Threads lock the blocks for the time of their I/O (`lock`), and look again, once they
//    have the lock, whether the blocks are still those of the file.
//
// A lock waits only for locks that were asked for before it, never for the writer, so
// locks can't wait for each other in a circle. The writer itself never waits: it asks
// `isIdle` and takes other blocks.

internal import Threads

/// Blocks `[start, end)` of the data file.
struct BlockRange: Hashable, Sendable {
    var start: UInt64
    var end: UInt64

    var length: UInt64 { end - start }

    func overlaps(_ other: BlockRange) -> Bool { start < other.end && other.start < end }
}

/// A claim on blocks; given back with `BlockGuard.unlock`.
struct BlockLock: Sendable {
    fileprivate let ticket: UInt64
}

final class BlockGuard: Sendable {
    private struct Claim {
        let ticket: UInt64
        let ranges: [BlockRange]
        let isExclusive: Bool

        func conflicts(with other: Claim) -> Bool {
            guard isExclusive || other.isExclusive else { return false }
            return ranges.contains { range in other.ranges.contains { $0.overlaps(range) } }
        }
    }

    private struct State {
        /// In the order of their tickets. One holds its blocks when none before it conflicts.
        var claims: [Claim] = []
        var lastTicket: UInt64 = 0
        var unsettled = UnsettledBlocks()

        mutating func claim(_ ranges: [BlockRange], isExclusive: Bool) -> Claim {
            lastTicket += 1
            let claim = Claim(ticket: lastTicket, ranges: ranges, isExclusive: isExclusive)
            claims.append(claim)
            return claim
        }

        func mustWait(_ claim: Claim) -> Bool {
            claims.prefix { $0.ticket < claim.ticket }.contains { $0.conflicts(with: claim) }
        }
    }

    private let state = Monitor(State())

    // MARK: Freed blocks

    /// `commit`, under way, frees `range`.
    func noteFreed(_ range: BlockRange, commit: UInt64) {
        state.withLock { $0.unsettled.insert(range, commit: commit) }
    }

    /// Whether none of `ranges` was freed after the commit `durable`, which survives any
    /// failure.
    func isSettled(_ ranges: [BlockRange], durable: UInt64) -> Bool {
        state.withLock { state in
            state.unsettled.settle(durable: durable)
            return !ranges.contains { state.unsettled.overlaps($0) }
        }
    }

    /// What was freed after the commit `durable`.
    func unsettled(durable: UInt64) -> UnsettledBlocks {
        state.withLock { state in
            state.unsettled.settle(durable: durable)
            return state.unsettled
        }
    }

    /// Whether `ranges` are settled and nobody has locked them.
    func isIdle(_ ranges: [BlockRange], durable: UInt64) -> Bool {
        guard isSettled(ranges, durable: durable) else { return false }
        return state.withLock { state in
            !state.claims.contains { claim in
                claim.ranges.contains { range in ranges.contains { $0.overlaps(range) } }
            }
        }
    }

    // MARK: Locks

    /// Waits for the locks on `ranges` that were asked for earlier. Never in the writer's turn.
    func lock(_ ranges: [BlockRange], exclusive: Bool) -> BlockLock {
        var claim: Claim?
        return state.wait { state in
            let mine = claim ?? state.claim(ranges, isExclusive: exclusive)
            claim = mine
            return state.mustWait(mine) ? nil : BlockLock(ticket: mine.ticket)
        }
    }

    /// Locks `ranges` where nobody has them, or waits for them: in the writer's turn, too.
    func lockIfFree(_ ranges: [BlockRange], exclusive: Bool) -> BlockLock? {
        state.withLock { state in
            let claim = state.claim(ranges, isExclusive: exclusive)
            guard state.mustWait(claim) else { return BlockLock(ticket: claim.ticket) }
            state.claims.removeLast()
            return nil
        }
    }

    /// Locks held, and waited for.
    var locks: (held: Int, awaited: Int) {
        state.withLock { state in
            let awaited = state.claims.count { state.mustWait($0) }
            return (state.claims.count - awaited, awaited)
        }
    }

    func unlock(_ lock: BlockLock) {
        state.withLock(notify: true) { state in
            guard let index = state.claims.firstIndex(where: { $0.ticket == lock.ticket }) else {
                preconditionFailure("blocks unlocked twice")
            }
            state.claims.remove(at: index)
        }
    }
}
