// The plan: patch or rebuild, whichever costs less by what was measured.
//
// A patch looks each discrepancy up in the shadow and mends it in place; a rebuild merges and
// appends every entry, and deletes the old one. What one of either costs is known from earlier
// runs, where there were any. Where not, it is taken as so many times what this run's own
// comparison has cost for an entry: that follows the machine and its load.

internal import Feed
public import Contract

extension PlanCosts {
    /// What is assumed where nothing was measured. See Docs/decisions/0016.
    package static let defaultCompare = 0.3e-6
    /// Entries of comparing that loading one, and patching one, cost.
    package static let loadRatio = 1.7, patchRatio = 100.0
    /// Entries below which time is not worth dividing by them.
    package static let leastCompared = 1000, leastPatched = 16

    /// Seconds for one entry: measured, or derived from what comparing one costs.
    package var loadSeconds: Double { load ?? compareSeconds * PlanCosts.loadRatio }
    package var patchSeconds: Double { patch ?? compareSeconds * PlanCosts.patchRatio }
    package var compareSeconds: Double { compare ?? PlanCosts.defaultCompare }

    /// Takes over what was measured, where it was of enough entries.
    package mutating func note(
        compared: Int, _ compareTime: Double, loaded: Int, _ loadTime: Double, patched: Int,
        _ patchTime: Double
    ) {
        if compared >= PlanCosts.leastCompared, compareTime > 0 {
            compare = compareTime / Double(compared)
        }
        if loaded >= PlanCosts.leastCompared, loadTime > 0 { load = loadTime / Double(loaded) }
        if patched >= PlanCosts.leastPatched, patchTime > 0 {
            patch = patchTime / Double(patched)
        }
    }
}

package struct Plan {
    package let action: IndexReport.Action
    package let reason: String
    /// How long the action is to take; nil where nothing is done.
    package let seconds: Double?

    /// Where the owner offers nothing by which the index could be mended.
    static let advice = "the owner offers no way to mend it: what was found is advice"
}

/// What either way of mending an index would take, in seconds.
private struct Estimate {
    let patching, rebuilding: Double

    func patch(_ reason: String) -> Plan {
        Plan(action: .patch, reason: reason, seconds: patching)
    }

    func rebuild(_ reason: String) -> Plan {
        Plan(action: .rebuild, reason: reason, seconds: rebuilding)
    }

    func nothing(_ reason: String) -> Plan { Plan(action: .none, reason: reason, seconds: nil) }
}

extension Run {
    /// Decides what to do about the discrepancies of `comparison`, and why.
    public func plan(_ comparison: Comparison) throws -> IndexReport.Action {
        guard let place = slots.firstIndex(of: comparison.slot) else {
            preconditionFailure("the comparison of another run")
        }
        costs.note(
            compared: comparison.entries, comparison.seconds, loaded: 0, 0, patched: 0, 0)
        let plan = try plan(place, comparison)
        guard !comparison.isAgain else { return plan.action }
        report.indexes[place].action = plan.action
        report.indexes[place].reason = plan.reason
        report.indexes[place].estimatedSeconds = plan.seconds
        return plan.action
    }

    private func plan(_ place: Int, _ comparison: Comparison) throws -> Plan {
        let found = comparison.found.total
        let estimate = Estimate(
            patching: Double(found) * costs.patchSeconds,
            rebuilding: Double(report.indexes[place].entries) * costs.loadSeconds)
        if options.strategy == .check { return estimate.nothing("a check changes nothing") }
        if let summary = owner.indexes[slots[place].rawValue].summary {
            return plan(summary, found: found, estimate)
        }
        guard found > 0 || options.strategy == .rebuild && parts.hasGenerations else {
            return estimate.nothing("nothing is wrong")
        }
        switch (parts.canAmend, parts.hasGenerations && hook.scope == nil) {
        case (false, false): return estimate.nothing(Plan.advice)
        case (true, false) where hook.scope != nil: return estimate.patch("a part is patched")
        case (true, false): return estimate.patch("the owner has no generations")
        case (false, true) where options.strategy == .rebuild: return estimate.rebuild("asked for")
        case (false, true): return estimate.rebuild("the owner changes no single entries")
        case (true, true): return try choose(comparison, place, estimate)
        }
    }

