// What must not happen between the steps of a read or a write, made to happen in each order.

import Bytes
import Dispatch
import Foundation
import Synchronization
import TestSupport
import Testing
import VolumeFormat

@testable import Volume

#if canImport(Glibc)
import Glibc
#endif

/// Seconds for which changes wait for their commit: not at all, and longer than any race.
private let commitDelays = [0, 3600.0]

@Suite(.temporaryDirectory) struct OperationsRacesTests {
    /// Blocks that another file gets while `body` waits for them.
    private func meanwhile(
        _ small: SmallVolume, _ blocks: [BlockRange], _ change: () throws -> Void,
        _ body: @escaping @Sendable (Volume) throws -> [UInt8]
    ) throws -> Result<[UInt8], VolumeError> {
        let (volume, blockGuard) = (small.volume, small.volume.core.blockGuard)
        let lock = blockGuard.lock(blocks, exclusive: true)
        let waiting = ThreadTask { () -> Result<[UInt8], VolumeError> in
            do {
                return .success(try body(volume))
            } catch let error as VolumeError {
                return .failure(error)
            }
        }
        try until { blockGuard.locks.awaited == 1 }
        try change()
        blockGuard.unlock(lock)
        return try waiting.value()
    }

    /// All the free blocks, full of one byte.
    private func takeAll(
        _ small: SmallVolume, _ name: String, _ byte: UInt8
    ) throws -> InodeNumber {
        let n = try small.create(name)
        let size = try small.snapshot().fileSystemStatistics().freeBlocks * 512
        try small.volume.perform { try $0.reserve(n, [0..<size], .written, size: size) }
        for extent in try small.snapshot().extents(n) {
            let bytes = [UInt8](repeating: byte, count: Int(extent.length) * 512)
            try small.volume.core.data.write(bytes.span.bytes, at: extent.start * 512)
        }
        return n
    }

    @Test(arguments: commitDelays)
    func `a read never returns what another file wrote to the blocks meanwhile`(commitDelay: Double)
        throws
    {
        let small = try SmallVolume(blocks: 40, commitDelay: commitDelay)
        let a = try small.create("a")
        try small.write(a, 0, [UInt8](repeating: 1, count: 3000))
        let blocks = try small.snapshot().extents(a).map(\.blocks)
        let result = try meanwhile(small, blocks) {
            try small.volume.perform { _ = try $0.truncate(a, to: 0) }
            _ = try takeAll(small, "b", 2)
        } _: {
            try $0.read(a, at: 0, 3000)
        }
        #expect(try result.get() == [])
    }

    @Test(arguments: commitDelays)
    func `what a reader hands on as pages is not written over before it has done so`(
        commitDelay: Double
    )
        throws
    {
        let small = try SmallVolume(blocks: 40, commitDelay: commitDelay), volume = small.volume
        let a = try small.create("a")
        let before = [UInt8](repeating: 1, count: 8192), after = [UInt8](repeating: 2, count: 8192)
        try small.write(a, 0, before)
        let pipe = Pipe()
        var write: ThreadTask<Void>?
        let seen = try volume.withContents(a, at: 0, 8192) { contents in
            let isSpliced = contents.splice(into: pipe.fileHandleForWriting.fileDescriptor)
            #expect(isSpliced)
            write = ThreadTask { try volume.write(a, at: 0, after.span.bytes) }
            try until { volume.core.blockGuard.locks.awaited == 1 }
            // Taken from the pages themselves.
            return [UInt8](pipe.fileHandleForReading.readData(ofLength: 8192))
        }
        try write?.value()
        #expect(seen == before)
        #expect(try volume.read(a, at: 0, 8192) == after)
    }

