// What a run knows at a moment, for those who explore its states: the shadow by plain code,
// and a digest that is equal for two states in which everything that can follow is equal.

package import Bytes
package import Contract
public import Entries
package import Feed
package import Engine
package import Shadow
internal import Synchronization
internal import Threads

/// Collects what makes up a state. Commit numbers count only by their order: of two states
/// that differ in nothing else the same can follow.
public struct StateDigest {
    private var words: [UInt64] = []
    /// Places of commit numbers in `words`.
    private var commits: [Int] = []

    /// Whether sequences are times, all of whose bits count by their order only.
    var isStamped = false

    public init() {}

    package mutating func removeAll() {
        words.removeAll(keepingCapacity: true)
        commits.removeAll(keepingCapacity: true)
    }

    public mutating func add(_ word: UInt64) { words.append(word) }
    public mutating func add(_ number: Int) { words.append(UInt64(bitPattern: Int64(number))) }

    public mutating func add(commit: UInt64) {
        commits.append(words.count)
        words.append(commit)
    }

    public mutating func add(_ sequence: SequenceNumber) {
        guard !isStamped else { return add(commit: sequence.raw) }
        add(commit: sequence.commit)
        add(sequence.ordinal)
    }

    public mutating func add(_ bytes: RawSpan) {
        words.append(UInt64(truncatingIfNeeded: bytes.byteCount))
        var word: UInt64 = 0
        for index in 0..<bytes.byteCount {
            word = word << 8 | UInt64(bytes.integer(at: index, as: UInt8.self))
            if index & 7 == 7 {
                words.append(word)
                word = 0
            }
        }
        words.append(word)
    }

    /// The digest, of 128 bits: equal digests are taken for equal states.
    package mutating func finish() -> (UInt64, UInt64) {
        var numbers = commits.map { words[$0] }
        numbers.sort()
        var ranks: [UInt64] = []
        for number in numbers where number != ranks.last { ranks.append(number) }
        for place in commits {
            words[place] = UInt64(ranks.firstIndex(of: words[place]) ?? 0)
        }
        var a: UInt64 = 0x9e37_79b9_7f4a_7c15, b: UInt64 = 0xc2b2_ae3d_27d4_eb4f
        for word in words {
            a = (a ^ word) &* 0xff51_afd7_ed55_8ccd
            a ^= a >> 32
            b = (b &+ word) &* 0xc4ce_b9fe_1a85_ec53
            b ^= b >> 29
        }
        return (a, b)
    }
}

extension Run {
    /// The shadow as of all that has been handled, in key order: the newest item of each key
    /// that no void hides, found by sorting everything anew.
    package func shadow(_ slot: IndexSlot) throws -> [Entry] {
        let sorter = EntrySorter()
        let batch = try assistant.collect(slot.rawValue)
        let sorted = sorter.sort([batch])
        var entries: [Entry] = []
        for place in 0..<sorted.count {
            let record = sorted.record(place)
            if place > 0, record.compareKey(sorted.record(place - 1)) == 0 { continue }
            if record.isPresent, !isVoid(record, slot) {
                entries.append(Entry(key: record.key.array, value: record.value.array))
            }
        }
        return entries
    }

    private func isVoid(_ record: Record, _ slot: IndexSlot) -> Bool {
        guard !assistant.voids.isEmpty else { return false }
        let primary = owner.indexes[slot.rawValue].primaryKey(of: record.key, value: record.value)
        let void = assistant.voids[primary.span]
        return void != .none && record.sequence <= void
    }

    /// Whether a barrier is reached: no window is open, nothing is queued or to be read again.
    package var isAtBarrier: Bool {
        replaying == nil
            && hook.monitor.withLock { $0.isEmpty && $0.open.isEmpty && $0.rereads.isEmpty }
    }

    /// The first primary key that the scan has not taken; nil at its end.
    package var cursor: KeyBytes? {
        switch hook.status.cursor {
        case .at(let key): key
        case .end: nil
        }
    }

