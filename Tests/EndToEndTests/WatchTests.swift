// Watching a mount: on a terminal, by HTTP, and in a browser where there is one.

import Foundation
import TestSupport
import Testing

@Suite(.enabled(if: canMount, "there is no /dev/fuse that could be opened"))
struct WatchTests {
    /// A volume that is mounted with a page, and a repair of it that takes for ever.
    private func withSlowRun(
        _ body: (_ volume: String, _ point: String, _ page: String) throws -> Void
    ) throws {
        try withVolume(files: 300) { volume in
            let point = volume + "-mounted"
            try FileManager.default.createDirectory(
                atPath: point, withIntermediateDirectories: false)
            let mounted = try json("mount", volume, point, "--dashboard", "0")
            defer { _ = try? shell("umount -l \"$1\" 2>/dev/null", point) }
            let page = try #require(mounted.string("dashboard"))
            #expect(page.wholeMatch(of: /http:\/\/127\.0\.0\.1:[0-9]+\//) != nil, "\(page)")
            let repair = try Started(tidemark, ["repair", volume, "--speed-limit", "10"])
            try untilAtWork(volume, by: repair)
            try Data("contents".utf8).write(to: URL(filePath: point + "/written"))
            try body(volume, point, page)
            try json("set", volume, "--speed-limit", "none")
            #expect(repair.wait().status == 0)
            let ended = try run("unmount", point)
            #expect(ended.status == 0, "\(ended.errors)")
            try expectVerified(volume)
        }
    }

    private func fetched(_ url: String, _ more: String...) throws -> String {
        let script = """
            import sys, urllib.request
            headers = dict(word.split("=", 1) for word in sys.argv[2:])
            request = urllib.request.Request(sys.argv[1], headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    sys.stdout.write(answer.read().decode())
            except urllib.error.HTTPError as error:
                sys.stdout.write(f"status {error.code}")
            """
        let ended = try Started("/usr/bin/env", ["python3", "-c", script, url] + more).wait()
        #expect(ended.status == 0, "\(ended.errors)")
        return ended.output
    }

    // MARK: HTTP

