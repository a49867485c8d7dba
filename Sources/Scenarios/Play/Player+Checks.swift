// What must hold after every step, whatever the order: the invariants of Docs/protocol.md, as
// seen from outside, by plain code.

internal import Bytes
internal import Inspection
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

/// An invariant that does not hold.
struct Violation: Error, Hashable, CustomStringConvertible {
    /// `I1`…`I6`, or what else was expected.
    let rule: String
    let text: String
    var description: String { "\(rule): \(text)" }
}

extension Player {
    /// Looks at everything without a fault getting in the way.
    private func looking<R>(_ body: () throws -> R) rethrows -> R {
        let isArmed = stage.faults.isArmed
        stage.faults.isArmed = false
        defer { stage.faults.isArmed = isArmed }
        return try body()
    }

    /// Checks what must hold now.
    func check() throws {
        // Between "visible" and "reported" the store is ahead of what a run can know.
        guard holder == nil else { return }
        try looking {
            if let unlocked {
                try checkUnlocked(unlocked)
                for slot in watched { try checkLive(slot) }
                return
            }
            for run in runs where run.isAttached && !run.isAborted {
                try checkCoverage(run.run)
                try checkLoading(run.run)
            }
            if runs.contains(where: { $0.number > 0 && !$0.isAttached }) {
                try checkInterruptedLoads()
            }
            for slot in watched { try checkLive(slot) }
        }
    }

    /// I1: at a barrier the shadow is what the records below the cursor derive.
    func checkCoverage(_ run: Run) throws {
        // What could not be read is missing: the run goes no further than to its cut.
        guard run.isAtBarrier, run.damagedPrimaries == 0 else { return }
        for slot in run.collected {
            var shadow = try run.shadow(slot)
            var expected = try stage.expected(slot, below: run.cursor)
            if let scope = run.scope {
                let index = stage.indexed.indexes[slot.rawValue]
                expected = expected.filter { scope.holds(index, $0) }
                // Of a range it may know entries too that might have reached in.
                if scope.indexRange != nil { shadow = shadow.filter { scope.holds(index, $0) } }
            }
            guard shadow == expected else {
                throw Violation(
                    rule: "I1",
                    text: "the shadow of \(name(slot)) is not what the records below the cursor "
                        + "derive: " + text(slot, shadow, expected))
            }
        }
    }

    /// What is loaded of a new generation is maintained: the same entries as derived, below the
    /// load cursor.
    private func checkLoading(_ run: Run) throws {
        // With records to be read again the load has no future: the commit refuses it.
        guard let load = run.loadPosition, run.rereads == 0 else { return }
        try checkLoad(load.slot, load.generation, load.cursor)
    }

    /// What a crash or a stop has interrupted is maintained by the owner all the same.
    private func checkInterruptedLoads() throws {
        let slots = stage.indexed.indexes.indices.map { IndexSlot($0) }
        let loads = try stage.owner.atCommitBoundary { boundary in
            slots.map { boundary.generations?.loading(of: $0) }
        }
        // Those under work are looked at with what their runs know of them.
        let working = runs.filter(\.isAttached).compactMap { $0.run.loadPosition?.slot }
        for (slot, load) in zip(slots, loads) where !working.contains(slot) {
            if let load { try checkLoad(slot, load.generation, load.cursor) }
        }
    }

    private func checkLoad(
        _ slot: IndexSlot, _ generation: UInt32, _ cursor: KeyBytes?
    ) throws {
        let load = (slot: slot, cursor: cursor)
        let entries = try stage.entries(slot, generation: generation)
        let bound = load.cursor?.array
        let expected = try stage.folded(load.slot).filter { entry in
            // What the volume counts for itself stands in no generation.
            if slot == VolumeSlots.quota, QuotaKey(entry.key.rawSpan) == .volume { return false }
            return bound.map { entry.key.precedes($0) } ?? true
        }
        guard entries == expected else {
            throw Violation(
                rule: "load",
                text: "the new generation of \(name(load.slot)) is not what is derived below the "
                    + "load cursor: " + text(load.slot, entries, expected))
        }
    }