    @Test(arguments: commitDelays)
    func `only contents that are there whole are handed on as pages`(commitDelay: Double) throws {
        let small = try SmallVolume(blocks: 60, commitDelay: commitDelay), volume = small.volume
        let a = try small.create("a")
        try small.write(a, 0, [UInt8](repeating: 1, count: 5000))
        try small.write(a, 8192, [UInt8](repeating: 2, count: 100))
        try volume.perform { try $0.allocate(a, 10240, 2048, .reserve(keepSize: false)) }
        func splices(_ offset: UInt64, _ count: Int) throws -> [UInt8]? {
            let pipe = Pipe()
            return try volume.withContents(a, at: offset, count) { contents in
                guard contents.splice(into: pipe.fileHandleForWriting.fileDescriptor) else {
                    return nil
                }
                let count = contents.count
                return [UInt8](pipe.fileHandleForReading.readData(ofLength: count))
            }
        }
        #expect(try splices(10, 4000) == [UInt8](repeating: 1, count: 4000))
        #expect(
            try splices(4990, 20) == [UInt8](repeating: 1, count: 10)
                + [UInt8](repeating: 0, count: 10))
        #expect(try splices(0, 8192) == nil)
        #expect(try splices(8000, 300) == nil)
        #expect(try splices(10240, 2048) == nil)
        #expect(try splices(99999, 10) == [])
    }

    @Test(arguments: commitDelays)
    func `a write never touches blocks that another file got meanwhile`(commitDelay: Double) throws
    {
        let small = try SmallVolume(blocks: 40, commitDelay: commitDelay)
        let a = try small.create("a")
        try small.volume.perform { try $0.allocate(a, 0, 3000, .reserve(keepSize: true)) }
        let blocks = try small.snapshot().extents(a).map(\.blocks)
        var b: InodeNumber = 0
        let result = try meanwhile(small, blocks) {
            try small.volume.perform { try $0.unlink(.root, bytes("a")) }
            b = try takeAll(small, "b", 2)
        } _: {
            try $0.write(a, at: 0, [UInt8](repeating: 1, count: 3000).span.bytes)
            return []
        }
        #expect(throws: VolumeError.self) { try result.get() }
        #expect(try small.volume.read(b, at: 0, 99999) == [UInt8](repeating: 2, count: 37 * 512))
    }

    @Test(arguments: commitDelays)
    func `a long attribute is never read from blocks that changed hands meanwhile`(
        commitDelay: Double
    )
        throws
    {
        let small = try SmallVolume(blocks: 40, commitDelay: commitDelay)
        let a = try small.create("a")
        let name = bytes("user.a")
        try small.volume.setXattr(a, name, [UInt8](repeating: 1, count: 3000))
        let blocks = try small.snapshot().extents(a, .attributes).map(\.blocks)
        let result = try meanwhile(small, blocks) {
            try small.volume.perform { try $0.setXattr(a, name, [7]) }
            _ = try takeAll(small, "b", 2)
        } _: {
            try $0.xattr(a, name) ?? []
        }
        #expect(try result.get() == [7])
    }

    @Test(arguments: commitDelays)
    func `a write starts again when its file has changed`(commitDelay: Double) throws {
        let small = try SmallVolume(commitDelay: commitDelay)
        let n = try small.create("a")
        let volume = small.volume
        try small.write(n, 0, [UInt8](repeating: 1, count: 700))
        let changes: [(inout Operations) throws -> Void] = [
            { try $0.allocate(n, 0, 1024, .punchHole) },
            { try $0.allocate(n, 0, 1024, .zeroRange(keepSize: true)) },
            { _ = try $0.truncate(n, to: 10) },
            { _ = try $0.truncate(n, to: 5000) },
        ]
        for change in changes {
            try small.write(n, 0, [UInt8](repeating: 1, count: 700))
            try volume.perform { _ = try $0.truncate(n, to: 700) }
            let plan = try volume.perform {
                try $0.prepareWrite(n, generation: nil, 300, 900)
            }
            try volume.perform(change)
            let before = try small.inode(n)
            #expect(try volume.perform { try $0.finishWrite(plan) } == false)
            #expect(try small.inode(n) == before)
        }
        let plan = try volume.perform { try $0.prepareWrite(n, generation: nil, 0, 10) }
        try volume.perform { operations in
            try operations.unlink(.root, bytes("a"))
            #expect(try operations.create(.root, bytes("a")).number == n)
        }
        #expect(try errnoOf { _ = try volume.perform { try $0.finishWrite(plan) } } == ENOENT)
    }

    /// A file whose last block is partly used, and a write into the rest of that block, as far as
    /// the bytes.
    private func withTailWrite(
        _ body: (SmallVolume, InodeNumber, WritePlan) throws -> Void
    ) throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.write(n, 0, [UInt8](repeating: 1, count: 700))
        let plan = try small.volume.perform {
            try $0.prepareWrite(n, generation: nil, 700, 200)
        }
        try body(small, n, plan)
    }

    private func putBytes(_ small: SmallVolume, _ plan: WritePlan, _ byte: UInt8) throws {
        let place = try #require(plan.map.first).start * 512 + plan.offset % 512
        let bytes = [UInt8](repeating: byte, count: Int(plan.count))
        try small.volume.core.data.write(bytes.span.bytes, at: place)
    }

    @Test func `zeroes behind the old end never cover what another write put there`() throws {
        try withTailWrite { small, n, plan in
            // The one behind it has looked where the end is, and waits for its block.
            let blocks = try small.snapshot().extents(n).map(\.blocks)
            _ = try meanwhile(small, blocks) {
                try putBytes(small, plan, 2)
                #expect(try small.volume.perform { try $0.finishWrite(plan) })
            } _: {
                try $0.write(n, at: 2000, [UInt8(3)].span.bytes)
                return []
            }
            let expected =
                [UInt8](repeating: 1, count: 700) + [UInt8](repeating: 2, count: 200)
                + [UInt8](repeating: 0, count: 1100) + [3]
            #expect(try small.volume.read(n, at: 0, 9999) == expected)
        }
    }

    @Test func `bytes behind the old end, zeroed by another write, are written again`() throws {
        try withTailWrite { small, n, plan in
            try putBytes(small, plan, 2)
            try small.write(n, 2000, [3])
            #expect(try small.volume.perform { try $0.finishWrite(plan) } == false)
            #expect(
                try small.volume.read(n, at: 700, 200) == [UInt8](repeating: 0, count: 200))
        }
    }

    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func `writes that make a file longer side by side are all in it`(seed: UInt64) throws {
        let small = try SmallVolume(blocks: 4096)
        let (volume, n) = (small.volume, try small.create("a"))
        var random = SplitMix64(seed: seed)
        var pieces: [Range<Int>] = []
        while (pieces.last?.upperBound ?? 0) < 60_000 {
            let start = pieces.last?.upperBound ?? 0
            pieces.append(start..<(start + Int.random(in: 1...700, using: &random)))
        }
        let end = try #require(pieces.last).upperBound
        // Near each other, as a kernel writes out what it holds, and out of order.
        for start in stride(from: 0, to: pieces.count, by: 8) {
            pieces[start..<min(start + 8, pieces.count)].shuffle(using: &random)
        }
        let order = pieces
        let next = Atomic<Int>(0), failures = Atomic<Int>(0)
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            while true {
                let place = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard place < order.count else { return }
                let bytes = order[place].map { UInt8(truncatingIfNeeded: $0 % 251 + 1) }
                do {
                    try volume.write(n, at: UInt64(order[place].lowerBound), bytes.span.bytes)
                } catch {
                    failures.wrappingAdd(1, ordering: .relaxed)
                }
            }
        }
        #expect(failures.load(ordering: .relaxed) == 0, "SEED=\(seed)")
        let expected = (0..<end).map { UInt8(truncatingIfNeeded: $0 % 251 + 1) }
        #expect(try volume.read(n, at: 0, end + 1) == expected, "SEED=\(seed)")
    }

    @Test(arguments: commitDelays)
    func `blocks freed since the last durable point are written after the next`(commitDelay: Double)
        throws
    {
        let small = try SmallVolume(blocks: 40, commitDelay: commitDelay)
        let a = try small.create("a")
        try small.write(a, 0, [UInt8](repeating: 1, count: 37 * 512))
        try small.volume.sync()
        try small.volume.perform { try $0.unlink(.root, bytes("a")) }
        let freed = try small.snapshot().commit
        let b = try small.create("b")
        try small.write(b, 0, [2])
        #expect(small.volume.durableCommit >= freed)
        // The same for the values of attributes.
        try small.volume.sync()
        try small.volume.perform { try $0.unlink(.root, bytes("b")) }
        let c = try takeAll(small, "c", 3)
        try small.volume.perform { _ = try $0.truncate(c, to: 20 * 512) }
        let cut = try small.snapshot().commit
        let value = [UInt8](repeating: 4, count: 17 * 512)
        #expect(
            try errnoOf {
                try small.volume.perform { try $0.setXattr(c, bytes("user.a"), value) }
            } == ENOSPC)
        try small.volume.setXattr(c, bytes("user.a"), value)
        #expect(small.volume.durableCommit >= cut)
        #expect(try small.volume.xattr(c, bytes("user.a")) == value)
    }

    @Test(arguments: commitDelays)
    func `blocks freed since the last durable point are passed over while others are free`(
        commitDelay: Double
    )
        throws
    {
        let small = try SmallVolume(blocks: 400, commitDelay: commitDelay)
        let contents = [UInt8](repeating: 1, count: 30 * 512)
        for name in ["a", "b", "c"] { try small.write(small.create(name), 0, contents) }
        try small.volume.sync()
        let durable = small.volume.durableCommit
        let b = try #require(try small.snapshot().lookup(.root, bytes("b"))).child
        let hole = try #require(try small.snapshot().map(b, .data, 0..<30).first).blocks
        // The hole is the best fit, and the end of `a` and `c` lies before what was cut.
        try small.volume.perform { try $0.unlink(.root, bytes("b")) }
        for name in ["a", "c"] {
            let n = try #require(try small.snapshot().lookup(.root, bytes(name))).child
            try small.volume.perform { _ = try $0.truncate(n, to: 20 * 512) }
            try small.write(n, 20 * 512, contents)
        }
        for name in ["d", "e"] { try small.write(small.create(name), 0, contents) }
        #expect(small.volume.durableCommit == durable, "a write waited for a durable point")
        // After it they are taken as any other.
        try small.volume.sync()
        let f = try small.create("f")
        try small.write(f, 0, contents)
        let found = try small.snapshot().map(f, .data, 0..<30)
        #expect(found.contains { $0.blocks.overlaps(hole) }, "\(found), \(hole)")
    }
}

