// The changes of an owner that nobody can lock, on their way into the queue: the cursor's rule
// with stamps in place of commits.
//
// The protocol at this place:
//
// - A window is *stamped* when it opens: under this lock the cursor moves and the owner's clock is
//   read, before the window's first piece is. Its entries carry the number before the stamp, so
//   that an event that bears the very stamp is newer than what was read.
// - An event is *elided* where its key has no stamp: a read that is still to come will see its
//   effect, because an event is stamped before its change is made and the read takes the same
//   lock. One that is older than its key's stamp says nothing that the read has not seen, and is
//   dropped. Any other is a delta with its own stamp.
// - A *loss* leaves nothing of what was read at or before its end: the owner says what of it may
//   have changed, and that is read again. From the moment at which a range loses its stamp its
//   events are elided. So what is void is everything up to that moment, and not up to the end of
//   the loss: a delta from between the two could be contradicted by an event that is elided.
// - The feed is *delivered* up to what every buffer was told to be delivered up to. Stamps at or
//   below it decide nothing about events any more, and neighbours among them are merged.
//
// What is held is bounded: ranges to be read again and void ranges are coarsened, which costs
// reading; where there are too many stamps no window opens until the feed has come further, for a
// coarser stamp would be a wrong one.
//
// Nothing that is delivered is believed. Stamps that are zero, fall, or lie ahead of the clock end
// the run with a reason (I3).

internal import Bytes
package import Contract
package import Entries
internal import Mutation
internal import Threads

extension HookPoint {
    /// What a run knows of an owner that nobody can lock, beside cursor and queue.
    package struct Stamps: Sendable {
        /// The stamp of each key: of the window that it was last read in. None: it is unread.
        package internal(set) var ofReads = RangeMap()
        /// The newest void.
        package internal(set) var lastVoid = SequenceNumber.none
        /// The owner's time when it was last read.
        var clock = SequenceNumber.none
        /// By buffer: up to where it is delivered, and the last stamp in it.
        package internal(set) var delivered: [SequenceNumber] = []
        package internal(set) var lastStamp: [SequenceNumber] = []
        /// Stamps from here on are not merged, unless there are too many: a comparison asks
        /// whether a key was read since.
        package internal(set) var needed = SequenceNumber(raw: .max)
        /// While differences are judged: the records that they are about. Only these have to be
        /// read. nil: all have to.
        package internal(set) var judged: RangeSet?
        /// Events that were older than the read of their key.
        var older = 0
        /// Losses that were told.
        var losses = 0

        /// Stamps that are told apart at the most.
        static let limit = 4096
        package init() {}

        /// Stamps from here on are no points in time.
        static let end = SequenceNumber(raw: 1 << 63)
    }
}

/// Gives the run what an owner that nobody can lock reports.
package final class StampedReceiver: ChangeReceiver {
    package let hook: HookPoint
    private let owner: any UnlockedOwner

    package init(_ hook: HookPoint, _ owner: any UnlockedOwner) {
        self.hook = hook
        self.owner = owner
    }

    package func wants(_ index: IndexSlot) -> Bool { hook.wants(index) }

    package func deliver(_ deltas: borrowing StampedDeltas, from buffer: Int) {
        hook.deliver(deltas, from: buffer)
    }

    package func lost(from: SequenceNumber, to: SequenceNumber, in buffer: Int) {
        do {
            guard let read = try hook.noteLoss(from: from, to: to, in: buffer) else { return }
            for range in read {
                let changed = try owner.changed(in: range, since: from)
                hook.readAgain(range, changed, upTo: to)
            }
        } catch {
            hook.abort(AbortReason(error))
        }
    }

    package func delivered(upTo: SequenceNumber, in buffer: Int) {
        hook.noteDelivered(upTo: upTo, in: buffer)
    }

    package func ended(_ reason: String) {
        hook.abort(AbortReason("the owner reports no more changes: \(reason)"))
    }
}

// MARK: The owner's side

