// Whose turn it is to make changes: a caller's who is alone, or the writer thread's; and what is
// put off until there is time.

import Dispatch
import Glibc
import LMDB
import Synchronization
import Testing
import VolumeFormat

@testable import Volume

@Suite struct EngineTurnTests {
    @Test func `a caller who is alone runs its job itself`() throws {
        let small = try SmallVolume()
        let here = UInt64(pthread_self())
        var own = 0
        // What an open begins with, and a durable point, may have the turn before.
        for _ in 0..<200 {
            if try small.volume.perform({ _ in UInt64(pthread_self()) }) == here { own += 1 }
            usleep(100)
        }
        #expect(own > 100)
    }

    @Test func `jobs that come while one runs share a commit, and a boundary goes before them`()
        throws
    {
        let small = try SmallVolume()
        let volume = small.volume
        let (entered, leave) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        let commits = Mutex<[UInt64]>([]), order = Mutex<[String]>([]), all = DispatchGroup()
        func start(_ body: @escaping @Sendable () throws -> Void) {
            DispatchQueue.global().async(group: all) { try? body() }
        }
        start {
            try volume.perform { operations in
                entered.signal()
                leave.wait()
                _ = try operations.create(.root, bytes("first"))
            }
        }
        entered.wait()
        for name in ["a", "b", "c"] {
            start {
                try volume.perform { operations in
                    _ = try operations.create(.root, bytes(name))
                    commits.withLock { $0.append(operations.commitUnderWay) }
                    order.withLock { $0.append("job") }
                }
            }
        }
        start {
            try volume.atCommitBoundary { _ in order.withLock { $0.append("boundary") } }
        }
        while volume.core.inbox.waiting < 4 { usleep(1000) }
        leave.signal()
        all.wait()
        #expect(order.withLock { $0 } == ["boundary", "job", "job", "job"])
        #expect(commits.withLock { Set($0).count } == 1)
        for name in ["first", "a", "b", "c"] {
            #expect(try small.snapshot().lookup(.root, bytes(name)) != nil)
        }
    }

    @Test func `what was forgotten is given back soon, by itself`() throws {
        let small = try SmallVolume()
        let n = try forget(small)
        let start = monotonicSeconds()
        while try small.inode(n) != nil, monotonicSeconds() - start < 20 { usleep(1000) }
        #expect(try small.inode(n) == nil)
    }

    @Test func `what was forgotten is given back while one caller is busy`() throws {
        let small = try SmallVolume()
        let n = try forget(small)
        let start = monotonicSeconds()
        // One job after the other, with hardly a moment between.
        while try small.inode(n) != nil, monotonicSeconds() - start < 20 {
            try small.volume.perform { _ in _ = usleep(20_000) }
        }
        #expect(try small.inode(n) == nil)
        #expect(monotonicSeconds() - start < 5)
    }

    @Test func `whoever finds no space can have it given back at once`() throws {
        let small = try SmallVolume()
        for _ in 0..<20 {
            let free = try small.snapshot().fileSystemStatistics().freeBlocks
            let n = try forget(small)
            // By itself or by this: whatever was put off before the call is done after it.
            _ = try small.volume.reclaimForgotten()
            #expect(try small.inode(n) == nil)
            #expect(try small.snapshot().fileSystemStatistics().freeBlocks == free)
        }
    }

    @Test func `what was put off is tried again where another job spoils its group`() throws {
        let small = try SmallVolume()
        let forgotten = try (0..<5).map { try makeForgotten(small, "gone \($0)") }
        let (entered, leave) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        let volume = small.volume, all = DispatchGroup()
        DispatchQueue.global().async(group: all) {
            try? volume.perform { _ in
                entered.signal()
                leave.wait()
            }
        }
        entered.wait()
        let spoiling = SpoilingJob()
        for n in forgotten.prefix(3) { volume.forget(n) }
        #expect(volume.core.inbox.putOff(spoiling))
        for n in forgotten.dropFirst(3) { volume.forget(n) }
        leave.signal()
        all.wait()
        let start = monotonicSeconds()
        while try forgotten.contains(where: { try small.inode($0) != nil }),
            monotonicSeconds() - start < 20
        {
            usleep(1000)
        }
        #expect(spoiling.runs.load(ordering: .relaxed) == 1)
        for n in forgotten { #expect(try small.inode(n) == nil) }
    }

    @Test func `a volume that is closed waits for the caller who has the turn`() throws {
        let small = try SmallVolume()
        let entered = DispatchSemaphore(value: 0), volume = small.volume
        DispatchQueue.global().async {
            _ = try? volume.perform { operations in
                entered.signal()
                usleep(200_000)
                return try operations.create(.root, bytes("late"))
            }
        }
        entered.wait()
        try small.reopen()
        #expect(try small.snapshot().lookup(.root, bytes("late")) != nil)
    }

    @Test func `what was put off is done before a volume is closed`() throws {
        let small = try SmallVolume()
        let n = try forget(small)
        try small.reopen()
        #expect(try small.inode(n) == nil)
        #expect(try small.volume.records(TableName.reclaim).isEmpty)
    }

    /// Makes a file with contents that is held, takes its name away, and forgets it.
    private func forget(_ small: SmallVolume) throws -> InodeNumber {
        let n = try makeForgotten(small, "gone")
        small.volume.forget(n)
        return n
    }

    /// The same, and leaves it held.
    private func makeForgotten(_ small: SmallVolume, _ name: String) throws -> InodeNumber {
        let n = try small.create(name)
        try small.write(n, 0, [UInt8](repeating: 7, count: 5000))
        small.volume.hold(n)
        try small.volume.perform { try $0.unlink(.root, bytes(name)) }
        #expect(try small.inode(n)?.links == 0)
        return n
    }
}

/// Has the group that it is in aborted.
private final class SpoilingJob: Job, Sendable {
    let runs = Atomic<Int>(0)
    var mustAbort: LMDBError? { LMDBError(code: .mapFull, operation: "spoil", object: "a group") }

    func run(_ operations: inout Operations) { runs.add(1, ordering: .relaxed) }
    func end(_ failure: LMDBError?) {}
}
