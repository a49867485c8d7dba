// A scrub's report as JSON and as text. Scripts depend on the members: they are added to, never
// renamed.

package import Reports
package import Volume
internal import VolumeFormat
package import VolumeVerify

extension ScrubReport {
    package var members: [(String, JSONValue)] {
        var members: [(String, JSONValue)] = [("outcome", .string(outcome.rawValue))]
        if let reason { members += [("reason", .string(reason)), ("error", .string(reason))] }
        members += [
            ("items", .array(items.map(\.json))),
            ("surveys", .integer(surveys)),
            ("records", .unsigned(records)),
            ("mended", counted(mended)),
            ("losses", counted(losses)),
            ("left", counted(counts)),
            ("first", .array(left.map(\.json))),
            ("runs", .array(runs.map { .object($0.members) })),
            (
                "journal",
                journal.map {
                    .object([
                        ("scrub", .unsigned($0.number)), ("mends", .unsigned($0.mends)),
                        ("bytes", .unsigned($0.bytes)), ("whole", .bool($0.isWhole)),
                    ])
                } ?? .null
            ),
            (
                "seconds",
                .object([
                    ("survey", .number(surveying)), ("mend", .number(mending)),
                    ("run", .number(running)), ("total", .number(total)),
                ])
            ),
        ]
        return members
    }

    private func counted(_ counts: [PrimaryDefect: UInt64]) -> JSONValue {
        .object(
            counts.filter { $0.value > 0 }.sorted { $0.key.rawValue < $1.key.rawValue }.map {
                ($0.key.rawValue, .unsigned($0.value))
            })
    }

    /// In words.
    package func lines(_ target: String, isVerbose: Bool) -> [String] {
        var lines = [
            "\(target): \(outcome.rawValue): "
                + "\(Reports.counted(Int(clamping: records), "record")), "
                + "\(Reports.counted(surveys, "survey")), \(duration(total))"
                + (reason.map { ": \($0)" } ?? "")
        ]
        for item in items where item.found > 0 || isVerbose {
            var line = "  \(item.item.phase.rawValue) \(item.item.name): \(item.state.rawValue)"
            if item.found > 0 {
                line += ": \(grouped(item.found)) found, \(grouped(item.mended)) mended, "
                    + "\(grouped(item.left)) left"
            }
            if item.left > 0, let reason = item.reason { line += "; \(reason)" }
            lines.append(line)
        }
        for (kind, count) in losses.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            lines.append(
                "  lost with what was mended: \(kind.rawValue): "
                    + "\(grouped(count)) (--list tells what)")
        }
        if let journal, journal.mends > 0 {
            lines.append(
                journal.isWhole
                    ? "  to undo it: tidemark rollback \(target) --scrub \(journal.number)"
                    : "  it can't be undone: the journal of mends had no room for all of them")
        }
        for remnant in isVerbose ? left[...] : left.prefix(20) {
            lines.append("  left: \(remnant.text)")
        }
        return lines
    }
}

extension ScrubItemReport {
    var json: JSONValue {
        .object([
            ("name", .string(item.name)), ("phase", .integer(item.phase.rawValue)),
            ("state", .string(state.rawValue)), ("found", .unsigned(found)),
            ("mended", .unsigned(mended)), ("left", .unsigned(left)), ("tries", .integer(tries)),
            ("reason", .optional(reason)),
        ])
    }
}

extension ScrubRemnant {
    package var json: JSONValue { finding.json(mend) }

    var text: String {
        guard let mend else { return "\(finding)" }
        var text = "\(finding): \(mend.outcome.rawValue): \(mend.what)"
        if !mend.choices.isEmpty, case .defect(let kind) = finding.kind {
            let choices = mend.choices.map {
                "--prefer \(kind.rawValue)=\($0.name) (loses \($0.loses))"
            }
            text += "; " + choices.joined(separator: " or ")
        }
        return text
    }
}

extension Finding {
    /// A defect with what became of it.
    package func json(_ mend: Mend?) -> JSONValue {
        var members: [(String, JSONValue)] = [
            ("kind", .string(kind.name)), ("object", .string(object)),
            ("key", .fields(key.map { ($0.name, $0.value) })), ("found", .optional(found)),
            ("expected", .optional(expected)),
        ]
        if !other.isEmpty {
            members.append(("against", .fields(other.map { ($0.name, $0.value) })))
        }
        if let mend {
            members += [
                ("outcome", .string(mend.outcome.rawValue)), ("what", .string(mend.what)),
                ("loses", .optional(mend.loses)),
                (
                    "choices",
                    .array(
                        mend.choices.map {
                            .object([("name", .string($0.name)), ("loses", .string($0.loses))])
                        })
                ),
            ]
        }
        return .object(members)
    }
}
