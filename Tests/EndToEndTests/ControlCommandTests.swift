// Runs steered by other processes: status, stop, pause, resume, set.

import Foundation
import TestSupport
import Testing

@Suite struct ControlCommandTests {
    /// A repair of a damaged volume that takes minutes, unless it is steered.
    private func withSlowRepair(
        _ arguments: [String] = ["--speed-limit", "10"], _ body: (String, Started) throws -> Void
    ) throws {
        try withVolume(files: 400) { volume in
            try json("damage", volume, "--index", "rmap", "--count", "40", "--seed", "1")
            let repair = try Started(tidemark, ["repair", volume, "--json"] + arguments)
            try untilAtWork(volume, by: repair)
            try body(volume, repair)
        }
    }

    private func only(_ volume: String) throws -> Document {
        try #require(try json("status", volume)["live"].list("runs").first)
    }

    private func text(_ volume: String) throws -> String { try run("status", volume).output }

    @Test func `a run tells where it is, changes its pace, rests, and goes on to its end`() throws {
        try withSlowRepair { volume, repair in
            let first = try only(volume)
            #expect(first.int("number") == 1)
            #expect(first.string("phase") == "scanning")
            #expect(first["limits"].int("speedLimit") == 10)
            #expect(first.int("total") ?? 0 > 1000)
            #expect(first["position"].has("inode"))
            let live = try json("status", volume)["live"]
            #expect(live.int("process") == Int(repair.number))
            #expect(live.string("command") == "repair")

            try json("pause", volume)
            #expect(try only(volume).object["paused"] as? Bool == true)
            // Without its limit it would be over at once, if it did not rest.
            try json("set", volume, "--speed-limit", "none")
            for _ in 0..<5 { #expect(try only(volume).string("phase") == "scanning") }
            try json("set", volume, "--speed-limit", "10")
            #expect(try text(volume).contains("paused while scanning"))
            try json("resume", volume)

            try json("set", volume, "--share", "50", "--memory", "8M", "--background")
            let limits = try only(volume)["limits"]
            #expect(limits.int("share") == 50)
            #expect(limits.int("memoryBytes") == 8 << 20)
            #expect(limits.int("queueBytes") == 2 << 20)
            #expect(limits.int("speedLimit") == 10)
            #expect(limits.object["background"] as? Bool == true)
            try json("set", volume, "--speed-limit", "none", "--share", "100", "--no-background")
            let ended = repair.wait()
            #expect(ended.status == 0, "\(ended.errors)")
            #expect(try ended.document().string("outcome") == "repaired")
            #expect(!FileManager.default.fileExists(atPath: volume + "/control.sock"))
            try expectVerified(volume)
        }
    }

    @Test(arguments: [[], ["1"]])
    func `a stopped repair says by whom, and has changed nothing`(number: [String]) throws {
        try withSlowRepair { volume, repair in
            let stopped = try run(["stop", volume] + number)
            #expect(stopped.status == 0, "\(stopped.errors)")
            #expect(stopped.output.contains("stopped by user \(getuid())"))
            let ended = repair.wait()
            #expect(ended.status == 4)
            let report = try ended.document()
            #expect(report.string("outcome") == "stopped")
            #expect(report.string("reason")?.contains("stopped by user \(getuid())") == true)
            let found = try json("check", volume, status: 1)
            #expect(found.index("rmap")?.counts.values.reduce(0, +) == 40)
        }
    }

    @Test func `a run that was stopped goes on with the limits that it had`() throws {
        try withSlowRepair(["--speed-limit", "10", "--stop-after", "41"]) { volume, repair in
            try json("set", volume, "--share", "60")
            try json("stop", volume)
            _ = repair.wait()
            let resumed = try Started(tidemark, ["resume", volume, "--json", "--queue", "1M"])
            try untilAtWork(volume, by: resumed)
            let limits = try only(volume)["limits"]
            #expect(limits.int("speedLimit") == 10)
            #expect(limits.int("share") == 60)
            #expect(limits.int("queueBytes") == 1 << 20)
            try json("set", volume, "--speed-limit", "none", "--share", "100")
            let ended = resumed.wait()
            #expect(ended.status == 0, "\(ended.errors)")
            #expect(try ended.document().string("outcome") == "repaired")
        }
    }

    @Test func `a stop ends a stress with its run, and while it waits for the next`() throws {
        try withVolume(files: 200) { volume in
            for arguments in [["--index", "rmap", "--speed-limit", "20"], []] {
                let stress = try Started(
                    tidemark, ["stress", volume, "--seconds", "600", "--json"] + arguments)
                try until("process at work") { try Document.live(volume).has("process") }
                if !arguments.isEmpty { try untilAtWork(volume, by: stress) }
                try json("stop", volume)
                let ended = stress.wait()
                #expect(ended.status == 4)
                #expect(
                    try ended.document().string("reason")?.contains("stopped by user") == true)
            }
            try expectVerified(volume)
        }
    }

