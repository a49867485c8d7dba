// A mount by who is not root.

import Foundation
import TestSupport
import Testing

/// The mounts lie in a namespace in which every user may open /dev/fuse: on a machine without udev
/// only root may.
@Suite(.enabled(if: PrivateMounts.deviceObstacle == nil, "\(PrivateMounts.deviceObstacle ?? "")"))
struct MountUserTests {
    /// A directory of a user, with a volume `v` and a directory `mnt`, and their mounts.
    private struct Place {
        let directory: String
        let mounts: PrivateMounts

        /// Runs a script as a user without any privilege. `tidemark` is the command.
        func script(_ text: String) throws -> Ended {
            try mounts.userScript(text, in: directory)
        }

        /// Runs a script as root.
        func asRoot(_ script: String) throws -> Ended { try mounts.shell(script, directory) }
    }

    private func withUser(arrangement: String = "", _ body: (Place) throws -> Void) throws {
        try withDirectory { directory in
            let made = try shell("chown nobody:nogroup \"$1\"; chmod 755 \"$1\"", directory)
            try #require(made.status == 0)
            let mounts = try PrivateMounts(
                directory, arrangement: PrivateMounts.openDevice + "\n" + arrangement)
            let place = Place(directory: directory, mounts: mounts)
            defer { _ = try? place.asRoot("umount -l \"$1/mnt\" 2>/dev/null") }
            let created = try place.script("tidemark create v --size 256M; mkdir mnt")
            try #require(created.status == 0, "\(created.errors)")
            try body(place)
            try expectVerified(directory + "/v")
        }
    }

    @Test func `a user mounts a volume of their own, and nobody else gets in`() throws {
        try withUser { place in
            let ended = try place.script(
                """
                tidemark mount v mnt; echo mine > mnt/file; mkdir mnt/d; mv mnt/file mnt/d
                test "$(stat -c %U mnt/d/file)" = nobody
                ! chown root mnt/d/file 2> errors; grep -q "not permitted" errors
                tidemark check mnt; tidemark repair v --strategy rebuild
                """)
            #expect(ended.status == 0, "\(ended.output) \(ended.errors)")
            // Not even root, as the kernel has it.
            let other = try place.asRoot("cat \"$1/mnt/d/file\"")
            #expect(other.status != 0 && other.errors.contains("Permission denied"))
            let end = try place.script(
                """
                tidemark unmount mnt; test -z "$(ls mnt)"; tidemark mount v mnt
                grep -qx mine mnt/d/file; tidemark unmount mnt
                """)
            #expect(end.status == 0, "\(end.output) \(end.errors)")
        }
    }

    @Test(.enabled(if: access("/etc/fuse.conf", F_OK) == 0, "there is no /etc/fuse.conf"))
    func `others get in where fuse.conf allows it`() throws {
        try withUser(arrangement: Self.configured("user_allow_other")) { place in
            let ended = try place.script("tidemark mount v mnt --allow-other; echo hello > mnt/f")
            #expect(ended.status == 0, "\(ended.errors)")
            let looked = try place.asRoot("grep -qx hello \"$1/mnt/f\"")
            #expect(looked.status == 0, "\(looked.output) \(looked.errors)")
            let end = try place.script("tidemark unmount mnt")
            #expect(end.status == 0, "\(end.errors)")
        }
    }

    @Test(.enabled(if: access("/etc/fuse.conf", F_OK) == 0, "there is no /etc/fuse.conf"))
    func `others do not get in where fuse.conf says nothing of them`() throws {
        try withUser(arrangement: Self.configured("# nothing")) { place in
            let ended = try place.script("tidemark mount v mnt --allow-other; echo hello > mnt/f")
            #expect(ended.status == 4, "\(ended.output)")
            #expect(ended.errors.contains("user_allow_other"), "\(ended.errors)")
            #expect(ended.errors.contains("does not mount there"), "\(ended.errors)")
        }
    }

    private static func configured(_ line: String) -> String {
        "echo '\(line)' > device/fuse.conf; mount --bind device/fuse.conf /etc/fuse.conf"
    }

    @Test(arguments: ["tidemark unmount mnt --force", "kill $(cat v/lock)"])
    func `a user ends a mount in use, and what was written is kept`(way: String) throws {
        try withUser { place in
            let ended = try place.script(
                """
                tidemark mount v mnt
                (exec 3> mnt/open; echo kept >&3; exec sleep 3600) & sleeper=$!
                wait_until test -s mnt/open
                ! tidemark unmount mnt 2> errors; grep -q "is in use" errors
                \(way)
                wait_until flock -n v/lock true; kill -0 $sleeper; kill $sleeper
                tidemark mount v mnt; grep -qx kept mnt/open; tidemark unmount mnt
                """)
            #expect(ended.status == 0, "\(ended.output) \(ended.errors)")
        }
    }
}