    /// Why the run is over, or about to be.
    package var abortReason: AbortReason? { hook.abortReason }

    /// Marks the run as aborted, as a driver does where a step of another thread fails.
    package func abort(_ error: any Error) { hook.abort(AbortReason(error)) }

    /// What it is limited to.
    package var scope: Scope? { hook.scope }

    /// Indexes whose shadows it collects: its own, and those that its summaries are folded from.
    package var collected: [IndexSlot] {
        owner.indexes.indices.map { IndexSlot($0) }.filter { hook.wants($0) }
    }

    package func spill() throws { try assistant.spill() }
    package var rereads: Int { hook.rereadCount }
    package var openWindows: Int { hook.openWindowCount }
    /// Primary records that could not be read, among those that were handled.
    package var damagedPrimaries: Int { assistant.damageCount }
    package var sortedRuns: Int { assistant.runs.map(\.count).max() ?? 0 }
    /// Whether the last window to be read is read from a snapshot newer than it.
    package var isReadLate: Bool { scanners.contains { $0.isLate } }
    package var lastReadRecords: Int { scanners.last?.lastRecords ?? 0 }

    /// Whether among the items of one key a delta is older, or newer, than what a window holds.
    package func orders() throws -> (deltaOlder: Bool, deltaNewer: Bool) {
        var result = (deltaOlder: false, deltaNewer: false)
        for slot in collected {
            let sorter = EntrySorter()
            let sorted = sorter.sort([try assistant.collect(slot.rawValue)])
            for place in 0..<max(0, sorted.count - 1) {
                let newer = sorted.record(place), older = sorted.record(place + 1)
                guard newer.compareKey(older) == 0 else { continue }
                let isNewerRead = newer.sequence.ordinal == SequenceNumber.maximumOrdinal
                let isOlderRead = older.sequence.ordinal == SequenceNumber.maximumOrdinal
                if isNewerRead, !isOlderRead { result.deltaOlder = true }
                if !isNewerRead, isOlderRead { result.deltaNewer = true }
            }
        }
        return result
    }

    /// What a writer does that has waited long enough for room in the queue.
    package func admitNow() -> Bool { hook.admit(within: options.patience) }

    /// Events that were older than the read of their key, and losses.
    package var feedCounts: (older: Int, losses: Int) { hook.stampCounts }

    package var isQueueEmpty: Bool { hook.status.isEmpty }
    package var isQueueFull: Bool { hook.status.isFull }
    package var applied: Int { hook.status.applied }
    package var elided: Int { hook.status.elided }

    /// Keys below it are maintained by the owner in the generation that is being loaded.
    package var loadPosition: (slot: IndexSlot, generation: UInt32, cursor: KeyBytes?)? {
        loading.map { ($0.slot, $0.generation, $0.isComplete ? nil : $0.cursor) }
    }

    /// Everything that the run's further steps depend on, except what a comparison and a
    /// merger have seen at their beginning.
    /// - Parameter snapshots: what a snapshot's contents add.
    package func describe(
        into digest: inout StateDigest, snapshots: (any OwnerSnapshot) -> UInt64
    ) throws {
        digest.isStamped = unlocked != nil
        hook.describe(into: &digest)
        digest.add(watermark)
        for slot in collected { try assistant.describe(slot.rawValue, into: &digest) }
        assistant.describe(into: &digest)
        for scanner in scanners { scanner.describe(into: &digest, snapshots) }
        if let loading {
            digest.add(Int(loading.generation))
            digest.add(loading.cursor.span)
            digest.add(loading.isComplete ? 1 : 0)
        }
        assistant.loading?.overlay.describe(into: &digest)
        if storedRecord != nil { describeProgress(into: &digest) }
        for place in report.indexes {
            digest.add(place.found.missing)
            digest.add(place.found.stray)
            digest.add(place.found.wrong)
        }
    }
}

extension Run {
    /// The commit of the checkpoint that is on its way, if one is.
    package var checkpointUnderWay: UInt64? {
        let commit = stagedCommit.load(ordering: .acquiring)
        return commit > 0 ? commit : nil
    }

