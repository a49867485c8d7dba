// Comparing at a cut.

internal import Bytes
public import Contract
internal import Entries
internal import Feed
package import Shadow
internal import Synchronization

/// The comparison of one index at one cut, in parts that may be stepped side by side.
public final class Comparison: @unchecked Sendable {
    public let slot: IndexSlot
    /// Emptied when the comparison is finished: parts hold snapshots.
    package fileprivate(set) var parts: [any ComparePart]
    /// Discrepancies, up to the bound that a patch may remember.
    package let remembered: Remembered
    /// Entries of the shadow, and the bytes of their keys and values. Set at the end.
    public fileprivate(set) var entries = 0
    package fileprivate(set) var payload = 0
    /// Of a summary: what is to be added to its counters. Set at the end.
    package fileprivate(set) var corrections: Corrections?
    /// Corrections that patches have not taken yet.
    package var uncorrected: ShadowMerge?
    /// Entries that the shadow may have, at the most.
    package let expected: Int
    /// Seconds of work of all parts. Set at the end.
    package fileprivate(set) var seconds = 0.0
    /// What was found. Set at the end.
    package fileprivate(set) var found = DiscrepancyCounts()
    /// Whether the index was compared before, and more was found than a patch remembers.
    package let isAgain: Bool
    /// Whether all that was found can be mended from what is remembered.
    package var isWhole: Bool { found.total <= remembered.limit }

    package init(
        slot: IndexSlot, parts: [any ComparePart], remembered: Remembered, expected: Int,
        isAgain: Bool
    ) {
        self.isAgain = isAgain
        self.slot = slot
        self.expected = expected
        self.parts = parts
        self.remembered = remembered
    }
}

extension Run {
    /// Begins to compare the live index with the shadow at `cut`.
    /// - Parameter isAgain: whether all that it will find was found, told and counted before.
    public func compare(
        _ slot: IndexSlot, at cut: Cut, isRecheck: Bool = false, isAgain: Bool = false
    ) throws -> Comparison {
        try move(to: isRecheck ? .rechecking : .comparing)
        let remembered = Remembered(limit: options.rememberedDiscrepancies)
        let tell = onDiscrepancy, tally = tally
        let report: @Sendable (Discrepancy) -> Bool = { discrepancy in
            let isNew = !isRecheck && !isAgain
            guard !isNew || tally.add(discrepancy) else { return false }
            remembered.add(discrepancy)
            if isNew { tell(discrepancy) }
            return true
        }
        let summary = owner.indexes[slot.rawValue].summary
        // What an earlier process of the run has mended this one looks at only here.
        let look = ComparisonLook(
            isRecheck: isRecheck, tellsDefects: !audited.contains(slot))
        audited.insert(slot)
        let parts = try zip(ranges(of: slot, summary, at: cut), cut.snapshots).map {
            range, snapshot -> any ComparePart in
            if let summary {
                return try foldPart(slot, summary, snapshot, cut, range, look, report)
            }
            return try entryPart(slot, snapshot, cut, range, look, report)
        }
        let read = summary?.sources.first ?? slot
        return Comparison(
            slot: slot, parts: parts, remembered: remembered,
            expected: cut.shadow.entries(read.rawValue),
            isAgain: isAgain)
    }

    /// The parts of the key space that are compared side by side.
    private func ranges(
        of slot: IndexSlot, _ summary: (any Summary)?, at cut: Cut
    ) throws -> [KeyRange] {
        if let indexRange = hook.scope?.indexRange {
            return [KeyRange(lower: KeyBytes(indexRange.lowest), upper: KeyBytes(indexRange.upper))]
        }
        let divided = summary?.sources.first ?? slot
        var ranges: [KeyRange] = []
        var lower = KeyBytes()
        let dividers = try cut.shadow.dividers(divided.rawValue, parts: cut.snapshots.count) {
            (key: RawSpan) -> KeyBytes? in
            guard let summary else { return owner.indexes[slot.rawValue].divider(near: key) }
            return summary.divider(near: key)
        }
        for divider in dividers {
            ranges.append(KeyRange(lower: lower, upper: divider))
            lower = divider
        }
        return ranges + [KeyRange(lower: lower, upper: nil)]
    }

    private func entryPart(
        _ slot: IndexSlot, _ snapshot: any OwnerSnapshot, _ cut: Cut, _ range: KeyRange,
        _ look: ComparisonLook, _ report: @escaping @Sendable (Discrepancy) -> Bool
    ) throws -> any ComparePart {
        let index = owner.indexes[slot.rawValue]
        return EntryComparePart(
            slot: slot, index: index, snapshot: snapshot,
            shadow: try cut.shadow.merge(slot.rawValue, index: index, from: range.lower),
            range: range, limit: options.compareEntries,
            batchBytes: min(options.batchBytes, 1 << 16),
            // An audit sees all entries, or it would miss those that it is not shown.
            scope: hook.scope,
            audit: !look.tellsDefects || hook.scope != nil
                ? nil : try snapshot.audit(of: slot, over: range),
            report: report)
    }

