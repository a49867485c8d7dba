// An owner under the scenario's hand. To a forwarded call it adds what a scenario can ask for:
// the call fails, a record can't be read, a window ends exactly after as many records as it
// should, a hook is told of a commit when the stage says so.
//
// Hooks: with a `gate` each hook is attached in a wrapper that calls the gate before it tells
// the real hook. Nobody sees the wrappers: `hooks` are the real ones, and a hook is detached
// by itself. Commits that the boundary's own calls make pass the gate too.
//
// What is counted and measured here is not guarded: the calls come from one thread at a time.

internal import Bytes
internal import Threads
public import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

/// An owner whose windows end exactly where a scenario says, and whose calls fail where it says so.
public final class SteeredOwner: ForwardingOwner, @unchecked Sendable {
    public struct Options {
        /// For an owner whose own window ends are guesses: records are counted by reading.
        public var exactBoundaries = false
        /// Whether holds of the commit boundary are measured.
        public var measuresHolds = true
        /// Called with the number of a commit before a hook is told of it, on the thread on
        /// which the owner reports. With several hooks attached, once for each.
        public var gate: (@Sendable (UInt64) -> Void)?
        /// Called when the commit boundary has been let go of: what the owner has deferred is done
        /// before the step ends, and not at any moment of a later one.
        public var afterHold: (@Sendable () -> Void)?

        public init() {}
    }

    /// Primary records that can't be read, as long as a fault says so.
    public struct Unreadable {
        public var range: KeyRange
        /// What is told of them.
        public var damage: PrimaryDamage

        /// - Parameter object: which records, in words.
        public init(_ range: KeyRange, object: String) {
            self.range = range
            damage = PrimaryDamage(object: object, problem: "unreadable, says the scenario")
        }
    }

    /// Told when everything has been made durable: for a stage that keeps what is.
    public var madeDurable: (() -> Void)?
    let faults: Faults
    let options: Options
    /// Set by the stage, in the order of their keys.
    public var unreadable: [Unreadable] = []
    /// Entries that a holder of the commit boundary has touched.
    struct Hold {
        var appended = 0, amended = 0, reaped = 0
    }

    /// Of the last hold. A player empties it before a step that may hold the boundary.
    var lastHold = Hold()
    /// Nanoseconds of processor time of the longest hold of the commit boundary.
    private(set) var longestHold: UInt64 = 0

    public init(_ inner: any ExactOwner, faults: Faults, options: Options = Options()) {
        self.faults = faults
        self.options = options
        super.init(inner)
    }

    public override func atCommitBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R {
        defer { options.afterHold?() }
        return try inner.atCommitBoundary { boundary in
            self.lastHold = Hold()
            let steered = SteeredBoundary(boundary, self)
            guard self.options.measuresHolds else { return try body(steered) }
            let start = processorNanoseconds()
            defer { self.longestHold = max(self.longestHold, processorNanoseconds() - start) }
            return try body(steered)
        }
    }

    public override func makeDurable() throws {
        try faults.check(.makeDurable)
        try inner.makeDurable()
        madeDurable?()
    }

    /// The snapshot of the real owner that `snapshot` stands before.
    public static func snapshot(in snapshot: any OwnerSnapshot) -> any OwnerSnapshot {
        (snapshot as? SteeredSnapshot)?.inner ?? snapshot
    }

    public override func snapshot() throws -> any OwnerSnapshot {
        try faults.check(.snapshot)
        return SteeredSnapshot(try inner.snapshot(), self)
    }

    /// Nothing becomes durable by itself: a checkpoint's lane asks again, and waits.
    public override func askForDurability() {}
}

/// What the calling thread has run: what others have of the machine meanwhile is no hold's doing.
private func processorNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

// MARK: At a commit boundary

private final class SteeredBoundary: ForwardingBoundary {
    private let owner: SteeredOwner

    init(_ inner: any CommitBoundary, _ owner: SteeredOwner) {
        self.owner = owner
        super.init(inner)
    }

