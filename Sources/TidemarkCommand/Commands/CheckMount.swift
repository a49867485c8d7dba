// `tidemark check` of a mounted filesystem.
//
// Findings, what is unsettled, and what is not covered are three things: a finding is wrong; what
// is unsettled never stood still while it was looked at, and is neither right nor wrong; what is
// not covered nobody has looked at, because the kernel does not let it be derived.

internal import ArgumentParser
internal import HostFiles
internal import LinuxOwner
internal import Reports
internal import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

extension Check {
    func checkMount(_ output: Output) throws -> ExitStatus {
        if scope.scope != nil {
            throw CommandFailure(
                "\(target): a mounted filesystem is checked as a whole; leave out --inode, "
                    + "--subtree and --blocks", .usage)
        }
        let list = try LineList(path: list, output)
        let check = try XFSCheck(
            path: target, names: index.map(\.name),
            limits: try limits.limits(from: RunLimits()), bufferKilobytes: traceBuffer)
        let place = placeForSideFile(besides: target, of: ["/var/tmp", "/tmp", "/run", "/dev/shm"])
        guard let place else {
            throw CommandFailure(
                "\(target): there is no directory on another filesystem for the side file "
                    + "(/var/tmp, /tmp, /run, /dev/shm)")
        }
        let file = "\(place)/tidemark-check-\(getpid()).mdb"
        defer { SideFile.delete(file) }
        let progress = Progress(output)
        let indexes = check.owner.indexes
        let report = try check.perform(
            store: try SideFile(path: file),
            onDiscrepancy: { discrepancy in
                guard list.isWanted else { return }
                let report = DiscrepancyReport(
                    discrepancy, of: indexes[discrepancy.index.rawValue])
                list.add(report.json)
            },
            onProgress: { [controls = check.controls] step in
                if let signal = Signals.stopRequest { controls.stop("\(signal)") }
                progress.draw(step.line)
            })
        progress.finish()
        try list.finish()
        let warnings = try warnings(report, check)
        output.json(
            ifAsked: document(
                report.members + [("warnings", .array(warnings.map { .string($0) }))]))
        output.lines(report.lines(target, isVerbose: output.isVerbose))
        output.lines(warnings.map { "  warning: \($0)" })
        return report.status
    }
}

extension Check {
    /// A repair that starts by itself matters where it would believe the wrong record.
    private func warnings(_ report: XFSCheckReport, _ check: XFSCheck) throws -> [String] {
        let isAtRisk = report.findings.contains { $0.index == "rmap" || $0.index == "parents" }
        return isAtRisk ? try check.automaticRepair().warnings(on: target) : []
    }
}

extension XFSCheckReport {
    var status: ExitStatus {
        var status: ExitStatus = findings.isEmpty ? [] : .uncorrected
        if !isWhole || isTruncated { status.insert(.operational) }
        if unsettled > 0 { status.insert(.unsettled) }
        return status
    }

    // MARK: Text

    func lines(_ target: String, isVerbose: Bool) -> [String] {
        var lines = ["\(target): \(headline)"]
        if let reason = run.reason { lines.append("  \(reason)") }
        for finding in findings { lines += finding.lines }
        if isTruncated { lines.append("  and more than are remembered") }
        for damage in run.damagedPrimaries.prefix(isVerbose ? .max : 20) {
            lines.append("  not read: \(damage.object): \(damage.problem)")
        }
        for index in run.indexes {
            lines.append(
                "  \(index.name): \(counted(index.entries, "entry", "entries")); "
                    + "\(grouped(index.found.missing)) missing, "
                    + "\(grouped(index.found.stray)) stray, \(grouped(index.found.wrong)) wrong; "
                    + "\(grouped(index.unsettled)) unsettled")
        }
        if !links.unsettled.isEmpty {
            lines.append("  links: \(counted(links.unsettled.count, "inode")) unsettled")
        }
        if run.losses > 0 {
            lines.append(
                "  events were lost \(counted(run.losses, "time", "times")), and what they were "
                    + "about was read again; a larger --trace-buffer loses fewer")
        }
        lines += notCovered.lines
        lines.append(
            "  \(counted(run.primaryRecords, "primary record")); events: "
                + "\(grouped(run.applied)) applied, \(grouped(run.elided)) elided, "
                + "\(counted(run.losses, "loss", "losses")); \(duration(run.seconds.total))")
        return lines
    }