    private func foldPart(
        _ slot: IndexSlot, _ summary: any Summary, _ snapshot: any OwnerSnapshot, _ cut: Cut,
        _ range: KeyRange, _ look: ComparisonLook,
        _ report: @escaping @Sendable (Discrepancy) -> Bool
    ) throws -> any ComparePart {
        var log: CorrectionLog?
        if !look.isRecheck, options.strategy != .check {
            log = CorrectionLog(
                store, differing: assistant.takeRunNumber(), agreeing: assistant.takeRunNumber(),
                keepsAgreeing: summary.hasGenerations, chunkBytes: assistant.chunkBytes)
        }
        let part = FoldedPart(
            slot: slot, snapshot: snapshot,
            sources: try summary.sources.map {
                try cut.shadow.merge($0.rawValue, index: owner.indexes[$0.rawValue])
            },
            range: range, batchBytes: min(options.batchBytes, 1 << 16), log: log, report: report
        ) { defect in
            guard look.tellsDefects else { return }
            self.defects.withLock { $0.add(defect) }
            self.onDefect(defect)
        }
        return FoldComparePart(part, summary, log: log, limit: options.compareEntries)
    }

    /// Takes the result of a comparison whose parts have all been stepped to their ends.
    public func finish(_ comparison: Comparison, isRecheck: Bool = false) throws {
        guard let place = slots.firstIndex(of: comparison.slot) else {
            preconditionFailure("the comparison of another run")
        }
        var counts = DiscrepancyCounts()
        var corrections = Corrections(store: store, chunkBytes: assistant.chunkBytes)
        for part in comparison.parts {
            counts.add(part.counts)
            comparison.entries += part.entries
            comparison.payload += part.payload
            comparison.seconds += part.seconds
            if let part = part as? FoldComparePart, let log = part.log { corrections.add(log) }
            if let part = part as? EntryComparePart { try checkWellFormed(part, place) }
        }
        if owner.indexes[comparison.slot.rawValue].summary != nil {
            comparison.corrections = corrections
        }
        takeFindings(of: comparison)
        report.primaryDefects = defects.withLock { $0 }
        comparison.parts = []
        comparison.found = counts
        if comparison.isAgain { return }
        if isRecheck {
            report.indexes[place].recheck = counts
        } else {
            report.indexes[place].entries = comparison.entries
            report.indexes[place].found = counts
        }
    }
}

extension Run {
    /// What the audits of all parts have found, which only together is right. Of these defects
    /// the first are told, as many as are remembered.
    private func takeFindings(of comparison: Comparison) {
        let findings = comparison.parts.compactMap { ($0 as? EntryComparePart)?.audit?.findings }
        var found = PrimaryDefects()
        for finding in findings { found.add(finding.added) }
        for finding in findings { found.subtract(finding.takenBack) }
        guard found.total > 0 else { return }
        defects.withLock { $0.add(found) }
        for defect in found.first { onDefect(defect) }
    }

    private func checkWellFormed(_ part: EntryComparePart, _ place: Int) throws {
        guard let key = part.malformed else { return }
        throw AbortReason(
            "the shadow of \(report.indexes[place].name) holds what can't be an entry, "
                + "key \(key): a damaged side file")
    }

    /// Takes what a comparison has found that was discarded before its end.
    package func note(unfinished comparison: Comparison) {
        guard let place = slots.firstIndex(of: comparison.slot) else { return }
        for part in comparison.parts {
            report.indexes[place].entries += part.entries
            report.indexes[place].found.add(part.counts)
        }
        comparison.parts = []
    }
}

/// What a comparison is for.
private struct ComparisonLook {
    /// Behind the mending.
    let isRecheck: Bool
    /// Whether damage of primary records is told that it meets.
    let tellsDefects: Bool
}

/// Discrepancies that a patch could mend, up to a bound.
package final class Remembered: Sendable {
    private let list = Mutex<[Discrepancy]>([])
    package let limit: Int

    package init(limit: Int) { self.limit = limit }

    package func add(_ discrepancy: Discrepancy) {
        list.withLock { if $0.count < limit { $0.append(discrepancy) } }
    }

    package var all: [Discrepancy] { list.withLock { $0 } }
}

extension Run {
    /// Asks the owner what else contradicts what, where the run is about all of it. Of one index,
    /// or a part, nothing is asked but that.
    func judgeStored() throws {
        guard let exact, hook.scope == nil, slots.count == owner.indexes.count else { return }
        let start = clock.now()
        // Of whatever commit: what is judged contradicts itself within one.
        let taken = TakenSnapshot(snapshot: try exact.snapshot())
        var found = try taken.snapshot.storedDefects {
            try self.checkAborted()
            // This thread is the one that empties the queue, for which writers wait.
            while self.hook.status.isHalfFull, try self.handleItem() {}
        }
        if options.strategy != .check, !options.isDryRun, parts.hasGenerations, found.total > 0 {
            let kinds = try atBoundary {
                try $0.requireGenerations().settleCounts(of: taken.snapshot)
            }
            for kind in kinds {
                found.remove(kind)
                hasSettledCounts = true
            }
        }
        defects.withLock { $0.addKinds(of: found) }
        report.primaryDefects = defects.withLock { $0 }
        report.seconds.judge += Double(clock.now() - start) / 1e9
    }

    /// Used by one thread after the other.
    private struct TakenSnapshot: @unchecked Sendable { let snapshot: any OwnerSnapshot }
}