extension HookPoint {
    /// Why what a buffer delivers can't be used.
    private func refuse(_ what: String, _ buffer: Int, _ state: inout State) {
        guard state.abort == nil else { return }
        state.abort = AbortReason(
            "the owner's changes can't be relied on: \(what) in buffer \(buffer)")
    }

    /// Whether `stamp` is a time that has been; reads the clock only where it must.
    private func isPast(_ stamp: SequenceNumber, _ state: inout State) -> Bool {
        if stamp == .none { return false }
        return stamp <= state.stamps.clock || stamp <= readClock(&state)
    }

    /// The owner's time now. A clock that goes back, or beyond its end, ends the run.
    @discardableResult
    func readClock(_ state: inout State) -> SequenceNumber {
        let time = clock()
        guard time >= state.stamps.clock, time != .none, time < Stamps.end else {
            if state.abort == nil {
                state.abort = AbortReason(
                    "the owner's clock can't be relied on: \(time.raw) follows "
                        + "\(state.stamps.clock.raw)")
            }
            return state.stamps.clock
        }
        state.stamps.clock = time
        return time
    }

    func deliver(_ deltas: borrowing StampedDeltas, from buffer: Int) {
        monitor.withLock(notify: true) { state in
            guard !state.isDead else { return }
            guard state.stamps.delivered.indices.contains(buffer) else {
                return refuse("there is no such one: changes", buffer, &state)
            }
            var position = 0
            for place in 0..<deltas.count {
                let stamp = deltas.stamps[place]
                guard check(stamp, buffer, &state) else { return }
                state.stamps.lastStamp[buffer] = stamp
                let delta = deltas.deltas.delta(at: position)
                position = delta.end
                guard delta.isUsable else {
                    return refuse("a delta longer than its bounds", buffer, &state)
                }
                take(delta, stamp, &state)
            }
        }
    }

    private func check(
        _ stamp: SequenceNumber, _ buffer: Int, _ state: inout State
    ) -> Bool {
        let last = state.stamps.lastStamp[buffer], delivered = state.stamps.delivered[buffer]
        guard isPast(stamp, &state) else {
            let time = state.stamps.clock.raw
            refuse("a stamp of \(stamp.raw) at the time \(time)", buffer, &state)
            return false
        }
        guard stamp >= last, stamp > delivered else {
            refuse(
                "a stamp of \(stamp.raw) after \(max(last, delivered).raw)", buffer, &state)
            return false
        }
        return true
    }

    private func take(_ delta: borrowing Delta, _ stamp: SequenceNumber, _ state: inout State) {
        switch delta.kind {
        case .added, .removed:
            guard wants(IndexSlot(delta.slot)) else { return }
            if let scope, !scope.takes(primary: delta.primary, key: delta.key) { return }
            let read = state.stamps.ofReads[delta.primary]
            guard read != .none else {
                state.elided += 1
                return
            }
            let isOlder = stamp < read
            if isOlder { state.stamps.older += 1 }
            guard !isOlder || mutants.have(.olderThanReadApplied) else { return }
            var sequence = stamp
            if mutants.have(.lastToArriveWins) || mutants.have(.olderThanReadApplied) {
                sequence = readClock(&state)
            }
            append(delta, sequence, &state)
        case .void, .voidToEnd:
            let upper = delta.kind == .void ? KeyBytes(delta.key) : nil
            let range = KeyRange(lower: KeyBytes(delta.primary), upper: upper)
            let read = state.stamps.ofReads.pieces(in: range).filter { $0.value <= stamp }
            if read.isEmpty { state.elided += 1 } else { state.applied += 1 }
            for piece in read { unstamp(piece.range, &state) }
            bound(&state)
        }
    }

