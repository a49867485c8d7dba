// What is at work on a store, and what the store remembers, as JSON and for people.

package import Reports
package import Tidemark

/// Each part is there where something is known.
package struct StatusReport {
    /// From the process that serves the store.
    package var live: LiveStatus?
    /// What the store remembers, ascending; nil where it could not be looked at, because the
    /// process that serves it has it.
    package var recorded: [RunRecord]?

    package init(live: LiveStatus?, recorded: [RunRecord]? = nil) {
        self.live = live
        self.recorded = recorded
    }

    /// Runs of the past that people are shown.
    private static let shown = 5

    package var members: [(String, JSONValue)] {
        [
            ("live", live?.json ?? .null),
            ("runs", recorded.map { .array($0.map(\.json)) } ?? .null),
        ]
    }

    /// Lines of text.
    package func lines(_ target: String) -> [String] {
        var lines = live?.lines(target) ?? ["\(target): no process is at work on it"]
        for record in recorded ?? [] where record.state.isResumable && !isLive(record) {
            lines += record.lines
            lines.append("    `tidemark resume \(target)` resumes it")
        }
        let ended = (recorded ?? []).filter { !$0.state.isResumable }
        if !ended.isEmpty { lines.append("  past runs:") }
        for record in ended.suffix(StatusReport.shown).reversed() { lines += record.lines }
        return lines
    }

    private func isLive(_ record: RunRecord) -> Bool {
        live?.runs.contains { $0.number == Int(clamping: record.number) } ?? false
    }
}

extension LiveStatus {
    package var json: JSONValue {
        .object([
            ("process", .integer(Int(process))), ("command", .string(command)),
            ("limits", .object(limits.members)), ("paused", .bool(limits.isPaused)),
            ("stopping", .optional(stopReason)), ("runs", .array(runs.map(\.json))),
            ("seconds", .optional(seconds)), ("writers", writers?.json ?? .null),
            ("mount", mount?.json ?? .null), ("dashboard", .optional(dashboard)),
        ])
    }

    package func lines(_ target: String) -> [String] {
        guard !runs.isEmpty else {
            let state = limits.isPaused ? ", paused" : ""
            return ["\(target): \(command), process \(process)\(state); no run is at work"]
                + (stopReason.map { ["  ending: \($0)"] } ?? [])
        }
        return runs.flatMap { run in
            ["\(target): \(command), process \(process), run \(run.number)"] + run.lines
        }
    }
}

extension LiveRun {
    package var json: JSONValue {
        let now = progress
        var members: [(String, JSONValue)] = [
            ("number", .integer(number)), ("indexes", .array(indexes.map { .string($0) })),
            ("phase", .string(now.phase.rawValue)), ("index", .optional(now.index)),
            ("done", .integer(now.done)), ("total", .integer(now.total)),
            ("rate", .number(now.rate)),
        ]
        members += [
            (
                "seconds",
                .object([("total", .number(now.seconds)), ("phase", .number(now.phaseSeconds))])
            ),
            (
                "secondsLeft",
                .object([
                    ("total", .optional(now.secondsLeft)),
                    ("phase", .optional(now.phaseSecondsLeft)),
                ])
            ),
            (
                "position",
                now.position.map { .object([("inode", .unsigned($0))]) } ?? .null
            ),
            ("primaryRecords", .integer(now.primaryRecords)),
            (
                "deltas",
                .object([("applied", .integer(now.applied)), ("elided", .integer(now.elided))])
            ),
            (
                "discrepancies",
                .object([
                    ("count", .integer(now.discrepancies)),
                    ("first", firstDiscrepancy?.json ?? .null),
                ])
            ),
            ("queuedBytes", .integer(now.queuedBytes)),
            ("scanned", .optional(now.scanned)),
            ("lockHolds", now.lockHolds?.json ?? .null),
            ("phases", .array(now.phases.map(\.json))),
            ("limits", .object(now.limits.members)), ("paused", .bool(now.limits.isPaused)),
            ("stopping", .optional(now.stopReason)),
        ]
        return .object(members)
    }

    package var lines: [String] {
        let now = progress
        var lines = ["  " + now.line]
        var place = now.position.map { "at inode \($0); " } ?? ""
        place += "\(duration(now.seconds)) so far"
        if let left = now.secondsLeft { place += ", about \(duration(left)) left in all" }
        lines.append("  " + place)
        lines.append(
            "  deltas: \(grouped(now.applied)) applied, \(grouped(now.elided)) elided; queued: "
                + "\(binarySize(now.queuedBytes))")
        if now.discrepancies > 0 {
            lines.append(
                "  \(counted(now.discrepancies, "discrepancy", "discrepancies"))"
                    + (firstDiscrepancy.map { ", first: \($0.text)" } ?? ""))
        }
        lines.append("  \(indexes.joined(separator: ", ")); \(now.limits.text)")
        if let reason = now.stopReason { lines.append("  ending: \(reason)") }
        return lines
    }
}

extension StatusReport {
    /// On one line.
    package func summary(_ target: String) -> String {
        guard let run = live?.runs.first else { return lines(target)[0] }
        var text = "run \(run.number): \(run.progress.line)"
        let found = run.progress.discrepancies
        if found > 0 { text += "; " + counted(found, "discrepancy", "discrepancies") }
        return text
    }
}
