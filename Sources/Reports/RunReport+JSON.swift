// The report of a run as JSON. Scripts depend on its members: they are added to, never renamed.

package import Tidemark

extension RunReport {
    package var members: [(String, JSONValue)] {
        var members: [(String, JSONValue)] = [("outcome", .string(outcome.rawValue))]
        if let reason { members.append(("reason", .string(reason))) }
        // As in the document of a command that could not begin.
        if outcome == .aborted || outcome == .incomplete {
            members.append(("error", .string(reason ?? outcome.rawValue)))
        }
        if let scope { members.append(("scope", .string(scope))) }
        members += [
            ("indexes", .array(indexes.map(\.json))),
            ("primaryRecords", .integer(primaryRecords)),
            ("damagedPrimaries", .array(damagedPrimaries.map(\.json))),
            ("primaryDefects", primaryDefects.json),
            ("windows", .integer(windows)),
            ("sortedRuns", .integer(sortedRuns)),
            ("deltas", .object([("applied", .integer(applied)), ("elided", .integer(elided))])),
            ("unsettled", .integer(unsettled)),
            ("losses", .integer(losses)),
            ("seconds", seconds.json),
            ("lockHoldMicroseconds", lockHolds.json),
            ("peakAnonymousBytes", .integer(peakAnonymousBytes)),
            ("microsecondsPerEntry", costs.json),
        ]
        return members
    }

    package var discrepancies: Int { indexes.reduce(0) { $0 + $1.found.total } }

    /// Keys that never stood still, of all indexes.
    package var unsettled: Int { indexes.reduce(0) { $0 + $1.unsettled } }
}

extension IndexReport {
    package var json: JSONValue { result.json(estimatedSeconds: estimatedSeconds) }
}

extension RunRecord.IndexResult {
    /// - Parameter estimatedSeconds: how long the plan expected the repair to take.
    func json(estimatedSeconds: Double? = nil) -> JSONValue {
        var members: [(String, JSONValue)] = [
            ("name", .string(name)), ("entries", .integer(entries)),
        ]
        members += found.members
        members.append(("strategy", .string(action.rawValue)))
        if !reason.isEmpty { members.append(("reason", .string(reason))) }
        if let estimatedSeconds { members.append(("estimatedSeconds", .number(estimatedSeconds))) }
        if let generation { members.append(("generation", .integer(Int(generation)))) }
        if let previous { members.append(("previous", .integer(Int(previous)))) }
        if let forgotten { members.append(("forgotten", .integer(Int(forgotten)))) }
        if action == .patch { members.append(("patched", .integer(patched))) }
        if let recheck { members.append(("recheck", .object(recheck.members))) }
        return .object(members)
    }
}

extension DiscrepancyCounts {
    package var members: [(String, JSONValue)] {
        [("missing", .integer(missing)), ("stray", .integer(stray)), ("wrong", .integer(wrong))]
    }
}

extension PrimaryDamage {
    package var json: JSONValue {
        .object([("object", .string(object)), ("problem", .string(problem))])
    }
}

extension PrimaryDefects {
    package var json: JSONValue {
        let counts = counts.sorted { $0.key < $1.key }.map { ($0.key, JSONValue.integer($0.value)) }
        return .object([
            ("total", .integer(total)), ("counts", .object(counts)),
            ("first", .array(first.map(\.json))),
        ])
    }
}

extension PrimaryDefect {
    package var json: JSONValue {
        .object([
            ("kind", .string(kind)), ("object", .string(object)), ("problem", .string(problem)),
            ("blocks", .string(blocks)),
        ])
    }
}

extension RunReport.Seconds {
    package var json: JSONValue {
        var members: [(String, JSONValue)] = [
            ("scan", .number(scan)), ("settle", .number(settle)), ("compare", .number(compare)),
            ("load", .number(load)), ("commit", .number(commit)), ("recheck", .number(recheck)),
            ("judge", .number(judge)), ("reap", .number(reap)), ("total", .number(total)),
        ]
        if let stop { members.append(("stop", .number(stop))) }
        return .object(members)
    }
}

extension PlanCosts {
    /// What was measured of the work on one entry.
    package var json: JSONValue {
        func microseconds(_ seconds: Double?) -> JSONValue { .optional(seconds.map { $0 * 1e6 }) }
        return .object([
            ("compare", microseconds(compare)), ("load", microseconds(load)),
            ("patch", microseconds(patch)),
        ])
    }
}

extension RunReport.LockHolds {
    package var json: JSONValue {
        func microseconds(_ nanoseconds: UInt64) -> JSONValue {
            .number(Double(nanoseconds) / 1000)
        }
        return .object([
            ("max", microseconds(maximum)), ("p999", microseconds(percentile999)),
            ("p99", microseconds(percentile99)), ("total", microseconds(total)),
            ("count", .integer(count)),
        ])
    }
}
