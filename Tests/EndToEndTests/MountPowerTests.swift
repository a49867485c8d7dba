// The machine dies under a mounted volume at work: what fsync acknowledged is there afterwards.

import Foundation
import TestSupport
import Testing

/// Whether a file system can be made that loses all that was not synced.
let canLosePower =
    canMount && getuid() == 0 && access("/dev/loop-control", R_OK | W_OK) == 0
    && access("/sbin/mkfs.ext4", X_OK) == 0

@Suite(.enabled(if: canLosePower, "needs root, loop devices and mkfs.ext4"))
struct MountPowerTests {
    /// Makes files, some of them durable: those stand in a log of its own.
    private static let writer = """
        import os, sys
        point, told, who = sys.argv[1:]
        log = os.open(told + who, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.mkdir(point + "/" + who)
        for i in range(100000):
            name = "%s/%s/%d" % (point, who, i)
            file = os.open(name + ".new", os.O_RDWR | os.O_CREAT)
            os.write(file, b"%d" % i * 3000)
            os.rename(name + ".new", name)
            if i % 3 == 0:
                os.fsync(file)
                os.write(log, b"%d\\n" % i)
            if i % 3 == 2 and i > 20: os.unlink("%s/%s/%d" % (point, who, i - 18))
            os.close(file)
        """

    private static let reader = """
        import sys
        point, told, who = sys.argv[1:]
        numbers = open(told + who).read().split()
        assert len(numbers) > 3, numbers
        for i in numbers:
            assert open("%s/%s/%s" % (point, who, i)).read() == i * 3000, (who, i)
        """

    /// ext4 is told to stop as if the power had gone (`EXT4_IOC_SHUTDOWN`): what it has not on its
    /// device, in its log or in place, is lost.
    private static let powerOff = """
        import fcntl, os, struct, sys
        fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))
        """

    @Test func `the death of the machine takes nothing that fsync acknowledged`() throws {
        try withDirectory { directory in
            let disk = directory + "/disk", point = directory + "/mnt", told = directory + "/told"
            let volume = disk + "/volume"
            try expectWell(
                """
                cd "$1"; mkdir disk mnt; truncate -s 512M image
                mkfs.ext4 -q -F image; mount -o loop image disk
                """, directory)
            defer { _ = try? shell("umount -l \"$1\" \"$2\" 2>/dev/null", point, disk) }
            try json("create", volume, "--size", "2G")
            try json("mount", volume, point)
            let writers = try (1...3).map {
                try Started("/usr/bin/env", ["python3", "-c", Self.writer, point, told, "\($0)"])
            }
            try expectWell(
                """
                told=$1
                for who in 1 2 3; do
                    wait_until eval 'test "$(cat "$told$who" 2> /dev/null | wc -l)" -gt 9'
                done
                """, told)
            try json("damage", volume, "--index", "rmap", "--count", "9", "--seed", "1")
            let repair = try Started(
                tidemark, ["repair", volume, "--strategy", "rebuild", "--speed-limit", "10"])
            try untilAtWork(volume, by: repair)
            let status = try json("status", volume)
            let server = try #require(status["live"].int("process"))
            try expectWell("python3 -c \"$2\" \"$1\"", disk, Self.powerOff)
            kill(Int32(server), SIGKILL)
            for writer in writers { _ = writer.wait() }
            #expect(repair.wait().status == 4)
            try expectWell(
                """
                cd "$1"; umount -l mnt
                wait_until umount disk
                # Another test's mount namespace may hold what was unmounted here. A mount of
                # the same image would get that filesystem again, which has lost its power.
                cp --sparse=always image after; mount -o loop after disk
                """, directory)
            try lookAfterwards(directory)
        }
    }

    /// A volume knows by the system's identity whether the machine has died since. This gives it
    /// another one, in a name space of its own.
    private func lookAfterwards(_ directory: String) throws {
        let words = [
            "-m", "/bin/bash", "-c",
            shellWaiting + """
            set -euo pipefail; cd "$1"
            echo another > boot; mount --bind boot /proc/sys/kernel/random/boot_id
            "$2" mount disk/volume mnt
            for who in 1 2 3; do python3 -c "$3" mnt told "$who"; done
            # The run goes on with its limit: whoever takes that away finds it at work.
            wait_until "$2" set disk/volume --speed-limit none
            is_repaired() { "$1" status disk/volume | grep -q "run 1.* completed, repaired"; }
            wait_until is_repaired "$2"
            "$2" unmount mnt
            "$2" verify disk/volume
            """, "bash", directory, tidemark, Self.reader,
        ]
        let ended = try Started("/usr/bin/unshare", words).wait()
        #expect(ended.status == 0, "\(ended.output) \(ended.errors)")
    }
}
