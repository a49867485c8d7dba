// Comparing at a cut, and what is to be done about what it finds.

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

    init(slot: IndexSlot, parts: [ComparePart], kept: Remembered) {
        self.slot = slot
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
        try move(to: isRecheck ? .rechecking : .comparing)
        let index = owner.indexes[slot.rawValue]
        let kept = Remembered(limit: options.rememberedDiscrepancies)
        let tell = onDiscrepancy
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
                kept.add(discrepancy)
                if !isRecheck { tell(discrepancy) }
            }
        }
        return Comparison(slot: slot, parts: parts, kept: kept)
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

    /// Decides what to do about the discrepancies of `comparison`, and why.
    ///
    /// A patch reads the shadow again at each discrepancy and changes that entry in place,
    /// some tens of microseconds; a rebuild merges and appends every entry, some tenths of
    /// a microsecond. Hence the factor.
    public func plan(_ comparison: Comparison) -> IndexReport.Action {
        guard let place = slots.firstIndex(of: comparison.slot) else {
            preconditionFailure("the comparison of another run")
        }
        let plan = plan(place)
        report.indexes[place].action = plan.action
        report.indexes[place].reason = plan.reason
        return plan.action
    }

    private func plan(_ place: Int) -> (action: IndexReport.Action, reason: String) {
        let found = report.indexes[place].found.total
        let entries = report.indexes[place].entries
        let isRemembered = found <= options.rememberedDiscrepancies
        switch options.strategy {
        case .check: return (.none, "a check changes nothing")
        case .rebuild: return (.rebuild, "asked for")
        case .patch where found == 0: return (.none, "nothing is wrong")
        case .patch where isRemembered: return (.patch, "asked for")
        case .patch:
            return (.rebuild, "\(found) discrepancies are more than a patch remembers")
        case .auto where found == 0: return (.none, "nothing is wrong")
        case .auto where isRemembered && found < entries / Run.patchFactor:
            return (.patch, "\(found) discrepancies in \(entries) entries cost less one by one")
        case .auto:
            return (.rebuild, "\(found) discrepancies in \(entries) entries cost more one by one")
        }
    }

    /// What mending one entry costs, in entries rebuilt.
    static let patchFactor = 100
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
