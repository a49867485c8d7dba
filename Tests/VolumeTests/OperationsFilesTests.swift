// Contents, space and attributes.

import Bytes
import TestSupport
import Testing
import VolumeFormat

@testable import Volume

#if canImport(Glibc)
import Glibc
#endif

@Suite(.temporaryDirectory) struct OperationsFilesTests {
    @Test func `what is written is read, with zeroes in the gaps`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.write(n, 1000, bytes("hello"))
        #expect(try small.inode(n)?.size == 1005)
        #expect(try small.inode(n)?.blocks == 1)
        var expected = [UInt8](repeating: 0, count: 1000) + bytes("hello")
        #expect(try small.volume.read(n, at: 0, 9999) == expected)
        // The rest of the block, behind the end, was never anybody's to see.
        try small.volume.perform { _ = try $0.truncate(n, to: 1024) }
        expected += [UInt8](repeating: 0, count: 19)
        #expect(try small.volume.read(n, at: 0, 9999) == expected)
        try small.reopen()
        #expect(try small.volume.read(n, at: 0, 9999) == expected)
    }

    @Test func `a file that was cut and grows again reads as zeroes there`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.write(n, 0, [UInt8](repeating: 7, count: 2000))
        try small.volume.perform { _ = try $0.truncate(n, to: 100) }
        #expect(try small.inode(n)?.blocks == 1)
        try small.write(n, 600, [9])
        let expected =
            [UInt8](repeating: 7, count: 100) + [UInt8](repeating: 0, count: 500) + [9]
        #expect(try small.volume.read(n, at: 0, 9999) == expected)
    }

    @Test func `blocks of a deleted file never show in another`() throws {
        let small = try SmallVolume(blocks: 40)
        let old = try small.create("old")
        try small.write(old, 0, [UInt8](repeating: 0xaa, count: 37 * 512))
        try small.volume.perform { try $0.unlink(.root, bytes("old")) }
        let new = try small.create("new")
        try small.volume.perform {
            try $0.allocate(new, 0, 37 * 512, .reserve(keepSize: false))
        }
        #expect(try small.volume.read(new, at: 0, 37 * 512).allSatisfy { $0 == 0 })
        try small.write(new, 700, [1])
        let read = try small.volume.read(new, at: 0, 37 * 512)
        #expect(read.filter { $0 != 0 } == [1])
    }

    @Test func `writing in order makes one extent`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        for index in 0..<50 {
            try small.write(n, UInt64(index) * 300, [UInt8](repeating: UInt8(index), count: 300))
        }
        #expect(try small.snapshot().extents(n).count == 1)
        #expect(try small.inode(n)?.blocks == 30)
    }

    @Test func `a full volume says so, changes nothing, and works again after an unlink`() throws {
        let small = try SmallVolume(blocks: 40)
        let n = try small.create("a")
        try small.write(n, 0, [UInt8](repeating: 1, count: 30 * 512))
        let m = try small.create("b")
        let before = try small.inode(m)
        let most = [UInt8](repeating: 2, count: 8 * 512)
        #expect(try errnoOf { try small.write(m, 0, most) } == ENOSPC)
        let reserve = AllocationMode.reserve(keepSize: true)
        #expect(
            try errnoOf { try small.volume.perform { try $0.allocate(m, 0, 8 * 512, reserve) } }
                == ENOSPC)
        #expect(try small.inode(m) == before)
        #expect(try small.snapshot().fileSystemStatistics().freeBlocks == 7)
        try small.write(m, 0, [UInt8](repeating: 2, count: 7 * 512))
        #expect(try small.snapshot().fileSystemStatistics().freeBlocks == 0)
        try small.volume.perform { try $0.unlink(.root, bytes("a")) }
        try small.write(m, 7 * 512, [UInt8](repeating: 2, count: 30 * 512))
        #expect(try small.volume.read(m, at: 0, 99999) == [UInt8](repeating: 2, count: 37 * 512))
    }

    @Test func `punched ranges are holes, zeroed ranges keep their blocks`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.write(n, 0, [UInt8](repeating: 3, count: 10 * 512))
        try small.volume.perform { try $0.allocate(n, 700, 2000, .punchHole) }
        #expect(try small.inode(n)?.blocks == 7)
        try small.volume.perform { try $0.allocate(n, 3600, 600, .zeroRange(keepSize: true)) }
        #expect(try small.inode(n)?.blocks == 7)
        var expected = [UInt8](repeating: 3, count: 10 * 512)
        for index in 700..<2700 { expected[index] = 0 }
        for index in 3600..<4200 { expected[index] = 0 }
        #expect(try small.volume.read(n, at: 0, 99999) == expected)
        let snapshot = try small.snapshot()
        #expect(try snapshot.seekHole(n, 0) == 1024)
        #expect(try snapshot.seekData(n, 1024) == 2560)
        #expect(try snapshot.seekHole(n, 2560) == 5120)
        #expect(try errnoOf { _ = try snapshot.seekData(n, 5120) } == ENXIO)
    }

    @Test func `reserved blocks don't change what is read or, if asked, the size`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.volume.perform { try $0.allocate(n, 100, 1000, .reserve(keepSize: true)) }
        #expect(try small.inode(n)?.size == 0)
        #expect(try small.inode(n)?.blocks == 3)
        #expect(try small.snapshot().extents(n).map(\.state) == [.unwritten])
        try small.volume.perform { try $0.allocate(n, 100, 1000, .reserve(keepSize: false)) }
        #expect(try small.inode(n)?.size == 1100)
        #expect(try small.volume.read(n, at: 0, 9999) == [UInt8](repeating: 0, count: 1100))
        try small.volume.perform {
            try $0.reserve(n, [2048..<4096, 8192..<8193], .written, size: 9000)
        }
        #expect(try small.inode(n)?.blocks == 8)
        #expect(try small.inode(n)?.size == 9000)
    }

    @Test func `operations on contents want a regular file`() throws {
        let small = try SmallVolume()
        let fifo = try small.volume.perform { try $0.makeNode(.root, bytes("f"), .fifo).number }
        for (n, expected) in [(InodeNumber.root, EISDIR), (fifo, EINVAL), (99, ENOENT)] {
            let volume = small.volume
            #expect(try errnoOf { try small.write(n, 0, [1]) } == expected)
            #expect(try errnoOf { _ = try volume.read(n, at: 0, 1) } == expected)
            #expect(
                try errnoOf { try volume.perform { _ = try $0.truncate(n, to: 0) } } == expected)
            #expect(
                try errnoOf { try volume.perform { try $0.allocate(n, 0, 1, .punchHole) } }
                    == expected)
            #expect(try errnoOf { _ = try small.snapshot().seekData(n, 0) } == expected)
        }
        let n = try small.create("a")
        #expect(try errnoOf { try small.write(n, UInt64(Int64.max), [1]) } == EFBIG)
        #expect(
            try errnoOf { try small.volume.perform { try $0.allocate(n, 0, 0, .punchHole) } }
                == EINVAL)
    }

    @Test func `an unlinked file that is open lives until it is closed`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.volume.open(n)
        try small.volume.open(n)
        try small.write(n, 0, bytes("old"))
        try small.volume.perform { try $0.unlink(.root, bytes("a")) }
        #expect(try small.inode(n)?.links == 0)
        try small.write(n, 3, bytes("new"))
        #expect(try small.volume.read(n, at: 0, 99) == bytes("oldnew"))
        #expect(
            try errnoOf { try small.volume.perform { _ = try $0.link(n, .root, bytes("b")) } }
                == ENOENT)
        try small.volume.close(n)
        #expect(try small.inode(n) != nil)
        try small.volume.close(n)
        #expect(try small.inode(n) == nil)
        #expect(try small.snapshot().fileSystemStatistics().freeBlocks == 253)
    }

    @Test func `an unlinked file that was open goes when the volume is opened again`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.volume.open(n)
        try small.write(n, 0, bytes("old"))
        try small.volume.perform { try $0.unlink(.root, bytes("a")) }
        #expect(try small.volume.reclaimPending().open == 1)
        try small.reopen()
        try small.volume.reclaimPending()
        #expect(try small.inode(n) == nil)
        #expect(try small.snapshot().fileSystemStatistics().freeBlocks == 253)
    }
}

