// The owner that a recorded run is given: the volume, and a note of what the run does there.
// Windows end exactly after as many records as they should, as in a replay: a volume's own
// ends are guesses that depend on what was scanned before.

internal import Bytes
internal import Synchronization
internal import Tidemark
internal import Volume
internal import VolumeFormat

final class RecordingOwner: ForwardingOwner, @unchecked Sendable {
    fileprivate let recorder: Recorder
    fileprivate let run: Int
    /// Extents of the volume's own that a replay's does not have: the first records of a scan.
    fileprivate let extraRecords: Int
    /// The last records of windows that were looked at, by the windows' ends.
    fileprivate let lastRecords = Mutex<[[UInt8]: Place]>([:])
    /// The commit that was looked at for the end of the first window.
    fileprivate let firstLook = Mutex<UInt64?>(nil)

    init(_ volume: Volume, _ recorder: Recorder, run: Int) {
        self.recorder = recorder
        self.run = run
        extraRecords = volume.geometry.reservedExtents.count - TreeLayout.reservedExtents
        super.init(volume)
    }

    override func atCommitBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R {
        try super.atCommitBoundary { try body(RecordingBoundary($0, self)) }
    }

    override func snapshot() throws -> any OwnerSnapshot {
        RecordingSnapshot(try super.snapshot(), self)
    }
}

private final class RecordingBoundary: ForwardingBoundary {
    private let owner: RecordingOwner
    private var isCut = false

    init(_ inner: any CommitBoundary, _ owner: RecordingOwner) {
        self.owner = owner
        super.init(inner)
    }

    private func note(_ step: String) {
        owner.recorder.note(step: step, run: owner.run, commit: inner.lastCommit)
    }

    override func attach(_ hook: any CommitHook) {
        super.attach(hook)
        note("prepare")
    }

    override func detach(_ hook: any CommitHook) {
        super.detach(hook)
        note("end")
    }

    /// A cut takes one for each part of its comparison.
    override func snapshot() throws -> any OwnerSnapshot {
        if !isCut { note("cut") }
        isCut = true
        return RecordingSnapshot(try super.snapshot(), owner)
    }

    override func createGeneration(of index: IndexSlot) throws -> UInt32 {
        defer { note("begin load") }
        return try super.createGeneration(of: index)
    }

    override func append(
        _ batch: EntryBatch, to generation: UInt32, of index: IndexSlot, end: KeyBytes?
    ) throws {
        defer { note("load") }
        try super.append(batch, to: generation, of: index, end: end)
    }

    override func activate(
        generation: UInt32, of index: IndexSlot, keepsOld: Bool
    ) throws {
        defer { note("commit") }
        try super.activate(generation: generation, of: index, keepsOld: keepsOld)
    }

    override func amend(
        _ index: IndexSlot, _ entries: [(key: [UInt8], value: [UInt8]?)]
    ) throws -> Int {
        defer { note("patch") }
        return try super.amend(index, entries)
    }

    override func correct(
        _ index: IndexSlot, _ corrections: [(key: [UInt8], value: [UInt8])]
    ) throws -> Int {
        defer { note("patch") }
        return try super.correct(index, corrections)
    }
}

private final class RecordingSnapshot: ForwardingSnapshot {
    private let owner: RecordingOwner

    init(_ inner: any OwnerSnapshot, _ owner: RecordingOwner) {
        self.owner = owner
        super.init(inner)
    }

    override func windowEnd(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? {
        precondition(records > 1, "a window of one record has no last one but its first")
        let isFirst = key.count == 0
        if isFirst { owner.firstLook.withLock { $0 = inner.commit } }
        let records = records + (isFirst ? owner.extraRecords : 0)
        let indexes = owner.indexes
        guard
            let last = try inner.key(behind: records - 1, from: key, of: indexes, wants: wants),
            let end = try inner.key(behind: 1, from: last, of: indexes, wants: wants)
        else { return nil }
        let place = Place(primaryKey: last)
        owner.lastRecords.withLock { $0[end.array] = place }
        return end
    }

    override func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
        let rest = try super.read(range, limit: limit, into: sink)
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
}

extension Place {
    /// The record of a primary key: inode u64, kind u8, then nothing, a name, or fork u8 and
    /// offset u64.
    fileprivate init(primaryKey key: KeyBytes) {
        let span = key.span
        let path = Path(base: span.integer(at: 0), names: [])
        let kind: UInt8 = span.integer(at: 8)
        let rest = span.extracting(droppingFirst: PrimaryKey.prefixSize)
        if kind == RecordKind.inode.rawValue {
            self.init(path: path, part: .inode)
        } else if kind == RecordKind.extent.rawValue {
            self.init(path: path, part: .extent(rest.integer(at: 1)))
        } else {
            self.init(path: path, part: .entry(String(decoding: rest.array, as: UTF8.self)))
        }
    }
}
