// Where an owner's commits meet a run: the scan cursor, the queue, and the rule that sends
// each delta into the one or past it.
//
// The protocol at this place:
//
// - A window is opened here: the cursor moves to the window's end and the number of the
//   last reported commit is noted, both under this lock and at once. The window is read
//   later, from a snapshot taken later. (The other way round, snapshot first, loses what is
//   committed in between.)
// - A commit is reported after it has become visible. Each delta with its primary key below
//   the cursor goes into the queue, with the commit's sequence; the others are elided,
//   because a window that is still to be opened will read their effect.
// - A commit that is visible and not yet reported when a window opens is both: the window
//   reads its effect, stamped older than it is, and its delta, stamped rightly, says the
//   same. A delta is absolute ("this entry is there", "is not there"), so nothing is
//   counted twice.
// - The queue is bounded. Full, it makes writers wait in `admit`, where they hold no lock,
//   and after a limit it aborts the run: never the writers (I3).
//
// A run with a scope begins where others end their scan: its cursor is beyond every key, and the
// records of its scope are what is still to be read. So each delta of the scope is applied,
// from the first one on, and all others are dropped: no window will read their effect either.
//
// Lock order: the owner's commit lock, then this one. Nothing is called with this lock held.

package import Bytes
package import Contract
package import Entries
package import Mutation
package import Threads

/// What passes through the queue to the assistant.
package enum QueueItem {
    /// What was read from a window: a batch for each index, by slot.
    case window(WindowSink)
    /// Deltas, of one or several commits: a batch for each index, by slot.
    case deltas([EntryBatch?])
    case void(VoidRange)
}

