// The report of a run for people.

package import Tidemark

extension RunReport {
    /// What is listed of damaged records and of defects without `--verbose`.
    private static let listed = 20

    /// Lines for people.
    /// - Parameters:
    ///   - target: what was checked, in the user's words.
    ///   - isVerbose: whether nothing is left out.
    package func lines(_ target: String, isDryRun: Bool, isVerbose: Bool) -> [String] {
        var lines = ["\(target): \(headline(isDryRun))"]
        if let reason { lines.append("  \(reason)") }
        if let scope { lines.append("  limited to \(scope): nothing else was looked at") }
        for damage in damagedPrimaries.prefix(isVerbose ? .max : RunReport.listed) {
            lines.append("  not read: \(damage.object): \(damage.problem)")
        }
        if damagedPrimaries.count > RunReport.listed, !isVerbose {
            let more = damagedPrimaries.count - RunReport.listed
            lines.append("  and \(grouped(more)) more (--verbose)")
        }
        let isCompared = [.clean, .repaired, .corrupt, .unsettled].contains(outcome)
        if isCompared { lines += indexes.map { "  " + $0.result.text(isDryRun: isDryRun) } }
        lines += primaryDefects.lines(isVerbose ? .max : RunReport.listed)
        if outcome == .stopped {
            for index in indexes where index.found.total > 0 {
                lines.append("  \(index.name): found so far: \(index.found.text)")
            }
        }
        lines.append(
            "  \(counted(primaryRecords, "primary record")) in \(counted(windows, "window")); "
                + "deltas: \(grouped(applied)) applied, \(grouped(elided)) elided")
        if unsettled > 0, outcome != .unsettled {
            let keys = counted(unsettled, "key")
            lines.append("  \(keys) never stood still, and nothing is known of them")
        }
        if losses > 0 {
            lines.append("  changes were lost \(counted(losses, "time")), and read again")
        }
        lines.append("  \(seconds.text)")
        lines.append(
            "  commit lock: \(counted(lockHolds.count, "hold")), longest "
                + "\(duration(Double(lockHolds.maximum) / 1e9)), 99.9 % within "
                + "\(duration(Double(lockHolds.percentile999) / 1e9)); peak anonymous memory "
                + binarySize(peakAnonymousBytes))
        return lines
    }

    private func headline(_ isDryRun: Bool) -> String {
        let found = counted(discrepancies, "discrepancy", "discrepancies")
        return switch outcome {
        case .clean: "clean"
        case .repaired: "repaired: \(found)"
        case .corrupt where isDryRun: "corrupt: \(found); nothing was changed (dry run)"
        case .corrupt where primaryDefects.total > 0:
            "corrupt: \(found); "
                + "\(counted(primaryDefects.total, "defect")) of primary records, left as they are"
        case .corrupt: "corrupt: \(found); `tidemark repair` repairs them"
        case .incomplete: "incomplete"
        case .unsettled:
            "unsettled: \(counted(unsettled, "key")) never stood still; check again later"
        case .stopped: "stopped; nothing was changed that is not whole"
        case .aborted: "aborted; nothing was changed that is not whole"
        }
    }
}

extension PrimaryDefects {
    fileprivate func lines(_ limit: Int) -> [String] {
        var lines = counts.sorted { $0.key < $1.key }.map { kind, count in
            "  \(kind): \(counted(count, "defect")) of primary records"
        }
        let listed = first.prefix(limit)
        lines += listed.map { "  \($0.object): \($0.problem); blocks \($0.blocks)" }
        if total > listed.count {
            lines.append("  and \(grouped(total - listed.count)) more (--json, --verbose)")
        }
        return lines
    }
}

extension RunRecord.IndexResult {
    /// What was found in an index and what became of it, on one line.
    func text(isDryRun: Bool) -> String {
        var text = "\(name): \(counted(entries, "entry", "entries")); "
        text += found.total == 0 ? "no discrepancies" : found.text
        switch action {
        case .none: break
        case .patch where isDryRun: text += "; would be patched"
        case .rebuild where isDryRun: text += "; would be rebuilt"
        case .patch: text += "; patched \(counted(patched, "entry", "entries"))"
        case .rebuild: text += "; rebuilt" + (generation.map { " as generation \($0)" } ?? "")
        }
        if action != .none, !reason.isEmpty { text += " (\(reason))" }
        if let previous { text += "; generation \(previous) is kept for a rollback" }
        if let forgotten {
            text += "; generation \(forgotten), the previous one before, is discarded"
        }
        if let recheck {
            text += recheck.total == 0 ? "; checked again: clean" : "; left: \(recheck.text)"
        }
        return text
    }
}

extension DiscrepancyCounts {
    package var text: String {
        "\(grouped(missing)) missing, \(grouped(stray)) stray, \(grouped(wrong)) wrong"
    }
}

extension RunReport.Seconds {
    var text: String {
        let phases = [
            ("scan", scan), ("settle", settle), ("compare", compare), ("load", load),
            ("commit", commit), ("recheck", recheck), ("judge", judge),
            ("reap", reap),
        ].filter { $0.1 > 0 }
        return phases.map { "\($0.0) \(duration($0.1))" }.joined(separator: ", ")
            + (phases.isEmpty ? "" : "; ") + "in all \(duration(total))"
    }
}
