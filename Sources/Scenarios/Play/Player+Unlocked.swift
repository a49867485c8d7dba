// Playing on a store that nobody can lock: what its writers do, which lanes have to wait for a
// lock, and what must hold there.

internal import Bytes
internal import Catalogue
internal import Tidemark

extension Player {
    /// The stage, where it is one that nobody can lock.
    var unlocked: UnlockedStage? { stage as? UnlockedStage }

    // MARK: What can go on

    func canWrite(_ number: Int, on stage: UnlockedStage) -> Bool {
        let writer = writers[number]
        guard !writer.isDone else { return false }
        return writer.part != .begin || stage.canBegin(writer.current, of: number)
    }

    /// Whether the next piece of what the scanner reads is nobody's.
    func mayRead(_ run: String, _ number: Int) -> Bool {
        guard let unlocked, !breaksLocks, let range = self.run(run).windowRange(number - 1)
        else { return true }
        return unlocked.catalogue.canRead(range)
    }

    /// Whether the live indexes can be read without waiting.
    var mayLook: Bool {
        guard let unlocked, !breaksLocks else { return true }
        return unlocked.catalogue.canReadIndex
    }

    /// Whether anything comes of looking into a buffer: it holds something, or a mark has been lost
    /// that is put again when none does.
    func canPoll(_ run: String, _ number: Int) -> Bool {
        guard let unlocked, self.run(run).canPoll else { return false }
        if unlocked.hasItems(in: number - 1) { return true }
        guard number == 1, self.run(run).awaitsFeed else { return false }
        return !(0..<unlocked.buffers).contains { unlocked.hasItems(in: $0) }
    }

    func poll(_ run: String, _ number: Int) -> StepEvent {
        unlocked?.choose(buffer: number - 1)
        return self.run(run).poll(number)
    }

    // MARK: Checks

    /// I1, as it reads here: where every event has been delivered, every change is made, nothing is
    /// queued and nothing is to be read below the cursor, the shadow is what the records there
    /// derive.
    func checkUnlocked(_ stage: UnlockedStage) throws {
        // What is withheld nobody derives anything from.
        guard stage.catalogue.isAtRest, stage.catalogue.withheld.isEmpty else { return }
        for run in runs where run.isAttached && !run.isAborted {
            try checkCoverage(run.run)
        }
    }

    /// What a run tells was damaged: nobody's change is a finding.
    func checkFindings(_ lanes: RunLanes) throws {
        for finding in lanes.takeFindings() {
            guard damaged[finding.index.rawValue].contains(finding.key) else {
                throw Violation(
                    rule: "false finding",
                    text: "\(finding.kind.rawValue) \(name(finding.index)), key \(finding.key): "
                        + "nobody has damaged it")
            }
        }
    }

    /// At the end of a run: what it has said is so, and it has found what was damaged and not
    /// touched since.
    func checkEnd(_ lanes: RunLanes, on stage: UnlockedStage) throws {
        let report = lanes.run.report
        guard [.clean, .corrupt, .unsettled].contains(report.outcome) else { return }
        var found = 0, unsettled = 0
        for index in report.indexes {
            found += index.found.total
            unsettled += index.unsettled
            let known = lanes.found[index.slot, default: []].union(
                index.firstUnsettled.map(\.key))
            let left = damaged[index.slot.rawValue].subtracting(stage.touched[index.slot.rawValue])
                .filter { !stage.mayBeWithheld($0, of: index.slot) }
            guard let missed = left.first(where: { !known.contains($0) }) else { continue }
            throw Violation(
                rule: "missed", text: "the damage of \(index.name) at key \(missed) was not found")
        }
        let expected: RunReport.Outcome =
            found > 0 ? .corrupt : unsettled > 0 ? .unsettled : .clean
        guard report.outcome == expected else {
            throw Violation(
                rule: "outcome",
                text: "the run ended \(report.outcome.rawValue) with \(found) found, "
                    + "\(unsettled) unsettled")
        }
    }

    func checkDetached(_ stage: UnlockedStage) throws {
        let attached = stage.catalogue.subscriptions
        let working = runs.filter { $0.isAttached }.count
        guard attached > working else { return }
        throw Violation(
            rule: "I3", text: "\(attached) feeds are in force, and \(working) runs are at work")
    }
}
