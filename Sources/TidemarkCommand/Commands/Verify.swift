// `tidemark verify`: the witness.

internal import ArgumentParser
internal import HostFiles
internal import LMDBPages
internal import Reports
internal import RunService
internal import Synchronization
internal import Threads
internal import Volume
internal import VolumeVerify

struct Verify: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Recompute everything by separate, plain code, and compare.",
        discussion: """
            Every secondary index is derived again from the primary records, and the primary \
            records are compared with each other: dangling entries, link counts, overlapping \
            extents, free space, the label and length of the file data. The code shares \
            nothing with `check` and `repair` but the format of the records: it is their \
            witness. It looks at one commit and changes nothing, also beside another process that \
            has the volume, a mount among them.

            Exit status: 0 everything agrees; 1 defects were found; 4 the volume could not be \
            verified.

            Example: tidemark verify /tmp/v --list defects.jsonl
            """)

    @Argument(
        help: ArgumentHelp("The volume's directory.", valueName: "volume"),
        transform: Arguments.path)
    var volume: String

    @Option(
        help: "Write each finding as a line of JSON to this file.", completion: .file(),
        transform: Arguments.path)
    var list: String?

    @OptionGroup var common: CommonOptions

    var target: String { volume }

    func execute(_ output: Output) throws -> ExitStatus {
        let list = try LineList(path: list, output)
        let start = monotonicNanoseconds()
        let report = try look(list, output)
        try list.finish()
        let seconds = Double(monotonicNanoseconds() - start) / 1e9
        output.json(ifAsked: document(report.members(seconds)))
        report.print(volume, seconds, to: output)
        return report.isClean ? .success : .uncorrected
    }

    private func look(_ list: LineList, _ output: Output) throws -> VerifyReport {
        let progress = Progress(output)
        let isPrinted = output.isVerbose && !output.isJSON
        let tell: ((Finding) -> Void)? =
            list.isWanted || isPrinted
            ? { finding in
                list.add(finding.json)
                if isPrinted { output.line("\(finding)") }
            } : nil
        let step: (Verifier.Step) -> Void = {
            progress.show("verifying \($0.phase)", $0.done, of: $0.total, "records")
        }
        defer { progress.finish() }
        do {
            // The witness looks at all pages itself.
            return try withVolume(volume, .readOnly, output, options: { $0.pageSeconds = 0 }) {
                try Verifier.verify(
                    $0.metadata, data: $0.path + "/data", list: tell, progress: step)
            }
        } catch {
            switch error {
            // Another process has it: of its last commit this one sees a snapshot all the same.
            case VolumeError.inUse: break
            // Too damaged to be opened as a volume: all the more to be looked at.
            case VolumeError.damaged, VolumeError.damagedPages: break
            default: throw error
            }
            let path = volumePath(volume)
            let report = try Verifier.verify(
                metadata: path + "/meta.mdb", data: path + "/data", list: tell, progress: step)
            // Where the records are right, what keeps the volume from being opened is elsewhere:
            // in `data`, or in `durable`.
            if report.isClean, case VolumeError.damaged = error { throw error }
            return report
        }
    }
}

extension Finding {
    var json: JSONValue {
        .object([
            ("object", .string(object)), ("kind", .string(kind.name)),
            ("key", .fields(key.map { ($0.name, $0.value) })), ("found", .optional(found)),
            ("expected", .optional(expected)),
        ])
    }
}

extension VerifyReport {
    /// Defects that were found, in the order in which they are declared.
    private var found: [(defect: PrimaryDefect, count: UInt64)] {
        PrimaryDefect.allCases.compactMap { defect in
            let count = primaries[defect] ?? 0
            return count > 0 ? (defect, count) : nil
        }
    }

