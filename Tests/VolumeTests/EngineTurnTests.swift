// Whose turn it is to make changes: a caller's who is alone, or the writer thread's; and what is
// deferred until there is time.

import Glibc
import LMDB
import Synchronization
import TestSupport
import Testing
import Threads
import VolumeFormat

@testable import Volume

@Suite(.temporaryDirectory) struct EngineTurnTests {
    @Test func `a caller who is alone runs its job itself`() throws {
        // No durable point takes the turn.
        try withVolume(open: { $0.durableSeconds = 1e6 }) { volume in
            let here = UInt64(pthread_self())
            func isMine() throws -> Bool {
                try volume.perform { _ in UInt64(pthread_self()) } == here
            }
            // What an open begins with may have the turn before.
            try until("turn of its own") { try isMine() }
            for _ in 0..<200 { #expect(try isMine()) }
        }
    }

    @Test func `jobs that come while one runs share a commit, and a boundary goes before them`()
        throws
    {
        let small = try SmallVolume()
        let volume = small.volume
        let entered = Gate(), leave = Gate()
        let commits = Mutex<[UInt64]>([]), order = Mutex<[String]>([])
        var tasks = [
            ThreadTask {
                try volume.perform { operations in
                    entered.open()
                    try leave.wait()
                    _ = try operations.create(.root, bytes("first"))
                }
            }
        ]
        try entered.wait()
        for name in ["a", "b", "c"] {
            tasks.append(
                ThreadTask {
                    try volume.perform { operations in
                        _ = try operations.create(.root, bytes(name))
                        commits.withLock { $0.append(operations.commitUnderWay) }
                        order.withLock { $0.append("job") }
                    }
                })
        }
        tasks.append(
            ThreadTask {
                try volume.atCommitBoundary { _ in order.withLock { $0.append("boundary") } }
            })
        try until { volume.core.inbox.waiting == 4 }
        leave.open()
        for task in tasks { try task.value() }
        #expect(order.withLock { $0 } == ["boundary", "job", "job", "job"])
        #expect(commits.withLock { Set($0).count } == 1)
        for name in ["first", "a", "b", "c"] {
            #expect(try small.snapshot().lookup(.root, bytes(name)) != nil)
        }
    }

    @Test func `what was forgotten is given back soon, by itself`() throws {
        let small = try SmallVolume()
        let n = try forget(small)
        try until { try small.inode(n) == nil }
    }

    @Test func `what was forgotten is given back while one caller is busy`() throws {
        let small = try SmallVolume()
        let n = try forget(small)
        // One job after the other, with no moment between.
        try until("space given back", pausing: false) {
            try small.volume.perform { _ in }
            return try small.inode(n) == nil
        }
    }

    @Test func `whoever finds no space can have it given back at once`() throws {
        let small = try SmallVolume()
        for _ in 0..<20 {
            let free = try small.snapshot().fileSystemStatistics().freeBlocks
            let n = try forget(small)
            // By itself or by this: whatever was deferred before the call is done after it.
            try small.volume.retrying {
                if try small.inode(n) != nil { throw VolumeError.noSpace("test") }
            }
            #expect(try small.snapshot().fileSystemStatistics().freeBlocks == free)
        }
    }

    @Test func `what was deferred is tried again where another job spoils its group`() throws {
        let small = try SmallVolume()
        let forgotten = try (0..<5).map { try makeForgotten(small, "gone \($0)") }
        let entered = Gate(), leave = Gate(), volume = small.volume
        let busy = ThreadTask {
            try volume.perform { _ in
                entered.open()
                try leave.wait()
            }
        }
        try entered.wait()
        let spoiling = SpoilingJob()
        for n in forgotten.prefix(3) { volume.forget(n) }
        #expect(volume.core.inbox.add(deferred: spoiling))
        for n in forgotten.dropFirst(3) { volume.forget(n) }
        leave.open()
        try busy.value()
        try until { try forgotten.allSatisfy { try small.inode($0) == nil } }
        #expect(spoiling.runs.load(ordering: .relaxed) == 1)
        for n in forgotten { #expect(try small.inode(n) == nil) }
    }

    @Test func `a volume that is closed waits for the caller who has the turn`() throws {
        let small = try SmallVolume()
        let entered = Gate(), volume = small.volume
        let busy = ThreadTask {
            try volume.perform { operations in
                entered.open()
                // Whoever closes the volume has nothing left but to wait for this.
                try until { volume.core.inbox.isClosed }
                _ = try operations.create(.root, bytes("late"))
            }
        }
        try entered.wait()
        try small.reopen()
        try busy.value()
        #expect(try small.snapshot().lookup(.root, bytes("late")) != nil)
    }

    @Test func `what was deferred is done before a volume is closed`() throws {
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
