// Free blocks that writes have chosen and not yet taken. A write chooses blocks, fills them, and
// only then takes them, in the transaction that makes them the file's: one commit for a write,
// and a process that dies in between has lost nothing but the bytes in free blocks.
//
// Nothing of it is on the disk. Whoever takes free blocks, in the writer's turn, leaves those that
// are reserved alone; a reservation ends on the thread of whoever writes, with or without the
// blocks taken.

internal import Threads
#if canImport(Glibc)
internal import Glibc
#endif

final class ReservedBlocks: Sendable {
    /// Of one write, from its beginning to its end.
    struct Ticket: Hashable, Sendable {
        fileprivate let number: UInt64
    }

    private struct State {
        var lastNumber: UInt64 = 0
        var open: Set<Ticket> = []
        var held: [(ticket: Ticket, range: BlockRange)] = []
        /// Tickets so far under which something was given up or taken.
        var releases: UInt64 = 0
        var isClosed = false
    }

    private let state = Monitor(State())

    /// - Returns: nil where no more writes are begun.
    func begin() -> Ticket? {
        state.withLock { state in
            guard !state.isClosed else { return nil }
            state.lastNumber += 1
            let ticket = Ticket(number: state.lastNumber)
            state.open.insert(ticket)
            return ticket
        }
    }

    func end(_ ticket: Ticket) {
        release(ticket)
        state.withLock(notify: true) { _ = $0.open.remove(ticket) }
    }

    /// Begins no more, and waits until all that were begun have ended.
    func close() {
        state.withLock { $0.isClosed = true }
        state.wait { $0.open.isEmpty ? () : nil }
    }

    /// In the writer's turn.
    func add(_ range: BlockRange, to ticket: Ticket) {
        state.withLock { state in
            precondition(
                !state.held.contains { $0.range.overlaps(range) }, "blocks reserved twice")
            state.held.append((ticket, range))
        }
    }

    /// Gives up what was reserved under `ticket`: it is taken, or not wanted.
    func release(_ ticket: Ticket) {
        state.withLock(notify: true) { state in
            let before = state.held.count
            state.held.removeAll { $0.ticket == ticket }
            if state.held.count < before { state.releases += 1 }
        }
    }

    /// All that is reserved, by place.
    var ranges: [BlockRange] {
        state.withLock { $0.held.isEmpty ? [] : $0.held.map(\.range) }.sorted {
            $0.start < $1.start
        }
    }

    /// Blocks that are reserved.
    var count: UInt64 { state.withLock { $0.held.reduce(0) { $0 + $1.range.length } } }

    var releases: UInt64 { state.withLock { $0.releases } }

    /// Waits for the next release after `seen`.
    /// - Returns: false where nothing is reserved, or nothing was released in so many seconds.
    func waitForRelease(after seen: UInt64, seconds: Double) -> Bool {
        state.wait(seconds: seconds) { state in
            if state.releases > seen { return true }
            return state.held.isEmpty ? false : nil
        } ?? false
    }
}

extension Volume {
    /// Attempts at the most of one who finds no space: others may reserve all the time.
    private static let mostAttempts = 16

    /// Runs what takes blocks; again where too few were free, and writes under way had reserved
    /// some: they may not need them in the end.
    public func retryingForSpace<R>(_ body: () throws -> R) throws -> R {
        var attempts = Volume.mostAttempts
        while true {
            let seen = core.reserved.releases
            do {
                return try body()
            } catch let error as VolumeError where error.errno == ENOSPC {
                attempts -= 1
                guard attempts > 0, core.reserved.waitForRelease(after: seen, seconds: 1) else {
                    throw error
                }
            }
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
