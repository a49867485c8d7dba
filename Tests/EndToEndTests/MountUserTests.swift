// A mount by who is not root.

import Foundation
import Testing

@Suite(.enabled(if: canMount && getuid() == 0, "needs /dev/fuse, and root to become another"))
struct MountUserTests {
    /// Runs a script as a user without any privilege, in a directory of theirs that holds a volume
    /// `v` and a directory `mnt`. `tidemark` is the command.
    private func withUser(
        _ body: (_ directory: String, _ script: (String) throws -> Ended) throws
            -> Void
    ) throws {
        try withDirectory { directory in
            let script = { (text: String) throws -> Ended in
                let text = """
                    set -euo pipefail; cd "$1"; command="$2"
                    tidemark() { "$command" "$@"; }
                    \(text)
                    """
                let user = "--reuid nobody --regid nogroup --clear-groups --inh-caps=-all"
                return try Started(
                    "/usr/bin/timeout",
                    ["240", "setpriv"] + user.split(separator: " ").map(String.init)
                        + ["/bin/bash", "-c", text, "bash", directory, tidemark]
                ).wait()
            }
            let made = try shell("chown nobody:nogroup \"$1\"; chmod 755 \"$1\"", directory)
            try #require(made.status == 0)
            defer { _ = try? shell("umount -l \"$1\" 2>/dev/null", directory + "/mnt") }
            let created = try script("tidemark create v --size 256M; mkdir mnt")
            try #require(created.status == 0, "\(created.errors)")
            try body(directory, script)
            try expectVerified(directory + "/v")
        }
    }

    @Test func `a user mounts a volume of their own, and nobody else gets in`() throws {
        try withUser { directory, script in
            let ended = try script(
                """
                tidemark mount v mnt; echo mine > mnt/file; mkdir mnt/d; mv mnt/file mnt/d
                test "$(stat -c %U mnt/d/file)" = nobody
                ! chown root mnt/d/file 2> errors; grep -q "not permitted" errors
                tidemark check mnt; tidemark repair v --strategy rebuild
                """)
            #expect(ended.status == 0, "\(ended.output) \(ended.errors)")
            // Not even root, as the kernel has it.
            let other = try shell("cat \"$1/mnt/d/file\"", directory)
            #expect(other.status != 0 && other.errors.contains("Permission denied"))
            let end = try script(
                """
                tidemark unmount mnt; test -z "$(ls mnt)"; tidemark mount v mnt
                grep -qx mine mnt/d/file; tidemark unmount mnt
                """)
            #expect(end.status == 0, "\(end.output) \(end.errors)")
        }
    }

    private static let othersAllowed =
        (try? String(contentsOfFile: "/etc/fuse.conf", encoding: .utf8))?
        .split(separator: "\n").contains { $0.trimmingPrefix(" ").hasPrefix("user_allow_other") }
        ?? false

    @Test func `whether others get in is for fuse.conf to say`() throws {
        try withUser { directory, script in
            let ended = try script("tidemark mount v mnt --allow-other; echo hello > mnt/f")
            guard Self.othersAllowed else {
                #expect(ended.status == 4, "\(ended.output)")
                #expect(ended.errors.contains("user_allow_other"), "\(ended.errors)")
                #expect(ended.errors.contains("does not mount there"), "\(ended.errors)")
                return
            }
            #expect(ended.status == 0, "\(ended.errors)")
            try expectWell("grep -qx hello \"$1/mnt/f\"", directory)
            let end = try script("tidemark unmount mnt")
            #expect(end.status == 0, "\(end.errors)")
        }
    }

    @Test(arguments: ["tidemark unmount mnt --force", "kill $(cat v/lock)"])
    func `a user ends a mount in use, and what was written is kept`(way: String) throws {
        try withUser { directory, script in
            let ended = try script(
                """
                tidemark mount v mnt
                (exec 3> mnt/open; echo kept >&3; exec sleep 50) & sleeper=$!
                until test -s mnt/open; do sleep 0.05; done
                ! tidemark unmount mnt 2> errors; grep -q "is in use" errors
                \(way)
                for i in {1..100}; do flock -n v/lock true && break; sleep 0.1; done
                flock -n v/lock true; kill -0 $sleeper; kill $sleeper
                tidemark mount v mnt; grep -qx kept mnt/open; tidemark unmount mnt
                """)
            #expect(ended.status == 0, "\(ended.output) \(ended.errors)")
        }
    }
}