    /// Notes a loss.
    /// - Returns: what was read at or before its end, to be asked for; nil: nothing follows.
    func noteLoss(
        from: SequenceNumber, to: SequenceNumber, in buffer: Int
    ) throws -> [KeyRange]? {
        monitor.withLock(notify: true) { state in
            guard !state.isDead else { return nil }
            guard state.stamps.delivered.indices.contains(buffer) else {
                refuse("there is no such one: a loss", buffer, &state)
                return nil
            }
            // It may begin before what is delivered: bounds may be wide.
            guard from <= to, isPast(to, &state), to > state.stamps.delivered[buffer],
                to >= state.stamps.lastStamp[buffer]
            else {
                let text = "a loss from \(from.raw) to \(to.raw)"
                refuse("\(text) behind \(state.stamps.lastStamp[buffer].raw)", buffer, &state)
                return nil
            }
            state.stamps.lastStamp[buffer] = to
            state.stamps.losses += 1
            if mutants.have(.lossIgnored) { return nil }
            var read = RangeMap()
            let end = lossEnd(from, to)
            for piece in state.stamps.ofReads.pieces where piece.value <= end {
                read.set(piece.range, to: end)
            }
            return read.pieces.map(\.range)
        }
    }

    private func lossEnd(_ from: SequenceNumber, _ to: SequenceNumber) -> SequenceNumber {
        mutants.have(.lossVoidsUpToItsBeginning) ? SequenceNumber(raw: max(from.raw, 1) - 1) : to
    }

    /// What of `range` was read at or before `to` is to be read again, as far as it is in
    /// `changed`; nil: all of it.
    func readAgain(_ range: KeyRange, _ changed: RecordRanges?, upTo to: SequenceNumber) {
        monitor.withLock(notify: true) { state in
            let parts = changed.map { changed in (0..<changed.count).map { changed[$0] } }
            for part in parts ?? [range] {
                guard let part = part.intersection(range) else { continue }
                for piece in state.stamps.ofReads.pieces(in: part) where piece.value <= to {
                    unstamp(piece.range, &state, loss: to)
                }
                bound(&state)
            }
        }
    }

    /// What was derived from `range` up to now does not count; it is to be read again, and until
    /// then its events are elided.
    /// - Parameter loss: the end of the loss that it is for.
    private func unstamp(
        _ range: KeyRange, _ state: inout State, loss: SequenceNumber? = nil
    ) {
        let time = readClock(&state)
        state.stamps.ofReads.set(range, to: .none)
        state.voids.raise(range, to: time)
        state.stamps.lastVoid = max(state.stamps.lastVoid, time)
        let end = mutants.have(.voidEndsWithLoss) ? min(loss ?? time, time) : time
        state.items.append(.void(VoidRange(range: range, sequence: end)))
        state.tail = nil
        state.rereads.insert(range)
    }

    /// Keeps the ranges to be read again, and those that are void, within their bounds.
    private func bound(_ state: inout State) {
        for gap in state.rereads.coarsen() { unstampRead(gap, &state) }
        while let hulls = state.voids.hulls(beyond: HookPoint.rangeLimit) {
            for hull in hulls { unstampRead(hull, &state) }
            for gap in state.rereads.coarsen() { unstampRead(gap, &state) }
        }
    }

    /// Takes the stamps of `range` away. What lies beyond the cursor has none, and stays beyond it.
    private func unstampRead(_ range: KeyRange, _ state: inout State) {
        var range = range
        if case .at(let cursor) = state.cursor {
            range.upper = range.upper.map { min($0, cursor) } ?? cursor
        }
        if !range.isEmpty { unstamp(range, &state) }
    }

    func noteDelivered(upTo: SequenceNumber, in buffer: Int) {
        monitor.withLock(notify: true) { state in
            guard !state.isDead else { return }
            guard state.stamps.delivered.indices.contains(buffer) else {
                return refuse("there is no such one: an end", buffer, &state)
            }
            guard isPast(upTo, &state), upTo >= state.stamps.delivered[buffer] else {
                let before = state.stamps.delivered[buffer].raw
                return refuse("delivered up to \(upTo.raw) after \(before)", buffer, &state)
            }
            state.stamps.delivered[buffer] = upTo
            if state.stamps.ofReads.count > Stamps.limit / 64 { mergeStamps(&state) }
        }
    }

