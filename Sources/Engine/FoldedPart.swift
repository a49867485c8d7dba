// One part of the comparison of a summary.

internal import Bytes
package import Contract
package import Entries
package import Shadow

/// Gives a fold what it asks for, and takes what it finds.
package final class FoldedPart: SummaryPart, @unchecked Sendable {
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

    package private(set) var counts = DiscrepancyCounts()
    package private(set) var entries = 0
    package private(set) var payload = 0

    package init(
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

    package func finish() throws { try log?.finish() }
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