    /// I5, and nothing invented: the live index differs from what is derived only where it was
    /// damaged, and not at all once a rebuilt generation is active.
    private func checkLive(_ slot: IndexSlot) throws {
        let differences = try Player.differences(stage, slot)
        guard !differences.isEmpty else { return }
        let isOld = try stage.activeGeneration(slot) == damagedGenerations[slot.rawValue]
        let allowed = isOld ? damaged[slot.rawValue] : []
        guard let wrong = differences.first(where: { !allowed.contains($0.key) }) else { return }
        throw Violation(
            rule: "I5",
            text: "the live index \(name(slot)) has a \(wrong.kind.rawValue) entry that nobody "
                + "damaged: " + text(slot, wrong.key))
    }

    /// Whether a key that was damaged does not differ any more, though no run has mended it.
    func hasTouchedDamage() -> Bool {
        for slot in damaged.indices where !damaged[slot].isEmpty {
            guard let left = try? differences(IndexSlot(slot)).count else { continue }
            if left < damaged[slot].count,
                runs.allSatisfy({
                    $0.run.report.indexes.allSatisfy { $0.patched == 0 && $0.generation == nil }
                })
            {
                return true
            }
        }
        return false
    }

    /// Before the cut: what a comparison at it must find.
    func noteCut(_ lanes: RunLanes) throws {
        try looking {
            for slot in lanes.run.slots {
                var counts = DiscrepancyCounts()
                for difference in try differences(slot, of: lanes.run) {
                    counts.add(difference.kind)
                }
                lanes.atCut[slot] = counts
            }
        }
    }

    /// After a comparison: it has found exactly what was there at the cut.
    func checkFound(_ lanes: RunLanes) throws {
        guard !lanes.isAborted else { return }
        for index in lanes.run.report.indexes {
            let isRecheck = lanes.coordinator.isRecheck
            guard let found = isRecheck ? index.recheck : lanes.compared(index),
                let expected = lanes.atCut[index.slot], found != expected
            else { continue }
            throw Violation(
                rule: "found",
                text: "the comparison of \(index.name) found \(found.text), and at the cut it was "
                    + expected.text)
        }
    }

    /// The live indexes of a run, as they are.
    func standing(of lanes: RunLanes) throws -> [Standing] {
        try looking {
            try lanes.run.slots.map { slot in
                let live = try stage.live(slot)
                return Standing(
                    generation: try stage.activeGeneration(slot), keys: live.map(\.key),
                    values: live.map(\.value))
            }
        }
    }

    struct Standing: Equatable {
        let generation: UInt32
        let keys: [[UInt8]]
        let values: [[UInt8]?]
    }

    /// I4: a step of a run that was marked as aborted before it changes no live index.
    func checkUntouched(_ lanes: RunLanes, _ before: [Standing]?) throws {
        guard let before, try standing(of: lanes) != before else { return }
        throw Violation(rule: "I4", text: "a run that was aborted has changed a live index")
    }

    /// I6: what was done in one hold of the commit lock is bounded by the run's options, and by
    /// what writers have changed meanwhile.
    func checkHold(_ lanes: RunLanes, _ applied: Int) throws {
        guard let owner = stage.indexed as? SteeredOwner else { return }
        let options = lanes.description
        let bounds = [
            ("appended", owner.lastHold.appended, options.loadBatch + 1 + applied),
            ("amended", owner.lastHold.amended, options.patch),
            ("reaped", owner.lastHold.reaped, lanes.largestReap),
        ]
        for (what, count, bound) in bounds where count > bound {
            throw Violation(
                rule: "I6",
                text: "\(count) entries were \(what) with the commit lock held, \(bound) may be")
        }
    }

