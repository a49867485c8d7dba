// Comparing, in key order, a part of the shadow with the same part of the live index, both
// as of one cut. It needs no lock: both are snapshots.

internal import Bytes
package import Contract
package import Entries
package import Shadow

/// One part of a comparison. Used by one thread at a time.
package protocol ComparePart: AnyObject, Sendable {
    /// Compares a bounded number of entries. Returns false at the end of the part.
    func step() throws -> Bool

    var counts: DiscrepancyCounts { get }
    /// Entries of the shadow that were compared, and the bytes of their keys and values.
    var entries: Int { get }
    var payload: Int { get }
    /// Seconds of work, measured by whoever steps it.
    var seconds: Double { get set }
}

/// A part of an index whose shadow holds its entries.
package final class EntryComparePart: ComparePart, @unchecked Sendable {
    private let slot: IndexSlot
    private let index: any SecondaryIndex
    private let snapshot: any OwnerSnapshot
    private let shadow: ShadowMerge
    private let end: KeyBytes?
    private let limit: Int
    /// Tells of a discrepancy; false where it does not count any more.
    private let report: @Sendable (Discrepancy) -> Bool

    private var expected: EntryBatch
    private var expectedPosition = 0
    private var hasMoreExpected = true
    private var live: EntryBatch
    private var livePosition = 0
    /// Where to go on in the live index; nil at its end.
    private var liveKey: KeyBytes?

    /// What is compared; nil: everything.
    private let scope: Scope?
    /// Where the live entries of a range begin is known once the first expected one is.
    private var isPlaced: Bool
    private var outside = EntryBatch()

    /// What is judged of the primary records on the way; nil: nothing.
    package let audit: (any EntryAudit)?

    package private(set) var counts = DiscrepancyCounts()
    /// Entries of the shadow, and the bytes of their keys and values.
    package private(set) var entries = 0
    package private(set) var payload = 0
    /// Seconds of work, measured by whoever steps it.
    package var seconds = 0.0
    /// The first entry of the shadow that can't be one: a bug, or a damaged side file.
    package private(set) var malformed: [UInt8]?

    package init(
        slot: IndexSlot, index: any SecondaryIndex, snapshot: any OwnerSnapshot,
        shadow: ShadowMerge, range: KeyRange, limit: Int, batchBytes: Int,
        scope: Scope? = nil, audit: (any EntryAudit)?,
        report: @escaping @Sendable (Discrepancy) -> Bool
    ) {
        self.scope = scope
        isPlaced = scope?.indexRange == nil
        self.slot = slot
        self.index = index
        self.snapshot = snapshot
        self.shadow = shadow
        end = range.upper
        liveKey = range.lower
        self.limit = limit
        self.audit = audit
        expected = EntryBatch(capacity: batchBytes)
        live = EntryBatch(capacity: batchBytes)
        self.report = report
    }

    package func step() throws -> Bool {
        try refill()
        while true {
            let hasExpected = expectedPosition < expected.endPosition
            let hasLive = livePosition < live.endPosition
            if !hasExpected && hasMoreExpected || !hasLive && liveKey != nil { return true }
            if !hasExpected && !hasLive { return try goBeyond() }
            compareNext(hasExpected, hasLive)
        }
    }

    /// At the end of the part an audit may have to see some entries more.
    private func goBeyond() throws -> Bool {
        guard let audit, !audit.isDone else { return false }
        var hasMore = false
        if end != nil {
            let beyond = EntryBatch()
            hasMore = try shadow.fill(beyond, limit: EntryComparePart.beyond)
            try audit.take(beyond)
        }
        if !hasMore { try audit.end() }
        return !audit.isDone
    }

    /// Entries beyond the part that an audit is shown at once: the first few will do.
    private static let beyond = 64

    private func refill() throws {
        if expectedPosition == expected.endPosition, hasMoreExpected {
            expected.removeAll()
            expectedPosition = 0
            hasMoreExpected = try shadow.fill(expected, limit: limit, end: end)
            try audit?.take(expected)
            if let indexRange = scope?.indexRange { dropOutside(indexRange) }
        }
        if !isPlaced { place() }
        if isPlaced, livePosition == live.endPosition, let key = liveKey {
            live.removeAll()
            livePosition = 0
            liveKey = try snapshot.entries(of: slot, from: key, limit: limit, into: live)
            cutLive()
            if let scope, scope.indexRange == nil { dropOutside(scope.records) }
        }
    }

    /// Drops live entries of other records than the scope's.
    private func dropOutside(_ records: RecordRanges) {
        swap(&live, &outside)
        live.removeAll()
        var position = outside.startPosition
        while position < outside.endPosition {
            let record = outside.record(at: position)
            let primary = index.primaryKey(of: record.key, value: record.value)
            if records.contains(primary.span) { live.append(record) }
            position += record.size
        }
        livePosition = live.startPosition
    }

    /// Drops expected entries that do not reach into the range.
    private func dropOutside(_ indexRange: Scope.IndexRange) {
        guard !expected.isEmpty, indexRange.isBelow(expected.key(at: expected.startPosition))
        else { return }
        swap(&expected, &outside)
        expected.removeAll()
        var position = outside.startPosition
        while position < outside.endPosition {
            let record = outside.record(at: position)
            if indexRange.holds(index, key: record.key, value: record.value) {
                expected.append(record)
            }
            position += record.size
        }
        expectedPosition = expected.startPosition
    }

    /// The live entries of a range: from its lower end, or from the first entry that is expected
    /// to reach in.
    private func place() {
        guard let indexRange = scope?.indexRange, !expected.isEmpty || !hasMoreExpected else {
            return
        }
        isPlaced = true
        let lower = KeyBytes(indexRange.lower)
        liveKey = lower
        guard !expected.isEmpty else { return }
        liveKey = min(lower, KeyBytes(expected.key(at: expected.startPosition)))
    }

    /// Drops what the owner has read beyond the end of the part.
    private func cutLive() {
        guard let end else { return }
        if let key = liveKey, !(key < end) { liveKey = nil }
        guard liveKey == nil else { return }
        var position = 0
        let kept = EntryBatch(capacity: live.byteCount)
        while position < live.endPosition {
            let record = live.record(at: position)
            if compareBytes(record.key, end.span) >= 0 { break }
            kept.append(record)
            position += record.size
        }
        live = kept
    }

    @inline(__always)
    private func compareNext(_ hasExpected: Bool, _ hasLive: Bool) {
        guard hasLive else { return takeMissing(expected.record(at: expectedPosition)) }
        let found = live.record(at: livePosition)
        guard hasExpected else { return takeStray(found) }
        let wanted = expected.record(at: expectedPosition)
        let order = wanted.compareKey(found)
        if order < 0 { return takeMissing(wanted) }
        if order > 0 { return takeStray(found) }
        count(wanted)
        if found.isDamaged || compareBytes(wanted.value, found.value) != 0 {
            note(
                .wrong, wanted, found: found.isDamaged ? nil : found.value.array,
                expected: wanted.value.array)
        }
        expectedPosition += wanted.size
        livePosition += found.size
    }

    private func takeMissing(_ wanted: Record) {
        count(wanted)
        note(.missing, wanted, found: nil, expected: wanted.value.array)
        expectedPosition += wanted.size
    }

    private func takeStray(_ found: Record) {
        // What begins below a range is judged where it is expected to reach in, and only there.
        if let indexRange = scope?.indexRange, indexRange.isBelow(found.key) {
            livePosition += found.size
            return
        }
        note(.stray, found, found: found.isDamaged ? nil : found.value.array, expected: nil)
        livePosition += found.size
    }

    @inline(__always)
    private func count(_ wanted: Record) {
        entries += 1
        payload += wanted.keyLength + wanted.valueLength
        if malformed == nil, !index.isWellFormed(key: wanted.key, value: wanted.value) {
            malformed = wanted.key.array
        }
    }

    private func note(
        _ kind: Discrepancy.Kind, _ record: Record, found: [UInt8]?, expected: [UInt8]?
    ) {
        let discrepancy = Discrepancy(
            index: slot, kind: kind, key: record.key.array, found: found, expected: expected)
        if report(discrepancy) { counts.add(kind) }
    }
}

/// A part of a summary.
package final class FoldComparePart: ComparePart, @unchecked Sendable {
    private let part: FoldedPart
    package let log: CorrectionLog?
    package var seconds = 0.0
    private let fold: any SummaryFold
    private let limit: Int

    package init(_ part: FoldedPart, _ summary: any Summary, log: CorrectionLog?, limit: Int) {
        self.part = part
        self.log = log
        self.limit = limit
        fold = summary.makeFold(part)
    }

    package var counts: DiscrepancyCounts { part.counts }
    package var entries: Int { part.entries }
    package var payload: Int { part.payload }

    package func step() throws -> Bool {
        if try fold.step(limit) { return true }
        try part.finish()
        return false
    }
}
