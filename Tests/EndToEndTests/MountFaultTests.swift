// What can go wrong with a mount: said clearly, and nothing that was acknowledged is lost.

import Bytes
import Foundation
import TestSupport
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
            let above = (point as NSString).deletingLastPathComponent
            for place in [other, other + "/runs/..", above] {
                let ended = try run("mount", other, place)
                #expect(ended.status == 4, "\(place)")
                #expect(ended.errors.contains("would hide the volume"), "\(ended.errors)")
            }
        }
    }

    @Test func `a volume whose directory is renamed goes on`() throws {
        try withMount { volume, point in
            try expectWell(
                """
                mv "$1" "$1-moved"; echo a > "$2/a"; sync "$2/a"
                mv "$1-moved" "$1"; echo b > "$2/b"; sync "$2/b"; grep -qx a "$2/a"
                """, volume, point)
        }
    }

    @Test func `a server whose files may not grow further goes on`() throws {
        try withMount(size: "256M") { volume, point in
            #expect(try run("unmount", point).status == 0)
            // Blocks of 1,024 bytes.
            try expectWell(
                "ulimit -f 65536; exec \"$1\" mount \"$2\" \"$3\"", tidemark, volume, point)
            try expectWell(
                """
                echo kept > "$1/a"; sync "$1/a"
                ! head -c 150M /dev/zero 2>/dev/null > "$1/big" || ! sync "$1/big" 2>/dev/null
                grep -qx kept "$1/a"; rm "$1/big"; mkdir "$1/d"; [ "$(ls "$1")" = $'a\nd' ]
                """, point)
        }
    }

    @Test(.enabled(if: getuid() == 0, "a file system is mounted"))
    func `a volume is mounted where its disk has no room for one more file`() throws {
        try withMount { volume, point in
            try expectWell("echo there > \"$1\"/f", point)
            #expect(try run("unmount", point).status == 0)
            let disk = volume + "-disk"
            try expectWell(
                """
                mkdir "$2"; mount -t tmpfs -o size=100M,nr_inodes=30 tidemark-test "$2"
                cp -a --sparse=always "$1" "$2/v"; touch "$2/v/meta.mdb-lock"
                for i in {1..40}; do : > "$2/fill-$i" || break; done 2>/dev/null; true
                """, volume, disk)
            defer { _ = try? shell("umount -l \"$1\"", disk) }
            for option in ["--quiet", "--read-only"] {
                let mounted = try run("mount", disk + "/v", point, option)
                #expect(mounted.status == 0, "\(mounted.errors)")
                try expectWell("grep -qx there \"$1/f\"", point)
                #expect(try run("unmount", point).status == 0)
            }
            try json("mount", volume, point)
        }
    }

    @Test func `a mount in use stays, and one that is told to end writes out what it holds`() throws
    {
        try withMount { volume, point in
            // It only stays there, until it is killed.
            let user = try Started("/bin/bash", ["-c", "cd \"$0\"; exec sleep 3600", point])
            try until("user of the mount") {
                try FileManager.default.destinationOfSymbolicLink(
                    atPath: "/proc/\(user.number)/cwd") == point
            }
            let ended = try run("unmount", point)
            #expect(ended.status == 4 && ended.errors.contains("is in use"), "\(ended.errors)")
            try expectWell("echo unsynced > \"$1\"/f", point)
            kill(try server(volume), SIGTERM)
            try expectWell("wait_until flock -n \"$1/lock\" true", volume)
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
                try Started("/usr/bin/env", ["python3", "-c", program, point, told, "\($0)"])
            }
            try expectWell(
                """
                told=$1
                for who in 1 2 3; do
                    wait_until eval 'test "$(cat "$told$who" 2> /dev/null | wc -l)" -gt 20'
                done
                """, told)
            try json("damage", volume, "--index", "rmap", "--count", "9", "--seed", "1")
            let repair = try Started(
                tidemark, ["repair", volume, "--strategy", "rebuild", "--speed-limit", "10"])
            try untilAtWork(volume, by: repair)
            let number = try #require(
                try json("status", volume)["live"].list("runs").first?.int("number"))
            kill(try server(volume), SIGKILL)
            for writer in writers { _ = writer.wait() }
            #expect(repair.wait().status == 4)
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
            try untilAtWork(volume)
            try json("set", volume, "--speed-limit", "none")
            try until("completed run") {
                try json("status", volume).list("runs").contains {
                    $0.int("number") == number && $0.string("outcome") == "repaired"
                }
            }
        }
    }

    @Test(arguments: [0, 5, 100])
    func
        `killed, a server leaves a prefix of what it has done, and all of it without a delay`(
            commitDelay: Int
        ) throws
    {
        // After any step there is `b` of one number, and perhaps `a` or `b` of the next.
        let program = """
            import os, sys
            point, told = sys.argv[1:]
            log = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for i in range(1000000):
                os.mknod("%s/a%d" % (point, i))
                os.rename("%s/a%d" % (point, i), "%s/b%d" % (point, i))
                if i > 0: os.unlink("%s/b%d" % (point, i - 1))
                os.write(log, b"%d\\n" % i)
            """
        try withMount { volume, point in
            let told = volume + "-told"
            #expect(try run("unmount", point).status == 0)
            try json("mount", volume, point, "--commit-delay", "\(commitDelay)")
            let writer = try Started("/usr/bin/env", ["python3", "-c", program, point, told])
            try expectWell(
                """
                told=$1; wait_until eval 'test "$(cat "$told" 2> /dev/null | wc -l)" -gt 500'
                """, told)
            kill(try server(volume), SIGKILL)
            _ = writer.wait()
            try json("mount", volume, point)
            let names = try FileManager.default.contentsOfDirectory(atPath: point).sorted()
            let numbers = try names.map { try #require(Int($0.dropFirst())) }
            let last = try #require(
                String(contentsOfFile: told, encoding: .utf8).split(separator: "\n").last)
            let done = try #require(Int(last)), kept = try #require(numbers.min())
            let isBetween =
                names == ["b\(kept)"] || names == ["a\(kept + 1)", "b\(kept)"]
                || names == ["b\(kept)", "b\(kept + 1)"].sorted()
            #expect(isBetween && kept <= done + 1, "\(names), \(done)")
            if commitDelay == 0 { #expect(kept >= done, "\(names), \(done)") }
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
            try expectWell("wait_until mountpoint -q \"$1\"", point)
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

    /// Flips a byte of a record of the volume, while it is not mounted.
    private func damage(_ volume: String, _ point: String, _ name: String, _ key: [UInt8]) throws {
        #expect(try run("unmount", point).status == 0)
        try tamper(volume) { transaction in
            try transaction.flip(try transaction.open(name), key)
        }
        try json("mount", volume, point)
    }

    private func inode(_ path: String) throws -> UInt64 {
        let status = try shell("stat -c %i \"$1\"", path)
        return try #require(UInt64(status.output.trimmingCharacters(in: .newlines)))
    }

    @Test func `a damaged name or extent gives an error of its own, and the rest works`() throws {
        try withMount(verified: false) { volume, point in
            try expectWell(
                """
                cd "$1"; mkdir d; for i in {1..50}; do echo $i > d/f$i; done
                dd if=/dev/urandom of=big bs=64K count=4 status=none
                """, point)
            var key = withUnsafeBytes(of: try inode(point + "/d").bigEndian) { Array($0) }
            try damage(volume, point, "dirents", key + Array("f7".utf8))
            try expectWell(
                """
                cd "$1"; ! cat d/f7 2> error; grep -q "Input/output error" error
                grep -qx 8 d/f8; echo 51 > d/f51; rm d/f9; ! test -e d/f9; mv d/f10 d/g10
                test "$(ls d | wc -l)" -ge 49
                """, point)
            key = withUnsafeBytes(of: try inode(point + "/big").bigEndian) { Array($0) }
            // Of its contents, from the first block on.
            try damage(volume, point, "extents", key + [0] + [UInt8](repeating: 0, count: 8))
            try expectWell(
                """
                cd "$1"; ! cat big > /dev/null 2> error; grep -q "Input/output error" error
                grep -qx 8 d/f8; cat d/f8 d/f51 > new; sync new; test "$(wc -l < new)" = 2
                """, point)
            let found = try run("verify", point)
            #expect(found.status == 1 && found.output.contains("damaged"), "\(found.output)")
        }
    }

    @Test func `a forced end keeps what was written, and programs get errors from then on`() throws
    {
        try withMount { volume, point in
            let words = [
                "-c",
                """
                cd "$0"; exec 3> open; echo kept >&3; echo ready > ready
                while true; do echo more >&3 && mkdir m && rmdir m || exit 7; done
                """, point,
            ]
            let user = try Started("/bin/bash", words)
            try expectWell("wait_until test -s \"$1/ready\"", point)
            #expect(try run("unmount", point).status == 4)
            let ended = try run("unmount", point, "--force")
            #expect(ended.status == 0, "\(ended.errors)")
            #expect(user.wait().status == 7)
            try expectVerified(volume)
            try json("mount", volume, point)
            try expectWell("head -n 1 \"$1/open\" | grep -qx kept", point)
        }
    }

    @Test func `link counts that a repair has corrected are seen at once`() throws {
        try withMount { volume, point in
            try expectWell(
                """
                cd "$1"; for i in {1..40}; do echo $i > f$i; ln f$i l$i; done
                """, point)
            #expect(try run("unmount", point).status == 0)
            try json("damage", volume, "--index", "links", "--count", "20", "--seed", "1")
            try json("mount", volume, point)
            // The kernel remembers what it is told here.
            let counts = "cd \"$1\"; stat -c %h f* | sort | uniq -c | tr -s ' '"
            let before = try shell(counts, point)
            #expect(before.output != " 40 2\n", "\(before.errors)")
            #expect(try shell(counts, point).output == before.output)
            let repaired = try json("repair", volume, "--index", "links")
            #expect(repaired.string("outcome") == "repaired")
            #expect(try shell(counts, point).output == " 40 2\n")
        }
    }

    @Test func `where the metadata is full a program is told, and deleting makes room`() throws {
        try withMount { volume, point in
            #expect(try run("unmount", point).status == 0)
            try json("mount", volume, point, "--metadata-limit", "2M")
            let program = """
                import errno, os, sys
                os.chdir(sys.argv[1])
                durable, number = [], 0
                for part in range(2):
                    try:
                        while True:
                            name = "%0200d" % number
                            file = os.open(name, os.O_RDWR | os.O_CREAT)
                            os.write(file, b"%d" % number)
                            if number % 50 == 0: os.fsync(file)
                            os.close(file); durable.append(name); number += 1
                    except OSError as failure:
                        assert failure.errno == errno.ENOSPC, failure
                    assert len(durable) > 200, len(durable)
                    for name in durable: assert int(open(name).read()) == int(name)
                    gone, durable = durable[:-200], durable[-200:]
                    for name in gone: os.unlink(name)
                for name in durable: assert int(open(name).read()) == int(name)
                """
            let ended = try Started("/usr/bin/env", ["python3", "-c", program, point]).wait()
            #expect(ended.status == 0, "\(ended.errors)")
        }
    }

    @Test(.enabled(if: getuid() == 0, "a file system is mounted"))
    func `a volume on what can only be read is mounted for reading, and only so`() throws {
        try withMount { volume, point in
            try expectWell("echo there > \"$1\"/f", point)
            #expect(try run("unmount", point).status == 0)
            let bound = volume + "-bound"
            try expectWell(
                "mkdir \"$2\"; mount --bind \"$1\" \"$2\"; mount -o remount,bind,ro \"$2\"",
                volume, bound)
            defer { _ = try? shell("umount -l \"$1\"", bound) }
            let refused = try run("mount", bound, point)
            #expect(refused.status == 4)
            #expect(refused.errors.contains("Read-only file system; open the volume for reading"))
            try json("mount", bound, point, "--read-only")
            try expectWell(
                "cd \"$1\"; grep -qx there f; ! echo more 2> /dev/null > f; ls | grep -qx f", point)
            #expect(try run("unmount", point).status == 0)
            try json("mount", volume, point)
        }
    }
}
