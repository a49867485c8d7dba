// What can go wrong with a mount: said clearly, and nothing that was acknowledged is lost.

import Bytes
import Foundation
import Testing
import VolumeFormat

@Suite(.enabled(if: canMount, "there is no /dev/fuse that could be opened"))
struct MountFaultTests {
    /// The process that serves the volume.
    private func server(_ volume: String) throws -> Int32 {
        let text = try String(contentsOfFile: volume + "/lock", encoding: .utf8)
        return try #require(Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)))
    }

    @Test func `what is in the way of a mount is named`() throws {
        try withMount { volume, point in
            let other = point + "-other", file = point + "/file"
            try json("create", other, "--size", "64M")
            try Data().write(to: URL(fileURLWithPath: file))
            let cases: [(arguments: [String], words: String)] = [
                ([other, point + "-missing"], "does not exist; make the directory first"),
                ([other, file], "is not a directory"),
                ([other, point], "is a mount point already"),
                ([volume, NSTemporaryDirectory()], "is in use by process \(try server(volume))"),
                ([other + "-none", point + "-missing"], "is not a volume"),
            ]
            for (arguments, words) in cases {
                let ended = try run(["mount"] + arguments)
                #expect(ended.status == 4, "\(arguments)")
                #expect(ended.errors.contains(words), "\(arguments): \(ended.errors)")
            }
            let ended = try run("unmount", other)
            #expect(ended.status == 4 && ended.errors.contains("no volume is mounted there"))
        }
    }

    @Test func `a mount in use stays, and one that is told to end writes out what it holds`() throws
    {
        try withMount { volume, point in
            let user = try Started("/bin/bash", ["-c", "cd \"$0\"; exec sleep 60", point])
            while try FileManager.default.destinationOfSymbolicLink(
                atPath: "/proc/\(user.number)/cwd") != point
            {
                usleep(10000)
            }
            let ended = try run("unmount", point)
            #expect(ended.status == 4 && ended.errors.contains("is in use"), "\(ended.errors)")
            try expectWell("echo unsynced > \"$1\"/f", point)
            kill(try server(volume), SIGTERM)
            try expectWell(
                "for i in {1..20}; do ! flock -n \"$1/lock\" true || exit 0; sleep 1; done; false",
                volume)
            user.signal(SIGKILL)
            try expectVerified(volume)
            try json("mount", volume, point)
            try expectWell("grep -qx unsynced \"$1\"/f", point)
        }
    }

    @Test func `killed under load, a server leaves all that fsync acknowledged`() throws {
        try withMount { volume, point in
            let told = volume + "-told"
            let program = """
                import os, sys
                point, told, who = sys.argv[1:]
                log = os.open(told + who, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.mkdir(point + "/" + who)
                for i in range(100000):
                    name = "%s/%s/%d" % (point, who, i)
                    file = os.open(name + ".new", os.O_RDWR | os.O_CREAT)
                    os.write(file, b"%d" % i * 3000)
                    os.rename(name + ".new", name)
                    os.fsync(file); os.close(file)
                    os.write(log, b"%d\\n" % i)
                """
            let writers = try (1...3).map {
                try Started(
                    "/usr/bin/timeout", ["60", "python3", "-c", program, point, told, "\($0)"])
            }
            usleep(1_500_000)
            kill(try server(volume), SIGKILL)
            for writer in writers { _ = writer.wait() }
            // The dead mount is cleared away.
            #expect(try shell("ls \"$1\"", point).errors.contains("not connected"))
            try json("mount", volume, point)
            try expectWell(
                """
                for who in 1 2 3; do
                    test "$(wc -l < "$2$who")" -gt 3
                    while read -r i; do
                        python3 - "$1/$who/$i" $i <<'END'
                import sys
                assert open(sys.argv[1]).read() == sys.argv[2] * 3000, sys.argv
                END
                    done < <(tail -n 12 "$2$who")
                    test "$(ls "$1/$who" | grep -vc new)" -ge "$(wc -l < "$2$who")"
                done
                """, point, told)
        }
    }

    @Test func `a damaged inode gives an error of its own, and the rest works`() throws {
        try withMount(verified: false) { volume, point in
            try expectWell("cd \"$1\"; echo good > good; echo bad > bad", point)
            let status = try shell("stat -c %i \"$1\"/bad", point)
            let number = try #require(UInt64(status.output.trimmingCharacters(in: .newlines)))
            #expect(try run("unmount", point).status == 0)
            try tamper(volume) { transaction in
                let table = try transaction.open("inodes")
                try transaction.flip(table, withUnsafeBytes(of: number.bigEndian) { Array($0) })
            }
            let server = try Started(tidemark, ["mount", volume, point, "--foreground"])
            try expectWell("until mountpoint -q \"$1\"; do sleep 0.05; done", point)
            try expectWell(
                """
                cd "$1"; grep -qx good good; ls | grep -qx bad
                ! cat bad 2> error; grep -q "Input/output error" error
                rm error; echo more > more; mv more good; grep -qx more good
                """, point)
            #expect(try run("unmount", point).status == 0)
            let ended = server.wait()
            #expect(ended.status == 0)
            #expect(ended.errors.contains("inode \(number) in table inodes is damaged"))
            #expect(ended.errors.contains("run `tidemark verify`"))
            try json("mount", volume, point)
        }
    }
}
