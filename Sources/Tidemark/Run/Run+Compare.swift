// Comparing at a cut.

internal import Bytes
internal import Synchronization

/// The comparison of one index at one cut, in parts that may be stepped side by side.
public final class Comparison: @unchecked Sendable {
    public let slot: IndexSlot
    /// Emptied when the comparison is finished: parts hold snapshots.
    package fileprivate(set) var parts: [ComparePart]
    /// Discrepancies, up to the bound that a patch may remember.
    let kept: Remembered
    /// Entries of the shadow, and the bytes of their keys and values. Set at the end.
    public fileprivate(set) var entries = 0
    fileprivate(set) var payload = 0
    /// Entries that the shadow may have, at the most.
    let expected: Int
    /// Seconds of work of all parts. Set at the end.
    fileprivate(set) var seconds = 0.0

    init(slot: IndexSlot, parts: [ComparePart], kept: Remembered, expected: Int) {
        self.slot = slot
        self.expected = expected
        self.parts = parts
        self.kept = kept
    }
}

extension ComparePart: @unchecked Sendable {}

extension Run {
    /// Begins to compare the live index with the shadow at `cut`.
    public func compare(_ slot: IndexSlot, at cut: Cut, isRecheck: Bool = false) throws
        -> Comparison
    {
        phase = isRecheck ? .rechecking : .comparing
        let index = owner.indexes[slot.rawValue]
        let kept = Remembered(limit: options.rememberedDiscrepancies)
        let tell = onDiscrepancy, tally = tally
        var ranges: [KeyRange] = []
        var lower = KeyBytes()
        for divider in try cut.shadow.dividers(slot.rawValue, parts: cut.snapshots.count) {
            ranges.append(KeyRange(lower: lower, upper: divider))
            lower = divider
        }
        ranges.append(KeyRange(lower: lower, upper: nil))
        let parts = try zip(ranges, cut.snapshots).map { range, snapshot in
            ComparePart(
                slot: slot, index: index, snapshot: snapshot,
                shadow: try cut.shadow.merge(slot.rawValue, index: index, from: range.lower),
                range: range, limit: options.compareEntries,
                batchBytes: min(options.batchBytes, 1 << 16)
            ) { discrepancy in
                guard isRecheck || tally.add(discrepancy) else { return false }
                kept.add(discrepancy)
                if !isRecheck { tell(discrepancy) }
                return true
            }
        }
        return Comparison(
            slot: slot, parts: parts, kept: kept,
            expected: cut.shadow.entries(slot.rawValue))
    }

    /// Takes the result of a comparison whose parts have all been stepped to their ends.
    public func finish(_ comparison: Comparison, isRecheck: Bool = false) throws {
        guard let place = slots.firstIndex(of: comparison.slot) else {
            preconditionFailure("the comparison of another run")
        }
        var counts = DiscrepancyCounts()
        for part in comparison.parts {
            counts.add(part.counts)
            comparison.entries += part.entries
            comparison.payload += part.payload
            comparison.seconds += part.seconds
            if let key = part.malformed {
                throw AbortReason(
                    "the shadow of \(report.indexes[place].name) holds what can't be an entry, "
                        + "key \(key): a damaged side file")
            }
        }
        comparison.parts = []
        if isRecheck {
            report.indexes[place].recheck = counts
        } else {
            report.indexes[place].entries = comparison.entries
            report.indexes[place].found = counts
        }
    }
}

extension Run {
    /// Takes what a comparison has found that was given up before its end.
    func note(unfinished comparison: Comparison) {
        guard let place = slots.firstIndex(of: comparison.slot) else { return }
        for part in comparison.parts {
            report.indexes[place].entries += part.entries
            report.indexes[place].found.add(part.counts)
        }
        comparison.parts = []
    }
}

/// Discrepancies that a patch could mend, up to a bound.
final class Remembered: Sendable {
    private let list = Mutex<[Discrepancy]>([])
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    func add(_ discrepancy: Discrepancy) {
        list.withLock { if $0.count < limit { $0.append(discrepancy) } }
    }

    var all: [Discrepancy] { list.withLock { $0 } }
}