@Suite(.temporaryDirectory) struct OperationsReclaimTests {
    /// A file with every other block in place: as many extents as blocks.
    private func fragmented(
        _ small: SmallVolume, _ name: String, extents: Int
    ) throws -> InodeNumber {
        let n = try small.create(name)
        let starts = stride(from: UInt64(0), to: UInt64(extents) * 1024, by: 1024)
        let ranges = starts.map { $0..<($0 + 512) }
        try small.volume.perform {
            try $0.reserve(n, ranges, .written, size: UInt64(extents * 1024))
        }
        #expect(try small.snapshot().extents(n).count == extents)
        return n
    }

    @Test func `a file of many extents is reclaimed in bounded steps`() throws {
        let small = try SmallVolume(blocks: 8000)
        let n = try fragmented(small, "a", extents: 3000)
        let left = try small.volume.perform { operations in
            try operations.unlink(.root, bytes("a"))
            return try operations.extents(n, .data, from: 0, to: .max).count
        }
        #expect(try small.snapshot().lookup(.root, bytes("a")) == nil)
        // One operation gives back a bounded part.
        #expect(left == 3000 - 1024)
        #expect(try small.volume.reclaimPending().damaged.isEmpty)
        #expect(try small.inode(n) == nil)
        #expect(try small.snapshot().fileSystemStatistics().freeBlocks == 7997)
    }

