// The report of a run as a document. Scripts depend on its members: they are added to, never
// renamed.

internal import Tidemark

extension RunReport {
    var members: [(String, JSONValue)] {
        var members: [(String, JSONValue)] = [("outcome", .string(outcome.rawValue))]
        if let reason { members.append(("reason", .string(reason))) }
        if let scope { members.append(("scope", .string(scope))) }
        members += [
            ("indexes", .array(indexes.map(\.json))),
            ("primaryRecords", .integer(primaryRecords)),
            ("damagedPrimaries", .array(damagedPrimaries.map(\.json))),
            ("primaryDefects", primaryDefects.json),
            ("windows", .integer(windows)),
            ("sortedRuns", .integer(sortedRuns)),
            ("deltas", .object([("applied", .integer(applied)), ("elided", .integer(elided))])),
            ("seconds", seconds.json),
            ("lockHoldMicroseconds", lockHolds.json),
            ("peakAnonymousBytes", .integer(peakAnonymousBytes)),
            ("microsecondsPerEntry", costs.json),
        ]
        return members
    }

    var discrepancies: Int { indexes.reduce(0) { $0 + $1.found.total } }
}

extension IndexReport {
    var json: JSONValue {
        var members: [(String, JSONValue)] = [
            ("name", .string(name)), ("entries", .integer(entries)),
        ]
        members += found.members
        members.append(("strategy", .string(action.rawValue)))
        if !reason.isEmpty { members.append(("reason", .string(reason))) }
        if let estimatedSeconds { members.append(("estimatedSeconds", .number(estimatedSeconds))) }
        if let generation { members.append(("generation", .integer(Int(generation)))) }
        if let kept { members.append(("kept", .integer(Int(kept)))) }
        if let forgotten { members.append(("forgotten", .integer(Int(forgotten)))) }
        if action == .patch { members.append(("patched", .integer(patched))) }
        if let recheck { members.append(("recheck", .object(recheck.members))) }
        return .object(members)
    }
}

extension DiscrepancyCounts {
    var members: [(String, JSONValue)] {
        [("missing", .integer(missing)), ("stray", .integer(stray)), ("wrong", .integer(wrong))]
    }
}

extension PrimaryDamage {
    var json: JSONValue {
        .object([("object", .string(object)), ("problem", .string(problem))])
    }
}

extension PrimaryDefects {
    var json: JSONValue {
        let counts = counts.sorted { $0.key < $1.key }.map { ($0.key, JSONValue.integer($0.value)) }
        return .object([
            ("total", .integer(total)), ("counts", .object(counts)),
            ("first", .array(first.map(\.json))),
        ])
    }
}

extension PrimaryDefect {
    var json: JSONValue {
        .object([
            ("kind", .string(kind)), ("object", .string(object)), ("problem", .string(problem)),
            ("blocks", .string(blocks)),
        ])
    }
}

extension RunReport.Seconds {
    var json: JSONValue {
        var members: [(String, JSONValue)] = [
            ("scan", .number(scan)), ("settle", .number(settle)), ("compare", .number(compare)),
            ("load", .number(load)), ("commit", .number(commit)), ("recheck", .number(recheck)),
            ("reap", .number(reap)), ("total", .number(total)),
        ]
        if let stop { members.append(("stop", .number(stop))) }
        return .object(members)
    }
}

extension PlanCosts {
    /// What was measured of the work on one entry.
    var json: JSONValue {
        func microseconds(_ seconds: Double?) -> JSONValue { .optional(seconds.map { $0 * 1e6 }) }
        return .object([
            ("compare", microseconds(compare)), ("load", microseconds(load)),
            ("patch", microseconds(patch)),
        ])
    }
}

extension RunReport.LockHolds {
    var json: JSONValue {
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

extension Discrepancy {
    /// As one line for a list.
    func json(_ index: any SecondaryIndex) -> JSONValue {
        .object([
            ("index", .string(index.name)), ("kind", .string(kind.rawValue)),
            ("key", .fields(keyFields(index))), ("found", side(found, index)),
            ("expected", side(expected, index)),
        ])
    }

    /// As one line for people.
    func text(_ index: any SecondaryIndex) -> String {
        let place = keyFields(index).map { "\($0.name) \($0.value)" }.joined(separator: ", ")
        var text = "\(index.name): \(kind.rawValue): \(place)"
        if let found { text += "; found " + words(found, index) }
        if let expected { text += "; expected " + words(expected, index) }
        if found == nil, kind == .wrong { text += "; found what can't be decoded" }
        return text
    }

    /// The fields that the key alone gives: those that are the same whatever the value is.
    private func keyFields(_ index: any SecondaryIndex) -> [(name: String, value: String)] {
        let value = expected ?? found ?? []
        let fields = index.fields(key: key.span.bytes, value: value.span.bytes)
        let ofValue = ReportFields.ofValue
        return fields.filter { !ofValue.contains($0.name) }
    }

    private func valueFields(
        _ value: [UInt8], _ index: any SecondaryIndex
    ) -> [(name: String, value: String)] {
        let fields = index.fields(key: key.span.bytes, value: value.span.bytes)
        return fields.filter { ReportFields.ofValue.contains($0.name) }
    }

    private func side(_ value: [UInt8]?, _ index: any SecondaryIndex) -> JSONValue {
        value.map { .fields(valueFields($0, index)) } ?? .null
    }

    private func words(_ value: [UInt8], _ index: any SecondaryIndex) -> String {
        valueFields(value, index).map { "\($0.name) \($0.value)" }.joined(separator: ", ")
    }
}

/// Which of an entry's fields stand in its value, by the names that the indexes give them.
enum ReportFields {
    static let ofValue: Set<String> = [
        "length", "state", "generation", "value", "blocks", "inodes", "links",
    ]
}