    override var hooks: [any CommitHook] {
        guard owner.options.gate != nil else { return inner.hooks }
        return inner.hooks.map { ($0 as? GatedHook)?.real ?? $0 }
    }

    override func attach(_ hook: any CommitHook) {
        guard let gate = owner.options.gate else { return inner.attach(hook) }
        inner.attach(GatedHook(hook, gate))
    }

    override func detach(_ hook: any CommitHook) {
        let wrapper = inner.hooks.first { ($0 as? GatedHook)?.real === hook }
        inner.detach(wrapper ?? hook)
    }

    public override func snapshot() throws -> any OwnerSnapshot {
        try owner.faults.check(.snapshot)
        return SteeredSnapshot(try inner.snapshot(), owner)
    }

    override func createGeneration(of index: IndexSlot) throws -> UInt32 {
        try owner.faults.check(.createGeneration)
        return try super.createGeneration(of: index)
    }

    override func append(
        _ batch: EntryBatch, to generation: UInt32, of index: IndexSlot, end: KeyBytes?
    ) throws {
        try owner.faults.check(.appendBatch)
        owner.lastHold.appended += batch.count
        try super.append(batch, to: generation, of: index, end: end)
    }

    override func validate(generation: UInt32, of index: IndexSlot) throws -> String? {
        try owner.faults.check(.validate)
        return try super.validate(generation: generation, of: index)
    }

    override func activate(
        generation: UInt32, of index: IndexSlot, keepsOld: Bool
    ) throws {
        try owner.faults.check(.activate)
        try super.activate(generation: generation, of: index, keepsOld: keepsOld)
    }

    override func rollBack(_ indexes: [IndexSlot]) throws {
        try owner.faults.check(.rollBack)
        try super.rollBack(indexes)
    }

    override func forgetPrevious(of indexes: [IndexSlot]) throws {
        try owner.faults.check(.forgetPrevious)
        try super.forgetPrevious(of: indexes)
    }

    override func discard(generation: UInt32, of index: IndexSlot) throws {
        try owner.faults.check(.discard)
        try super.discard(generation: generation, of: index)
    }

    override func amend(
        _ index: IndexSlot, _ entries: [(key: [UInt8], value: [UInt8]?)]
    ) throws -> Int {
        try owner.faults.check(.amend)
        owner.lastHold.amended += entries.count
        return try super.amend(index, entries)
    }

    override func correct(
        _ index: IndexSlot, _ corrections: [(key: [UInt8], value: [UInt8])]
    ) throws -> Int {
        try owner.faults.check(.amend)
        owner.lastHold.amended += corrections.count
        return try super.correct(index, corrections)
    }

    override func reap(limit: Int) throws -> Bool {
        try owner.faults.check(.reap)
        owner.lastHold.reaped += limit
        return try super.reap(limit: limit)
    }

    override func store(_ run: RunRecord) throws {
        try owner.faults.check(.storeRun)
        try super.store(run)
    }
}

/// A hook behind a gate.
private final class GatedHook: CommitHook {
    let real: any CommitHook
    private let gate: @Sendable (UInt64) -> Void

    init(_ real: any CommitHook, _ gate: @escaping @Sendable (UInt64) -> Void) {
        self.real = real
        self.gate = gate
    }

    func wants(_ index: IndexSlot) -> Bool { real.wants(index) }
    func isAbout(_ index: IndexSlot) -> Bool { real.isAbout(index) }

    func committed(
        _ commit: UInt64, by origin: CommitOrigin, deltas: borrowing DeltaBatch
    ) {
        gate(commit)
        real.committed(commit, by: origin, deltas: deltas)
    }

    func admit(within seconds: Double) -> Bool { real.admit(within: seconds) }
}

// MARK: Reading

extension Faults {
    /// Whether records that can't be read are among what is in force.
    fileprivate var haveUnreadable: Bool {
        isArmed && planned.contains { $0.unreadable != nil }
    }
}