    @Test func `the page's document is that of status, and metrics are what Prometheus reads`()
        throws
    {
        try withSlowRun { volume, point, page in
            let status = Ended(status: 0, output: try fetched(page + "status"), errors: "")
            let document = try status.document()
            #expect(document.int("schema") == 1 && document.string("command") == "status")
            let live = document["live"]
            #expect(live.string("dashboard") == page)
            #expect(live["mount"].string("mountPoint") == point)
            #expect(live["mount"].list("requests").contains { $0.string("kind") == "create" })
            #expect(live["writers"].int("count") ?? 0 > 0)
            let run = try #require(live.list("runs").first)
            #expect((0..<1).contains(try #require(run.number("scanned"))))
            #expect(run["lockHolds"].int("count") ?? 0 > 0)
            #expect(run.list("phases").map { $0.string("phase") } == ["prepared", "scanning"])
            #expect(try fetched(page + "status", "Host=evil.example") == "status 403")
            #expect(try fetched(page).contains("<title>Tidemark</title>"))

            let metrics = try fetched(page + "metrics")
            for sample in [
                "tidemark_run_phase{run=\"1\",phase=\"scanning\"} 1\n",
                "tidemark_mount_request_duration_seconds_bucket{operation=\"create\",le=\"+Inf\"}",
                "tidemark_run_hook_events_total{run=\"1\",outcome=\"applied\"}",
                "tidemark_runs 1\n",
            ] { #expect(metrics.contains(sample), "\(sample)") }
            let path = volume + ".metrics"
            try Data(metrics.utf8).write(to: URL(filePath: path))
            try expectReadable(metrics)
            let checked = try shell(
                "command -v promtool > /dev/null || exit 0; promtool check metrics < \"$1\"", path)
            #expect(checked.status == 0, "\(checked.output) \(checked.errors)")
        }
    }

    /// Reads metrics by the rules of the text format, and those of histograms.
    private func expectReadable(_ text: String) throws {
        var types: [String: String] = [:], helped: Set<String> = [], seen: Set<String> = []
        var family = "", last: (series: String, count: Double) = ("", 0)
        let sample = /([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)/
        #expect(text.hasSuffix("\n"))
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            let words = line.split(separator: " ", maxSplits: 3)
            if line.hasPrefix("# HELP ") {
                family = String(words[2])
                #expect(helped.insert(family).inserted, "\(line)")
                continue
            }
            if line.hasPrefix("# TYPE ") {
                #expect(String(words[2]) == family)
                types[family] = String(words[3])
                continue
            }
            let match = try #require(try sample.wholeMatch(in: line), "\(line)")
            let name = String(match.1), value = try #require(Double(match.3), "\(line)")
            let type = try #require(types[family])
            let suffixes =
                ["histogram": ["_bucket", "_sum", "_count"], "summary": ["", "_sum", "_count"]][
                    type]
                ?? [""]
            #expect(suffixes.contains { family + $0 == name }, "\(line) in \(family)")
            #expect(type != "counter" || name.hasSuffix("_total"))
            #expect(seen.insert(name + "{" + (match.2.map(String.init) ?? "")).inserted, "\(line)")
            guard name.hasSuffix("_bucket") else { continue }
            let labels = match.2.map(String.init) ?? ""
            let series = labels.replacing(/,?le="[^"]*"/, with: "")
            if series == last.series { #expect(value >= last.count, "\(line)") }
            last = (series, value)
        }
        #expect(types.count > 10)
    }

    @Test func `a page that can't listen is an error of the mount, and nothing is mounted`() throws
    {
        try withVolume(files: 20) { volume in
            let point = volume + "-mounted", other = volume + "-other"
            for path in [point, other] {
                try FileManager.default.createDirectory(
                    atPath: path, withIntermediateDirectories: false)
            }
            let page = try #require(
                try json("mount", volume, point, "--dashboard", "0").string("dashboard"))
            defer { _ = try? shell("umount -l \"$1\" 2>/dev/null", point) }
            let second = volume + "-second"
            try json("create", second, "--size", "64M")
            let place = String(page.dropFirst("http://".count).dropLast())
            let refused = try run("mount", second, other, "--dashboard", place)
            #expect(refused.status == 4)
            #expect(refused.errors.contains("\(place): the dashboard can't listen there"))
            #expect(try json("status", second).object["live"] is NSNull)
            #expect(try run("mount", second, other, "--dashboard", "nonsense").status == 8)
            #expect(try run("unmount", point).status == 0)
            // The process of the page is gone with the mount: the port is free again.
            #expect(try run("mount", second, other, "--dashboard", place).status == 0)
            #expect(try run("unmount", other).status == 0)
        }
    }

    @Test func `the mount outlives its page, and starts it again`() throws {
        try withSlowRun { volume, point, page in
            let server = try #require(try json("status", volume)["live"].int("process"))
            let child = try shell("cat /proc/$1/task/*/children", "\(server)").output
            let number = try #require(
                Int32(child.trimmingCharacters(in: .whitespacesAndNewlines)), "\(child)")
            kill(number, SIGKILL)
            #expect(try shell("cat \"$1/written\"", point).output == "contents")
            try until("page") {
                try shell("curl -s \"$1\" || true", page + "metrics").output
                    .contains("tidemark_info")
            }
        }
    }

    // MARK: A terminal

    /// What `status --watch` draws on a terminal of that size, picture by picture: so many, and
    /// then some on a narrow one.
    private func pictures(
        _ volume: String, columns: Int, count: Int, _ variables: String...
    ) throws -> [String] {
        try watched(volume, columns, count, end: "\u{1b}[J", variables)
            .components(separatedBy: "\u{1b}[J").dropLast()
    }

