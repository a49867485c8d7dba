// What `tidemark status` says: what is at work on a volume, as a document and for people.

internal import Control
internal import Tidemark
internal import Volume

/// Each part is there where something is known.
struct StatusDocument {
    /// From the process that serves the volume.
    var live: LiveStatus?
    /// What the volume remembers, ascending; nil where it could not be looked at, because the
    /// process that serves it has it.
    var recorded: [RunRecord]?

    /// Runs of the past that people are shown.
    private static let shown = 5

    var members: [(String, JSONValue)] {
        [
            ("live", live?.json ?? .null),
            ("runs", recorded.map { .array($0.map(\.json)) } ?? .null),
        ]
    }

    /// Lines of text.
    func lines(_ target: String) -> [String] {
        var lines = live?.lines(target) ?? ["\(target): no process is at work on it"]
        for record in recorded ?? [] where record.state.isResumable && !isLive(record) {
            lines += record.lines
            lines.append("    `tidemark resume \(target)` goes on")
        }
        let ended = (recorded ?? []).filter { !$0.state.isResumable }
        if !ended.isEmpty { lines.append("  past runs:") }
        for record in ended.suffix(StatusDocument.shown).reversed() { lines += record.lines }
        return lines
    }

    private func isLive(_ record: RunRecord) -> Bool {
        live?.runs.contains { $0.number == Int(clamping: record.number) } ?? false
    }
}

extension LiveStatus {
    var json: JSONValue {
        .object([
            ("process", .integer(Int(process))), ("command", .string(command)),
            ("limits", .object(limits.members)), ("paused", .bool(limits.isPaused)),
            ("stopping", .optional(stopReason)), ("runs", .array(runs.map(\.json))),
            ("seconds", .optional(seconds)), ("writers", writers?.json ?? .null),
            ("mount", mount?.json ?? .null), ("dashboard", .optional(dashboard)),
        ])
    }

    func lines(_ target: String) -> [String] {
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
    var json: JSONValue {
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
                    ("first", now.firstDiscrepancy.flatMap { $0.json } ?? .null),
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

    var lines: [String] {
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
                    + (now.firstDiscrepancy.flatMap { $0.text }.map { ", first: \($0)" } ?? ""))
        }
        lines.append("  \(indexes.joined(separator: ", ")); \(now.limits.text)")
        if let reason = now.stopReason { lines.append("  ending: \(reason)") }
        return lines
    }
}

extension RunProgress {
    /// One line, as a progress bar.
    var line: String {
        let words = limits.isPaused ? "paused while \(self.words)" : self.words
        return Progress.line(
            words, UInt64(max(done, 0)), UInt64(max(total, 0)), phase.unit, rate: rate,
            left: limits.isPaused ? nil : phaseSecondsLeft)
    }
}

extension RunLimits {
    var members: [(String, JSONValue)] {
        [
            ("speedLimit", recordsPerSecond.map { .integer($0) } ?? .null),
            ("share", .integer(share)), ("window", .integer(windowRecords)),
            ("memoryBytes", .integer(memoryBytes)), ("queueBytes", .integer(queueBytes)),
            ("stopAfter", stopAfter.map { .integer($0) } ?? .null),
            ("maximumSeconds", .optional(maximumSeconds)), ("background", .bool(isBackground)),
        ]
    }

    var text: String {
        words.joined(separator: "; ") + ", queue \(binarySize(queueBytes))"
    }

    /// Each limit that there is, but for the queue's.
    var words: [String] {
        var words: [String] = []
        if let rate = recordsPerSecond { words.append("\(grouped(rate)) records/s at the most") }
        if share < 100 { words.append("\(share) % of the time") }
        if isBackground { words.append("in the background") }
        if let stopAfter {
            words.append("stops after \(counted(stopAfter, "discrepancy", "discrepancies"))")
        }
        if let maximumSeconds { words.append("\(duration(maximumSeconds)) at the most") }
        words.append("windows of \(grouped(windowRecords))")
        words.append("memory \(binarySize(memoryBytes))")
        return words
    }
}

extension Discrepancy {
    /// What another process has told may be of an index that this one does not know.
    private var known: (any SecondaryIndex)? {
        let kinds = Volume.indexKinds
        return kinds.indices.contains(index.rawValue) ? kinds[index.rawValue] : nil
    }

    fileprivate var json: JSONValue? { known.map { json($0) } }
    var text: String? { known.map { text($0) } }
}
