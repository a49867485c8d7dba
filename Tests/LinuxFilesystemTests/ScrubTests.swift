// Requests to the kernel's scrub, and its answers.

import CLinuxFilesystem
import Foundation
import TestSupport
import Testing

@testable import LinuxFilesystem

@Suite struct ScrubTests {
    @Test func `types have the kernel's numbers, without a gap`() {
        #expect(ScrubType.allCases.map(\.rawValue) == Array(0...33))
        #expect(ScrubType.reverseMap.rawValue == 9)
        #expect(ScrubType.parents.rawValue == 18)
        #expect(ScrubType.counters.rawValue == 24)
        #expect(ScrubType.linkCounts.rawValue == 26)
        #expect(ScrubType.directoryTree.rawValue == 28)
    }

    @Test func `a request carries only the numbers that its type wants`() {
        let group = ScrubRequest(.reverseMap, .group(3), .rebuild).raw
        #expect([group.type, group.flags, group.agno, group.gen] == [9, 0x101, 3, 0])
        #expect(group.ino == 0)
        let inode = ScrubRequest(.parents, .inode(275, generation: 7), .repair).raw
        #expect([inode.type, inode.flags, inode.agno, inode.gen] == [18, 1, 0, 7])
        #expect(inode.ino == 275)
        let all = ScrubRequest(.linkCounts, .filesystem, .check).raw
        #expect([all.type, all.flags, all.agno, all.gen] == [26, 0, 0, 0])
        #expect(MemoryLayout<lfs_scrub>.size == 64)
    }

    @Test func `a request about the wrong kind of object is a mistake of ours`() async {
        await #expect(processExitsWith: .failure) {
            _ = ScrubRequest(.reverseMap, .inode(5, generation: 0), .check)
        }
    }

    @Test func `an answer tells what is left wrong behind a repair`() throws {
        let asked = ScrubRequest(.reverseMap, .group(0), .rebuild).raw
        func answer(_ flags: UInt32) throws -> ScrubAnswer {
            var raw = asked
            raw.flags |= flags
            return try XFSFilesystem.answer(raw, to: asked, "it")
        }
        #expect(try answer(0).complaints == [])
        #expect(try answer(1 << 7) == .wasRight)
        #expect(try answer(1 << 2 | 1 << 6).complaints == [])
        for bit in [1, 3, 4, 5] as [UInt32] {
            #expect(try answer(1 << bit).complaints.count == 1)
        }
    }

    @Test(arguments: [(9, 0x101 | 1 << 9), (9, 0x100), (10, 0x101)] as [(UInt32, UInt32)])
    func `an answer that can't be one is refused`(type: UInt32, flags: UInt32) {
        let asked = ScrubRequest(.reverseMap, .group(0), .rebuild).raw
        var raw = asked
        raw.type = type
        raw.flags = flags
        #expect(throws: LinuxCallError.self) {
            _ = try XFSFilesystem.answer(raw, to: asked, "it")
        }
    }

    @Test func `every error of the kernel is told apart by what one does about it`() {
        let expected: [(Int32, ScrubRefusal)] = [
            (ENOTTY, .notSupported), (EOPNOTSUPP, .notSupported), (ENOENT, .noObject),
            (EROFS, .readOnly), (EUCLEAN, .damaged), (EBUSY, .busy), (EAGAIN, .busy),
            (ENOSPC, .noRoom), (ENOMEM, .noRoom), (EINTR, .interrupted), (EPERM, .forbidden),
            (ESHUTDOWN, .shutDown), (EIO, .shutDown), (EINVAL, .other),
        ]
        for (number, refusal) in expected {
            let error = LinuxCallError("XFS_IOC_SCRUB_METADATA", "it", .failed(number))
            #expect(ScrubRefusal(error) == refusal, "errno \(number)")
        }
        #expect(ScrubRefusal(LinuxCallError("x", "y", .malformed("z"))) == .other)
    }
}

@Suite(.enabled(if: LiveMachine.xfs == nil, LiveMachine.xfs ?? ""))
struct LiveScrubTests {
    @Test func `the kernel checks a clean filesystem, or says that it can't`() throws {
        try LiveMachine.withMounted(.xfs) { path in
            let xfs = try LiveTests.open(path)
            for request in [
                ScrubRequest(.reverseMap, .group(0), .check),
                ScrubRequest(.counters, .filesystem, .check),
            ] {
                do throws(LinuxCallError) {
                    #expect(try xfs.scrub(request).complaints == [])
                } catch {
                    #expect(ScrubRefusal(error) == .notSupported)
                    #expect(try xfs.onlineScrub() == .none)
                }
            }
        }
    }

    @Test func `free space is asked apart from the reverse map, and privileges are as before`()
        throws
    {
        try LiveMachine.withMounted(.xfs) { path in
            try Data(repeating: 7, count: 40960).write(to: URL(fileURLWithPath: path + "/file"))
            sync()
            let xfs = try LiveTests.open(path)
            let batch = SpaceBatch(), blockSize = UInt64(xfs.geometry.blockSize)
            var free = 0, used = 0
            // Without CAP_SYS_ADMIN no record would name a file.
            var records: [SpaceRecord] = []
            var isFirst = true, hasMore = true
            while hasMore {
                hasMore = try xfs.mount.readSpace(
                    0..<xfs.geometry.dataBlocks * blockSize, isFirst: isFirst, into: batch)
                isFirst = false
                records += batch.records
            }
            #expect(records.contains { !$0.isSpecial })
            for record in records.prefix(40) {
                let isFree = try xfs.mount.isFree(
                    record.physical, blockSize: blockSize, using: batch)
                #expect(isFree == record.isFree)
                if isFree == true { free += 1 } else { used += 1 }
            }
            #expect(free > 0 && used > 0)
            #expect(try xfs.isAllocated(xfs.rootInode()))
            #expect(try !xfs.isAllocated(1 << 40))
        }
    }
}

extension XFSFilesystem {
    fileprivate func rootInode() throws -> UInt64 {
        let batch = InodeBatch(capacity: 1)
        _ = try readInodes(from: 0, into: batch)
        return try #require(batch.inodes.first).inode
    }
}
