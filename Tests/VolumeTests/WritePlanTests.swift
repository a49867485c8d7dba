// What a write plans, allocates, fills, and makes readable; and what comes in between.

import Bytes
import LMDB
import Synchronization
import TestSupport
import Testing
import Threads
import VolumeFormat
import VolumeVerify

@testable import Volume

#if canImport(Glibc)
import Glibc
#endif

@Suite(.temporaryDirectory) struct WritePlanTests {
    private func expectVerified(_ small: SmallVolume) throws {
        try small.volume.sync()
        let report = try Verifier.verify(metadata: small.directory + "/v/meta.mdb")
        #expect(report.isClean, "\(report.examples)")
    }

    private func prepare(
        _ small: SmallVolume, _ n: InodeNumber, _ offset: UInt64, _ count: UInt64
    ) throws -> WritePlan {
        try small.volume.perform { try $0.prepareWrite(n, generation: nil, offset, count) }
    }

    private func free(_ small: SmallVolume) throws -> UInt64 {
        try small.snapshot().fileSystemStatistics().freeBlocks
    }

    @Test func `writes in an open group share its one commit`() throws {
        let small = try SmallVolume(commitDelay: 3600)
        let n = try small.create("a")
        let before = small.volume.core.environment.lastCommit
        try small.write(n, 0, [UInt8](repeating: 1, count: 3000))
        // Over its end, and a gap.
        try small.write(n, 2500, [UInt8](repeating: 2, count: 4000))
        try small.write(n, 20_000, [UInt8](repeating: 3, count: 10))
        #expect(small.volume.core.environment.lastCommit == before)
        let expected =
            [UInt8](repeating: 1, count: 2500) + [UInt8](repeating: 2, count: 4000)
            + [UInt8](repeating: 0, count: 13_500) + [UInt8](repeating: 3, count: 10)
        #expect(try small.volume.read(n, at: 0, 99_999) == expected)
        #expect(small.volume.core.environment.lastCommit == before + 1)
        #expect(try small.snapshot().extents(n).allSatisfy { $0.state == .written })
        try expectVerified(small)
    }

    @Test func `what a write has allocated is the file's from then on, and reads as zeroes`()
        throws
    {
        let small = try SmallVolume()
        let (a, b) = (try small.create("a"), try small.create("b"))
        let all = try free(small)
        let plan = try prepare(small, a, 0, 512 * 10)
        #expect(try free(small) == all - 10)
        #expect(try small.snapshot().extents(a).map(\.state) == [.unwritten])
        #expect(try small.inode(a)?.size == 0)
        try small.volume.perform {
            try $0.allocate(b, 0, (all - 10) * 512, .reserve(keepSize: false))
        }
        #expect(try errnoOf { try small.write(try small.create("c"), 0, [1]) } == ENOSPC)
        // A process that dies here leaves it so.
        _ = try small.volume.perform { try $0.truncate(a, to: 5120) }
        #expect(try small.volume.read(a, at: 0, 9999) == [UInt8](repeating: 0, count: 5120))
        #expect(try small.volume.perform { try $0.finishWrite(plan) })
        #expect(try small.snapshot().extents(a).map(\.blocks) == plan.map.map(\.blocks))
        #expect(try small.snapshot().extents(a).map(\.state) == [.written])
        try expectVerified(small)
    }

