// What is said where /dev/fuse can't be opened: each reason by its name, with what to do.

import Foundation
import TestSupport
import Testing

@Suite(.enabled(if: PrivateMounts.obstacle == nil, "\(PrivateMounts.obstacle ?? "")"))
struct MountDeviceTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// What stands in /dev, and in /proc/filesystems.
        let arrangement: String
        let words: [String]

        static let device = "mount -t tmpfs tidemark-test /dev; mknod -m 666 /dev/null c 1 3"
        static func filesystems(_ text: String) -> String {
            "printf '\(text)' > filesystems; mount --bind filesystems /proc/filesystems"
        }
        static let node = ["no device node /dev/fuse", "mknod -m 666 /dev/fuse c 10 229"]
        static let permission = ["no permission to open /dev/fuse", "chmod 666 /dev/fuse"]
        static let module = ["the kernel has no FUSE", "modprobe fuse"]

        static let all = [
            Case(
                testDescription: "no node",
                arrangement: "\(device); \(filesystems("nodev\\tfuse\\n\\text4\\n"))",
                words: node),
            Case(
                testDescription: "no node, and no module either",
                arrangement: "\(device); \(filesystems("nodev\\tfusectl\\n\\text4\\n"))",
                words: module),
            Case(
                // Beyond all numbers that the kernel gives to drivers.
                testDescription: "a node without a driver",
                arrangement: "\(device); mknod -m 666 /dev/fuse c 4000 229", words: module),
            Case(
                testDescription: "a node for root",
                arrangement: "\(device); mknod -m 600 /dev/fuse c 10 229", words: permission),
        ]
    }

    @Test(arguments: Case.all)
    func `why the FUSE device can't be opened is told apart`(_ it: Case) throws {
        try withDirectory { directory in
            let made = try shell("chown nobody:nogroup \"$1\"; chmod 755 \"$1\"", directory)
            try #require(made.status == 0)
            let mounts = try PrivateMounts(directory, arrangement: it.arrangement)
            let ended = try mounts.userScript(
                "tidemark create v --size 64M >&2; mkdir mnt; tidemark mount v mnt", in: directory)
            #expect(ended.status == 4 && ended.output.isEmpty, "\(ended.output)")
            for words in [Case.node, Case.permission, Case.module] {
                for part in words {
                    #expect(
                        ended.errors.contains(part) == (words == it.words),
                        "\(part): \(ended.errors)")
                }
            }
        }
    }
}