    @Test func `limits that a run begins with end it: discrepancies, and time`() throws {
        try withVolume(files: 400) { volume in
            try json("damage", volume, "--index", "rmap", "--count", "40", "--seed", "1")
            for command in ["check", "repair"] {
                let report = try json(command, volume, "--stop-after", "3", status: 4)
                #expect(report.string("outcome") == "stopped")
                #expect(report.index("rmap")?.counts.values.reduce(0, +) == 3)
            }
            let report = try json(
                "repair", volume, "--speed-limit", "10", "--max-duration", "0.5s", status: 4)
            #expect(report.string("reason")?.contains("0.5 seconds at the most") == true)
            let enough = try json("repair", volume, "--stop-after", "41", "--memory", "1M")
            #expect(enough.string("outcome") == "repaired")
        }
    }

    @Test func `a dry run says how long what it would do takes`() throws {
        try withVolume(files: 400) { volume in
            try json("damage", volume, "--index", "rmap", "--count", "4", "--seed", "1")
            let report = try json("repair", volume, "--dry-run", status: 1)
            let index = try #require(report.index("rmap"))
            #expect(index.string("strategy") == "patch" || index.string("strategy") == "rebuild")
            #expect(index.number("estimatedSeconds") ?? 0 > 0)
            #expect(index.string("reason")?.contains("patching 4 entries takes about") == true)
            #expect(report.index("parents")?.has("estimatedSeconds") == false)
        }
    }

    @Test func `where nobody is at work status says so and the others fail`() throws {
        try withVolume(files: 20) { volume in
            let status = try run("status", volume)
            #expect(status.status == 0)
            #expect(status.output.contains("no process is at work on it"))
            #expect(try json("status", volume).object["live"] is NSNull)
            #expect(try run("status", volume, "--watch").status == 0)
            let none = try run("resume", volume)
            #expect(none.status == 4 && none.errors.contains("no run was interrupted"))
            for arguments in [["stop"], ["pause"], ["set", "--share", "5"]] {
                let ended = try run([arguments[0], volume] + arguments.dropFirst())
                #expect(ended.status == 4)
                #expect(ended.errors.contains("no process is at work on it"), "\(ended.errors)")
            }
            for place in ["/", volume + "/runs", volume + "/none", volume + "/data"] {
                let ended = try run("status", place)
                #expect(ended.status == 4, "\(place)")
                #expect(ended.errors.contains(place == "/" ? "/" : place), "\(ended.errors)")
            }
        }
    }

    @Test func `a run that is not at work can't be steered by its number`() throws {
        try withSlowRepair { volume, repair in
            for command in ["stop", "pause", "resume"] {
                let ended = try run(command, volume, "9")
                #expect(ended.status == 4)
                #expect(ended.errors.contains("no run 9 is at work; give 1, or no number"))
            }
            #expect(repair.isRunning)
            try json("stop", volume)
        }
    }

    @Test func `what a process left that was killed is no hindrance`() throws {
        try withSlowRepair { volume, repair in
            repair.signal(SIGKILL)
            _ = repair.wait()
            #expect(FileManager.default.fileExists(atPath: volume + "/control.sock"))
            #expect(try run("status", volume).output.contains("no process is at work on it"))
            let again = try Started(tidemark, ["repair", volume, "--speed-limit", "10"])
            try untilAtWork(volume, by: again)
            try json("set", volume, "--speed-limit", "none")
            #expect(again.wait().status == 0)
            try expectVerified(volume)
        }
    }

