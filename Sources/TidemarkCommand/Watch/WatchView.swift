// The picture that `tidemark status --watch` draws over and over: a function of what is known, of
// what was seen before, and of what the terminal can do.

internal import Meters
internal import Reports
internal import RunService
internal import Tidemark

struct WatchView {
    let target: String
    let live: LiveStatus
    let history: WatchHistory
    let style: WatchStyle

    /// Columns of the words in front.
    private static let margin = 12

    /// No more, and no wider, than the terminal has. Where it has too few rows the last lines,
    /// which matter least, are left out.
    var lines: [String] {
        var lines = [title]
        for run in live.runs { lines += self.lines(of: run) }
        if live.runs.isEmpty {
            let state = live.limits.isPaused ? "paused; " : ""
            lines.append(line("run", state + "none is at work"))
            if let reason = live.stopReason { lines.append(line("ending", reason, .red)) }
        }
        lines += writers + last
        if let page = live.dashboard { lines.append(line("page", page)) }
        lines += requests
        return lines.prefix(max(1, style.rows - 1)).map { $0.rendered(style) }
    }

    private var title: WatchLine {
        var title = WatchLine(target, .bold)
        title.add(": \(live.command), process \(live.process)")
        if let mount = live.mount, mount.mountPoint != target {
            title.add(", on \(mount.mountPoint)")
        }
        if let seconds = live.seconds { title.add(", for \(duration(seconds))") }
        return title
    }

    private func line(
        _ label: String, _ text: String, _ color: WatchLine.Color? = nil
    ) -> WatchLine {
        var line = WatchLine("  " + label.padded(to: WatchView.margin - 2), .dim)
        line.add(text, color)
        return line
    }

    /// Columns of a bar, with room for words behind it.
    private var barWidth: Int { max(10, min(style.columns - 50, 60)) }

    // MARK: A run

    private func lines(of run: LiveRun) -> [WatchLine] {
        let now = run.progress
        var words = run.indexes.joined(separator: ", ") + "; \(duration(now.seconds)) so far"
        if let left = now.secondsLeft { words += ", about \(duration(left)) left" }
        var head = WatchLine("run \(run.number)".padded(to: WatchView.margin), .bold)
        head.add(words)
        var lines = [head, phase(now), keys(now), hooks(run), queue(now), lock(now)]
        let first = run.firstDiscrepancy.map { ", first: \($0.text)" } ?? ""
        lines.append(
            now.discrepancies > 0
                ? line(
                    "found",
                    counted(now.discrepancies, "discrepancy", "discrepancies") + first, .yellow)
                : line("found", "no discrepancy so far"))
        lines.append(line("limits", limits(now.limits)))
        if let reason = now.stopReason { lines.append(line("ending", reason, .red)) }
        return lines
    }

    /// As many as fit: what limits most comes first, and the queue has a line of its own.
    private func limits(_ limits: RunLimits) -> String {
        var text = ""
        for word in limits.words {
            let longer = text.isEmpty ? word : text + "; " + word
            guard longer.count <= style.columns - WatchView.margin else { break }
            text = longer
        }
        return text
    }

    private func phase(_ now: RunProgress) -> WatchLine {
        var text = ""
        if now.total > 0 {
            let part = min(Double(now.done) / Double(now.total), 1)
            text = style.bar(part, barWidth) + " \(Int(part * 100)) %"
            text += "  \(grouped(now.done)) \(now.phase.unit)"
        }
        if now.done > 0, now.rate > 0 {
            text += (text.isEmpty ? "" : ", ") + "\(grouped(Int(min(now.rate, 1e15))))/s"
        }
        let words = now.limits.isPaused ? "paused while \(now.words)" : now.words
        guard words.count < WatchView.margin - 2 else {
            return line(words + " ", text)
        }
        return line(words, text)
    }