    /// Watches until `end` was written `count` times, and again after the terminal has become
    /// narrow.
    private func watched(
        _ volume: String, _ columns: Int, _ count: Int, end: String, _ variables: [String]
    ) throws -> String {
        let script = pythonWaiting + """
            import fcntl, os, pty, select, signal, struct, sys, termios
            columns, count, end = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
            may_begin, begin = os.pipe()
            child, file = pty.fork()
            if child == 0:
                os.environ.pop("NO_COLOR", None)
                for word in sys.argv[4].split():
                    os.environ.__setitem__(*word.split("=", 1))
                os.read(may_begin, 1)
                os.execv(sys.argv[5], sys.argv[5:])
            def resize(columns):
                fcntl.ioctl(file, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            drawn = b""
            def has_drawn(count, start=0):
                global drawn
                while select.select([file], [], [], 0)[0]: drawn += os.read(file, 65536)
                return drawn[start:].count(end) >= count
            resize(columns)
            os.write(begin, b".")
            until(lambda: has_drawn(count), "pictures")
            resize(60)
            # The one that is being drawn may have the old size still.
            start = len(drawn)
            until(lambda: has_drawn(2, start), "pictures on a narrow terminal")
            os.kill(child, signal.SIGINT)
            status = os.waitpid(child, 0)[1]
            sys.stdout.buffer.write(drawn)
            sys.exit(os.waitstatus_to_exitcode(status))
            """
        let words =
            ["python3", "-c", script, "\(columns)", "\(count)", end]
            + [(["TERM=xterm", "LC_ALL=C"] + variables).joined(separator: " ")]
        let ended = try Started("/usr/bin/env", words + [tidemark, "status", volume, "--watch"])
            .wait()
        #expect(ended.status == 0, "\(ended.errors)")
        return ended.output
    }

    @Test func `a terminal is redrawn in place, at its size, until it is interrupted`() throws {
        try withSlowRun { volume, point, _ in
            let drawn = try pictures(volume, columns: 80, count: 3)
            try #require(drawn.count >= 4)
            for label in ["run 1", "scanning", "keys", "hooks", "queue", "lock", "writers"] {
                #expect(drawn[1].contains(label), "\(drawn[1])")
            }
            #expect(drawn[0].contains("\u{1b}[1m"))
            // In place: the cursor goes up by as many lines as the picture before had.
            let lines = drawn[0].utf8.count { $0 == UInt8(ascii: "\n") }
            #expect(drawn[1].hasPrefix("\u{1b}[\(lines)A"), "\(drawn[1].prefix(20))")
            // Another size: all anew, and no wider than it.
            #expect(drawn.contains { $0.hasPrefix("\u{1b}[2J") })
            let last = drawn[drawn.count - 1].replacing(/\u{1b}\[[0-9]*[A-Za-z]/, with: "")
            #expect(last.split(separator: "\r\n").allSatisfy { $0.count < 62 }, "\(last)")

            let plain = try pictures(volume, columns: 80, count: 1, "NO_COLOR=1")
            #expect(!plain.joined().contains("\u{1b}[1m") && plain[0].contains("run 1"))
        }
    }

    @Test func `a mount without a run is watched on, and a dumb terminal gets lines`() throws {
        try withVolume(files: 20) { volume in
            let point = volume + "-mounted"
            try FileManager.default.createDirectory(
                atPath: point, withIntermediateDirectories: false)
            try json("mount", volume, point)
            defer { _ = try? shell("umount -l \"$1\" 2>/dev/null", point) }
            #expect(try shell("ls -lR \"$1\"", point).status == 0)
            let drawn = try pictures(volume, columns: 100, count: 2)
            #expect(drawn.count >= 2)
            #expect(try #require(drawn.last).contains("none is at work"))
            #expect(try #require(drawn.last).contains("readdir"))
            let dumb = try watched(volume, 80, 1, end: "\n", ["TERM=dumb"])
            #expect(!dumb.contains("\u{1b}"))
            #expect(try run("unmount", point).status == 0)
        }
    }

    // MARK: A browser

    private static let hasBrowser = FileManager.default.isExecutableFile(
        atPath: "/usr/bin/chromium")

    @Test(.enabled(if: hasBrowser, "chromium is not installed"))
    func `a browser shows the run`() throws {
        try withSlowRun { volume, point, page in
            let ended = try shell(
                """
                timeout 90 chromium --headless=new --no-sandbox --disable-gpu \
                    --user-data-dir="$2" --virtual-time-budget=4000 --dump-dom "$1" 2>/dev/null
                """, page, volume + "-browser")
            let shown = ended.output
            #expect(shown.contains("data-run=\"1\""), "\(shown.prefix(2000))")
            for text in [
                "Run 1: rmap, parents, quota, links", "key space: ", "cursor at inode", "scanning",
                "longest lock hold", "mount, process", point, "Latency, each second", "create",
            ] { #expect(shown.contains(text), "\(text)") }
            #expect(shown.contains("<p id=\"problem\" role=\"alert\" hidden=\"\">"))
        }
    }
}