    /// Merges what no event that is still to come can be older than.
    private func mergeStamps(_ state: inout State) {
        let delivered = state.stamps.delivered.min() ?? .none
        let needed = SequenceNumber(raw: state.stamps.needed.raw - 1)
        state.stamps.ofReads.mergeNeighbours(upTo: min(delivered, needed))
    }
}

extension Delta {
    /// Whether primary key, key and value are no longer than those of an entry may be.
    fileprivate var isUsable: Bool {
        guard primary.byteCount <= KeyBytes.capacity, key.byteCount <= KeyBytes.capacity else {
            return false
        }
        let isEntry = kind == .added || kind == .removed
        return !isEntry || key.byteCount > 0 && value.byteCount <= EntryBatch.longestValue
    }
}

extension HookPoint.State {
    /// What has to be read again for the shadow to be settled.
    fileprivate var neededRereads: [KeyRange] {
        guard let judged = stamps.judged else { return rereads.ranges }
        return judged.ranges.flatMap { rereads.ranges(in: $0) }
    }

    /// Whether nothing is left to be read again, as far as it is needed.
    var areRereadsDone: Bool {
        stamps.judged == nil ? rereads.isEmpty : neededRereads.isEmpty
    }
}

// MARK: The run's side

extension HookPoint {
    /// The feed is in force, with so many buffers.
    package func subscribed(buffers: Int) throws {
        guard buffers > 0, buffers <= 1 << 16 else {
            throw AbortReason("the owner's changes come from \(buffers) buffers")
        }
        monitor.withLock { state in
            precondition(!state.isAttached, "a feed is subscribed to once")
            state.isAttached = true
            state.stamps.delivered = Array(repeating: .none, count: buffers)
            state.stamps.lastStamp = state.stamps.delivered
            readClock(&state)
            if let scope {
                state.cursor = .end
                state.rereads = RangeSet(scope.unread, limit: HookPoint.rangeLimit)
            }
        }
    }

    /// Where the next window begins.
    package struct Unread: Sendable {
        /// Where it ends at the latest.
        package let range: KeyRange
        /// Whether it lies below the cursor; else it begins there.
        package let isAgain: Bool
    }

    /// What becomes of a window that is to be opened.
    package struct Opening: Sendable {
        /// nil: it can't be opened.
        package let window: Window?
        /// Whether to try again later, because clock or feed have to go on first; else another
        /// scanner was faster.
        package let isLater: Bool

        static let taken = Opening(window: nil, isLater: false)
        static let later = Opening(window: nil, isLater: true)
    }

    /// What is to be read next: what lies below the cursor first.
    package var unread: Unread? {
        monitor.withLock { state -> Unread? in
            precondition(state.isAttached, "the feed is in force before the first window opens")
            if state.stamps.judged != nil {
                return state.neededRereads.first.map { Unread(range: $0, isAgain: true) }
            }
            if let range = state.rereads.first { return Unread(range: range, isAgain: true) }
            guard case .at(let key) = state.cursor else { return nil }
            return Unread(range: KeyRange(lower: key, upper: nil), isAgain: false)
        }
    }

    /// Stamps the window `range`, which lies in a range to be read again or begins at the cursor.
    package func openStamped(_ range: KeyRange, again isAgain: Bool) -> Opening {
        monitor.withLock { state in
            guard state.abort == nil else { return .later }
            if state.stamps.ofReads.count >= Stamps.limit {
                mergeStamps(&state)
                if state.stamps.ofReads.count >= Stamps.limit {
                    let delivered = state.stamps.delivered.min() ?? .none
                    state.stamps.ofReads.mergeNeighbours(upTo: delivered)
                }
                guard state.stamps.ofReads.count < Stamps.limit else { return .later }
            }
            let stamp = readClock(&state)
            // What is read must be newer than what is void.
            guard stamp.raw > state.stamps.lastVoid.raw + 1 else { return .later }
            if isAgain {
                guard state.rereads.ranges(in: range) == [range] else { return .taken }
                state.rereads.remove(range)
                // By a mutant: the next one is forgotten.
                if mutants.have(.rereadLost) { _ = state.rereads.popFirst() }
            } else {
                guard state.cursor == .at(range.lower) else { return .taken }
                state.cursor = range.upper.map { .at($0) } ?? .end
            }
            state.stamps.ofReads.set(range, to: stamp)
            let window = Window(
                range: range, sequence: SequenceNumber(raw: stamp.raw - 1),
                number: state.nextWindow)
            state.nextWindow += 1
            state.open.append(window)
            return Opening(window: window, isLater: false)
        }
    }

