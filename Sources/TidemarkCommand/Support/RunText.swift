// The report of a run for people.

internal import Tidemark

extension RunReport {
    /// What `check` and `repair` print.
    func print(_ target: String, isDryRun: Bool, to output: Output) {
        output.line("\(target): \(headline(isDryRun))")
        if let reason { output.line("  \(reason)") }
        if let scope { output.line("  limited to \(scope): nothing else was looked at") }
        for damage in damagedPrimaries.prefix(output.isVerbose ? .max : 20) {
            output.line("  not read: \(damage.object): \(damage.problem)")
        }
        if damagedPrimaries.count > 20, !output.isVerbose {
            output.line("  and \(grouped(damagedPrimaries.count - 20)) more (--verbose)")
        }
        let isCompared = outcome == .clean || outcome == .repaired || outcome == .corrupt
        if isCompared { for index in indexes { output.line("  " + index.text(isDryRun)) } }
        primaryDefects.print(to: output)
        if outcome == .stopped {
            for index in indexes where index.found.total > 0 {
                output.line("  \(index.name): found so far: \(index.found.text)")
            }
        }
        output.line(
            "  \(counted(primaryRecords, "primary record")) in \(counted(windows, "window")); "
                + "deltas: \(grouped(applied)) applied, \(grouped(elided)) elided")
        output.line("  \(seconds.text)")
        output.line(
            "  commit lock: \(counted(lockHolds.count, "hold")), longest "
                + "\(duration(Double(lockHolds.maximum) / 1e9)), 99.9 % within "
                + "\(duration(Double(lockHolds.percentile999) / 1e9)); peak anonymous memory "
                + binarySize(peakAnonymousBytes))
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
        case .corrupt: "corrupt: \(found); `tidemark repair` mends them"
        case .incomplete: "incomplete"
        case .stopped: "stopped; nothing was changed that is not whole"
        case .aborted: "aborted; nothing was changed that is not whole"
        }
    }
}

extension PrimaryDefects {
    func print(to output: Output) {
        for (kind, count) in counts.sorted(by: { $0.key < $1.key }) {
            output.line("  \(kind): \(counted(count, "defect")) of primary records")
        }
        let shown = output.isVerbose ? first.count : 20
        for defect in first.prefix(shown) {
            output.line("  \(defect.object): \(defect.problem); blocks \(defect.blocks)")
        }
        if total > shown { output.line("  and \(grouped(total - shown)) more (--json, --verbose)") }
    }
}

extension IndexReport {
    func text(_ isDryRun: Bool) -> String {
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
        if let kept { text += "; generation \(kept) is kept" }
        if let forgotten { text += "; generation \(forgotten), kept before, is given up" }
        if let recheck {
            text += recheck.total == 0 ? "; checked again: clean" : "; left: \(recheck.text)"
        }
        return text
    }
}

extension DiscrepancyCounts {
    var text: String {
        "\(grouped(missing)) missing, \(grouped(stray)) stray, \(grouped(wrong)) wrong"
    }
}

extension RunReport.Seconds {
    var text: String {
        let phases = [
            ("scan", scan), ("settle", settle), ("compare", compare), ("load", load),
            ("commit", commit), ("recheck", recheck), ("reap", reap),
        ].filter { $0.1 > 0 }
        return phases.map { "\($0.0) \(duration($0.1))" }.joined(separator: ", ")
            + (phases.isEmpty ? "" : "; ") + "in all \(duration(total))"
    }
}