    @Test func `of two writes to one gap the second is planned again`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        let all = try free(small)
        let first = try prepare(small, n, 0, 600), second = try prepare(small, n, 500, 600)
        #expect(try free(small) == all - 3)
        #expect(try small.volume.perform { try $0.finishWrite(second) })
        #expect(try small.volume.perform { try $0.finishWrite(first) } == false)
        #expect(try small.snapshot().extents(n).count == 1)
        try small.write(n, 0, [UInt8](repeating: 1, count: 600))
        try expectVerified(small)
    }

    @Test func `a file that changes in between has its write planned again`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        let plan = try prepare(small, n, 1024, 600)
        try small.volume.perform { try $0.allocate(n, 1024, 512, .punchHole) }
        #expect(try small.volume.perform { try $0.finishWrite(plan) } == false)
        // Gone, and another in its place.
        let other = try prepare(small, n, 4096, 600)
        try small.volume.perform { operations in
            try operations.unlink(.root, bytes("a"))
            #expect(try operations.create(.root, bytes("a")).number == n)
        }
        #expect(
            try errnoOf { _ = try small.volume.perform { try $0.finishWrite(other) } } == ENOENT)
        try expectVerified(small)
    }

    @Test func `where too little is free the error says so, and nothing is allocated`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        let all = try free(small)
        let size = Int(all + 1) * 512
        #expect(try errnoOf { try small.write(n, 0, [UInt8](repeating: 1, count: size)) } == ENOSPC)
        #expect(try free(small) == all)
        try small.write(n, 0, [UInt8](repeating: 1, count: Int(all) * 512))
        #expect(try free(small) == 0)
        try expectVerified(small)
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func `free space in many pieces is taken all the same`(seed: UInt64) throws {
        let small = try SmallVolume(blocks: 1024)
        var random = SplitMix64(seed: seed)
        let holder = try small.create("holder"), n = try small.create("a")
        let all = try free(small)
        try small.volume.perform { operations in
            try operations.allocate(holder, 0, all * 512, .reserve(keepSize: false))
            for block in 0..<all where Bool.random(using: &random) {
                try operations.allocate(holder, block * 512, 512, .punchHole)
            }
        }
        try small.volume.sync()
        let left = Int(try free(small))
        let contents = (0..<(left * 512)).map { UInt8(truncatingIfNeeded: $0 / 100) }
        try small.write(n, 0, contents)
        #expect(try small.volume.read(n, at: 0, 1 << 20) == contents, "SEED=\(seed)")
        #expect(try free(small) == 0)
        try expectVerified(small)
    }

    @Test func `a file that was truncated in between has its write planned again`() throws {
        for (size, again) in [(10, nil), (0, nil), (10, 1500), (10, 5000)] as [(UInt64, UInt64?)] {
            let small = try SmallVolume()
            let n = try small.create("a")
            try small.write(n, 0, [UInt8](repeating: 1, count: 700))
            let plan = try prepare(small, n, 2000, 100)
            try small.volume.perform { operations in
                _ = try operations.truncate(n, to: size)
                if let again { _ = try operations.truncate(n, to: again) }
            }
            #expect(try small.volume.perform { try $0.finishWrite(plan) } == false)
            try small.write(n, 2000, [UInt8](repeating: 2, count: 100))
            let read = try small.volume.read(n, at: 0, 2000)
            let expected =
                [UInt8](repeating: 1, count: Int(size))
                + [UInt8](repeating: 0, count: 2000 - Int(size))
            #expect(read == expected, "\(size) \(again ?? 0)")
            try expectVerified(small)
        }
    }

    @Test func `a write is planned again where the same blocks came back after a truncation`()
        throws
    {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.write(n, 0, [UInt8](repeating: 1, count: 700))
        let plan = try prepare(small, n, 2000, 40)
        // Cut off and allocated again; behind the new end are bytes of before.
        try small.volume.perform { _ = try $0.truncate(n, to: 520) }
        try small.volume.sync()
        #expect(try prepare(small, n, 2000, 40).map == plan.map)
        #expect(try small.volume.perform { try $0.finishWrite(plan) } == false)
        try small.write(n, 2000, [2])
        #expect(try small.volume.read(n, at: 520, 180) == [UInt8](repeating: 0, count: 180))
        try expectVerified(small)
    }

    @Test func `an overwrite of what was cut off in between is planned again`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.write(n, 0, [UInt8](repeating: 1, count: 700))
        let plan = try prepare(small, n, 600, 100)
        try small.volume.perform { _ = try $0.truncate(n, to: 520) }
        #expect(try small.volume.perform { try $0.finishWrite(plan) } == false)
        #expect(try small.inode(n)?.size == 520)
    }

    @Test func `closing waits for writes under way, and no more begin`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        let volume = small.volume
        #expect(volume.core.writes.begin())
        let isClosed = Atomic(false)
        let closer = DedicatedThread(name: "closer") {
            try? volume.close()
            isClosed.store(true, ordering: .releasing)
        }
        while volume.core.writes.begin() {
            volume.core.writes.end()
            sched_yield()
        }
        let wasEarly = isClosed.load(ordering: .acquiring)
        #expect(!wasEarly)
        #expect(throws: VolumeError.self) { try small.write(n, 0, [1]) }
        volume.core.writes.end()
        closer.join()
        let isOver = isClosed.load(ordering: .acquiring)
        #expect(isOver)
    }

    /// One writer with a file of its own, and what it must hold.
    private static func work(_ volume: Volume, _ n: InodeNumber, seed: UInt64) throws -> [UInt8] {
        var random = SplitMix64(seed: seed), contents: [UInt8] = []
        func extend(to size: Int) {
            if size > contents.count {
                contents += [UInt8](repeating: 0, count: size - contents.count)
            }
        }
        for step in 0..<150 {
            let from = Int.random(in: 0..<30_000, using: &random)
            let count = Int.random(in: 1...9000, using: &random)
            do {
                switch Int.random(in: 0..<8, using: &random) {
                case 0:
                    _ = try volume.perform { try $0.truncate(n, to: UInt64(from)) }
                    extend(to: from)
                    contents.removeSubrange(from...)
                case 1:
                    try volume.perform {
                        try $0.allocate(n, UInt64(from), UInt64(count), .punchHole)
                    }
                    for place in from..<(from + count) where place < contents.count {
                        contents[place] = 0
                    }
                case 2:
                    try volume.perform {
                        try $0.allocate(
                            n, UInt64(from), UInt64(count), .reserve(keepSize: true))
                    }
                default:
                    let bytes = [UInt8](repeating: UInt8(step + 1), count: count)
                    try volume.write(n, at: UInt64(from), bytes.span.bytes)
                    extend(to: from + count)
                    contents.replaceSubrange(from..<(from + count), with: bytes)
                }
            } catch let error as VolumeError where error.errno == ENOSPC {
                continue
            }
        }
        return contents
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func `writers side by side on a volume that is nearly full keep their own contents`(
        seed: UInt64
    ) throws {
        let small = try SmallVolume(blocks: 220)
        let volume = small.volume
        let files = try (0..<4).map { try small.create("file \($0)") }
        let results = Mutex<[InodeNumber: Result<[UInt8], any Error>]>([:])
        let threads = files.map { n in
            DedicatedThread(name: "writer") {
                let result = Result { try Self.work(volume, n, seed: seed &* 31 &+ n) }
                results.withLock { $0[n] = result }
            }
        }
        for thread in threads { thread.join() }
        for n in files {
            let expected = try #require(results.withLock { $0[n] }).get()
            #expect(try volume.read(n, at: 0, 99_999) == expected, "SEED=\(seed)")
        }
        try expectVerified(small)
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `the part of a run that is worth taking is settled, and as long as it can be`(
        seed: UInt64
    ) {
        var random = SplitMix64(seed: seed)
        for _ in 0..<200 {
            var unsettled = UnsettledBlocks(), from: UInt64 = 0
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let start = from + .random(in: 0...20, using: &random)
                from = start + .random(in: 1...20, using: &random)
                unsettled.insert(BlockRange(start: start, end: from), commit: 1)
            }
            let start = UInt64.random(in: 0...50, using: &random)
            let run = BlockRange(start: start, end: start + .random(in: 1...60, using: &random))
            let wanted = UInt64.random(in: 1...40, using: &random)
            var longest: UInt64 = 0, length: UInt64 = 0
            for block in run.start..<run.end {
                let isFree = !unsettled.overlaps(BlockRange(start: block, end: block + 1))
                length = isFree ? length + 1 : 0
                longest = max(longest, length)
            }
            let part = unsettled.worthwhilePart(of: run, wanted)
            let isWorth = longest >= min(wanted, run.length, 16)
            #expect((part != nil) == isWorth, "SEED=\(seed)")
            guard let part else { continue }
            #expect(part.length == min(longest, wanted), "SEED=\(seed)")
            #expect(run.start <= part.start && part.end <= run.end, "SEED=\(seed)")
            #expect(!unsettled.overlaps(part), "SEED=\(seed)")
        }
    }
}
