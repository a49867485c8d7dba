// The picture that `tidemark status --watch` draws, as a function.

import Foundation
import Meters
import TestSupport
import Testing
import Tidemark

@testable import RunService
@testable import TidemarkCommand

@Suite struct WatchViewTests {
    /// A mount with a run that is half way through its scan.
    private func live(_ change: (inout RunProgress) -> Void = { _ in }) throws -> LiveStatus {
        var progress = RunProgress()
        progress.phase = .scanning
        progress.done = 210_396
        progress.total = 420_792
        progress.rate = 81_877
        progress.seconds = 2.5
        progress.secondsLeft = 3.5
        progress.phaseSecondsLeft = 2.5
        progress.position = 65_536
        progress.positionLimit = 131_072
        progress.applied = 12_345
        progress.elided = 3_201
        progress.queuedBytes = 14 << 20
        progress.limits.queueBytes = 16 << 20
        var holds = RunReport.LockHolds()
        holds.count = 134
        holds.maximum = 4_290_000
        holds.percentile99 = 1_130_000
        progress.lockHolds = holds
        change(&progress)
        var live = LiveStatus(
            process: 4711, command: "mount", limits: RunLimits(), stopReason: nil,
            runs: [
                LiveRun(
                    number: 7, indexes: ["rmap", "parents", "quota", "links"], progress: progress)
            ], recorded: [])
        live.seconds = 90
        live.dashboard = "http://127.0.0.1:8080/"
        live.writers = try activity("writers", perSecond: 35_123)
        live.mount = LiveMount(
            mountPoint: "/mnt",
            requests: [
                try activity("lookup", perSecond: 1234), try activity("write", perSecond: 4321),
                try activity("statfs", perSecond: 0, count: 0),
            ])
        return live
    }

    private func activity(
        _ name: String, perSecond: Double, count: Int = 99_999
    ) throws -> Activity {
        let text = """
            {"name":"\(name)","count":\(count),"perSecond":\(perSecond),"median":0.00012,
             "percentile99":0.0031,"maximum":0.0056,"recorded":1,"seconds":1,"within":[]}
            """
        return try JSONDecoder().decode(Activity.self, from: Data(text.utf8))
    }

    private func lines(
        _ live: LiveStatus, looks: Int = 10, _ style: WatchStyle
    ) -> [String] {
        var history = WatchHistory()
        for second in 0..<looks { history.note(live, at: Double(second)) }
        return WatchView(target: "/srv/vol", live: live, history: history, style: style).lines
    }

    private func style(
        _ columns: Int, rows: Int = 40, color: Bool = false, unicode: Bool = false
    ) -> WatchStyle {
        WatchStyle(columns: columns, rows: rows, isColored: color, isUnicode: unicode)
    }

