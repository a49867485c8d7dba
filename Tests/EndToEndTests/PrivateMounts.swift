// Mounts that only one test sees.

import Foundation
import TestSupport
import Testing

/// A mount namespace of a test's own. What is mounted in it nobody else sees, the rest of the
/// machine stays as it is, and it goes with the last process in it.
final class PrivateMounts {
    private let holder: Started

    /// - Parameter arrangement: a script that root runs in the namespace, in `directory`.
    init(_ directory: String, arrangement: String) throws {
        let ready = directory + "/arranged"
        holder = try Started(
            "/usr/bin/env",
            [
                "unshare", "--mount", "--propagation", "private", "/bin/bash", "-c",
                """
                set -euo pipefail; cd "$1"
                \(arrangement)
                touch "$2"; exec sleep 3600
                """, "bash", directory, ready,
            ])
        let holder = holder
        try until("namespace") {
            if access(ready, F_OK) == 0 { return true }
            guard holder.isRunning else { throw Obstacle(what: holder.wait().errors) }
            return false
        }
        unlink(ready)
    }

    /// Why there can be no such namespace on this machine.
    struct Obstacle: Error {
        let what: String
    }

    /// Runs a command in it, as root.
    func run(_ words: [String]) throws -> Ended { try start(words).wait() }

    /// Starts a command in it, as root.
    func start(_ words: [String]) throws -> Started {
        let enter = ["nsenter", "--mount=/proc/\(holder.number)/ns/mnt"]
        return try Started("/usr/bin/env", enter + words)
    }

    /// Runs a script in it, as root.
    func shell(_ script: String, _ arguments: String...) throws -> Ended {
        try run(["/bin/bash", "-c", script, "bash"] + arguments)
    }

    /// Runs a script in it as a user without any privilege, in `directory`. `tidemark` is the
    /// command.
    func userScript(_ text: String, in directory: String) throws -> Ended {
        let user = "setpriv --reuid nobody --regid nogroup --clear-groups --inh-caps=-all"
        return try run(
            user.split(separator: " ").map(String.init) + [
                "/bin/bash", "-c",
                shellWaiting + """
                set -euo pipefail; cd "$1"; command="$2"
                tidemark() { "$command" "$@"; }
                \(text)
                """, "bash", directory, tidemark,
            ])
    }

    /// A node that every user may open in the place of /dev/fuse, as udev makes it.
    static let openDevice = """
        mkdir device; mount -t tmpfs tidemark-test device
        mknod -m 666 device/fuse c 10 229; mount --bind device/fuse /dev/fuse
        """

    /// Why a test can't have its own mounts and device nodes here; nil where it can.
    static let obstacle: String? = tried {
        try withDirectory { directory in
            let mounts = try PrivateMounts(
                directory,
                arrangement: "mkdir d; mount -t tmpfs tidemark-test d; mknod d/null c 1 3")
            let looked = try mounts.shell("set -e; cd \"$1\"; echo > d/null", directory)
            return looked.status == 0 ? nil : looked.errors
        }
    }

    /// Why a user can't be given a FUSE device here; nil where one can.
    static let deviceObstacle: String? = tried {
        guard canMount else { return "/dev/fuse can't be opened" }
        return try withDirectory { directory in
            let mounts = try PrivateMounts(directory, arrangement: openDevice)
            let script = "exec 3<> /dev/fuse; command -v fusermount3"
            let looked = try mounts.userScript(script, in: "/")
            return looked.status == 0 ? nil : "\(looked.output) \(looked.errors)"
        }
    }

    private static func tried(_ body: () throws -> String?) -> String? {
        guard getuid() == 0 else { return "only root can make mounts and device nodes of a test" }
        do {
            return try body().map { "a test can't have mounts and nodes of its own: \($0)" }
        } catch {
            return "a test can't have mounts and nodes of its own: \(error)"
        }
    }
}