    /// The sequence of what is read of `window` now: its own, but for mistakes.
    package func sequence(ofRead window: Window) -> SequenceNumber {
        guard mutants.have(.lastToArriveWins) else {
            return window.sequence
        }
        return monitor.withLock { SequenceNumber(raw: readClock(&$0).raw) }
    }

    /// By a mutant: a window is stamped when it has been read.
    package func stampLate(_ window: Window) {
        guard mutants.have(.stampedAfterRead) else { return }
        monitor.withLock { state in
            let time = readClock(&state)
            for piece in state.stamps.ofReads.pieces
            where piece.value.raw == window.sequence.raw + 1 {
                state.stamps.ofReads.set(piece.range, to: time)
            }
        }
    }

    /// The owner's time now, to be asked before and after a look at the live index.
    package func time() -> SequenceNumber { monitor.withLock { readClock(&$0) } }

    /// From now on stamps at or after `time` are kept apart; nil: none need to be.
    package func keepStamps(from time: SequenceNumber?) {
        monitor.withLock { $0.stamps.needed = time ?? SequenceNumber(raw: .max) }
    }

    /// From now on only records in `ranges` have to be read for the shadow to be settled: nothing
    /// but what is derived from them is asked of it. What else is void stays void, and is read
    /// where all have to be read again: nil.
    /// - Returns: whether all that has to be read now is read.
    @discardableResult
    package func judge(_ ranges: [KeyRange]?) -> Bool {
        monitor.withLock(notify: true) { state in
            precondition(
                ranges == nil || state.cursor == .end, "differences are found behind the scan")
            state.stamps.judged = ranges.map { RangeSet($0, limit: HookPoint.judgedLimit) }
            _ = state.stamps.judged?.coarsen()
            return state.areRereadsDone
        }
    }

    /// Ranges of records that are judged at a time, at the most: what lies between them is read
    /// with them. It is far below the bound of what is to be read again, which they are cut out of.
    static let judgedLimit = 128

    /// Whether every buffer is delivered up to `mark`.
    package func isDelivered(upTo mark: SequenceNumber) -> Bool {
        monitor.withLock { state in state.stamps.delivered.allSatisfy { $0 >= mark } }
    }

    /// A moment at which the shadow, with `items` handled, is as of `mark`.
    package struct Settled: @unchecked Sendable {
        package let items: [QueueItem]
        /// The stamp of each key.
        package let stamps: RangeMap
    }

    /// Takes the queue, where the feed is delivered up to `mark` and nothing is left to be read.
    /// - Returns: nil where something is.
    package func settled(at mark: SequenceNumber) -> Settled? {
        monitor.withLock(notify: true) { state in
            let isRead =
                state.cursor == .end && state.areRereadsDone && state.open.isEmpty
            let isDelivered = state.stamps.delivered.allSatisfy { $0 >= mark }
            guard isRead || mutants.have(.comparedBeforeReread),
                isDelivered || mutants.have(.noWatermark)
            else { return nil }
            return Settled(items: Self.takeAll(&state), stamps: state.stamps.ofReads)
        }
    }

    /// Counts for reports: events older than the read of their key, and losses.
    package var stampCounts: (older: Int, losses: Int) {
        monitor.withLock { ($0.stamps.older, $0.stamps.losses) }
    }
}