package final class HookPoint: CommitHook {
    /// Up to where the scan has taken the primary keys.
    package enum Cursor: Equatable {
        case at(KeyBytes)
        /// Beyond every key: each delta is applied.
        case end

        package func isAbove(_ key: RawSpan) -> Bool {
            switch self {
            case .at(let cursor): compareBytes(key, cursor.span) < 0
            case .end: true
            }
        }
    }

    package struct State {
        /// Set once, by `attached`: hooks are in force before the first window.
        package var isAttached = false
        /// Set once. A run is marked aborted first, then unhooked, then freed.
        package var abort: AbortReason?
        /// Moved by the scanner alone, never back.
        package var cursor = Cursor.at(KeyBytes())
        /// The last commit that was reported.
        package var lastCommit: UInt64 = 0
        /// Commits that were reported and were made by writers.
        package var othersCommits: UInt64 = 0
        /// Handled from the front; `head` is the first one that is not.
        package var items: [QueueItem?] = []
        package var head = 0
        /// Bytes of the items that are not handled yet.
        package var queuedBytes = 0
        /// Bytes that commits have added to them, of which nobody was told yet.
        package var untoldBytes = 0
        /// The batches that deltas are being appended to: those of the last item.
        package var tail: [EntryBatch?]?
        /// Void ranges to be read again.
        package var rereads = RangeSet(limit: HookPoint.rangeLimit)
        /// Up to where what was derived from each key is void, as the assistant knows it too.
        package var voids = RangeMap()
        /// Of an owner that nobody can lock.
        package var stamps = Stamps()
        /// Windows that were opened, with what is left of each to be read.
        package var open: [Window] = []
        /// The number of the next window.
        package var nextWindow = 0
        package var applied = 0
        package var elided = 0
        /// Bytes from which on writers and scanners wait.
        package var queueLimit: Int
        /// Seconds that a writer has waited for the queue, without success so far.
        package var waited = 0.0
        /// Set by the assistant when nobody will take items any more.
        package var isClosed = false
        /// By a mutant: a run that is being stopped is as one that was aborted.
        package var isDeafWhenStopped = false

        package var isEmpty: Bool { head == items.count }

        /// Aborts the run because of what its owner has reported, which can't be: the owner's
        /// operation does not notice (I3), and nothing is built on it.
        package mutating func distrust(_ what: String) {
            guard abort == nil || abort?.isStop == true else { return }
            abort = AbortReason("the owner reported what can't be: \(what)")
        }

        /// Whether nothing is kept any more. A run that is being stopped still takes note of
        /// everything, up to the boundary at which its position is taken.
        package var isDead: Bool {
            isClosed || abort.map { !$0.isStop || isDeafWhenStopped } ?? false
        }

        /// Opens a window on `range`, as of all that was reported.
        package mutating func openWindow(_ range: KeyRange, commit: UInt64) -> Window {
            let window = Window(
                range: range, sequence: .end(of: commit), number: nextWindow)
            nextWindow += 1
            open.append(window)
            return window
        }
    }

    /// Bounds of the queue and of a writer's patience.
    package struct Limits {
        /// Bytes from which on writers and scanners wait.
        package var bytes: Int
        /// Seconds that a writer waits before the run is aborted.
        package var patience: Double
        /// Bytes of one batch of deltas.
        package var batch: Int
        /// Bytes of deltas for which whoever waits for them is woken: to be woken for each commit
        /// would cost writers more than the rest of what a run does to them. What is less is
        /// found by whoever looks now and then.
        package var wake: Int

        package init(
            bytes: Int = 32 << 20, patience: Double = 2.0, batch: Int = 256 << 10,
            wake: Int = 64 << 10
        ) {
            self.bytes = bytes
            self.patience = patience
            self.batch = batch
            self.wake = wake
        }
    }

    package let monitor: Monitor<State>
    let slots: [Bool]
    private let about: Set<IndexSlot>
    /// What the run is limited to; nil: nothing.
    package let scope: Scope?
    private let limits: Limits
    let mutants: Mutants
    /// The time of an owner that nobody can lock; that of others stands still.
    let clock: @Sendable () -> SequenceNumber
    package let pool: BatchPool

    /// - Parameters:
    ///   - wanted: for each index of the owner whether the run needs its deltas.
    ///   - about: the indexes that the run is about; nil: all that are wanted.
    ///   - clock: of an owner that nobody can lock.
    package init(
        wanted: [Bool], about: [IndexSlot]? = nil, scope: Scope? = nil, limits: Limits,
        pool: BatchPool, mutants: Mutants = Mutants(),
        clock: @escaping @Sendable () -> SequenceNumber = { .none }
    ) {
        self.clock = clock
        self.scope = scope
        var state = State(queueLimit: limits.bytes)
        state.isDeafWhenStopped = mutants.have(.stoppingIsDeaf)
        monitor = Monitor(state)
        slots = wanted
        let all = wanted.indices.filter { wanted[$0] }.map { IndexSlot($0) }
        self.about = Set(about ?? all)
        self.limits = limits
        self.mutants = mutants
        self.pool = pool
    }

    // MARK: The owner's side

    package func wants(_ index: IndexSlot) -> Bool {
        index.rawValue < slots.count && slots[index.rawValue]
    }
    package func isAbout(_ index: IndexSlot) -> Bool { about.contains(index) }

    package func committed(
        _ commit: UInt64, by origin: CommitOrigin, deltas: borrowing DeltaBatch
    ) {
        let isTold = monitor.withLock { state in
            if origin == .writer { state.othersCommits += 1 }
            guard !state.isDead else {
                if commit > state.lastCommit, SequenceNumber.canHold(commit: commit) {
                    state.lastCommit = commit
                }
                return false
            }
            guard commit > state.lastCommit else {
                state.distrust("commit \(commit) after commit \(state.lastCommit)")
                return true
            }
            guard SequenceNumber.canHold(commit: commit, ordinal: max(deltas.count - 1, 0)) else {
                state.distrust("commit \(commit) with \(deltas.count) changes: beyond all bounds")
                return true
            }
            state.lastCommit = commit
            let queued = state.queuedBytes, items = state.items.count
            var position = 0
            for ordinal in 0..<deltas.count {
                let delta = deltas.delta(at: position)
                position = delta.end
                report(delta, SequenceNumber(commit: commit, ordinal: ordinal), &state)
            }
            return isWorthTelling(&state, bytes: state.queuedBytes - queued, items: items)
        }
        if isTold { monitor.notify() }
    }

    /// Whether those who wait are to be woken after a commit that has added so many bytes.
    private func isWorthTelling(_ state: inout State, bytes: Int, items: Int) -> Bool {
        state.untoldBytes += bytes
        var isTold = state.untoldBytes >= limits.wake || state.queuedBytes >= state.queueLimit / 2
        for case .void in state.items[items...] { isTold = true }
        if isTold { state.untoldBytes = 0 }
        return isTold
    }

    private func report(_ delta: Delta, _ sequence: SequenceNumber, _ state: inout State) {
        switch delta.kind {
        case .added, .removed:
            guard delta.slot < slots.count, slots[delta.slot] else { return }
            if let scope, !scope.takes(primary: delta.primary, key: delta.key) { return }
            guard isApplied(delta, state.cursor) else {
                state.elided += 1
                if mutants.have(.elidedCountsAsApplied) { state.applied += 1 }
                return
            }
            if delta.kind == .removed, mutants.have(.removalsDropped) { return }
            if mutants.have(.fullQueueDrops), state.queuedBytes >= state.queueLimit { return }
            guard
                EntryBatch.canHold(
                    keySize: delta.key.byteCount, valueSize: delta.value.byteCount)
            else {
                return state.distrust(
                    "an entry of \(delta.key.byteCount) + \(delta.value.byteCount) bytes")
            }
            append(delta, sequence, &state)
        case .void, .voidToEnd:
            void(delta, sequence, &state)
        }
    }

    /// The rule: below the cursor a delta is applied; at or above it the scan will find what
    /// it did.
    @inline(__always)
    private func isApplied(_ delta: borrowing Delta, _ cursor: Cursor) -> Bool {
        if mutants.have(.elidedIsApplied) { return true }
        if mutants.have(.cursorOffByOne), case .at(let key) = cursor, key.count > 8 {
            let inode = KeyBytes(key.span.extracting(first: 8))
            return compareBytes(delta.primary, inode.span) < 0
        }
        return cursor.isAbove(delta.primary)
    }

    /// Puts the delta into the queue.
    @inline(__always)
    func append(
        _ delta: borrowing Delta, _ sequence: SequenceNumber, _ state: inout State
    ) {
        let batch = tailBatch(delta.slot, &state)
        let before = batch.byteCount
        batch.append(
            key: delta.key, value: delta.value, sequence: sequence,
            isPresent: delta.kind == .added)
        state.queuedBytes += batch.byteCount - before
        state.applied += 1
        if batch.byteCount >= limits.batch { state.tail = nil }
    }

    private func tailBatch(_ slot: Int, _ state: inout State) -> EntryBatch {
        if state.tail == nil {
            let batches = slots.map { $0 ? pool.take() : nil }
            state.tail = batches
            state.items.append(.deltas(batches))
        }
        guard let batch = state.tail?[slot] else { preconditionFailure("the index is wanted") }
        return batch
    }

    /// The part of a void below the cursor is read again; what lies above it will be read
    /// anyway.
    private func void(_ delta: Delta, _ sequence: SequenceNumber, _ state: inout State) {
        guard delta.primary.byteCount <= KeyBytes.capacity,
            delta.key.byteCount <= KeyBytes.capacity
        else { return state.distrust("a range of keys beyond their bound") }
        let lower = KeyBytes(delta.primary)
        guard state.cursor.isAbove(lower.span) else {
            state.elided += 1
            return
        }
        var upper = delta.kind == .void ? KeyBytes(delta.key) : nil
        if let upper, !(lower < upper) {
            return state.distrust("a range that ends where it begins, or before")
        }
        if case .at(let cursor) = state.cursor {
            upper = upper.map { min($0, cursor) } ?? cursor
        }
        let range = KeyRange(lower: lower, upper: upper)
        readAgain(range, sequence, &state)
        for gap in state.rereads.coarsen() { readAgain(gap, sequence, &state) }
        while let hulls = state.voids.hulls(beyond: HookPoint.rangeLimit) {
            // What else is void in it may be newer, while older commits are replayed.
            for hull in hulls {
                let newest = state.voids.pieces(in: hull).map(\.value).max() ?? sequence
                readAgain(hull, max(sequence, newest), &state)
            }
            _ = state.rereads.coarsen()
        }
        state.applied += 1
    }

    /// Ranges of each kind that are held at the most. Beyond it they are coarsened.
    package static let rangeLimit = 1024

    private func readAgain(
        _ range: KeyRange, _ sequence: SequenceNumber, _ state: inout State
    ) {
        state.items.append(.void(VoidRange(range: range, sequence: sequence)))
        state.tail = nil
        state.voids.raise(range, to: sequence)
        state.rereads.insert(range)
    }

    package func admit(within seconds: Double) -> Bool {
        let isAdmitted: Bool? = monitor.wait(seconds: seconds) { state in
            guard
                state.queuedBytes < state.queueLimit || state.abort != nil || state.isClosed
                    || mutants.have(.fullQueueDrops)
            else { return nil }
            state.waited = 0
            return true
        }
        guard isAdmitted == nil else { return true }
        let waited = monitor.withLock { state in
            state.waited += seconds
            return state.waited
        }
        guard waited >= limits.patience else { return false }
        abort(AbortReason("the queue stayed full for \(limits.patience) s: writers go first"))
        return true
    }

    // MARK: The run's side

    /// The hook is in force, as of `commit`. A number that fits into no sequence number aborts the
    /// run.
    package func attached(at commit: UInt64) {
        monitor.withLock { state in
            precondition(!state.isAttached, "a hook is attached once")
            state.isAttached = true
            if SequenceNumber.canHold(commit: commit) {
                state.lastCommit = commit
            } else {
                state.distrust("commit \(commit): beyond all bounds")
            }
            if let scope {
                state.cursor = .end
                state.rereads = RangeSet(scope.unread, limit: HookPoint.rangeLimit)
            }
        }
    }

    /// The hook is in force, as of `commit`, for a run that goes on from `position`.
    package func attached(
        at commit: UInt64, from position: Position, voids: [VoidRange] = []
    ) {
        attached(at: commit)
        monitor.withLock { state in
            for void in voids { state.voids.raise(void.range, to: void.sequence) }
            state.cursor = position.cursor.map { .at($0) } ?? .end
            state.rereads = RangeSet(position.unread, limit: HookPoint.rangeLimit)
            state.applied = position.applied
            state.elided = position.elided
        }
    }

    /// Deltas of an earlier commit, from the hook log: handled as if they came now, with the
    /// sequence that they had. `ordinal` is that of the first of them.
    package func replay(_ commit: UInt64, from ordinal: Int, _ deltas: borrowing DeltaBatch) {
        monitor.withLock(notify: deltas.count > 0) { state in
            guard !state.isDead else { return }
            guard commit <= state.lastCommit,
                SequenceNumber.canHold(commit: commit, ordinal: ordinal),
                deltas.count <= SequenceNumber.maximumOrdinal + 1 - ordinal
            else { return state.distrust("logged changes of commit \(commit), \(ordinal)") }
            let commit = mutants.have(.replayStampedLate) ? state.lastCommit : commit
            var position = 0
            for place in 0..<deltas.count {
                let delta = deltas.delta(at: position)
                position = delta.end
                report(
                    delta, SequenceNumber(commit: commit, ordinal: ordinal + place), &state)
            }
        }
    }

    /// From now on writers and scanners wait from `bytes` in the queue on.
    package func limitQueue(bytes: Int) { monitor.withLock(notify: true) { $0.queueLimit = bytes } }

    /// Marks the run as aborted; the first reason stays.
    package func abort(_ reason: AbortReason) {
        monitor.withLock(notify: true) { if $0.abort == nil { $0.abort = reason } }
    }

    package var abortReason: AbortReason? { monitor.withLock { $0.abort } }

    /// Nobody will take items any more: writers pass freely, and nothing is kept.
    package func close() {
        monitor.withLock(notify: true) { state in
            state.isClosed = true
            state.items = []
            state.head = 0
            state.queuedBytes = 0
            state.tail = nil
        }
    }

    /// Where the next window begins: a void range to be read again, or the cursor; nil at
    /// the end of the scan.
    package enum Next { case again(Window), at(KeyBytes), end }

    /// Takes the next range to be read again, as a window, or tells where the cursor is.
    package func nextWindow() -> Next {
        monitor.withLock { state in
            precondition(state.isAttached, "hooks are in force before the first window opens")
            if let range = state.rereads.popFirst() {
                if mutants.have(.rereadLost) { _ = state.rereads.popFirst() }
                return .again(state.openWindow(range, commit: state.lastCommit))
            }
            switch state.cursor {
            case .at(let key): return .at(key)
            case .end: return .end
            }
        }
    }

    /// Opens the window from `lower`, where the cursor must be, to `upper`, or to the end.
    /// - Returns: nil where another scanner was faster.
    package func open(from lower: KeyBytes, to upper: KeyBytes?) -> Window? {
        monitor.withLock { state in
            guard state.cursor == .at(lower) else { return nil }
            if let upper {
                precondition(lower < upper, "the cursor moves up")
                state.cursor = .at(upper)
            } else {
                state.cursor = .end
            }
            let commit = state.lastCommit &+ (mutants.have(.windowStampedLate) ? 1 : 0)
            return state.openWindow(KeyRange(lower: lower, upper: upper), commit: commit)
        }
    }

    /// A part of the window was read; what is left of it begins at `rest`, nil: nothing.
    package func enqueue(_ sink: WindowSink, of window: Window, rest: KeyBytes?) {
        monitor.withLock(notify: true) { state in
            guard let place = state.open.firstIndex(where: { $0.number == window.number }) else {
                preconditionFailure("a window is read once")
            }
            if let rest {
                state.open[place].range.lower = rest
            } else {
                state.open.remove(at: place)
            }
            guard !state.isDead else { return }
            state.items.append(.window(sink))
            state.tail = nil
            state.queuedBytes += sink.byteCount
        }
    }

    /// The next item, or nil where there is none.
    package func take() -> QueueItem? {
        monitor.withLock(notify: true) { state in
            guard !state.isEmpty else { return nil }
            guard let item = state.items[state.head].take() else {
                preconditionFailure("an item is taken once")
            }
            state.head += 1
            state.queuedBytes -= item.byteCount
            if state.isEmpty {
                state.items.removeAll(keepingCapacity: true)
                state.head = 0
                state.tail = nil
            }
            return item
        }
    }

    /// All items. Called at a commit boundary, so that what is committed later is not
    /// among them.
    package func takeAll() -> [QueueItem] {
        monitor.withLock(notify: true) { Self.takeAll(&$0) }
    }

    static func takeAll(_ state: inout State) -> [QueueItem] {
        let items = state.items[state.head...].compactMap { $0 }
        state.items.removeAll(keepingCapacity: true)
        state.head = 0
        state.queuedBytes = 0
        state.tail = nil
        return items
    }

    /// Where a scan stands: of the primary keys below the cursor all but those in `unread` are
    /// read.
    package struct Position: Sendable {
        /// nil: at the end of the scan.
        package let cursor: KeyBytes?
        package let unread: [KeyRange]
        /// Deltas that were taken, and that were left to the scan.
        package let applied, elided: Int

        package init(cursor: KeyBytes?, unread: [KeyRange], applied: Int, elided: Int) {
            self.cursor = cursor
            self.unread = unread
            self.applied = applied
            self.elided = elided
        }
    }

    /// Where the run stands once `items` are handled: every delta up to `commit` is.
    package struct Mark: @unchecked Sendable {
        package let items: [QueueItem]
        package let commit: UInt64
        package let position: Position
    }

    /// Takes all items and notes the position that goes with them, at once. Called at a commit
    /// boundary.
    /// - Throws: where the run has been aborted: from that moment on deltas are dropped.
    package func mark() throws(AbortReason) -> Mark {
        let mark: Result<Mark, AbortReason> = monitor.withLock(notify: true) { state in
            if let abort = state.abort, !abort.isStop, !mutants.have(.checkpointOfAborted) {
                return .failure(abort)
            }
            var cursor: KeyBytes?
            if case .at(let key) = state.cursor { cursor = key }
            let isForgetful = mutants.have(.checkpointForgetsWindows)
            let open = isForgetful ? [] : state.open.map(\.range)
            let rereads = mutants.have(.checkpointForgetsRereads) ? [] : state.rereads.ranges
            return .success(
                Mark(
                    items: mutants.have(.checkpointWithoutDrain) ? [] : Self.takeAll(&state),
                    commit: state.lastCommit,
                    position: Position(
                        cursor: cursor, unread: open + rereads, applied: state.applied,
                        elided: state.elided)))
        }
        return try mark.get()
    }

    /// A view of the state, for decisions and reports.
    package struct Status {
        package var cursor: Cursor
        /// Commits that were made by writers.
        package var othersCommits: UInt64
        package var isEmpty: Bool
        package var isFull: Bool
        package var isScanned: Bool
        package var applied: Int
        package var elided: Int
        package var queuedBytes: Int
        package var queueLimit: Int

        /// Half of the queue is taken, or more.
        package var isHalfFull: Bool { queuedBytes >= queueLimit / 2 }
        /// So much of the queue is taken that whoever empties it must not rest.
        package var isNearlyFull: Bool { queuedBytes >= queueLimit / 4 * 3 }
    }

    package var status: Status {
        monitor.withLock { status($0) }
    }

    private func status(_ state: State) -> Status {
        Status(
            cursor: state.cursor, othersCommits: state.othersCommits, isEmpty: state.isEmpty,
            isFull: state.queuedBytes >= state.queueLimit,
            isScanned: state.cursor == .end && state.areRereadsDone
                && (state.open.isEmpty || mutants.have(.openWindowsIgnored)),
            applied: state.applied, elided: state.elided,
            queuedBytes: state.queuedBytes, queueLimit: state.queueLimit)
    }

    /// Waits until `condition` holds, the run is aborted, or `seconds` have passed. For
    /// drivers: no step waits.
    /// - Parameter clock: whose seconds they are; nil: the system's. A test knows the wait by its
    ///   purpose.
    package func wait(
        seconds: Double, on clock: ManualClock? = nil, _ purpose: String = "",
        until condition: (Status) -> Bool
    ) {
        let _: Bool? = monitor.wait(seconds: seconds, on: clock, purpose) { state in
            state.abort != nil || condition(status(state)) ? true : nil
        }
    }
}

extension QueueItem {
    /// Bytes that the item takes in the queue.
    package var byteCount: Int {
        switch self {
        case .window(let sink): sink.byteCount
        case .deltas(let batches): batches.reduce(0) { $0 + ($1?.byteCount ?? 0) }
        case .void: 0
        }
    }
}

extension HookPoint {
    /// For checks at a barrier.
    package var openWindowCount: Int { monitor.withLock { $0.open.count } }
    package var rereadCount: Int { monitor.withLock { $0.rereads.count } }
}
