// How long a change that finds no space is attempted again, by a clock that the test turns.

import Dispatch
import LMDB
import Synchronization
import TestSupport
import Testing
import Threads
import VolumeFormat

@testable import Volume

#if canImport(Glibc)
import Glibc
#endif

/// Seconds that only the test moves, and how often they were read.
private final class HandClock: Sendable {
    private let milliseconds = Atomic<Int>(0)
    let reads = Atomic<Int>(0)

    func now() -> Double {
        reads.add(1, ordering: .relaxed)
        return Double(milliseconds.load(ordering: .relaxed)) / 1000
    }

    func turn(milliseconds count: Int) { milliseconds.add(count, ordering: .relaxed) }

    /// Waits until the clock has been read so many times more.
    func waitForReads(_ count: Int) throws {
        let before = reads.load(ordering: .relaxed)
        try until("readings of the clock") { reads.load(ordering: .relaxed) >= before + count }
    }
}

@Suite(.temporaryDirectory) struct SpaceWaitTests {
    private let clock = HandClock()

    /// A volume without a free block.
    private func fullVolume(commitDelay: Double) throws -> (small: SmallVolume, n: InodeNumber) {
        let clock = clock
        let small = try SmallVolume(commitDelay: commitDelay, monotonicClock: { clock.now() })
        let n = try small.create("a"), filler = try small.create("filler")
        try small.volume.perform {
            try $0.allocate(filler, 0, $0.counters.freeBlocks * 512, .reserve(keepSize: false))
        }
        return (small, n)
    }

    @Test(arguments: [0, 3600] as [Double])
    func `a write to a full volume is attempted once where nothing is about to be freed`(
        commitDelay: Double
    ) throws {
        let (small, n) = try fullVolume(commitDelay: commitDelay)
        // What the opening looks for is reclaimed by then.
        while small.volume.core.reclaims.load(ordering: .acquiring) > 0 { try small.volume.sync() }
        let before = small.volume.core.operations.load(ordering: .relaxed)
        #expect(try errnoOf { try small.write(n, 0, [1]) } == ENOSPC)
        #expect(small.volume.core.operations.load(ordering: .relaxed) == before + 1)
    }

    @Test(arguments: [0, 3600] as [Double])
    func `a write that finds no space answers within 2 s, however much is reclaimed meanwhile`(
        commitDelay: Double
    ) throws {
        let (small, n) = try fullVolume(commitDelay: commitDelay)
        let volume = small.volume
        var attempts = 0
        let error = #expect(throws: VolumeError.self) {
            try volume.retrying {
                attempts += 1
                clock.turn(milliseconds: 250)
                // There is always something to wait for, which frees nothing.
                let job = ReclaimJob(volume.core, after: n, through: n + 1)
                _ = volume.core.inbox.add(deferred: job)
                _ = try volume.perform { try $0.prepareWrite(n, generation: nil, 0, 1) }
            }
        }
        #expect(error?.errno == ENOSPC)
        // The deadline begins with the first: one every 250 ms.
        #expect(attempts == 9)
    }

    @Test func `whoever waits for space that does not come waits for one deadline`() throws {
        let (small, n) = try fullVolume(commitDelay: 0)
        let volume = small.volume, clock = clock
        let (entered, leave) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        let all = DispatchGroup()
        // The turn is taken all the time, so nothing is reclaimed.
        DispatchQueue.global().async(group: all) {
            try? volume.perform { _ in
                entered.signal()
                leave.wait()
            }
        }
        entered.wait()
        #expect(volume.core.inbox.add(deferred: ReclaimJob(volume.core, after: n, through: n + 1)))
        let attempts = Atomic<Int>(0), isAnswered = Atomic<Bool>(false)
        let waiter = DedicatedThread(name: "waiter") {
            let error = #expect(throws: VolumeError.self) {
                try volume.retrying {
                    attempts.add(1, ordering: .relaxed)
                    throw VolumeError.noSpace("test")
                }
            }
            #expect(error?.errno == ENOSPC)
            isAnswered.store(true, ordering: .releasing)
        }
        try clock.waitForReads(5)
        clock.turn(milliseconds: 1999)
        try clock.waitForReads(5)
        let isEarly = isAnswered.load(ordering: .acquiring)
        #expect(!isEarly)
        clock.turn(milliseconds: 1)
        waiter.join()
        // It had waited all the time in one place, and did not begin again.
        let count = attempts.load(ordering: .relaxed)
        #expect(count == 1)
        leave.signal()
        all.wait()
    }

    @Test(arguments: [0, 3600] as [Double])
    func `a write gets what a deleted file of many extents gives back piece by piece`(
        commitDelay: Double
    ) throws {
        let clock = clock
        let small = try SmallVolume(
            blocks: 16_384, commitDelay: commitDelay, monotonicClock: { clock.now() })
        let volume = small.volume
        let n = try small.create("a"), big = try small.create("big")
        let filler = try small.create("filler")
        // Every second block: as many extents as can be, which three pieces give back.
        try volume.perform { operations in
            for block in 0..<UInt64(Operations.reclaimPiece * 3) {
                try operations.allocate(big, block * 1024, 512, .reserve(keepSize: false))
            }
            let left = operations.counters.freeBlocks
            try operations.allocate(filler, 0, left * 512, .reserve(keepSize: false))
        }
        volume.hold(big)
        try volume.perform { try $0.unlink(.root, bytes("big")) }
        volume.forget(big)
        let all = Operations.reclaimPiece * 3 * 512
        try small.write(n, 0, [UInt8](repeating: 7, count: all))
        #expect(try small.inode(n)?.size == UInt64(all))
        #expect(try small.inode(big) == nil)
    }

    @Test func `an aborted group is attempted again, and not for ever`() throws {
        let small = try SmallVolume()
        let cause = LMDBError(code: .system(EIO), operation: "commit", object: "test")
        var attempts = 0
        let result = try small.volume.retrying { () throws -> Int? in
            attempts += 1
            if attempts < 3 { throw VolumeError.groupAborted(cause) }
            return attempts
        }
        #expect(result == 3)
        attempts = 0
        #expect(throws: VolumeError.groupAborted(cause)) {
            try small.volume.retrying {
                attempts += 1
                throw VolumeError.groupAborted(cause)
            }
        }
        #expect(attempts == 3)
    }

    @Test func `an attempt whose plan no longer holds is made again at once`() throws {
        let small = try SmallVolume()
        var attempts = 0
        let result = try small.volume.retrying { () -> Int? in
            attempts += 1
            return attempts > 100 ? attempts : nil
        }
        #expect(result == 101)
    }
}