    private func keys(_ now: RunProgress) -> WatchLine {
        guard let scanned = now.scanned else { return line("keys", "a part of the key space") }
        var text = style.bar(scanned, barWidth) + " \(Int(scanned * 100)) %"
        text += now.position.map { "  cursor at inode \(grouped($0))" } ?? "  cursor at the end"
        return line("keys", text)
    }

    private func hooks(_ run: LiveRun) -> WatchLine {
        let now = run.progress, rates = history.rates(of: run.number)
        func words(_ count: Int, _ rate: Double?, _ what: String) -> String {
            "\(grouped(count)) \(what)" + (rate.map { " (\(grouped(Int($0)))/s)" } ?? "")
        }
        return line(
            "hooks",
            words(now.applied, rates?.applied, "applied") + ", "
                + words(now.elided, rates?.elided, "elided"))
    }

    private func queue(_ now: RunProgress) -> WatchLine {
        let part = Double(now.queuedBytes) / Double(max(1, now.limits.queueBytes))
        return line(
            "queue",
            style.bar(part, barWidth)
                + " \(binarySize(now.queuedBytes)) of \(binarySize(now.limits.queueBytes))",
            part > 0.75 ? .red : part > 0.5 ? .yellow : nil)
    }

    private func lock(_ now: RunProgress) -> WatchLine {
        guard let holds = now.lockHolds else { return line("lock", "not held so far") }
        return line(
            "lock",
            "\(counted(holds.count, "hold")), 99 % within "
                + "\(duration(Double(holds.percentile99) / 1e9)), longest "
                + duration(Double(holds.maximum) / 1e9))
    }

    // MARK: Writers, requests, past runs

    private var writers: [WatchLine] {
        guard let writers = live.writers else { return [] }
        var head = WatchLine("writers".padded(to: WatchView.margin), .bold)
        head.add("\(grouped(Int(writers.perSecond))) operations/s")
        if let median = writers.median, let most = writers.percentile99,
            let longest = writers.maximum
        {
            head.add(
                "; 50 % \(duration(median)), 99 % \(duration(most)), longest "
                    + duration(longest))
        }
        let width = max(10, style.columns - WatchView.margin - 30)
        let rates = history.samples.suffix(width).map(\.operationsPerSecond)
        let latencies = history.samples.suffix(width).map(\.latency)
        guard rates.count > 1 else { return [head] }
        return [
            head,
            line(
                "rate",
                style.curve(rates, width) + "  up to \(grouped(Int(rates.max() ?? 0)))"),
            line(
                "latency",
                style.curve(latencies, width) + "  up to \(duration(latencies.max() ?? 0))"),
        ]
    }

    private var requests: [WatchLine] {
        guard let mount = live.mount else { return [] }
        var head = WatchLine("requests".padded(to: WatchView.margin), .bold)
        head.add(["per second", "50 %", "99 %", "longest", "so far"].inColumns, .dim)
        let busiest = mount.requests.filter { $0.count > 0 }.sorted {
            ($0.perSecond, $0.count) > ($1.perSecond, $1.count)
        }
        return [head]
            + busiest.map { kind in
                let times = [kind.median, kind.percentile99, kind.maximum]
                return line(
                    kind.name,
                    ([grouped(Int(kind.perSecond))] + times.map { $0.map(duration) ?? "-" }
                        + [grouped(kind.count)]).inColumns)
            }
    }

    /// The last run that has ended.
    private var last: [WatchLine] {
        let ended = live.recorded?.last { record in
            !live.runs.contains { $0.number == Int(clamping: record.number) }
        }
        guard let ended else { return [] }
        var line = WatchLine("last".padded(to: WatchView.margin), .bold)
        line.add("run \(ended.number): \(ended.standing)")
        return [line]
    }
}

extension String {
    fileprivate func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}

extension [String] {
    /// Each at the right of a column.
    fileprivate var inColumns: String {
        map { String(repeating: " ", count: Swift.max(0, 10 - $0.count)) + $0 }
            .joined(separator: " ")
    }
}
