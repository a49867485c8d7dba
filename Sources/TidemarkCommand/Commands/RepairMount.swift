// `tidemark repair` of a mounted XFS: what is judged, what the kernel will be asked for, what
// became of it, and, where the kernel can't, what to do instead.

internal import ArgumentParser
internal import HostFiles
internal import LinuxOwner
internal import Reports
internal import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

/// `--believe`.
enum BelieveArgument: String, ExpressibleByArgument, CaseIterable { case files }

extension Repair {
    func repairMount(_ output: Output) throws -> ExitStatus {
        if scope.scope != nil || keepOld || strategy != .auto || list != nil {
            throw CommandFailure(
                "\(target): a mounted filesystem is repaired by the kernel, as a whole; leave out "
                    + "--inode, --subtree, --blocks, --strategy, --keep-old and --list", .usage)
        }
        let place = placeForSideFile(besides: target, of: ["/var/tmp", "/tmp", "/run", "/dev/shm"])
        guard let place else {
            throw CommandFailure(
                "\(target): there is no directory on another filesystem for the side file "
                    + "(/var/tmp, /tmp, /run, /dev/shm)")
        }
        let file = "\(place)/tidemark-repair-\(getpid()).mdb"
        defer { SideFile.delete(file) }
        let repair = XFSRepair(
            path: target, names: index.map(\.name), limits: try limits.limits(from: RunLimits())
        ) {
            SideFile.delete(file)
            return try SideFile(path: file)
        }
        let progress = Progress(output)
        let report = try repair.perform(
            isDryRun: dryRun, believesFiles: believe == .files,
            stopReason: { Signals.stopRequest.map { "\($0)" } },
            onProgress: { progress.draw($0.line) },
            onResult: { result in output.detail(result.line) })
        progress.finish()
        output.json(ifAsked: document(report.members))
        output.lines(report.lines(target, isVerbose: output.isVerbose))
        return report.status
    }
}

extension XFSRepairReport {
    var status: ExitStatus {
        var status: ExitStatus = (recheck ?? check).status
        switch outcome {
        case .clean, .repaired, .unsettled: break
        case .planned, .advice, .left: status.insert(.uncorrected)
        case .stopped: status.formUnion([.uncorrected, .operational])
        case .incomplete: status.insert(.operational)
        }
        if plan.verdicts.contains(where: { $0.belief == .unsettled }) { status.insert(.unsettled) }
        // What was found and withdrawn is no error.
        if plan.verdicts.isEmpty, outcome == .clean || outcome == .unsettled {
            status.remove(.uncorrected)
        }
        if surprise != nil { status.insert(.operational) }
        return status
    }

    // MARK: Text

    func lines(_ target: String, isVerbose: Bool) -> [String] {
        var lines = ["\(target): \(headline)"]
        if let reason = check.run.reason { lines.append("  \(reason)") }
        if check.isTruncated {
            lines.append(
                "  there are too many discrepancies to be judged one by one: a filesystem that is "
                    + "wrong throughout is mended offline, by `xfs_repair`")
        }
        if !check.isWhole || check.isTruncated { return lines }
        for verdict in plan.verdicts { lines += verdict.lines(check) }
        if !withdrawn.isEmpty {
            lines.append("  right when looked at again: \(withdrawn.joined(separator: ", "))")
        }
        if results.isEmpty {
            if !plan.steps.isEmpty { lines.append("  plan:") }
            for (place, step) in plan.steps.enumerated() {
                lines.append("    \(place + 1). \(step.line)")
                if let held = step.held {
                    lines.append("       not done: \(held)\(step.hint)")
                } else {
                    lines.append("       could lose: \(step.risk)")
                }
            }
        } else {
            lines.append("  done:")
            for (place, result) in results.enumerated() {
                lines.append("    \(place + 1). \(result.line)")
            }
        }
        if let surprise { lines.append("  stopped at a surprise: \(surprise)") }
        if let advice { lines += advice.lines }
        if let recheck {
            lines.append("  checked again:")
            lines += recheck.lines(target, isVerbose: isVerbose).map { "    " + $0 }
        }
        return lines
    }

    /// What stands, however it ended.
    private var changed: String {
        let mended = results.filter { $0.state == .mended }.count
        return mended == 0
            ? "nothing was changed" : "\(counted(mended, "step")) of the plan stays done"
    }

    private var headline: String {
        let count = counted(plan.verdicts.count, "finding")
        return switch outcome {
        case .clean: "clean; nothing was changed"
        case .repaired: "repaired: \(count), and clean when checked again"
        case .planned: "\(count); nothing was changed (dry run)"
        case .advice: "\(count); the kernel can't repair it here; \(changed)"
        case .left: "\(count); not all could be repaired"
        case .stopped: "stopped; what was done stays done: run it again once the reason is gone"
        case .unsettled:
            "unsettled: nothing wrong is left, and something never stood still; check again"
        case .incomplete: "incomplete; \(changed)"
        }
    }