    /// I3: the hooks of runs that have ended are told of nothing any more.
    func checkDetached() throws {
        guard holder == nil else { return }
        if let unlocked { return try checkDetached(unlocked) }
        let attached = try looking { try stage.owner.atCommitBoundary { $0.hooks.count } }
        let working = runs.filter { $0.isAttached }.count
        guard attached > working else { return }
        throw Violation(
            rule: "I3", text: "\(attached) hooks are attached, and \(working) runs are at work")
    }

    /// What the owner keeps of a run is what the run is. The last step of one that fails may
    /// have failed in this as well.
    func checkRecord(_ lanes: RunLanes) throws {
        guard lanes.number > 0, lanes.run.state != .failed, stage.faults.struck.isEmpty else {
            return
        }
        let number = lanes.number
        let record = try looking {
            try stage.owner.atCommitBoundary { boundary in
                try boundary.requireJournal().runs().first { $0.number == number }
            }
        }
        // A run that was refused was never entered.
        guard let record else {
            guard lanes.run.state.isWorking else { return }
            throw Violation(rule: "record", text: "nobody remembers run \(lanes.number)")
        }
        guard record.state == lanes.run.state || lanes.run.state == .aborted else {
            throw Violation(
                rule: "record",
                text: "run \(lanes.number) is \(lanes.run.state.rawValue), and its record says "
                    + record.state.rawValue)
        }
    }

    /// What is found of a run that has ended before its end.
    func checkRecord(_ record: RunRecord, of lanes: RunLanes) throws {
        guard stage.faults.struck.isEmpty else { return }
        let isRight =
            lanes.isLost
            ? record.state == .crashed || record.state == .stopped || record.state == .paused
            : record.state == lanes.run.state
        guard isRight || lanes.run.report.mustStartAgain || !lanes.hasBegun else {
            throw Violation(
                rule: "record",
                text: "run \(record.number) has ended as \(lanes.run.state.rawValue), and is found "
                    + record.state.rawValue)
        }
    }

    /// At the end of everything: what must be so then.
    func checkEnd() throws {
        try looking {
            for run in runs where !run.isLost && !run.isOutdated && !run.isSuspended {
                try checkEnd(run)
            }
            if let unlocked { return try checkDetached(unlocked) }
            for slot in stage.indexed.indexes.indices { try checkNothingLoads(IndexSlot(slot)) }
            let hooks = try stage.owner.atCommitBoundary { $0.hooks.count }
            guard hooks == 0 else {
                throw Violation(
                    rule: "I3", text: "\(hooks) hooks are attached after the end of all runs")
            }
        }
    }

    /// What a run could not load to the end it has discarded, where that did not fail too.
    private func checkNothingLoads(_ slot: IndexSlot) throws {
        guard runs.allSatisfy({ !$0.isLost && !$0.isSuspended }) else { return }
        guard !stage.faults.struck.contains(where: { $0.point == .discard }) else { return }
        guard let generation = explorable?.loadingGeneration(slot) else { return }
        throw Violation(
            rule: "I4",
            text: "generation \(generation) of \(name(slot)) is being loaded, and no run is at work"
        )
    }

    private func checkEnd(_ lanes: RunLanes) throws {
        if let unlocked { return try checkEnd(lanes, on: unlocked) }
        let report = lanes.run.report
        let isChecking = lanes.description.strategy == .check
        for index in report.indexes {
            let slot = index.slot
            let active = try stage.activeGeneration(slot)
            // What was rolled back is as it was: `checkLive` knows how.
            let isExact =
                try rolledBack.contains(slot) || differences(slot, of: lanes.run).isEmpty
            if [.clean, .repaired].contains(report.outcome),
                !isChecking || report.outcome == .clean,
                !isExact
            {
                throw Violation(
                    rule: "outcome",
                    text: "the run ended \(report.outcome.rawValue), and \(index.name) is not exact"
                )
            }
            if [.aborted, .incomplete].contains(report.outcome), index.generation == nil,
                runs.count == 1, active != lanes.initial[slot.rawValue],
                !rolledBack.contains(slot)
            {
                throw Violation(
                    rule: "I4", text: "the \(report.outcome.rawValue) run changed \(index.name)")
            }
            if lanes.description.keepsOld, index.generation != nil, index.previous == nil {
                throw Violation(
                    rule: "keep", text: "what the rebuild of \(index.name) replaced is not kept")
            }
            let kept = try stage.owner.atCommitBoundary {
                try $0.generations?.previousGeneration(of: slot)
            }
            let served = [active] + (kept.map { [$0] } ?? [])
            if [.clean, .repaired].contains(report.outcome), !isChecking, haveAllReaped,
                try stage.generations(slot) != served.sorted()
            {
                throw Violation(
                    rule: "reap",
                    text: "generations of \(index.name) are left behind: "
                        + "\(try stage.generations(slot)), to be there are \(served)")
            }
        }
    }