    @Test(arguments: [false, true])
    func `a file cut short by many extents reads as zeroes when it grows`(open: Bool) throws {
        let small = try SmallVolume(blocks: 8000)
        let n = try fragmented(small, "a", extents: 3000)
        try small.write(n, 1024 * 2999, [UInt8](repeating: 5, count: 512))
        if open {
            try small.volume.open(n)
            try small.volume.perform { try $0.unlink(.root, bytes("a")) }
        }
        let left = try small.volume.perform { operations in
            _ = try operations.truncate(n, to: 512)
            let left = try operations.extents(n, .data, from: 0, to: .max).count
            _ = try operations.truncate(n, to: 1024 * 3000)
            return left
        }
        if !open { #expect(left == 3000 - 1024) }
        #expect(try small.snapshot().extents(n).count == 1)
        #expect(try small.inode(n)?.blocks == 1)
        let tail = try small.volume.read(n, at: 1024 * 2999, 1024)
        #expect(tail == [UInt8](repeating: 0, count: 1024))
        #expect(try small.volume.reclaimPending().finished == 0)
        if open { try small.volume.close(n) }
        #expect(try (small.inode(n) == nil) == open)
    }

    @Test func `what was left for later goes by itself, also after a new opening`() throws {
        let small = try SmallVolume(blocks: 8000)
        _ = try fragmented(small, "a", extents: 3000)
        let b = try small.create("b")
        try small.volume.perform { operations in
            try operations.unlink(.root, bytes("a"))
            // As a process leaves it that dies with a file open.
            try operations.unlink(.root, bytes("b"))
            var inode = InodeRecord(type: .regular, now: operations.now)
            inode.generation = 9
            try operations.put(inode, b)
            try operations.putReclaim(ReclaimRecord(inode: b, from: 0))
        }
        try small.reopen()
        var inodes: UInt64 = 0
        try until {
            inodes = try small.snapshot().fileSystemStatistics().inodes
            return try small.snapshot().inode(b) == nil && inodes <= 1
        }
        #expect(try small.snapshot().fileSystemStatistics().freeBlocks == 7997)
    }

    @Test func `a long punch leaves the counts right`() throws {
        let small = try SmallVolume(blocks: 8000)
        let n = try fragmented(small, "a", extents: 3000)
        try small.volume.perform { try $0.allocate(n, 512, 1024 * 3000, .punchHole) }
        #expect(try small.inode(n)?.blocks == 1)
        #expect(try small.snapshot().extents(n).count == 1)
        #expect(try small.snapshot().fileSystemStatistics().freeBlocks == 7996)
        try small.volume.perform {
            try $0.allocate(n, 0, 1024 * 3000, .reserve(keepSize: true))
        }
        #expect(try small.inode(n)?.blocks == 6000)
    }

    @Test func `storage with two owners is never freed`() throws {
        let small = try SmallVolume()
        let a = try small.create("a")
        try small.write(a, 0, [UInt8](repeating: 1, count: 2048))
        let extent = try #require(try small.snapshot().extents(a).first)
        // Free, and yet the file claims it.
        try small.volume.perform { try $0.giveBack(start: extent.start + 1, length: 1) }
        let free = try small.snapshot().fileSystemStatistics().freeBlocks
        try small.volume.perform { try $0.unlink(.root, bytes("a")) }
        #expect(try small.snapshot().lookup(.root, bytes("a")) == nil)
        #expect(try small.snapshot().fileSystemStatistics().freeBlocks == free)
        #expect(try small.volume.reclaimPending().damaged == [a])
        #expect(try small.snapshot().extents(a).count == 1)
        // The volume goes on.
        let b = try small.create("b")
        try small.write(b, 0, bytes("fine"))
        #expect(try small.volume.read(b, at: 0, 9) == bytes("fine"))
    }
}

@Suite(.temporaryDirectory) struct OperationsXattrTests {
    @Test func `values of every length are kept`() throws {
        let small = try SmallVolume(blocks: 600)
        let n = try small.create("a")
        var values: [[UInt8]: [UInt8]] = [:]
        for length in [0, 1, 1024, 1025, 4096, 65536] {
            let name = bytes("user.\(length)")
            values[name] = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            try small.volume.setXattr(n, name, values[name]!)
        }
        try small.reopen()
        for (name, value) in values { #expect(try small.volume.xattr(n, name) == value) }
        #expect(try small.snapshot().xattrNames(n).count == values.count)
        #expect(try small.inode(n)?.blocks == 3 + 8 + 128)
        try small.volume.setXattr(n, bytes("user.65536"), [1])
        try small.volume.perform { try $0.removeXattr(n, bytes("user.4096")) }
        #expect(try small.inode(n)?.blocks == 3)
        #expect(try small.volume.xattr(n, bytes("user.4096")) == nil)
        try small.volume.perform { try $0.unlink(.root, bytes("a")) }
        #expect(try small.snapshot().fileSystemStatistics().freeBlocks == 597)
    }

    @Test func `attributes that can't be set are refused`() throws {
        let small = try SmallVolume(blocks: 40)
        let n = try small.create("a")
        let volume = small.volume
        let long = bytes("user.") + [UInt8](repeating: 0x61, count: 251)
        for (name, expected) in [
            (bytes("user."), EOPNOTSUPP), (bytes("none.a"), EOPNOTSUPP), (long, ERANGE),
            (bytes("user.a") + [0], EINVAL),
        ] {
            #expect(try errnoOf { try volume.setXattr(n, name, [1]) } == expected)
        }
        let name = bytes("user.a")
        let large = [UInt8](repeating: 1, count: 65537)
        #expect(try errnoOf { try volume.setXattr(n, name, large) } == E2BIG)
        #expect(
            try errnoOf { try volume.setXattr(n, name, [UInt8](large.prefix(65536))) } == ENOSPC)
        #expect(try errnoOf { try volume.setXattr(n, name, [1], .replace) } == ENODATA)
        try volume.setXattr(n, name, [1], .create)
        #expect(try errnoOf { try volume.setXattr(n, name, [1], .create) } == EEXIST)
        try volume.setXattr(n, name, [2], .replace)
        #expect(try volume.xattr(n, name) == [2])
        #expect(
            try errnoOf { try volume.perform { try $0.removeXattr(n, bytes("user.b")) } }
                == ENODATA)
        #expect(try errnoOf { _ = try volume.xattr(99, name) } == ENOENT)
    }
}