    // MARK: JSON

    var members: [(String, JSONValue)] {
        [
            ("outcome", .string(outcome.rawValue)), ("dryRun", .bool(isDryRun)),
            ("kernel", .string("\(ability)")),
            ("verdicts", .array(plan.verdicts.map { $0.json(check) })),
            ("withdrawn", .array(withdrawn.map { .string($0) })),
            (
                "plan",
                .array(
                    plan.steps.indices.map { place in
                        let result = place < results.count ? results[place] : nil
                        return plan.steps[place].json(plan, result)
                    })
            ),
            ("surprise", .optional(surprise)),
            ("advice", advice?.json ?? .null),
            ("check", .object(check.members)),
            ("recheck", recheck.map { .object($0.members) } ?? .null),
        ]
    }
}

extension RepairVerdict {
    private func paths(_ check: XFSCheckReport) -> [UInt64: [String]] {
        var paths: [UInt64: [String]] = [:]
        for finding in check.findings { paths.merge(finding.paths) { old, _ in old } }
        return paths
    }

    fileprivate func lines(_ check: XFSCheckReport) -> [String] {
        let known = paths(check)
        var lines = ["  \(index): \(object): \(belief.words): \(reason)"]
        for inode in inodes {
            lines += (known[inode] ?? []).map { "    inode \(inode): \($0)" }
        }
        if !witnesses.isEmpty { lines.append("    because: \(witnesses.joined(separator: "; "))") }
        if !unsure.isEmpty { lines.append("    unsure: \(unsure.joined(separator: "; "))") }
        return lines
    }

    fileprivate func json(_ check: XFSCheckReport) -> JSONValue {
        let known = paths(check)
        return .object([
            ("index", .string(index)), ("object", .string(object)),
            ("believed", .string(belief.rawValue)), ("reason", .string(reason)),
            ("witnesses", .array(witnesses.map { .string($0) })),
            ("unsure", .array(unsure.map { .string($0) })),
            ("mendedBy", .optional(remedy?.label)), ("loss", .optional(loss)),
            (
                "inodes",
                .array(
                    inodes.map { inode in
                        .object([
                            ("inode", .unsigned(inode)),
                            ("paths", .array((known[inode] ?? []).map { .string($0) })),
                        ])
                    })
            ),
        ])
    }
}

extension RepairVerdict.Belief {
    fileprivate var words: String {
        switch self {
        case .primary: "the files are right"
        case .secondary: "the files are wrong"
        case .open: "open"
        case .unsettled: "unsettled"
        }
    }
}

extension RepairStep {
    fileprivate var line: String { "\(item.label), \(isForced ? "rebuilt by force" : "repaired")" }
    fileprivate var hint: String {
        waitsForUser ? " (`--believe files` does it nevertheless)" : ""
    }

    fileprivate func json(_ plan: RepairPlan, _ result: RepairResult?) -> JSONValue {
        let object: [(String, JSONValue)] =
            switch item {
            case .reverseMap(let group):
                [("item", .string("rmapbt")), ("group", .unsigned(UInt64(group)))]
            case .parents(let inode, let generation):
                [
                    ("item", .string("parent")), ("inode", .unsigned(inode)),
                    ("generation", .unsigned(UInt64(generation))),
                ]
            case .linkCounts: [("item", .string("nlinks"))]
            case .counters: [("item", .string("fscounters"))]
            }
        return .object(
            object + [
                ("forced", .bool(isForced)),
                ("mends", .array(verdicts.map { .string(plan.verdicts[$0].object) })),
                ("couldLose", .string(risk)), ("held", .optional(held)),
                ("waitsForUser", .bool(waitsForUser)),
                ("result", .optional(result?.state.rawValue)),
                ("reason", .optional(result?.reason)),
            ])
    }
}

extension RepairResult {
    fileprivate var line: String {
        let words =
            switch state {
            case .mended: "mended"
            case .needless: "right already"
            case .held: "not done"
            case .failed: "failed"
            case .notReached: "not reached"
            }
        return "\(step.line): \(words)\(reason.map { ": \($0)" } ?? "")"
            + (state == .held ? step.hint : "")
    }
}

extension RepairAdvice {
    fileprivate var lines: [String] {
        var lines = [
            "  \(reason); offline, it takes about \(duration(seconds)) for "
                + "\(counted(inodes, "inode")), on a rotating disk up to ten times that:"
        ]
        lines += commands.map { "    \($0)" }
        if !paths.isEmpty {
            lines.append("  until then don't remove, truncate, rename, link or defragment:")
            lines += paths.map { "    \($0)" }
        }
        return lines
    }

    fileprivate var json: JSONValue {
        .object([
            ("reason", .string(reason)), ("commands", .array(commands.map { .string($0) })),
            ("seconds", .number(seconds)), ("inodes", .unsigned(inodes)),
            ("keepAwayFrom", .array(paths.map { .string($0) })),
        ])
    }
}
