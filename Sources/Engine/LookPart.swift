// Comparing a part of the shadow with a live index that changes while it is read.
//
// The shadow is frozen, the index is not: a difference is a *candidate*, to be judged once the
// shadow has caught up with the look (Run+Judge.swift). An entry that nobody has changed since the
// shadow was frozen, and that differs, is always among them. Candidates are bounded in number: at
// the bound the part pauses, its candidates are judged, and it goes on with a newer shadow.

package import Bytes
package import Contract
package import Entries
internal import Feed
internal import Shadow

/// A key at which shadow and live index differ, as far as they are known.
package struct Candidate: Sendable {
    package let key: KeyBytes
    /// Whether the live index had an entry when it was looked at, and its value, nil where it can't
    /// be decoded.
    package var isThere: Bool
    package var found: [UInt8]?
    /// The time before that look.
    package var looked: SequenceNumber
    /// Where the reading in key order began that found the difference.
    package let from: KeyBytes
    /// Looks so far.
    package var looks = 1
    /// How its record stood before that look, where the owner was asked.
    package var standing: RecordStanding?
}

package final class LookPart: ComparePart, @unchecked Sendable {
    private let slot: IndexSlot
    private let index: any SecondaryIndex
    private let owner: any UnlockedOwner
    private let hook: HookPoint
    private let end: KeyBytes?
    private let limit: Int
    /// Candidates at which it pauses.
    private let most: Int
    private var shadow: ShadowMerge
    /// Where it goes on; nil at its end.
    package private(set) var next: KeyBytes?
    package private(set) var candidates: [Candidate] = []

    private let expected: EntryBatch
    private var expectedPosition = 0
    /// Where the present reading of the live index has begun.
    private var start = KeyBytes()
    private var hasMoreExpected = true
    private let live: EntryBatch

    /// Of findings, which are counted where they are judged.
    package let counts = DiscrepancyCounts()
    package private(set) var entries = 0
    package private(set) var payload = 0
    package var seconds = 0.0
    /// The first entry of the shadow that can't be one: a bug, or a damaged side file.
    private(set) var malformed: [UInt8]?

    init(
        slot: IndexSlot, index: any SecondaryIndex, owner: any UnlockedOwner, hook: HookPoint,
        shadow: ShadowMerge, range: KeyRange, limit: Int, most: Int, batchBytes: Int
    ) {
        self.slot = slot
        self.index = index
        self.owner = owner
        self.hook = hook
        self.shadow = shadow
        self.limit = limit
        self.most = most
        end = range.upper
        next = range.lower
        expected = EntryBatch(capacity: batchBytes)
        live = EntryBatch(capacity: batchBytes)
    }

    var isAtEnd: Bool { next == nil }

    /// Takes the candidates so far out.
    func takeCandidates() -> [Candidate] {
        defer { candidates = [] }
        return candidates
    }

    /// Goes on with a newer shadow, which stands where the part does.
    func resume(_ shadow: ShadowMerge) { self.shadow = shadow }

    /// Looks at a bounded number of entries.
    /// - Returns: false at the end of the part, and where it pauses.
    package func step() throws -> Bool {
        guard let from = next, candidates.count < most else { return false }
        let time = hook.time()
        start = from
        live.removeAll()
        var after = try owner.entries(of: slot, from: from, limit: limit, into: live)
        if let key = after, !(from < key) {
            throw AbortReason("reading the live index does not move on from \(from.array)")
        }
        if let end, after.map({ !($0 < end) }) ?? true { after = nil }
        try compare(to: after ?? end, time)
        next = after
        return next != nil && candidates.count < most
    }

    /// Compares what both hold from where the part stands to `bound`.
    private func compare(to bound: KeyBytes?, _ time: SequenceNumber) throws {
        expected.removeAll()
        expectedPosition = 0
        hasMoreExpected = true
        var position = live.startPosition
        var last: Record?
        while position < live.endPosition {
            let found = live.record(at: position)
            if let last, last.compareKey(found) >= 0 {
                throw AbortReason("the live index is not read in key order: \(found.key.array)")
            }
            last = found
            position += found.size
            if let bound, compareBytes(found.key, bound.span) >= 0 { break }
            guard isOfScope(found) else { continue }
            try passExpected(below: found, to: bound, time)
            guard let wanted = try nextExpected(to: bound), wanted.compareKey(found) == 0 else {
                note(found, isThere: true, time)
                continue
            }
            count(wanted)
            if found.isDamaged || compareBytes(wanted.value, found.value) != 0 {
                note(found, isThere: true, time)
            }
            expectedPosition += wanted.size
        }
        while let wanted = try nextExpected(to: bound) { takeMissing(wanted, time) }
    }

    /// What is expected below `found` is missing.
    private func passExpected(
        below found: Record, to bound: KeyBytes?, _ time: SequenceNumber
    ) throws {
        while let wanted = try nextExpected(to: bound), wanted.compareKey(found) < 0 {
            takeMissing(wanted, time)
        }
    }

    private func takeMissing(_ wanted: Record, _ time: SequenceNumber) {
        count(wanted)
        note(wanted, isThere: false, time)
        expectedPosition += wanted.size
    }

    private func nextExpected(to bound: KeyBytes?) throws -> Record? {
        while expectedPosition >= expected.endPosition {
            guard hasMoreExpected else { return nil }
            expected.removeAll()
            expectedPosition = 0
            hasMoreExpected = try shadow.fill(expected, limit: limit, end: bound)
        }
        return expected.record(at: expectedPosition)
    }

    private func isOfScope(_ found: Record) -> Bool {
        guard let scope = hook.scope else { return true }
        let primary = index.primaryKey(of: found.key, value: found.value)
        return scope.records.contains(primary.span)
    }

    private func count(_ wanted: Record) {
        entries += 1
        payload += wanted.keyLength + wanted.valueLength
        if malformed == nil, !index.isWellFormed(key: wanted.key, value: wanted.value) {
            malformed = wanted.key.array
        }
    }

    private func note(_ record: Record, isThere: Bool, _ time: SequenceNumber) {
        let found = isThere && !record.isDamaged ? record.value.array : nil
        candidates.append(
            Candidate(
                key: KeyBytes(record.key), isThere: isThere, found: found, looked: time,
                from: start))
    }
}