    /// Below the cursor, and still to be read, open windows included.
    package var isUnreadBelowCursor: Bool {
        hook.monitor.withLock { !$0.open.isEmpty || !$0.rereads.isEmpty }
    }

    private func describeProgress(into digest: inout StateDigest) {
        for (place, known) in RunState.allCases.enumerated() where known == state {
            digest.add(place)
        }
        digest.add(commit: stagedCommit.load(ordering: .acquiring))
        if let replaying {
            digest.add(commit: replaying.position.commit)
            digest.add(replaying.position.ordinal)
            digest.add(commit: replaying.end)
        }
        digest.add(interrupted.map { Int($0.generation) } ?? -1)
    }
}

extension MemoryStore {
    /// What a run could go on from: the durable checkpoint with its runs, and the one that is
    /// on its way to being that.
    package func describeCheckpoints(staged: Bool, into digest: inout StateDigest) {
        describe(durable, into: &digest)
        if staged { describe(onItsWay, into: &digest) }
    }

    private func describe(_ saved: Saved?, into digest: inout StateDigest) {
        guard let saved else { return digest.add(-6) }
        let checkpoint = saved.checkpoint
        digest.add(commit: checkpoint.commit)
        if let cursor = checkpoint.scan.cursor { digest.add(cursor.span) } else { digest.add(-1) }
        for range in checkpoint.scan.unread { digest.add(range) }
        for void in checkpoint.voids {
            digest.add(void.range)
            digest.add(void.sequence)
        }
        digest.add(checkpoint.damageCount)
        for runs in checkpoint.runs {
            digest.add(runs.count)
            for run in runs {
                for chunk in saved.runs[run.number] ?? [] { digest.add(records: chunk.records) }
            }
        }
    }
}

extension HookPoint {
    package func describe(into digest: inout StateDigest) {
        monitor.withLock { state in
            digest.add(state.abort == nil ? 0 : 1)
            digest.add(state.isClosed ? 1 : 0)
            digest.add(state.open.count)
            digest.add(commit: state.lastCommit)
            switch state.cursor {
            case .at(let key): digest.add(key.span)
            case .end: digest.add(-1)
            }
            digest.add(state.items.count - state.head)
            for item in state.items[state.head...] { item?.describe(into: &digest) }
            for range in state.rereads.ranges { digest.add(range) }
            guard digest.isStamped else { return }
            for piece in state.stamps.ofReads.pieces {
                digest.add(piece.range)
                digest.add(piece.value)
            }
            for time in state.stamps.delivered + state.stamps.lastStamp { digest.add(time) }
            for time in [state.stamps.lastVoid, state.stamps.needed] { digest.add(time) }
            for range in state.stamps.judged?.ranges ?? [] { digest.add(range) }
            digest.add(state.stamps.judged == nil ? -1 : -2)
        }
    }
}

extension StateDigest {
    fileprivate mutating func add(_ range: KeyRange) {
        add(range.lower.span)
        if let upper = range.upper { add(upper.span) } else { add(-1) }
    }

    fileprivate mutating func add(_ record: Record) {
        add(record.sequence)
        add(record.isPresent ? 1 : 0)
        add(record.key)
        add(record.value)
    }

    fileprivate mutating func add(records: [UInt8]) {
        var arena = ByteArena(capacity: records.count)
        unsafe arena.append(records.span.bytes)
        var position = 0
        while position < arena.count {
            let record = unsafe Record(arena.base(at: position))
            add(record)
            position += record.size
        }
    }

    fileprivate mutating func add(_ batch: EntryBatch?) {
        guard let batch else { return add(-2) }
        add(batch.count)
        var position = 0
        while position < batch.endPosition {
            let record = batch.record(at: position)
            add(record)
            position += record.size
        }
    }
}