    @Test func `a file where the socket is to be leaves the run alone, and is left alone`() throws {
        try withVolume(files: 50) { volume in
            let path = volume + "/control.sock"
            try Data("precious".utf8).write(to: URL(fileURLWithPath: path))
            let ended = try run("repair", volume)
            #expect(ended.status == 0)
            #expect(ended.errors.contains("is no socket"))
            let status = try run("status", volume)
            #expect(status.status == 4)
            #expect(status.errors.contains("control.sock is no socket"))
            #expect(FileManager.default.contents(atPath: path) == Data("precious".utf8))
        }
    }

    @Test func `a process that does not answer is not waited for`() throws {
        try withSlowRepair { volume, repair in
            repair.signal(SIGSTOP)
            // It ends, though nobody answers it.
            let ended = try run("status", volume)
            repair.signal(SIGCONT)
            #expect(ended.status == 4)
            #expect(ended.errors.contains("does not answer"))
            try json("stop", volume)
            #expect(repair.wait().status == 4)
        }
    }

    @Test(.enabled(if: getuid() == 0, "another user is needed"))
    func `another user is refused, by the directory's mode and by the server`() throws {
        try withSlowRepair { volume, repair in
            // The file modes are not what keeps them out here, nor those of the directories above.
            let script = "exec setpriv --reuid nobody --clear-groups --inh-caps=-all \"$@\""
            let closed = try shell(script, tidemark, "stop", volume)
            #expect(closed.status == 4)
            #expect(closed.errors.contains("not permitted"), "\(closed.errors)")
            let opened = try shell(
                "chmod 755 \"$1\"/.. \"$1\"; chmod 666 \"$1\"/control.sock", volume)
            #expect(opened.status == 0)
            let refused = try shell(script, tidemark, "stop", volume)
            #expect(refused.status == 4)
            #expect(refused.errors.contains("not permitted"), "\(refused.errors)")
            #expect(repair.isRunning)
            try json("stop", volume)
        }
    }

    @Test func `a second check at the same time goes on without being served`() throws {
        try withVolume(files: 300) { volume in
            let first = try Started(tidemark, ["check", volume, "--speed-limit", "10"])
            try untilAtWork(volume, by: first)
            #expect(try json("check", volume).string("outcome") == "clean")
            #expect(try json("status", volume)["live"].int("process") == Int(first.number))
            try json("set", volume, "--speed-limit", "none")
            #expect(first.wait().status == 0)
        }
    }

    @Test func `watching prints a line a second, ends with the run, and is cut to 80 columns`()
        throws
    {
        try withSlowRepair { volume, repair in
            let lines = try Started(tidemark, ["status", volume, "--watch"])
            let documents = try Started(tidemark, ["status", volume, "--watch", "--json"])
            let terminal = try Started(
                "/bin/bash",
                [
                    "-c", "stty cols 80 2>/dev/null; TERM=xterm script -qec \"$0\" /dev/null",
                    "stty cols 80; exec \(tidemark) status \(volume) --watch",
                ])
            // One after the other: a line, and a picture, each second.
            try until("lines") { lines.output.matches(of: /run 1: scanning/).count >= 2 }
            try until("documents") { documents.output.count { $0 == "\n" } >= 3 }
            try until("pictures") { terminal.output.matches(of: /\u{1b}\[J/).count >= 3 }
            try json("stop", volume)
            #expect(repair.wait().status == 4)
            let text = lines.wait()
            #expect(text.status == 0)
            #expect(!text.output.contains("\u{1b}"))
            let all = documents.wait()
            #expect(try all.lines.count >= 3)
            #expect(try all.lines[0]["live"].list("runs").first?.string("phase") == "scanning")
            let drawn = terminal.wait().output
            // Each picture begins where the one before it began, and ends by taking away the rest.
            let pictures = drawn.components(separatedBy: "\u{1b}[J").dropLast()
            #expect(pictures.count >= 2, "\(drawn)")
            for (before, picture) in zip(pictures, pictures.dropFirst()) {
                let height = before.utf8.count { $0 == UInt8(ascii: "\n") }
                #expect(picture.hasPrefix("\u{1b}[\(height)A"), "\(drawn)")
            }
            let rows = drawn.replacing(/\u{1b}\[[0-9]*[A-Za-z]/, with: "")
                .split(whereSeparator: \.isNewline)
            #expect(rows.count >= 10 && rows.allSatisfy { $0.count < 80 }, "\(rows)")
        }
    }
}