final class SteeredSnapshot: ForwardingSnapshot {
    private let owner: SteeredOwner

    init(_ inner: any OwnerSnapshot, _ owner: SteeredOwner) {
        self.owner = owner
        super.init(inner)
    }

    override func windowEnd(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? {
        try owner.faults.check(.lookahead)
        guard owner.options.exactBoundaries else {
            return try super.windowEnd(after: key, records: records, wants: wants)
        }
        return try inner.key(behind: records, from: key, of: owner.indexes, wants: wants)
    }

    override func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
        try owner.faults.check(.windowRead)
        guard !owner.unreadable.isEmpty, owner.faults.haveUnreadable else {
            return try super.read(range, limit: limit, into: sink)
        }
        return try readAround(range, limit: limit, into: sink)
    }

    override func readDirectly(
        _ range: Scope.IndexRange, of index: IndexSlot, into sink: WindowSink
    ) throws -> Bool {
        try owner.faults.check(.windowRead)
        // What can't be read is found by reading it.
        guard owner.unreadable.isEmpty || !owner.faults.haveUnreadable else { return false }
        return try super.readDirectly(range, of: index, into: sink)
    }

    override func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes? {
        try owner.faults.check(.entriesRead)
        return try super.entries(of: index, from: key, limit: limit, into: batch)
    }

    override func logged(
        from position: LogPosition, limit: Int,
        _ body: (LogPosition, borrowing DeltaBatch) throws -> Void
    ) throws -> LogPosition? {
        try owner.faults.check(.logRead)
        return try super.logged(from: position, limit: limit, body)
    }

    override func room(
        forEntries entries: Int, payload: Int, of index: IndexSlot
    ) throws -> (available: Int, needed: Int) {
        try owner.faults.check(.room)
        return try super.room(forEntries: entries, payload: payload, of: index)
    }

    /// Reads what lies between the records that can't be read. Those are counted as records,
    /// as a store counts a damaged one, and each place is told once where the reading meets
    /// records of it.
    private func readAround(
        _ range: KeyRange, limit: Int, into sink: WindowSink
    ) throws -> KeyBytes? {
        var rest = range
        var left = limit
        for unreadable in owner.unreadable {
            guard let part = unreadable.range.part(in: rest) else { continue }
            if rest.lower < part.lower {
                guard left > 0 else { return rest.lower }
                let before = sink.records
                let next = try inner.read(
                    KeyRange(lower: rest.lower, upper: part.lower), limit: left, into: sink)
                if let next { return next }
                left -= sink.records - before
            }
            let lost = try count(part, like: sink)
            if lost > 0 {
                guard left > 0 else { return part.lower }
                sink.skip(unreadable.damage)
                sink.count(records: lost)
                left -= min(left, lost)
            }
            guard let end = part.upper else { return nil }
            rest.lower = end
            if let upper = rest.upper, !(end < upper) { return nil }
        }
        guard left > 0 else { return rest.lower }
        return try inner.read(rest, limit: left, into: sink)
    }

    /// Records of `range`, of the kinds that `sink` wants.
    private func count(_ range: KeyRange, like sink: WindowSink) throws -> Int {
        let probe = WindowSink(
            batches: owner.indexes.indices.map { sink.wants(IndexSlot($0)) ? EntryBatch() : nil },
            sequence: .none)
        _ = try inner.read(range, limit: .max, into: probe)
        return probe.records
    }
}

extension KeyRange {
    /// What of the range lies in `other`; nil where nothing does.
    func part(in other: KeyRange) -> KeyRange? {
        let lower = max(lower, other.lower)
        let upper =
            switch (upper, other.upper) {
            case (let a?, let b?): min(a, b)
            case (let a, let b): a ?? b
            }
        if let upper, !(lower < upper) { return nil }
        return KeyRange(lower: lower, upper: upper)
    }
}