    private func line(_ label: String, _ lines: [String]) throws -> String {
        try #require(
            lines.first { $0.trimmingPrefix { $0 == " " }.hasPrefix(label) },
            "\(label) in \(lines)")
    }

    @Test(arguments: [40, 80, 120], [true, false])
    func `no line is wider than the terminal, and none is missing`(columns: Int, unicode: Bool)
        throws
    {
        let lines = try lines(live(), style(columns, unicode: unicode))
        #expect(lines.allSatisfy { $0.count <= columns }, "\(lines)")
        for label in [
            "run 7", "scanning", "keys", "hooks", "queue", "lock", "found", "limits", "writers",
            "rate", "latency", "page", "requests", "lookup", "write",
        ] {
            _ = try line(label, lines)
        }
        #expect(!lines.joined().contains("\u{1b}"))
        let isPlain = lines.joined().replacing("µ", with: "u").allSatisfy { $0.isASCII }
        #expect(isPlain != unicode)
    }

    @Test func `80 columns hold what matters`() throws {
        let lines = try lines(live(), style(80))
        #expect(lines[0] == "/srv/vol: mount, process 4711, on /mnt, for 90.0 s")
        #expect(
            try line("run 7", lines)
                == "run 7       rmap, parents, quota, links; 2.50 s so far, "
                + "about 3.50 s left")
        #expect(
            try line("scanning", lines)
                == "  scanning  [##############..............] 50 %  210,396 records, 81,877/s")
        #expect(
            try line("keys", lines)
                == "  keys      [##############..............] 50 %  cursor at inode 65,536")
        #expect(
            try line("hooks", lines)
                == "  hooks     12,345 applied (0/s), 3,201 elided (0/s)")
        #expect(
            try line("queue", lines)
                == "  queue     [########################....] 14.0 MiB of 16.0 MiB")
        #expect(
            try line("lock", lines)
                == "  lock      134 holds, 99 % within 1.13 ms, longest 4.29 ms")
        #expect(
            try line("writers", lines)
                == "writers     35,123 operations/s; 50 % 120 µs, "
                + "99 % 3.10 ms, longest 5.60 ms")
    }

    @Test func `limits that don't fit are left out, not cut`() throws {
        #expect(
            try line("limits", lines(live(), style(80)))
                == "  limits    windows of 32,768; memory 64.0 MiB")
        let many = try live {
            $0.limits.speedLimit = 856
            $0.limits.share = 50
            $0.limits.isBackground = true
            $0.limits.stopAfter = 9
        }
        #expect(
            try line("limits", lines(many, style(80)))
                == "  limits    856 records/s at the most; 50 % of the time; in the background")
    }

    @Test func `120 columns give the bars more room`() throws {
        let wide = try lines(live(), style(120)), narrow = try lines(live(), style(80))
        #expect(try line("keys", wide).count > line("keys", narrow).count + 20)
        #expect(try line("writers", wide).hasSuffix("longest 5.60 ms"))
    }

    @Test func `few rows hold the run, and lose requests first`() throws {
        let lines = try lines(live(), style(80, rows: 12))
        #expect(lines.count == 11)
        _ = try line("lock", lines)
        #expect(!lines.contains { $0.contains("lookup") })
    }

    @Test func `the busiest request comes first, and one that never came is left out`() throws {
        let lines = try lines(live(), style(80))
        let kinds = lines.drop { !$0.hasPrefix("requests") }.dropFirst()
        #expect(kinds.map { $0.split(separator: " ")[0] } == ["write", "lookup"])
    }

    @Test func `colour marks what is wrong, and nothing is said by colour alone`() throws {
        let colored = try lines(live { $0.discrepancies = 3 }, style(80, color: true))
        #expect(try #require(colored.first { $0.contains("14.0 MiB") }).contains("\u{1b}[31m"))
        #expect(try #require(colored.first { $0.contains("3 discrep") }).contains("\u{1b}[33m"))
        let plain = try lines(live { $0.discrepancies = 3 }, style(80))
        let stripped = colored.map { $0.replacing(/\u{1b}\[[0-9]*m/, with: "") }
        #expect(stripped == plain)
    }

    @Test func `the end of the key space, a part of it, a pause and a stop are said`() throws {
        let end = try lines(live { $0.position = nil }, style(80))
        #expect(try line("keys", end).hasSuffix("100 %  cursor at the end"))
        let part = try lines(live { $0.positionLimit = nil }, style(80))
        #expect(try line("keys", part).hasSuffix("a part of the key space"))
        let paused = try lines(live { $0.limits.isPaused = true }, style(80))
        _ = try line("paused while scanning", paused)
        let stopped = try lines(live { $0.stopReason = "stopped by user 0" }, style(80))
        #expect(try line("ending", stopped).contains("stopped by user 0"))
    }

    @Test func `names with control characters can't steer the terminal`() throws {
        let live = try live()
        let view = WatchView(
            target: "/srv/\u{1b}[2J\u{9b}x\ny", live: live, history: WatchHistory(),
            style: style(80))
        #expect(view.lines[0].hasPrefix("/srv/?[2J?x?y: mount"))
    }

    @Test func `rates are between the last two looks at the same run`() throws {
        var history = WatchHistory()
        history.note(try live { $0.applied = 100 }, at: 1)
        #expect(history.rates(of: 7) == nil)
        history.note(try live { $0.applied = 300 }, at: 3)
        #expect(history.rates(of: 7)?.applied == 100)
        #expect(history.rates(of: 8) == nil)
        for second in 4..<1000 { history.note(try live(), at: Double(second)) }
        #expect(history.samples.count == 300)
    }

    @Test func `curves and bars use what the terminal has`() {
        let plain = style(80), rich = style(80, unicode: true)
        #expect(plain.curve([0, 1, 2, 4], 6) == "_:=#  ")
        #expect(rich.curve([0, 1, 2, 4], 6) == "▁▃▅█  ")
        #expect(rich.curve([0, 0], 3) == "▁▁ ")
        #expect(plain.curve([9, 1, 1], 2) == "##")
        #expect(plain.bar(0.5, 12) == "[#####.....]")
        #expect(rich.bar(0.5, 5) == "██▌░░")
        for part in [-1, 0, 0.001, 0.999, 1, 2, .nan, .infinity] {
            #expect(plain.bar(part, 20).count == 20 && rich.bar(part, 20).count == 20)
        }
    }
}