    func members(_ seconds: Double) -> [(String, JSONValue)] {
        [
            ("outcome", .string(isClean ? "clean" : "corrupt")), ("commit", .unsigned(commit)),
            ("pages", pages.json),
            ("indexes", .array(indexes.map(\.json))),
            (
                "primaries",
                .object(
                    PrimaryDefect.allCases.map { ($0.rawValue, .unsigned(primaries[$0] ?? 0)) })
            ),
            (
                "damagedRecords",
                .object(
                    damagedRecords.sorted { $0.key < $1.key }.map { ($0.key, .unsigned($0.value)) })
            ),
            ("primaryRecords", .unsigned(primaryRecords)),
            ("examples", .array(examples.map(\.json))),
            ("seconds", .object([("total", .number(seconds))])),
        ]
    }

    func print(_ target: String, _ seconds: Double, to output: Output) {
        let verdict = isClean ? "clean" : "corrupt"
        guard pages.isSound else { return printPages(target, seconds, to: output) }
        output.line(
            "\(target): \(verdict): \(counted(primaryRecords, "primary record")) verified at "
                + "commit \(commit) in \(duration(seconds))")
        for index in indexes {
            var text = "  \(index.name): \(counted(index.entries, "entry", "entries")); "
            text += "\(grouped(index.missing)) missing, \(grouped(index.stray)) stray, "
            text += "\(grouped(index.wrong)) wrong"
            if index.generation == nil, index.hasGenerations {
                text += "; not compared: no single active generation"
            }
            if !index.countAgrees {
                text += "; its record says \(counted(index.recordedEntries, "entry", "entries"))"
            } else if !index.sumAgrees {
                text += "; its record says another checksum"
            }
            output.line(text)
        }
        for (defect, count) in found {
            output.line("  \(defect.rawValue): \(grouped(count)): \(defect.meaning)")
        }
        if isClean { output.line("  primary records: no defect") }
        guard !output.isVerbose else { return }
        for example in examples.prefix(20) { output.line("  e.g. \(example)") }
    }

    private func printPages(
        _ target: String, _ seconds: Double, to output: Output
    ) {
        output.line(
            "\(target): corrupt: the metadata has damaged pages, and its records were not looked "
                + "at; \(counted(pages.pagesRead, "page")) read in \(duration(seconds))")
        for defect in PageDefect.allCases {
            guard let count = pages.counts[defect] else { continue }
            output.line("  \(defect.rawValue): \(grouped(count)): \(defect.meaning)")
        }
        let shown = output.isVerbose ? pages.findings[...] : pages.findings.prefix(20)
        for finding in shown { output.line("  e.g. \(finding)") }
        output.line("  restore the volume from a copy: no command repairs pages")
    }
}

extension PageReport {
    var json: JSONValue {
        .object([
            ("sound", .bool(isSound)), ("read", .unsigned(pagesRead)),
            ("inUse", .unsigned(pagesInUse)), ("free", .unsigned(pagesFree)),
            (
                "defects",
                .object(
                    PageDefect.allCases.compactMap { defect in
                        counts[defect].map { (defect.rawValue, .unsigned($0)) }
                    })
            ),
            (
                "examples",
                .array(
                    findings.map { finding in
                        .object([
                            ("defect", .string(finding.defect.rawValue)),
                            ("page", finding.page.map { .unsigned($0) } ?? .null),
                            ("table", .optional(finding.table)), ("found", .string(finding.found)),
                            ("expected", .string(finding.expected)),
                        ])
                    })
            ),
        ])
    }
}

extension VolumeVerify.IndexReport {
    var json: JSONValue {
        .object([
            ("name", .string(name)),
            ("generation", generation.map { .integer(Int($0)) } ?? .null),
            ("entries", .unsigned(entries)), ("expected", .unsigned(expected)),
            ("missing", .unsigned(missing)), ("stray", .unsigned(stray)),
            ("wrong", .unsigned(wrong)), ("countAgrees", .bool(countAgrees)),
            ("sumAgrees", .bool(sumAgrees)),
        ])
    }
}
