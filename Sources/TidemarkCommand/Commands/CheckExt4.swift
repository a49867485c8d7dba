// `tidemark check` of a mounted ext4.

internal import ArgumentParser
internal import HostFiles
internal import LinuxFilesystem
internal import LinuxOwner
internal import Reports
internal import Tidemark

extension Check {
    var isOnExt4: Bool {
        isMountedFilesystem(target) && (try? MountedFilesystem(path: target))?.kind == .ext4
    }

    func checkExt4(_ output: Output) throws -> ExitStatus {
        if scope.scope != nil {
            throw CommandFailure(
                "\(target): a mounted filesystem is checked as a whole; leave out --inode, "
                    + "--subtree and --blocks", .usage)
        }
        if !index.isEmpty {
            throw CommandFailure(
                "\(target): ext4 has no index to choose; leave out --index", .usage)
        }
        let list = try LineList(path: list, output)
        let check = try Ext4Check(path: target, bufferKilobytes: traceBuffer)
        let report = try check.perform(stopReason: { Signals.stopRequest.map { "\($0)" } })
        for finding in report.findings where list.isWanted { list.add(finding.json) }
        try list.finish()
        output.json(ifAsked: document(report.members))
        output.lines(report.lines(target, isVerbose: output.isVerbose))
        return report.status
    }
}

extension Ext4CheckReport {
    var status: ExitStatus {
        var status: ExitStatus = findings.isEmpty ? [] : .uncorrected
        if stopped != nil || !damaged.isEmpty { status.insert(.operational) }
        if unsettled > 0 { status.insert(.unsettled) }
        return status
    }

    func lines(_ target: String, isVerbose: Bool) -> [String] {
        var lines = ["\(target): \(headline)"]
        for finding in findings { lines += finding.lines }
        for damage in damaged.prefix(isVerbose ? .max : 20) {
            lines.append("  not read: \(damage.object): \(damage.problem)")
        }
        if unsettledClusters > 0 {
            lines.append("  unsettled: \(counted(unsettledClusters, "cluster"))")
        }
        if !unsettledInodes.isEmpty {
            lines.append("  unsettled: link counts of \(counted(unsettledInodes.count, "inode"))")
        }
        for (name, blocks) in metadata.sorted(by: { $0.key < $1.key }) {
            lines.append("  not covered: what stands in \(name): \(counted(blocks, "block"))")
        }
        if attributeValues > 0 {
            lines.append(
                "  not covered: references to values of attributes: "
                    + "\(counted(attributeValues, "inode"))")
        }
        lines.append(
            "  \(counted(inodes, "inode")); \(counted(passes, "pass", "passes")); events: "
                + "\(grouped(Int(clamping: events))), \(counted(losses, "loss", "losses")); "
                + "\(duration(seconds))")
        return lines
    }

    private var headline: String {
        switch verdict {
        case .clean: "clean"
        case .corrupt: "corrupt: \(counted(findings.count, "finding")); nothing was changed"
        case .unsettled:
            "unsettled: nothing wrong was found, and some of it never stood still; check again"
        case .incomplete: "incomplete: some of it could not be read"
        case .stopped: "stopped: \(stopped ?? "")"
        }
    }

    var members: [(String, JSONValue)] {
        [
            ("outcome", .string(verdict.rawValue)), ("reason", .optional(stopped)),
            ("findings", .array(findings.map(\.json))),
            (
                "unsettled",
                .object([
                    ("clusters", .integer(unsettledClusters)),
                    ("links", .array(unsettledInodes.map { .unsigned(UInt64($0)) })),
                ])
            ),
            (
                "notCovered",
                .object([
                    (
                        "contents",
                        .object(
                            metadata.sorted { $0.key < $1.key }
                                .map { ($0.key, .unsigned($0.value)) })
                    ),
                    ("attributeValues", .integer(attributeValues)),
                ])
            ),
            (
                "damagedPrimaries",
                .array(
                    damaged.map {
                        .object([
                            ("object", .string($0.object)), ("problem", .string($0.problem)),
                        ])
                    })
            ),
            ("primaryRecords", .integer(inodes)), ("passes", .integer(passes)),
            ("events", .unsigned(events)), ("losses", .integer(losses)),
            ("seconds", .object([("total", .number(seconds))])),
        ]
    }
}