    /// Where the owner can do both.
    private func choose(
        _ comparison: Comparison, _ place: Int, _ estimate: Estimate
    ) throws -> Plan {
        let found = comparison.found.total
        let isRemembered = found <= options.rememberedDiscrepancies
        let tooMany = "\(grouped(found)) discrepancies are more than a patch remembers"
        let numbers =
            "patching \(counted(found, "entry", "entries")) takes about "
            + "\(roughly(estimate.patching)), rebuilding \(grouped(report.indexes[place].entries)) "
            + "about \(roughly(estimate.rebuilding))"
        switch options.strategy {
        case .check: return estimate.nothing("a check changes nothing")
        case .rebuild: return estimate.rebuild("asked for")
        case .patch: return isRemembered ? estimate.patch("asked for") : estimate.rebuild(tooMany)
        case .auto where !isRemembered: return estimate.rebuild(tooMany)
        case .auto where estimate.patching <= estimate.rebuilding: return estimate.patch(numbers)
        case .auto:
            let shortage = try shortage(comparison)
            return shortage.map { estimate.patch("there is no space to rebuild: \($0)") }
                ?? estimate.rebuild(numbers)
        }
    }

    /// What is missing for a new generation, in words; nil where there is room.
    package func shortage(_ comparison: Comparison) throws -> String? {
        let room = try exactOwner.snapshot().room(
            forEntries: comparison.entries, payload: comparison.payload, of: comparison.slot)
        guard room.needed > room.available else { return nil }
        return "it needs about \(room.needed >> 20) MiB, \(room.available >> 20) MiB are free"
    }
}

extension Run {
    /// Corrections of counters that fit into one transaction are made in one; more of them make
    /// a new generation, so that all become visible at once, where there are generations.
    private func plan(_ summary: any Summary, found: Int, _ estimate: Estimate) -> Plan {
        let mayRebuild = summary.hasGenerations && parts.hasGenerations
        let number = counted(found, "correction", "corrections")
        guard found > 0 || options.strategy == .rebuild && mayRebuild else {
            return estimate.nothing("nothing is wrong")
        }
        switch (parts.canCorrect, mayRebuild) {
        case (false, false): return estimate.nothing(Plan.advice)
        case (true, false) where summary.hasGenerations:
            return estimate.patch("the owner has no generations")
        case (true, false): return estimate.patch("the counters stand in the primary records")
        case (_, true) where options.strategy == .rebuild: return estimate.rebuild("asked for")
        case (false, true): return estimate.rebuild("the owner corrects no single counters")
        case (true, true) where options.strategy == .patch: return estimate.patch("asked for")
        case (true, true) where found <= options.patchEntries:
            return estimate.patch("\(number) \(found == 1 ? "fits" : "fit") into one transaction")
        case (true, true): return estimate.rebuild("\(number) are more than one transaction takes")
        }
    }
}

/// `12,345`.
package func grouped(_ value: Int) -> String {
    let digits = Array("\(value.magnitude)")
    var text = value < 0 ? "-" : ""
    for (place, digit) in digits.enumerated() {
        if place > 0, (digits.count - place) % 3 == 0 { text += "," }
        text.append(digit)
    }
    return text
}

/// `1 entry`, `2 entries`.
package func counted(_ value: Int, _ one: String, _ many: String) -> String {
    "\(grouped(value)) \(value == 1 ? one : many)"
}

/// `0.050 s`: two digits that count. For every number: estimates come from what was measured and
/// stored.
package func roughly(_ seconds: Double) -> String {
    guard seconds >= 0, seconds < 1e15 else { return "an unknown time" }
    func padded(_ number: Int, _ places: Int) -> String {
        let digits = "\(number)"
        return "0." + String(repeating: "0", count: max(0, places - digits.count)) + digits + " s"
    }
    // Each bound is where rounding would give one digit more.
    if seconds < 0.000_999_5 { return "\(max(1, Int((seconds * 1e6).rounded()))) µs" }
    if seconds < 0.099_5 { return padded(Int((seconds * 1000).rounded()), 3) }
    if seconds < 0.995 { return padded(Int((seconds * 100).rounded()), 2) }
    if seconds < 100 {
        let tenths = Int((seconds * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) s"
    }
    return seconds < 6000 ? "\(Int(seconds / 60)) min" : "\(grouped(Int(seconds / 3600))) h"
}
