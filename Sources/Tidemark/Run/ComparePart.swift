// Comparing, in key order, a part of the shadow with the same part of the live index, both
// as of one cut. It needs no lock: both are snapshots.

internal import Bytes

package final class ComparePart {
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

    private(set) var counts = DiscrepancyCounts()
    /// Entries of the shadow, and the bytes of their keys and values.
    private(set) var entries = 0
    private(set) var payload = 0
    /// Seconds of work, measured by whoever steps it.
    var seconds = 0.0
    /// The first entry of the shadow that can't be one: a bug, or a damaged side file.
    private(set) var malformed: [UInt8]?

    init(
        slot: IndexSlot, index: any SecondaryIndex, snapshot: any OwnerSnapshot,
        shadow: ShadowMerge, range: KeyRange, limit: Int, batchBytes: Int,
        report: @escaping @Sendable (Discrepancy) -> Bool
    ) {
        self.slot = slot
        self.index = index
        self.snapshot = snapshot
        self.shadow = shadow
        end = range.upper
        liveKey = range.lower
        self.limit = limit
        expected = EntryBatch(capacity: batchBytes)
        live = EntryBatch(capacity: batchBytes)
        self.report = report
    }

    /// Compares a bounded number of entries. Returns false at the end of the part.
    package func step() throws -> Bool {
        try refill()
        while true {
            let hasExpected = expectedPosition < expected.endPosition
            let hasLive = livePosition < live.endPosition
            if !hasExpected && hasMoreExpected || !hasLive && liveKey != nil { return true }
            if !hasExpected && !hasLive { return false }
            compareNext(hasExpected, hasLive)
        }
    }

    private func refill() throws {
        if expectedPosition == expected.endPosition, hasMoreExpected {
            expected.removeAll()
            expectedPosition = 0
            hasMoreExpected = try shadow.fill(expected, limit: limit, end: end)
        }
        if livePosition == live.endPosition, let key = liveKey {
            live.removeAll()
            livePosition = 0
            liveKey = try snapshot.entries(of: slot, from: key, limit: limit, into: live)
            cutLive()
        }
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
