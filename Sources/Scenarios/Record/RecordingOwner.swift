// The owner that a recorded run is given: the volume, and a note of what the run does there.
// Windows end exactly after as many records as they should, as in a replay: a volume's own
// ends are guesses that depend on what was scanned before.

internal import Bytes
internal import Synchronization
internal import Tidemark
internal import Volume
internal import VolumeFormat

final class RecordingOwner: Owner {
    private let inner: any Owner
    fileprivate let recorder: Recorder
    fileprivate let run: Int
    /// Extents of the volume's own that a replay's does not have: the first records of a scan.
    fileprivate let extraRecords: Int
    /// The last records of windows that were looked at, by the windows' ends.
    fileprivate let lastRecords = Mutex<[[UInt8]: Place]>([:])
    /// The commit that was looked at for the end of the first window.
    fileprivate let firstLook = Mutex<UInt64?>(nil)

    init(_ volume: Volume, _ recorder: Recorder, run: Int) {
        inner = volume
        self.recorder = recorder
        self.run = run
        extraRecords = volume.geometry.reservedExtents.count - TreeLayout.reservedExtents
    }

    var label: String { inner.label }
    /// Those that scenarios are about.
    var indexes: [any SecondaryIndex] { inner.indexes.filter { $0.summary == nil } }

    func atCommitBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R {
        try inner.atCommitBoundary { try body(RecordingBoundary($0, self)) }
    }

    func makeDurable() throws { try inner.makeDurable() }
    func snapshot() throws -> any OwnerSnapshot { RecordingSnapshot(try inner.snapshot(), self) }
}

/// Good as long as the boundary that it wraps.
private final class RecordingBoundary: CommitBoundary {
    private let inner: any CommitBoundary
    private let owner: RecordingOwner
    private var isCut = false

    init(_ inner: any CommitBoundary, _ owner: RecordingOwner) {
        self.inner = inner
        self.owner = owner
    }

    private func note(_ step: String) {
        owner.recorder.note(step: step, run: owner.run, commit: inner.lastCommit)
    }

    var lastCommit: UInt64 { inner.lastCommit }
    var hooks: [any CommitHook] { inner.hooks }

    func attach(_ hook: any CommitHook) {
        inner.attach(hook)
        note("prepare")
    }

    func detach(_ hook: any CommitHook) {
        inner.detach(hook)
        note("end")
    }

    /// A cut takes one for each part of its comparison.
    func snapshot() throws -> any OwnerSnapshot {
        if !isCut { note("cut") }
        isCut = true
        return RecordingSnapshot(try inner.snapshot(), owner)
    }

    func createGeneration(of index: IndexSlot) throws -> UInt32 {
        defer { note("begin load") }
        return try inner.createGeneration(of: index)
    }

    func append(
        _ stretch: EntryBatch, to generation: UInt32, of index: IndexSlot, end: KeyBytes?
    ) throws {
        defer { note("load") }
        try inner.append(stretch, to: generation, of: index, end: end)
    }

    func validate(generation: UInt32, of index: IndexSlot) throws -> String? {
        try inner.validate(generation: generation, of: index)
    }

    func activate(generation: UInt32, of index: IndexSlot, keepsOld: Bool) throws {
        defer { note("commit") }
        try inner.activate(generation: generation, of: index, keepsOld: keepsOld)
    }

    func keptGeneration(of index: IndexSlot) throws -> UInt32? {
        try inner.keptGeneration(of: index)
    }

    func rollBack(_ indexes: [IndexSlot]) throws { try inner.rollBack(indexes) }

    func forgetKept(of indexes: [IndexSlot]) throws { try inner.forgetKept(of: indexes) }

    func discardUnfinished(of index: IndexSlot) throws {
        try inner.discardUnfinished(of: index)
    }

    func discard(generation: UInt32, of index: IndexSlot) throws {
        try inner.discard(generation: generation, of: index)
    }

    func amend(_ index: IndexSlot, _ entries: [(key: [UInt8], value: [UInt8]?)]) throws -> Int {
        defer { note("patch") }
        return try inner.amend(index, entries)
    }

    func reap(limit: Int) throws -> Bool { try inner.reap(limit: limit) }
}

private final class RecordingSnapshot: OwnerSnapshot {
    private let inner: any OwnerSnapshot
    private let owner: RecordingOwner

    init(_ inner: any OwnerSnapshot, _ owner: RecordingOwner) {
        self.inner = inner
        self.owner = owner
    }

    var commit: UInt64 { inner.commit }

    func boundary(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? {
        precondition(records > 1, "a window of one record has no last one but its first")
        let isFirst = key.count == 0
        if isFirst { owner.firstLook.withLock { $0 = inner.commit } }
        let records = records + (isFirst ? owner.extraRecords : 0)
        guard let last = try skip(records - 1, from: key), let end = try skip(1, from: last) else {
            return nil
        }
        let place = Place(primaryKey: last)
        owner.lastRecords.withLock { $0[end.array] = place }
        return end
    }

    /// The key of the record that follows `records` others from `key` on.
    private func skip(_ records: Int, from key: KeyBytes) throws -> KeyBytes? {
        let sink = WindowSink(batches: owner.indexes.map { _ in EntryBatch() }, sequence: .none)
        return try inner.read(KeyRange(lower: key, upper: nil), limit: records, into: sink)
    }

    func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
        let rest = try inner.read(range, limit: limit, into: sink)
        guard rest == nil else { return rest }
        let known = range.upper.flatMap { end in owner.lastRecords.withLock { $0[end.array] } }
        let last = try known ?? beyondAll()
        owner.recorder.note(
            windowOf: owner.run, last: last,
            looked: owner.firstLook.withLock { $0.take() }, opened: sink.sequence.commit,
            read: inner.commit)
        return nil
    }

    /// The records of the last inode.
    private func beyondAll() throws -> Place {
        let next = try (inner as? VolumeSnapshot)?.statistics().counters.nextInode
        return Place(path: Path(base: (next ?? .max) - 1, names: []))
    }

    func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes? {
        try inner.entries(of: index, from: key, limit: limit, into: batch)
    }

    func audit(of index: IndexSlot, over range: KeyRange) throws -> (any EntryAudit)? {
        try inner.audit(of: index, over: range)
    }

    func room(
        forEntries entries: Int, payload: Int, of index: IndexSlot
    ) throws -> (available: Int, needed: Int) {
        try inner.room(forEntries: entries, payload: payload, of: index)
    }
}

extension Place {
    /// The record of a primary key: inode u64, kind u8, then a name, or fork u8 and offset u64.
    fileprivate init(primaryKey key: KeyBytes) {
        let span = key.span
        let path = Path(base: span.integer(at: 0), names: [])
        let rest = span.extracting(droppingFirst: PrimaryKey.prefixSize)
        if span.integer(at: 8, as: UInt8.self) == RecordKind.extent.rawValue {
            self.init(path: path, part: .extent(rest.integer(at: 1)))
        } else {
            self.init(path: path, part: .entry(String(decoding: rest.array, as: UTF8.self)))
        }
    }
}
