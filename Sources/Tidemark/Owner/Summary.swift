// Summaries: indexes whose entries are counters. The shadow of a summary holds contributions,
// one or a few for each primary record, kept by the same rule as every entry; an entry of the
// summary is the fold of many of them.
//
// A comparison folds the contributions and finds, at the cut c, for each key what is expected
// and what is found. The owner keeps its counters up by increments, modulo the range of their
// integers: so the *correction* expected(c) - found(c) is right at every later commit t too,
// whatever writers do meanwhile: found(t) + correction = expected(t). Hence nothing has to be
// drained, looked up again or laid over to mend a summary.
//
// What breaks otherwise: an owner that sets a counter instead of adding to it, that stops at
// zero, or that forgets the increments of a counter that it can't decode (which counts as
// zero), makes corrections wrong.

public import Bytes

/// What the framework must know of an index that is a summary.
public protocol Summary: Sendable {
    /// The indexes whose shadows are folded: its own contributions, and those that other
    /// indexes hold anyway. A run about the summary alone collects them all.
    var sources: [IndexSlot] { get }

    /// Whether the owner holds it in generations. If not, its counters stand in primary
    /// records, and are corrected in place, in as many transactions as it takes.
    var hasGenerations: Bool { get }

    /// The key at which a comparison may be divided near `key` of the first source: all that
    /// is folded into an entry lies on one side of it. nil: it can't be divided.
    func divider(near key: RawSpan) -> KeyBytes?

    /// A fold over one part of a comparison.
    func makeFold(_ part: SummaryPart) -> any SummaryFold
}

extension SecondaryIndex {
    /// Most indexes are none: their shadow holds the entries themselves.
    public var summary: (any Summary)? { nil }
}

/// Folds one part, and compares it with the live side. Used by one thread at a time.
public protocol SummaryFold: AnyObject {
    /// Takes about `limit` contributions or entries. Returns false at the end of the part.
    func step(_ limit: Int) throws -> Bool
}

/// One part of the comparison of a summary, as its fold sees it: where contributions and live
/// entries come from, and where what is found goes.
public final class SummaryPart: @unchecked Sendable {
    private let slot: IndexSlot
    private let snapshot: any OwnerSnapshot
    private let sources: [ShadowMerge]
    private let range: KeyRange
    private let batchBytes: Int
    /// Tells of a discrepancy; false where it does not count any more.
    private let report: @Sendable (Discrepancy) -> Bool
    private let reportDefect: @Sendable (PrimaryDefect) -> Void
    /// nil where nothing is to be mended.
    private let log: CorrectionLog?

    private(set) var counts = DiscrepancyCounts()
    private(set) var entries = 0
    private(set) var payload = 0

    init(
        slot: IndexSlot, snapshot: any OwnerSnapshot, sources: [ShadowMerge], range: KeyRange,
        batchBytes: Int, log: CorrectionLog?,
        report: @escaping @Sendable (Discrepancy) -> Bool,
        reportDefect: @escaping @Sendable (PrimaryDefect) -> Void
    ) {
        self.slot = slot
        self.snapshot = snapshot
        self.sources = sources
        self.range = range
        self.batchBytes = batchBytes
        self.log = log
        self.report = report
        self.reportDefect = reportDefect
    }

    /// The contributions of source `number`, in key order, from the start of the part. Asked
    /// for again, it starts again.
    public func contributions(_ number: Int) throws -> EntryFeed {
        let merge = sources[number], end = range.upper
        try merge.seek(range.lower)
        return EntryFeed(batchBytes) { try merge.fill($0, limit: $1, end: end) }
    }

    /// The entries of the live side, in key order.
    public func liveEntries() -> EntryFeed {
        let live = LiveReader(snapshot, slot, range)
        return EntryFeed(batchBytes) { try live.fill($0, limit: $1) }
    }

    /// An entry that the summary should have: for the report, and for the room it takes.
    public func expect(keySize: Int, valueSize: Int) {
        entries += 1
        payload += keySize + valueSize
    }

    /// The entry of `key` is as it should be: the next ones may go above it.
    public func agree(_ key: RawSpan) throws { try log?.agree(key) }

    /// A counter is not as it should be, by `correction`. Keys ascend.
    public func differ(
        _ kind: Discrepancy.Kind, key: RawSpan, found: RawSpan?, expected: RawSpan?,
        correction: RawSpan
    ) throws {
        let isCounted = report(
            Discrepancy(
                index: slot, kind: kind, key: key.array, found: found?.array,
                expected: expected?.array))
        if isCounted { counts.add(kind) }
        try log?.correct(key, correction)
    }

    public func defect(_ defect: PrimaryDefect) { reportDefect(defect) }

    func finish() throws { try log?.finish() }
}

/// The owner's entries within a range.
private final class LiveReader {
    private let snapshot: any OwnerSnapshot
    private let slot: IndexSlot
    private let end: KeyBytes?
    private var next: KeyBytes?
    private let read = EntryBatch()

    init(_ snapshot: any OwnerSnapshot, _ slot: IndexSlot, _ range: KeyRange) {
        self.snapshot = snapshot
        self.slot = slot
        end = range.upper
        next = range.lower
    }

    func fill(_ batch: EntryBatch, limit: Int) throws -> Bool {
        guard let from = next else { return false }
        read.removeAll()
        next = try snapshot.entries(of: slot, from: from, limit: limit, into: read)
        if let end, let key = next, !(key < end) { next = nil }
        var position = read.startPosition
        while position < read.endPosition {
            let record = read.record(at: position)
            // Only what was read last can lie beyond the end.
            if let end, next == nil, compareBytes(record.key, end.span) >= 0 { break }
            batch.append(record)
            position += record.size
        }
        return next != nil
    }
}