    /// After nothing has failed: every run has come to a good end, but for one that another
    /// was in the way of.
    func checkRecovered() throws {
        for run in runs {
            let report = run.run.report
            let isGood =
                [.clean, .repaired, .unsettled].contains(report.outcome)
                || report.outcome == .corrupt && run.description.strategy == .check
            // A store that can't say what has changed may change too often for a repair.
            let isExcused = report.reason.map { reason in
                reason.contains("another run is at work") || reason.contains("read again")
                    || reason.contains("could not say exactly")
                    || reason.contains("writers go first")
            }
            guard isGood || isExcused == true || leavesOrphansAlone(report) else {
                throw Violation(
                    rule: "recovery",
                    text: "nothing fails any more, and the run ends \(report.outcome.rawValue): "
                        + "\(report.reason ?? "")")
            }
        }
    }

    /// Where a count was damaged, and the last name went before it was right again, there is an
    /// orphan: a defect that is told, and nothing else is wrong any more.
    private func leavesOrphansAlone(_ report: RunReport) -> Bool {
        guard scenario.damage.contains(where: { $0.index == "links" }) else { return false }
        let left = report.indexes.reduce(0) { $0 + ($1.recheck ?? $1.found).total }
        return report.outcome == .corrupt && report.primaryDefects.total > 0 && left == 0
    }

    /// Whether every run has come to the end of its reaping: one that was aborted behind its
    /// commit leaves that to the next.
    private var haveAllReaped: Bool {
        runs.allSatisfy { [.clean, .repaired, .corrupt].contains($0.run.report.outcome) }
            && runs.allSatisfy { $0.run.report.reason == nil && !$0.isLost && !$0.isSuspended }
    }

    // MARK: Words

    func name(_ slot: IndexSlot) -> String { stage.indexed.indexes[slot.rawValue].name }

    private func text(_ slot: IndexSlot, _ key: [UInt8]) -> String {
        let index = stage.indexed.indexes[slot.rawValue]
        let value = (try? stage.folded(slot).first { $0.key == key }?.value) ?? []
        return index.fields(key: key.rawSpan, value: value.rawSpan)
            .map { "\($0.name) \($0.value)" }.joined(separator: ", ")
    }

    private func text(_ slot: IndexSlot, _ found: [Entry], _ expected: [Entry]) -> String {
        let missing = expected.filter { !found.contains($0) }
        let stray = found.filter { !expected.contains($0) }
        let words =
            missing.map { "lacks \(text(slot, $0))" } + stray.map { "has \(text(slot, $0))" }
        return words.prefix(4).joined(separator: "; ")
    }

    private func text(_ slot: IndexSlot, _ entry: Entry) -> String {
        stage.indexed.indexes[slot.rawValue]
            .fields(key: entry.key.rawSpan, value: entry.value.rawSpan)
            .map { "\($0.name) \($0.value)" }.joined(separator: ", ")
    }
}

extension DiscrepancyCounts {
    var text: String { "\(missing) missing, \(stray) stray, \(wrong) wrong" }
}

extension [UInt8] {
    func precedes(_ other: [UInt8]) -> Bool { lexicographicallyPrecedes(other) }
}
