// Commands about a volume that another process serves, as a mount: they are run by that process,
// and look no different.

import Foundation
import TestSupport
import Testing

@Suite(.enabled(if: canMount, "there is no /dev/fuse that could be opened"))
struct ServedTests {
    /// A volume with a small tree, mounted.
    private func withServed(
        files: Int = 300, _ body: (_ volume: String, _ point: String) throws -> Void
    ) throws {
        try withVolume(files: files) { volume in
            let point = volume + "-mounted"
            try FileManager.default.createDirectory(
                atPath: point, withIntermediateDirectories: false)
            try json("mount", volume, point)
            // Not by this process: what it has open while it starts others, these have too.
            try expectWell("printf contents > \"$1\"/written", point)
            defer { _ = try? shell("umount -l \"$1\" 2>/dev/null", point) }
            try body(volume, point)
            let ended = try run("unmount", point)
            #expect(ended.status == 0, "\(ended.errors)")
            try expectVerified(volume)
        }
    }

    private func live(_ target: String) throws -> Document { try Document.live(target) }

    /// The process that serves the volume.
    private func server(_ volume: String) throws -> Int32 {
        Int32(try #require(try live(volume).int("process")))
    }

    @Test func `every command answers by volume and by mount point, and the mount stays`() throws {
        try withServed { volume, point in
            let inode = try shell("stat -c %i \"$1/d0/small-0\"", point).output
                .trimmingCharacters(in: .whitespacesAndNewlines)
            for target in [volume, point] {
                #expect(try json("stat", target).string("target") == target)
                #expect(try run("paths", target, "--inode", inode).output.contains("/d1/link"))
                #expect(try run("owner", target, "--block", "0").status == 0)
                #expect(try run("dump", target, "dirents").output.contains("small-0"))
                #expect(try json("check", target).string("outcome") == "clean")
                try json("damage", target, "--index", "parents", "--count", "9", "--seed", "1")
                let list = volume + ".jsonl"
                let found = try json("check", target, "--list", list, status: 1)
                #expect(found.index("parents")?.int("missing") == 3)
                let lines = try String(contentsOfFile: list, encoding: .utf8)
                #expect(lines.split(separator: "\n").count == 9)
                let repaired = try json("repair", target, "--strategy", "rebuild", "--keep-old")
                #expect(repaired.string("outcome") == "repaired")
                try json("rollback", target, "--index", "rmap", "--forget")
                #expect(try json("verify", target).string("outcome") == "clean")
                #expect(try live(target).string("command") == "mount")
            }
            let refused = try run("import", volume, "/etc")
            #expect(refused.status == 4 && refused.errors.contains("in use by process"))
            #expect(try shell("cat \"$1/written\"", point).output == "contents")
        }
    }

    @Test func `errors of a served command are those of the command itself`() throws {
        try withServed { volume, _ in
            let block = try run("owner", volume, "--block", "99999999999")
            #expect(block.status == 8 && block.errors.contains("are not in the volume"))
            for block in ["18446744073709551615", "1"] {
                let ended = try run(
                    "owner", volume, "--block", block, "--length", "18446744073709551615")
                #expect(ended.status == 8 && ended.errors.contains("--length is 1 to"))
            }
            let paths = try run("paths", volume, "--inode", "1", "--limit", "\(Int.max)")
            #expect(paths.status == 8 && paths.errors.contains("--limit is 1 to"))
            let path = try run("check", volume, "--subtree", "/not/there")
            #expect(path.status == 4 && path.errors.contains("does not exist"))
            #expect(try run("dump", volume, "nonsense").status != 0)
            let document = try json("paths", volume, "--inode", "99999999", status: 4)
            #expect(document.has("error"))
        }
    }

    @Test func `several clients work at once, and are steered one by one`() throws {
        try withServed { volume, point in
            let slow = ["--speed-limit", "10", "--json"]
            let first = try Started(tidemark, ["repair", volume, "--index", "rmap"] + slow)
            try untilAtWork(volume)
            let second = try Started(tidemark, ["check", point, "--index", "parents"] + slow)
            try untilAtWork(volume, 2)
            let runs = try live(volume).list("runs")
            let check = try #require(runs.first { $0.strings("indexes") == ["parents"] })
            try json("stop", point, "\(check.int("number") ?? 0)")
            let stopped = second.wait()
            #expect(stopped.status == 4)
            #expect(try stopped.document().string("outcome") == "stopped")
            #expect(first.isRunning)
            try json("set", volume, "--speed-limit", "none")
            #expect(first.wait().status == 0)
            // A stopped run does not hinder the next.
            #expect(try json("check", volume, "--index", "parents").string("outcome") == "clean")
            let none = try run("stop", volume)
            #expect(none.status == 4 && none.errors.contains("no run is at work"))
        }
    }

    @Test func `a run that was stopped goes on while its volume stays mounted`() throws {
        try withServed { volume, point in
            try json("damage", volume, "--index", "rmap", "--count", "30", "--seed", "4")
            let repair = try Started(
                tidemark, ["repair", volume, "--index", "rmap", "--speed-limit", "10"])
            try untilAtWork(volume)
            let number = try #require(try live(volume).list("runs").first?.int("number"))
            try json("stop", volume)
            #expect(repair.wait().status == 4)
            // Another is at work meanwhile, and is not what is meant.
            let check = try Started(
                tidemark, ["check", point, "--index", "parents", "--speed-limit", "10"])
            try untilAtWork(volume)
            let ended = try json("resume", point, "\(number)", "--speed-limit", "none")
            #expect(ended.string("outcome") == "repaired" && ended.int("run") == number)
            #expect(check.isRunning)
            try json("set", volume, "--speed-limit", "none")
            #expect(check.wait().status == 0)
            let none = try run("resume", volume)
            #expect(none.status == 4 && none.errors.contains("no run was interrupted"))
        }
    }

    @Test(arguments: [
        (["check"], true), (["repair", "--strategy", "rebuild"], true),
        (["repair", "--no-background"], false),
    ])
    func `a run on a mount gives way to programs, unless it is told not to`(
        command: [String], isBackground: Bool
    ) throws {
        try withServed { volume, point in
            let run = try Started(
                tidemark,
                command.prefix(1) + [point] + command.dropFirst() + ["--speed-limit", "10"])
            try untilAtWork(volume)
            #expect(try live(volume)["limits"].object["background"] as? Bool == isBackground)
            try json("set", volume, "--background")
            #expect(try live(volume)["limits"].object["background"] as? Bool == true)
            try json("set", volume, "--no-background", "--speed-limit", "none")
            #expect(run.wait().status == 0)
        }
    }

    @Test(arguments: [([], true), (["--no-background"], false)])
    func `a run that goes on on a mount gives way too, whatever it did before`(
        options: [String], isBackground: Bool
    ) throws {
        try withServed { volume, _ in
            try json("damage", volume, "--index", "rmap", "--count", "30", "--seed", "4")
            let repair = try Started(
                tidemark, ["repair", volume, "--no-background", "--speed-limit", "10"])
            try untilAtWork(volume)
            try json("stop", volume)
            #expect(repair.wait().status == 4)
            let resumed = try Started(tidemark, ["resume", volume] + options)
            try untilAtWork(volume)
            #expect(try live(volume)["limits"].object["background"] as? Bool == isBackground)
            try json("set", volume, "--speed-limit", "none")
            #expect(resumed.wait().status == 0)
        }
    }

    @Test(arguments: [SIGKILL, SIGINT])
    func `a client that goes away stops nothing`(signal: Int32) throws {
        try withServed { volume, _ in
            try json("damage", volume, "--index", "rmap", "--count", "30", "--seed", "2")
            let repair = try Started(tidemark, ["repair", volume, "--speed-limit", "10"])
            try untilAtWork(volume)
            repair.signal(signal)
            let ended = repair.wait()
            if signal == SIGINT {
                #expect(ended.status == 4 && ended.errors.contains("tidemark stop"))
            }
            try untilAtWork(volume)
            try json("set", volume, "--speed-limit", "none")
            try until { try live(volume).list("runs").isEmpty }
            let last = try #require(try json("status", volume).list("runs").last)
            #expect(last.string("outcome") == "repaired", "\(last.object)")
        }
    }

    @Test(arguments: [SIGKILL, SIGTERM])
    func `a run that a server leaves behind is gone on with by the next`(signal: Int32) throws {
        try withServed { volume, point in
            try json("damage", volume, "--index", "parents", "--count", "30", "--seed", "3")
            let process = try server(volume)
            let repair = try Started(
                tidemark,
                ["repair", volume, "--strategy", "rebuild", "--speed-limit", "10"])
            try untilAtWork(volume)
            kill(process, signal)
            #expect(repair.wait().status == 4)
            try until { kill(process, 0) != 0 }
            _ = try shell("umount -l \"$1\" 2>/dev/null", point)
            let left = try #require(try json("status", volume).list("runs").last)
            #expect(left.string("state") == (signal == SIGTERM ? "paused" : "crashed"))
            try json("mount", volume, point)
            try untilAtWork(volume)
            let limits = try live(volume).list("runs").first?["limits"]
            #expect(limits?.int("speedLimit") == 10)
            try json("set", volume, "--speed-limit", "none")
            try until {
                try json("status", volume).list("runs").last?.string("state") == "completed"
            }
            let last = try #require(try json("status", volume).list("runs").last)
            #expect(last.string("outcome") == "repaired", "\(last.object)")
            #expect(last.int("number") == left.int("number"))
        }
    }

    @Test func `a run that was stopped, or rests, goes on by resume`() throws {
        try withServed { volume, point in
            try json("damage", volume, "--index", "parents", "--count", "30", "--seed", "4")
            let arguments = ["repair", volume, "--strategy", "rebuild", "--speed-limit", "10"]
            let repair = try Started(tidemark, arguments)
            try untilAtWork(volume)
            try json("pause", point)
            #expect(try live(volume).list("runs").first?.object["paused"] as? Bool == true)
            let rested = try run("resume", volume)
            #expect(rested.status == 0, "\(rested.errors)")
            #expect(try live(volume).list("runs").first?.object["paused"] as? Bool == false)
            try json("stop", point)
            #expect(repair.wait().status == 4)
            let stopped = try #require(try json("status", volume).list("runs").last)
            #expect(stopped.string("state") == "stopped")
            let number = try #require(stopped.int("number"))
            let resumed = try run(
                "resume", point, "\(number)", "--speed-limit", "none", "--json")
            #expect(resumed.status == 0, "\(resumed.errors)")
            #expect(try resumed.document().string("outcome") == "repaired")
            let again = try run("resume", volume, "\(number)")
            #expect(again.status == 4 && again.errors.contains("has ended"))
            #expect(try run("resume", volume).status == 4)
        }
    }

    @Test func `runs that begin at one moment have numbers of their own`() throws {
        try withServed { volume, _ in
            for _ in 0..<5 {
                let checks = try ["rmap", "parents", "links"].map {
                    try Started(tidemark, ["check", volume, "--index", $0])
                }
                for check in checks {
                    let ended = check.wait()
                    #expect(ended.status == 0, "\(ended.output) \(ended.errors)")
                }
            }
            let runs = try json("status", volume).list("runs")
            #expect(runs.count == 15)
            #expect(Set(runs.compactMap { $0.int("number") }).count == 15)
            #expect(runs.allSatisfy { $0.string("state") == "completed" })
        }
    }

    @Test func `two runs that a server left behind go on, and a check meanwhile costs neither`()
        throws
    {
        try withServed { volume, point in
            for index in ["rmap", "parents"] {
                try json("damage", volume, "--index", index, "--count", "30", "--seed", "5")
            }
            let repairs = try ["rmap", "parents"].map {
                try Started(
                    tidemark, ["repair", volume, "--index", $0, "--speed-limit", "10"])
            }
            try untilAtWork(volume, 2)
            kill(try server(volume), SIGKILL)
            for repair in repairs { #expect(repair.wait().status == 4) }
            _ = try shell("umount -l \"$1\" 2>/dev/null", point)
            try json("mount", volume, point)
            _ = try run("check", volume, "--index", "parents", "--speed-limit", "none")
            try until("two repaired runs") {
                // They go on one after the other, each with the limit that it had.
                for work in try live(volume).list("runs") {
                    let number = try #require(work.int("number"))
                    _ = try run("set", volume, "\(number)", "--speed-limit", "none")
                }
                return try json("status", volume).list("runs")
                    .count { $0.string("outcome") == "repaired" } == 2
            }
            let outcomes = try json("status", volume).list("runs")
                .filter { $0.list("results").contains { $0.int("missing") ?? 0 > 0 } }
            #expect(outcomes.count >= 2, "\(outcomes.map(\.object))")
            #expect(try json("check", volume).string("outcome") == "clean")
        }
    }

    @Test func `a server survives clients that send rubbish or nothing`() throws {
        try withServed { volume, point in
            let script = """
                import socket, sys, os, time
                os.chdir(sys.argv[1])
                def connect():
                    s = socket.socket(socket.AF_UNIX); s.connect("control.sock"); return s
                idle = [connect() for _ in range(8)]
                for line in (b"rubbish\\n", b"{}\\n", b"\\xff" * 70000 + b"\\n",
                             b'{"version":1,"verb":"command","argument":{"words":["mount"]}}\\n',
                             b'{"version":1,"verb":"command","argument":{"words":["check"]}}\\n',
                             b'{"version":1,"verb":"command","argument":7}\\n'):
                    s = connect(); s.sendall(line); answer = s.recv(65536)
                    assert b'"error"' in answer, answer
                half = connect(); half.sendall(b'{"version":1,')
                gone = connect()
                gone.sendall(b'{"version":1,"verb":"command","argument":{"words":["dump",'
                             b'"x","inodes"]}}\\n')
                gone.close()
                """
            let ended = try Started("/usr/bin/env", ["python3", "-c", script, volume]).wait()
            #expect(ended.status == 0, "\(ended.errors)")
            #expect(try json("check", point).string("outcome") == "clean")
            #expect(try shell("cat \"$1/written\"", point).output == "contents")
        }
    }

    @Test(.enabled(if: getuid() == 0, "another user is needed"))
    func `another user gets the files, and no command`() throws {
        try withServed { volume, point in
            let opened = try shell(
                "chmod 755 \"$1/..\" \"$1\"; chmod 666 \"$1/control.sock\"", volume)
            #expect(opened.status == 0)
            let script = "exec setpriv --reuid nobody --clear-groups --inh-caps=-all \"$@\""
            for command in [["check", volume], ["stop", volume], ["status", point]] {
                let words = ["-c", script, "bash", tidemark] + command
                let refused = try Started("/bin/bash", words).wait()
                #expect(refused.status == 4, "\(command): \(refused.output)")
                #expect(refused.errors.contains("not permitted"), "\(command): \(refused.errors)")
            }
        }
    }
}
