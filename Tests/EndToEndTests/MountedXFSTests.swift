// `tidemark repair` and `check` of a mounted XFS whose metadata lies, as a user runs them.

import Foundation
import TestSupport
import Testing

/// What these need of the machine; nil where it is there.
private let obstacle: Comment? = {
    if geteuid() != 0 { return "needs root to mount" }
    if access("/dev/loop-control", W_OK) != 0 { return "needs loop devices" }
    let known = (try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8)) ?? ""
    if !known.contains("\txfs\n") { return "the kernel has no xfs" }
    return access("/usr/bin/zstd", X_OK) == 0 ? nil : "needs zstd"
}()

@Suite(.temporaryDirectory, .enabled(if: obstacle == nil, obstacle ?? ""))
struct MountedXFSTests {
    /// The image with five lies, mounted in a directory of the test's.
    static func mounts(_ image: String = "damaged") throws -> (PrivateMounts, String) {
        let place = try temporaryDirectory()
        let fixture = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent()
            .appendingPathComponent("LinuxFilesystemTests/Fixtures/xfs-parent-\(image).img.zst")
        let mounts = try PrivateMounts(
            place,
            arrangement: """
                zstd -q -d '\(fixture.path)' -o image; mkdir mounted
                mount -o loop,nouuid image mounted
                """)
        return (mounts, place + "/mounted")
    }

    static func document(
        _ mounts: PrivateMounts, _ words: String..., status: Int32
    ) throws -> Document {
        let ended = try mounts.run([tidemark] + words + ["--json"])
        #expect(ended.status == status, "\(words): \(ended.errors)")
        return try ended.document()
    }

    @Test func `a dry run tells verdicts, plan, and what to do where the kernel can't`() throws {
        let (mounts, target) = try Self.mounts()
        let document = try Self.document(mounts, "repair", target, "--dry-run", status: 1)
        let kernel = try #require(document.string("kernel"))
        #expect(document.string("outcome") == (kernel == "repairs" ? "planned" : "advice"))
        let verdicts = document.list("verdicts")
        #expect(verdicts.map { $0.string("believed") } == Array(repeating: "primary", count: 5))
        #expect(verdicts.allSatisfy { !$0.strings("witnesses").isEmpty })
        #expect(verdicts[0].string("mendedBy") == "reverse map of group 0")
        #expect(verdicts[0].list("inodes").first?.strings("paths").first?.hasPrefix("/dir") == true)
        let plan = document.list("plan")
        #expect(
            plan.map { $0.string("item") } == ["rmapbt", "rmapbt", "parent", "parent", "nlinks"])
        #expect(plan.map { $0.int("group") } == [0, 1, nil, nil, nil])
        #expect(plan[2].int("inode") == 275)
        #expect(plan[0].strings("mends") == ["block 72"])
        #expect(plan.allSatisfy { $0.string("couldLose") != nil && $0.string("held") == nil })
        #expect(plan.allSatisfy { $0.string("result") == nil })
        if kernel != "repairs" {
            let commands = document["advice"].strings("commands")
            #expect(commands.first == "umount \(target)")
            #expect(document["advice"].strings("keepAwayFrom").count >= 5)
        }
        #expect(document["check"].list("findings").count == 5)
    }

    @Test func `a repair of a clean filesystem does nothing, and options of volumes are refused`()
        throws
    {
        let (mounts, target) = try Self.mounts("clean")
        let document = try Self.document(mounts, "repair", target, status: 0)
        #expect(document.string("outcome") == "clean")
        #expect(document.list("plan").isEmpty)
        let refused = try mounts.run([tidemark, "repair", target, "--strategy", "rebuild"])
        #expect(refused.status == 8)
        #expect(refused.errors.contains("--strategy"))
    }

    @Test func `check warns of a repair that starts by itself and would believe a lie`() throws {
        let (mounts, target) = try Self.mounts()
        #expect(try Self.document(mounts, "check", target, status: 1).strings("warnings") == [])
        let set = try mounts.run([
            "/usr/bin/env", "python3", "-c",
            "import os, sys; os.setxattr(sys.argv[1], 'trusted.xfs:autofsck', b'repair')", target,
        ])
        #expect(set.status == 0, "\(set.errors)")
        let warned = try Self.document(mounts, "check", target, status: 1).strings("warnings")
        #expect(warned.first?.contains("set autofsck=check") == true)
    }

    /// Frozen, the kernel does not free the blocks of a file that is removed and closed.
    @Test(arguments: [("clean", 16, "unsettled"), ("damaged", 17, "corrupt")])
    func `what never stands still is 16 in the exit status, beside what is found`(
        image: String, status: Int32, outcome: String
    ) throws {
        let (mounts, target) = try Self.mounts(image)
        let frozen = try mounts.shell(
            """
            exec 3>"$1/removed"; head -c 65536 /dev/zero >&3; sync "$1/removed"; rm "$1/removed"
            fsfreeze -f "$1"; exec 3>&-
            """, target)
        #expect(frozen.status == 0, "\(frozen.errors)")
        defer { _ = try? mounts.run(["/usr/bin/env", "fsfreeze", "-u", target]) }
        let document = try Self.document(mounts, "check", target, status: status)
        #expect(document.string("outcome") == outcome)
        #expect(document["unsettled"].int("rmap") == 16)
        let text = try mounts.run([tidemark, "check", target])
        #expect(text.status == status)
        #expect(text.output.contains("16 unsettled"))
    }

    @Test func `room for events is given in KiB, and no less than a page`() throws {
        let (mounts, target) = try Self.mounts("clean")
        let refused = try mounts.run([tidemark, "check", target, "--trace-buffer", "3"])
        #expect(refused.status == 8)
        #expect(refused.errors.contains("--trace-buffer is 4 to 1048576"))
        let document = try Self.document(
            mounts, "check", target, "--trace-buffer", "64", status: 0)
        #expect(document.int("losses") == 0)
    }

    @Test func `--believe is refused on a volume`() throws {
        let place = try temporaryDirectory() + "/volume"
        #expect(try run("create", place, "--size", "64M").status == 0)
        #expect(try run("repair", place, "--believe", "files").status == 8)
    }
}