    private var headline: String {
        switch verdict {
        case .clean: "clean"
        case .corrupt: "corrupt: \(counted(findings.count, "finding")); nothing was changed"
        case .unsettled:
            "unsettled: nothing wrong was found, and "
                + "\(counted(unsettled, "entry", "entries")) never stood still; check again"
        case .incomplete: "incomplete"
        case .stopped: "stopped"
        case .aborted: "aborted"
        }
    }

    // MARK: JSON

    var members: [(String, JSONValue)] {
        [
            ("outcome", .string(verdict.rawValue)), ("reason", .optional(run.reason)),
            ("findings", .array(findings.map(\.json))),
            (
                "unsettled",
                .object(
                    run.indexes.map { ($0.name, .integer($0.unsettled)) }
                        + [("links", .array(links.unsettled.map { .unsigned($0) }))])
            ),
            ("notCovered", notCovered.json),
            (
                "indexes",
                .array(
                    run.indexes.map { index in
                        .object([
                            ("name", .string(index.name)), ("entries", .integer(index.entries)),
                            ("missing", .integer(index.found.missing)),
                            ("stray", .integer(index.found.stray)),
                            ("wrong", .integer(index.found.wrong)),
                            ("unsettled", .integer(index.unsettled)),
                        ])
                    })
            ),
            (
                "damagedPrimaries",
                .array(
                    run.damagedPrimaries.map {
                        .object([
                            ("object", .string($0.object)), ("problem", .string($0.problem)),
                        ])
                    })
            ),
            ("primaryRecords", .integer(run.primaryRecords)),
            ("eventsApplied", .integer(run.applied)), ("eventsElided", .integer(run.elided)),
            ("losses", .integer(run.losses)),
            ("seconds", .object([("total", .number(run.seconds.total))])),
        ]
    }
}

extension MountFinding {
    var lines: [String] {
        var lines = ["  \(index): \(object): \(problem)"]
        for inode in inodes {
            let paths = self.paths[inode] ?? []
            lines += paths.map { "    inode \(inode): \($0)" }
            if paths.isEmpty { lines.append("    inode \(inode): no path leads to it") }
        }
        return lines + [
            "    when touched: \(consequence)", "    until then: \(avoid)",
            "    mended by: \(mend)",
        ]
    }

    var json: JSONValue {
        .object([
            ("index", .string(index)), ("object", .string(object)), ("problem", .string(problem)),
            (
                "inodes",
                .array(
                    inodes.map { inode in
                        .object([
                            ("inode", .unsigned(inode)),
                            ("paths", .array((paths[inode] ?? []).map { .string($0) })),
                        ])
                    })
            ),
            ("consequence", .string(consequence)), ("avoid", .string(avoid)),
            ("mend", .string(mend)),
        ])
    }
}

extension NotCovered {
    private var parts: [(name: String, blocks: UInt64)] {
        var parts = metadata.sorted { $0.key < $1.key }.map { (name: $0.key, blocks: $0.value) }
        if extentMaps > 0 { parts.append((name: "extent maps of files", blocks: extentMaps)) }
        if unreadableBlocks > 0 {
            parts.append((name: "symbolic links and special files", blocks: unreadableBlocks))
        }
        if kernelBlocks > 0 { parts.append((name: "the kernel's own files", blocks: kernelBlocks)) }
        return parts
    }

    fileprivate var lines: [String] {
        parts.map { "  not covered: \($0.name): \(counted($0.blocks, "block"))" }
            + (realtime.isEmpty
                ? []
                : ["  not covered: \(counted(realtime.count, "file")) on a realtime device"])
            + (coversFileLinks ? [] : ["  not covered: link counts of files: no parent pointers"])
    }

    fileprivate var json: JSONValue {
        .object([
            (
                "blocks",
                .object(parts.map { ($0.name, .unsigned($0.blocks)) })
            ),
            ("realtimeFiles", .integer(realtime.count)),
            ("fileLinks", .bool(!coversFileLinks)),
        ])
    }
}