extension QueueItem {
    fileprivate func describe(into digest: inout StateDigest) {
        switch self {
        case .window(let sink):
            digest.add(sink.damage.count)
            for batch in sink.batches { digest.add(batch) }
        case .deltas(let batches):
            digest.add(-3)
            for batch in batches { digest.add(batch) }
        case .void(let void):
            digest.add(-4)
            digest.add(void.range)
            digest.add(void.sequence)
        }
    }
}

extension Overlay {
    fileprivate func describe(into digest: inout StateDigest) {
        digest.add(count)
        for record in changes { digest.add(record) }
    }
}

extension Assistant {
    /// All that was handled, in memory and in runs, in one batch.
    fileprivate func collect(_ slot: Int) throws -> EntryBatch {
        let all = EntryBatch()
        for batch in memory[slot] { Assistant.copy(batch, to: all) }
        guard !runs[slot].isEmpty else { return all }
        for reader in try store.readers(of: runs[slot].map(\.number)) {
            try reader.readRest(into: all)
        }
        return all
    }

    private static func copy(_ batch: EntryBatch, to all: EntryBatch) {
        var position = 0
        while position < batch.endPosition {
            let record = batch.record(at: position)
            all.append(record)
            position += record.size
        }
    }

    /// What was handled of an index, whichever run it lies in.
    fileprivate func describe(_ slot: Int, into digest: inout StateDigest) throws {
        let sorter = EntrySorter()
        let sorted = sorter.sort([try collect(slot)])
        digest.add(sorted.count)
        for place in 0..<sorted.count { digest.add(sorted.record(place)) }
        // Where the next run will be cut depends on it.
        digest.add(memory[slot].reduce(0) { $0 + $1.byteCount })
    }

    fileprivate func describe(into digest: inout StateDigest) {
        digest.add(damageCount)
        for void in voids.pieces {
            digest.add(void.range)
            digest.add(void.value)
        }
    }
}

extension Scanner {
    /// Whether a step would find something to do.
    package var hasWork: Bool {
        if window != nil || plan != nil { return true }
        return hook.monitor.withLock { $0.cursor != .end || !$0.rereads.isEmpty }
    }

    package var hasWindow: Bool { window != nil }
    /// What is left of its window to be read.
    package var windowRange: KeyRange? { window?.range }
    package func isOpen(at key: KeyBytes) -> Bool { window?.range.contains(key.span) ?? false }
    package var isLate: Bool {
        guard let window, let snapshot else { return false }
        return snapshot.commit > window.sequence.commit
    }

    fileprivate func describe(
        into digest: inout StateDigest, _ snapshots: (any OwnerSnapshot) -> UInt64
    ) {
        if let window {
            digest.add(window.range)
            digest.add(window.sequence)
        } else {
            digest.add(-5)
        }
        if let plan {
            digest.add(plan.lower.span)
            if let upper = plan.upper { digest.add(upper.span) }
        }
        digest.add(snapshot.map(snapshots) ?? 0)
        // Of a snapshot for looking ahead only what it will say of the next window matters.
        digest.add(lookahead.map(snapshots) ?? 0)
    }
}

extension Coordinator {
    /// What is under work of a comparison with an owner that nobody can lock.
    package func describeUnlocked(into digest: inout StateDigest) {
        guard run.unlocked != nil else { return }
        digest.isStamped = true
        for (place, step) in Step.allCases.enumerated() where step == behindMark {
            digest.add(place)
        }
        guard let looking else { return }
        digest.add(looking.looked)
        looking.candidates.forEach { digest.add($0) }
        for part in looking.parts {
            if let next = part.next { digest.add(next.span) } else { digest.add(-7) }
            part.candidates.forEach { digest.add($0) }
        }
        for index in run.report.indexes { digest.add(index.unsettled) }
    }
}

extension StateDigest {
    fileprivate mutating func add(_ candidate: Candidate) {
        add(candidate.key.span)
        add(candidate.isThere ? 1 : 0)
        if let found = candidate.found { add(found.rawSpan) }
        add(candidate.looked)
        add(candidate.looks)
    }
}
