// Free blocks that writes have chosen and not yet taken. A write chooses blocks, fills them, and
// only then takes them, in the transaction that makes them the file's: one commit for a write,
// and a process that dies in between has lost nothing but the bytes in free blocks.
//
// Nothing of it is on the disk. Whoever takes free blocks, in the writer's turn, leaves those that
// are reserved alone; a reservation ends on the thread of whoever writes, with or without the
// blocks taken.

internal import Synchronization

final class ReservedBlocks: Sendable {
    /// What one write has reserved.
    struct Ticket: Hashable, Sendable {
        fileprivate let number: UInt64
    }

    private struct State {
        var lastNumber: UInt64 = 0
        var held: [(ticket: Ticket, range: BlockRange)] = []
    }

    private let state = Mutex(State())

    func begin() -> Ticket {
        state.withLock {
            $0.lastNumber += 1
            return Ticket(number: $0.lastNumber)
        }
    }

    /// In the writer's turn.
    func add(_ range: BlockRange, to ticket: Ticket) {
        state.withLock { state in
            precondition(
                !state.held.contains { $0.range.overlaps(range) }, "blocks reserved twice")
            state.held.append((ticket, range))
        }
    }

    /// Gives up what was reserved under `ticket`.
    func end(_ ticket: Ticket) { state.withLock { $0.held.removeAll { $0.ticket == ticket } } }

    /// All that is reserved, by place.
    var ranges: [BlockRange] {
        state.withLock { $0.held.isEmpty ? [] : $0.held.map(\.range) }.sorted {
            $0.start < $1.start
        }
    }
}

/// Which part of a run of free blocks is to be taken.
struct FreeBlockFilter {
    /// By place, none over another.
    let reserved: [BlockRange]
    /// What is passed over while there are other blocks; nil: nothing.
    let unsettled: UnsettledBlocks?

    /// Blocks fewer than wanted are taken from so many on.
    private static let worthAnExtent: UInt64 = 16

    /// Up to `wanted` blocks of `run`, or more, from where they are to be taken; nil where all are
    /// reserved.
    func part(of run: BlockRange, _ wanted: UInt64) -> (part: BlockRange, isSettled: Bool)? {
        let enough = min(wanted, run.length, FreeBlockFilter.worthAnExtent)
        var best: BlockRange?
        for piece in unreserved(run) {
            if let unsettled {
                let part = unsettled.settledPart(of: piece, wanted)
                if let part, part.length >= enough { return (part, true) }
            } else if piece.length >= enough {
                return (piece, true)
            }
            if best.map({ $0.length < wanted && piece.length > $0.length }) ?? true { best = piece }
        }
        return best.map { ($0, false) }
    }

    private func unreserved(_ run: BlockRange) -> [BlockRange] {
        guard !reserved.isEmpty else { return [run] }
        var pieces: [BlockRange] = []
        var from = run.start
        for range in reserved where range.overlaps(run) {
            if range.start > from { pieces.append(BlockRange(start: from, end: range.start)) }
            from = range.end
        }
        if from < run.end { pieces.append(BlockRange(start: from, end: run.end)) }
        return pieces
    }
}
