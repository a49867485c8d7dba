// What is left behind a step of a repair, beside programs that go on working.

import Foundation
import TestSupport
import Testing
import Tidemark

@testable import LinuxFilesystem
@testable import LinuxOwner

@Suite(.enabled(if: LiveMachine.xfs == nil, LiveMachine.xfs ?? ""))
struct RemainsTests {
    @Test func `names that a program changes behind the verdict are no failure of the kernel`()
        throws
    {
        try LiveMachine.withMounted(.clean) { path in
            try Data().write(to: URL(fileURLWithPath: path + "/one"))
            #expect(link(path + "/one", path + "/two") == 0)
            var status = stat()
            try #require(lstat(path + "/one", &status) == 0)
            let inode = UInt64(status.st_ino)
            let owner = try XFSOwner(path: path)
            let evidence = try owner.gather(blocks: [], inodes: [inode])
            var verdict = RepairVerdict("parents", "inode \(inode)", .primary, "", inodes: [inode])
            verdict.names = try #require(evidence.names[inode]).entries
            #expect(verdict.names.count == 2)
            #expect(unlink(path + "/two") == 0)
            let left = try owner.remains(of: [verdict])
            #expect(left == [])
        }
    }

    @Test func `what is wrong still is left`() throws {
        try LiveMachine.withMounted(.damaged) { path in
            let owner = try XFSOwner(path: path)
            // Nobody has mended the parent pointers of inode 275, nor the mapping of block 72.
            let names = RepairVerdict("parents", "inode 275", .primary, "", inodes: [275])
            var block = RepairVerdict("rmap", "block 72", .primary, "", inodes: [139])
            block.block = 72
            block.claimed = ForkPlace(139, 0, 0)
            let left = try owner.remains(of: [names, block], wait: { _ in })
            #expect(left.count == 2)
            #expect(left.contains { $0.hasPrefix("block 72: ") })
            #expect(left.contains { $0.hasPrefix("inode 275: ") })
        }
    }
}

@Suite struct RepairWordsTests {
    static func finding(_ object: String, _ blocks: Range<UInt64>) -> MountFinding {
        MountFinding(
            index: "rmap", object: object, problem: "", inodes: [], blocks: blocks,
            consequence: "", avoid: "", mend: "")
    }

    @Test func `some of the blocks that were found before are no surprise, others are`() {
        let known = Set<UInt64>(10..<15)
        let some = Self.finding("blocks 11–12", 11..<13)
        let others = Self.finding("blocks 14–15", 14..<16)
        #expect(XFSRepairReport.firstNew([some], ["blocks 10–14"], known) == nil)
        #expect(XFSRepairReport.firstNew([some, others], ["blocks 10–14"], known) == others)
        let links = MountFinding(
            index: "links", object: "inode 7", problem: "", inodes: [7], consequence: "",
            avoid: "", mend: "")
        #expect(XFSRepairReport.firstNew([links], ["inode 7"], []) == nil)
        #expect(XFSRepairReport.firstNew([links], [], []) == links)
    }

    @Test func `paths are one word of a shell`() {
        #expect(shellWord("/mnt/a-b_1.2") == "/mnt/a-b_1.2")
        #expect(shellWord("/mnt/my disk") == "'/mnt/my disk'")
        #expect(shellWord("/mnt/it's $HOME") == "'/mnt/it'\\''s $HOME'")
        #expect(shellWord("") == "''")
    }
}
