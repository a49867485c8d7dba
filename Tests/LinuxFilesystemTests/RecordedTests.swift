// Parsers on what a kernel has answered, and on damaged copies of it.

import Bytes
import Testing

@testable import LinuxFilesystem

@Suite struct RecordedTests {
    @Test func `inodes come in ascending order with mode and generation`() throws {
        let answer = try Recorded.bytes("bulkstat.bin")
        let batch = InodeBatch(capacity: 16)
        try batch.parse(answer.rawSpan, from: 0)
        #expect(batch.inodes.count == 16)
        #expect(batch.inodes.map(\.inode) == batch.inodes.map(\.inode).sorted())
        let root = try #require(batch.inodes.first)
        #expect(root.inode == 128)
        #expect(root.kind == .directory)
        #expect(batch.inodes.allSatisfy { $0.kind != nil && $0.links > 0 })
    }

    @Test func `data of a realtime file is not on the data device`() throws {
        var answer = try Recorded.bytes("bulkstat.bin")
        let batch = InodeBatch(capacity: 16)
        try batch.parse(answer.rawSpan, from: 0)
        #expect(batch.inodes.allSatisfy { !$0.isRealtime && $0.dataExtents == $0.extents })
        let place = try #require(batch.inodes.firstIndex { $0.extents > 0 })
        // bs_xflags, FS_XFLAG_REALTIME.
        answer[InodeBatch.headerSize + place * InodeBatch.recordSize + 24] |= 1
        try batch.parse(answer.rawSpan, from: 0)
        let file = batch.inodes[place]
        #expect(file.isRealtime && file.extents > 0 && file.dataExtents == 0)
    }