@Suite(.temporaryDirectory) struct BlockGuardTests {
    private func range(_ start: UInt64, _ end: UInt64) -> [BlockRange] {
        [BlockRange(start: start, end: end)]
    }

    /// Asks for a lock on a thread of its own, and gives it back.
    private func locking(
        _ blockGuard: BlockGuard, _ ranges: [BlockRange], exclusive: Bool
    ) -> ThreadTask<Void> {
        ThreadTask { blockGuard.unlock(blockGuard.lock(ranges, exclusive: exclusive)) }
    }

    @Test func `readers share blocks, a writer has them alone`() throws {
        let blockGuard = BlockGuard()
        let read = blockGuard.lock(range(10, 20), exclusive: false)
        try locking(blockGuard, range(15, 30), exclusive: false).value()
        try locking(blockGuard, range(20, 30), exclusive: true).value()
        let writer = locking(blockGuard, range(19, 30), exclusive: true)
        try until { blockGuard.locks.awaited == 1 }
        // The one that waits goes first.
        let reader = locking(blockGuard, range(25, 26), exclusive: false)
        try until { blockGuard.locks.awaited == 2 }
        #expect(!writer.isEnded && !reader.isEnded && blockGuard.locks.held == 1)
        blockGuard.unlock(read)
        try writer.value()
        try reader.value()
        let write = blockGuard.lock(range(10, 20), exclusive: true)
        let late = locking(blockGuard, range(0, 11), exclusive: false)
        try until { blockGuard.locks.awaited == 1 }
        #expect(!late.isEnded)
        blockGuard.unlock(write)
        try late.value()
        #expect(blockGuard.locks == (0, 0))
    }

