// A file system below that has no room left, for whatever the command wants to write.

import Foundation
import TestSupport
import Testing

@Suite struct FullDiskTests {
    /// A volume on a file system of its own, and a function that leaves it so many bytes.
    private func withSmallDisk(
        _ body: (_ volume: String, _ leave: (_ bytes: Int) throws -> Void) throws -> Void
    ) throws {
        try withVolume(files: 300) { built in
            let disk = built + "-disk"
            let made = try shell(
                """
                set -e; mkdir "$1"; mount -t tmpfs -o size=48M tidemark-test "$1"
                cp -a --sparse=always "$2" "$1/v"
                """, disk, built)
            try #require(made.status == 0, "\(made.errors)")
            defer { _ = try? shell("umount -l \"$1\"", disk) }
            try body(disk + "/v") { bytes in
                let filled = try shell(
                    """
                    rm -f "$1/fill"; free=$(df --output=avail -B1 "$1" | tail -1)
                    dd if=/dev/zero of="$1/fill" bs=64K count=$(((free - $2) / 65536)) status=none
                    [ "$2" -gt 0 ] || { cat /dev/zero >> "$1/fill"; } 2>/dev/null; true
                    """, disk, "\(bytes)")
                try #require(filled.status == 0, "\(filled.errors)")
            }
        }
    }

    @Test(
        .enabled(if: getuid() == 0, "a file system is mounted"),
        arguments: [0, 64 << 10, 512 << 10])
    func `a repair on a full disk says so, changes nothing, and can be made later`(
        bytes: Int
    ) throws {
        try withSmallDisk { volume, leave in
            try json("damage", volume, "--index", "parents", "--count", "30", "--seed", "1")
            try leave(bytes)
            for arguments in [["repair", volume, "--strategy", "rebuild"], ["check", volume]] {
                let ended = try Started(tidemark, arguments).wait()
                if bytes == 0 { #expect(ended.status == 4, "\(arguments): \(ended.output)") }
                guard ended.status == 4 else { continue }
                let said = ended.output + ended.errors
                #expect(
                    said.contains("No space left on device") || said.contains("no space"),
                    "\(arguments): \(said)")
            }
            let status = try Started(tidemark, ["status", volume]).wait()
            #expect(status.status == 0, "\(status.errors)")
            try leave(24 << 20)
            let repaired = try json("repair", volume)
            #expect(["clean", "repaired"].contains(repaired.string("outcome")))
            let verified = try Started(tidemark, ["verify", volume]).wait()
            #expect(verified.status == 0, "\(verified.output)")
        }
    }
}
