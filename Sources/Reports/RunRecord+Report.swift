// What a store remembers of a run, as JSON and for people.

internal import FoundationEssentials
package import Tidemark

extension RunRecord {
    package var json: JSONValue { .object([("number", .unsigned(number))] + members) }

    package var members: [(String, JSONValue)] {
        var members: [(String, JSONValue)] = [
            ("state", .string(state.rawValue)),
            ("outcome", .optional(outcome?.rawValue)), ("reason", .optional(reason)),
            ("indexes", .array(indexes.map { .string($0) })),
            ("scope", .optional(scope)), ("strategy", .string(strategy.rawValue)),
            ("dryRun", .bool(isDryRun)),
            ("started", .string(timestamp(started))), ("updated", .string(timestamp(updated))),
            ("ended", .optional(ended.map(timestamp))), ("resumes", .integer(resumes)),
            ("hasPosition", .bool(logFrom != nil)),
        ]
        members += [
            ("primaryRecords", .integer(progress.primaryRecords)),
            (
                "deltas",
                .object([
                    ("applied", .integer(progress.applied)), ("elided", .integer(progress.elided)),
                ])
            ),
            ("results", .array(results.map { $0.json() })),
        ]
        return members
    }

    /// In which state it is, and since when.
    package var standing: String {
        var text = state.rawValue
        if let outcome, outcome.rawValue != state.rawValue { text += ", \(outcome.rawValue)" }
        text += "; " + (ended.map { "ended \(timestamp($0))" } ?? "since \(timestamp(updated))")
        if resumes > 0 { text += "; resumed \(counted(resumes, "time"))" }
        return text
    }

    /// One line of what it is, and one for each index with a result.
    package var lines: [String] {
        let part = scope.map { " of \($0)" } ?? ""
        var lines = ["  run \(number), \(indexes.joined(separator: ", "))\(part): \(standing)"]
        if let reason { lines.append("    \(reason)") }
        if state.isResumable {
            let read = counted(progress.primaryRecords, "primary record")
            lines.append(
                logFrom == nil
                    ? "    its position is discarded: it starts again" : "    \(read) behind it")
        }
        for result in results where result.found.total > 0 || result.action != .none {
            lines.append("    " + result.text(isDryRun: isDryRun))
        }
        return lines
    }
}

/// Seconds since 1970 as ISO 8601, in UTC.
private func timestamp(_ seconds: Double) -> String {
    Date(timeIntervalSince1970: seconds).formatted(.iso8601)
}