    @Test func `freed blocks are settled once their commit is durable`() {
        let blockGuard = BlockGuard()
        for commit in UInt64(1)...5 {
            blockGuard.noteFreed(
                BlockRange(start: commit * 10, end: commit * 10 + 5), commit: commit)
        }
        #expect(!blockGuard.isSettled(range(30, 31), durable: 2))
        #expect(blockGuard.isSettled(range(36, 40), durable: 2))
        #expect(blockGuard.isSettled(range(30, 31), durable: 3))
        #expect(!blockGuard.isSettled(range(0, 100), durable: 4))
        #expect(blockGuard.isSettled(range(0, 100), durable: 5))
    }

    @Test(arguments: 1...20)
    func `the settled part of a run is the first that is long enough, or the longest`(seed: UInt64)
    {
        var random = SplitMix64(seed: seed)
        let blockGuard = BlockGuard()
        var settled = Set<UInt64>(0..<100)
        for _ in 0..<Int.random(in: 0...8, using: &random) {
            let start = UInt64.random(in: 0..<100, using: &random)
            let range = BlockRange(start: start, end: start + .random(in: 1...20, using: &random))
            blockGuard.noteFreed(range, commit: 1)
            settled.subtract(range.start..<range.end)
        }
        let wanted = UInt64.random(in: 1...30, using: &random)
        let run = BlockRange(
            start: .random(in: 0..<50, using: &random), end: .random(in: 51...100, using: &random))
        let pieces = (run.start..<run.end).map { start in
            BlockRange(
                start: start,
                end: (start..<min(run.end, start + wanted)).first { !settled.contains($0) }
                    ?? min(run.end, start + wanted))
        }
        let longest = pieces.map(\.length).max() ?? 0
        let expected = longest == 0 ? nil : pieces.first { $0.length == longest }
        let unsettled = blockGuard.unsettled(durable: 0)
        #expect(unsettled.settledPart(of: run, wanted) == expected, "SEED=\(seed)")
        #expect(blockGuard.unsettled(durable: 1).settledPart(of: run, 1)?.start == run.start)
    }