    @Test func `an answer about inodes that were not asked for is refused`() throws {
        let answer = try Recorded.bytes("bulkstat.bin")
        #expect(throws: LinuxCallError.self) {
            try InodeBatch(capacity: 16).parse(answer.rawSpan, from: 129)
        }
        #expect(throws: LinuxCallError.self) {
            try InodeBatch(capacity: 15).parse(answer.rawSpan, from: 0)
        }
        #expect(throws: LinuxCallError.self) {
            let cut = Array(answer.prefix(300))
            try InodeBatch(capacity: 16).parse(cut.rawSpan, from: 0)
        }
    }

    @Test func `the space map covers the device from its start without holes`() throws {
        let answer = try Recorded.bytes("fsmap.bin")
        let batch = SpaceBatch(capacity: 48)
        let device = batch.device(of: answer)
        #expect(try batch.parse(answer.rawSpan, device: device))
        #expect(batch.records.count == 48)
        var end: UInt64 = 0
        for record in batch.records {
            #expect(record.physical <= end)
            end = max(end, record.physical + record.length)
        }
        #expect(batch.records[0].isSpecial)
        #expect(SpaceOwner.name(batch.records[0].owner) == "static filesystem metadata")
        #expect(batch.records.contains { !$0.isSpecial && $0.owner > 128 })
        #expect(throws: LinuxCallError.self) {
            try SpaceBatch(capacity: 48).parse(answer.rawSpan, device: device + 1)
        }
        #expect(throws: LinuxCallError.self) {
            try SpaceBatch(capacity: 47).parse(answer.rawSpan, device: device)
        }
    }

    @Test func `extents of both forks of an XFS file, unwritten ones and none that has no blocks`()
        throws
    {
        let batch = ExtentBatch(capacity: 32)
        let data = try Recorded.bytes("bmap-data.bin")
        #expect(try batch.parseBMAP(data.rawSpan, asked: 32, object: "file") == nil)
        #expect(batch.extents.prefix(10).map(\.offset) == (0..<10).map { $0 * 8192 })
        #expect(batch.extents.prefix(10).allSatisfy { $0.length == 4096 && !$0.isUnwritten })
        // The block at 4 MiB waits for its place on the device.
        #expect(batch.extents.dropFirst(10).allSatisfy { $0.isUnwritten && $0.offset < 2 << 20 })
        let reserved = batch.extents.filter { $0.offset >= 1 << 20 }
        #expect(reserved.map(\.length).reduce(0, +) == 65536)
        let attributes = try Recorded.bytes("bmap-attributes.bin")
        #expect(try batch.parseBMAP(attributes.rawSpan, asked: 32, object: "file") == nil)
        #expect(!batch.extents.isEmpty)
        #expect(throws: LinuxCallError.self) {
            try batch.parseBMAP(data.rawSpan, asked: 5, object: "file")
        }
    }

    @Test func `extents of an ext4 file`() throws {
        let batch = ExtentBatch(capacity: 32)
        let answer = try Recorded.bytes("fiemap.bin")
        #expect(try batch.parseFIEMAP(answer.rawSpan, asked: 32, object: "file") == nil)
        #expect(
            batch.extents.filter { !$0.isUnwritten }.map(\.offset) == (0..<20).map { $0 * 8192 })
        #expect(batch.extents.filter(\.isUnwritten).map(\.offset) == [1 << 20])
        #expect(throws: LinuxCallError.self) {
            try batch.parseFIEMAP(answer.rawSpan, asked: 20, object: "file")
        }
    }

    @Test func `parent pointers: both names of a file, and the same parent`() throws {
        let answer = try Recorded.bytes("parents.bin")
        let whole = ParentReader.size(of: answer.rawSpan)
        let size = try #require(whole)
        var found: [(UInt64, UInt32, String)] = []
        ParentReader.forEach(answer.rawSpan.extracting(0..<size)) { inode, generation, name in
            found.append(
                (inode, generation, name.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }))
        }
        #expect(found.map(\.2).sorted() == ["second name", "sparse"])
        #expect(Set(found.map(\.0)).count == 1 && Set(found.map(\.1)).count == 1)
    }

    @Test func `directory entries with their types`() throws {
        let answer = try Recorded.bytes("getdents.bin")
        let isWellFormed = DirectoryReader.isWellFormed(answer.rawSpan)
        #expect(isWellFormed)
        var names: [String] = []
        DirectoryReader.forEach(answer.rawSpan) { _, type, name in
            let name = name.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
            if name == "." || name == ".." { #expect(type == 4) }
            names.append(name)
        }
        #expect(names.contains("recorded") && names.contains(".") && names.contains(".."))
        #expect(Set(names).count == names.count)
    }

    /// Laid out as linux/dqblk_xfs.h has it: three files of 24 bytes from byte 8 on.
    @Test func `the files of quotas are told once, and not those that there are not`() throws {
        var answer = [UInt8](repeating: 0, count: 160)
        answer[0] = 1
        answer[8] = 131
        for place in 32..<40 { answer[place] = 0xff }
        answer[56] = 131
        let shared = try XFSFilesystem.quotaFiles(in: answer.rawSpan)
        #expect(shared == [131])
        answer[57] = 1
        let two = try XFSFilesystem.quotaFiles(in: answer.rawSpan)
        #expect(two == [131, 387])
        answer[0] = 2
        let other = answer
        #expect(throws: LinuxCallError.self) { try XFSFilesystem.quotaFiles(in: other.rawSpan) }
        #expect(throws: LinuxCallError.self) {
            let cut = Array(other.prefix(159))
            _ = try XFSFilesystem.quotaFiles(in: cut.rawSpan)
        }
    }

    @Test func `a run of blocks of an ext4 takes 12 bytes, and is what it was`() {
        for (kind, logical, block, count) in [
            (.data, 0, 1, 1), (.tree, 0, (1 << 48) - 1, 1), (.data, 0xffff_ffff, 1 << 40, 32768),
        ] as [(Ext4Claim.Kind, UInt64, UInt64, UInt64)] {
            let claim = Ext4Claim(kind: kind, logical: logical, block: block, count: count)
            #expect(Ext4PackedClaim(claim).claim == claim)
        }
        #expect(MemoryLayout<Ext4PackedClaim>.stride == 12)
    }

    @Test(arguments: [(128, 0, false), (256, 4, false), (256, 8, true), (256, 32, true)])
    func `an ext4 inode without room for nanoseconds has changed at the end of its second`(
        size: Int, extra: Int, isFine: Bool
    ) throws {
        var bytes = [UInt8](repeating: 0, count: size)
        // i_ctime, and i_extra_isize and i_ctime_extra where they are.
        bytes[0xc] = 100
        if size > 128 {
            bytes[0x80] = UInt8(extra)
            bytes[0x85] = 4
        }
        let inode = Ext4Inode(12, bytes.rawSpan)
        #expect(inode.changed == 100_000_000_000 + (isFine ? 256 : 0))
        #expect(inode.changedUntil == (isFine ? 100_000_000_256 : 100_999_999_999))
    }

    /// Lengths, counts and numbers that a failing device or kernel might give.
    @Test(arguments: 0..<200)
    func `no damage to an answer makes a parser trap`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        func damaged(_ name: String) throws -> [UInt8] {
            var bytes = try Recorded.bytes(name)
            for _ in 0...Int(random.next() % 8) {
                let place = Int(random.next() % UInt64(bytes.count))
                bytes[place] =
                    random.next() % 3 == 0 ? 0xff : UInt8(truncatingIfNeeded: random.next())
            }
            if random.next() % 4 == 0 { bytes.removeLast(Int(random.next() % UInt64(bytes.count))) }
            return bytes
        }
        let inodes = try damaged("bulkstat.bin")
        try? InodeBatch(capacity: 16).parse(inodes.rawSpan, from: 0)
        let space = SpaceBatch(capacity: 48)
        let map = try damaged("fsmap.bin")
        _ = try? space.parse(map.rawSpan, device: space.device(of: map))
        let extents = ExtentBatch(capacity: 32)
        for name in ["bmap-data.bin", "bmap-attributes.bin"] {
            let answer = try damaged(name)
            _ = try? extents.parseBMAP(answer.rawSpan, asked: 32, object: "")
        }
        let fiemap = try damaged("fiemap.bin")
        _ = try? extents.parseFIEMAP(fiemap.rawSpan, asked: 32, object: "")
        let parents = try damaged("parents.bin")
        if let size = ParentReader.size(of: parents.rawSpan) {
            ParentReader.forEach(parents.rawSpan.extracting(0..<size)) { _, _, name in
                let length = name.byteCount
                #expect(length > 0 && length <= 255)
            }
        }
        let entries = try damaged("getdents.bin")
        if DirectoryReader.isWellFormed(entries.rawSpan) {
            DirectoryReader.forEach(entries.rawSpan) { _, _, name in
                let length = name.byteCount
                #expect(length > 0)
            }
        }
        let decoder = try Recorded.decoder()
        let pages = try damaged("pages.bin")
        var receiver = KeepingReceiver()
        for start in stride(from: 0, to: pages.count, by: 4096) {
            let page = Array(pages[start..<min(start + 4096, pages.count)])
            _ = try? decoder.decode(page.rawSpan, to: &receiver)
        }
    }
}

extension SpaceBatch {
    /// Of the first record in `answer`.
    func device(of answer: [UInt8]) -> UInt32 {
        guard answer.count >= 196 else { return 0 }
        return answer.rawSpan.native(at: 192, as: UInt32.self)
    }
}