    @Test(arguments: 1...20)
    func `a block is settled with the last commit that freed it`(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var unsettled = UnsettledBlocks()
        var freed: [UInt64: UInt64] = [:]
        for commit in 1...40 as ClosedRange<UInt64> {
            let start = UInt64.random(in: 0..<60, using: &random)
            let range = BlockRange(start: start, end: start + .random(in: 1...9, using: &random))
            unsettled.insert(range, commit: commit)
            for block in range.start..<range.end { freed[block] = commit }
            if commit % 7 == 0 {
                let durable = UInt64.random(in: 1...commit, using: &random)
                unsettled.settle(durable: durable)
                freed = freed.filter { $0.value > durable }
            }
            for block in 0..<UInt64(70) {
                #expect(
                    unsettled.overlaps(BlockRange(start: block, end: block + 1))
                        == (freed[block] != nil), "SEED=\(seed), block \(block)")
            }
        }
        #expect(unsettled.isEmpty == freed.isEmpty)
    }

    @Test func `so many freed blocks that they are not told apart are unsettled together`() {
        let blockGuard = BlockGuard()
        for index in 0...UInt64(UnsettledBlocks.most) {
            blockGuard.noteFreed(
                BlockRange(start: index * 10 + 1000, end: index * 10 + 1001), commit: 7)
        }
        #expect(!blockGuard.isSettled(range(5, 6), durable: 6))
        #expect(blockGuard.isSettled(range(5, 6), durable: 7))
        let lock = blockGuard.lock(range(5, 6), exclusive: false)
        #expect(!blockGuard.isIdle(range(0, 10), durable: 7))
        blockGuard.unlock(lock)
        #expect(blockGuard.isIdle(range(0, 10), durable: 7))
    }
}
