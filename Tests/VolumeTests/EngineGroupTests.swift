// Groups: what is acknowledged, what is told to hooks, and what an abort leaves.

import Bytes
import Foundation
import LMDB
import Synchronization
import TestSupport
import Testing
import Tidemark
import VolumeFormat

import Tidemark
@testable import Volume

/// Notes all that a hook is told.
final class NotingHook: CommitHook {
    struct Notes {
        var commits: [UInt64] = []
        var deltas: [(slot: Int, primary: [UInt8], key: [UInt8], value: [UInt8]?)] = []
        var admissions = 0
    }

    let notes = Mutex(Notes())
    let slots: Set<Int>

    init(_ slots: Set<Int> = [0, 1]) { self.slots = slots }

    func wants(_ index: IndexSlot) -> Bool { slots.contains(index.rawValue) }
    func admit(within seconds: Double) -> Bool {
        notes.withLock { $0.admissions += 1 }
        return true
    }

    func committed(
        _ commit: UInt64, by origin: CommitOrigin, deltas: borrowing DeltaBatch
    ) {
        var position = 0
        var list: [(slot: Int, primary: [UInt8], key: [UInt8], value: [UInt8]?)] = []
        for _ in 0..<deltas.count {
            let delta = deltas.delta(at: position)
            list.append(
                (
                    delta.slot, delta.primary.array, delta.key.array,
                    delta.kind == .added ? delta.value.array : nil
                ))
            position = delta.end
        }
        notes.withLock {
            $0.commits.append(commit)
            $0.deltas += list
        }
    }

    var commits: [UInt64] { notes.withLock { $0.commits } }
    var deltaCount: Int { notes.withLock { $0.deltas.count } }
}

@Suite(.temporaryDirectory) struct EngineGroupTests {
    @Test func `what is acknowledged is seen by every later snapshot`() throws {
        try withVolume { volume in
            for number in 0..<50 {
                let inode = try volume.perform { try $0.create(.root, name(number)).number }
                let records = try volume.records(TableName.inodes)
                #expect(records[InodeRecord.key(inode).span.array] != nil)
            }
        }
    }

    @Test func `many threads change a volume at once, and nothing is lost`() throws {
        try withVolume { volume in
            let failures = Mutex(0)
            DispatchQueue.concurrentPerform(iterations: 8) { thread in
                for number in 0..<100 {
                    do {
                        _ = try volume.perform {
                            try $0.create(.root, Array("t\(thread)-\(number)".utf8))
                        }
                    } catch {
                        failures.withLock { $0 += 1 }
                    }
                }
            }
            #expect(failures.withLock { $0 } == 0)
            #expect(try volume.records(TableName.dirents).count == 800)
            #expect(try volume.statistics().counters.inodes == 801)
            let derived = try volume.derived()
            #expect(try volume.liveEntries("parents") == derived.parents)
        }
    }

    @Test func `an operation that is refused changes nothing, and the job goes on`() throws {
        try withVolume { volume in
            let before = try volume.contents()
            #expect(throws: VolumeError.self) {
                try volume.perform { try $0.create(.root, Array("a/b".utf8)) }
            }
            #expect(try volume.contents() == before)
            try volume.perform { operations in
                _ = try operations.create(.root, name(1))
                #expect(throws: VolumeError.self) { try operations.create(.root, name(1)) }
                _ = try operations.create(.root, name(2))
            }
            #expect(try volume.records(TableName.dirents).count == 2)
        }
    }

    @Test func `a group that is aborted leaves nothing, and no hook hears of it`() throws {
        try withVolume { volume in
            let hook = NotingHook()
            try volume.atCommitBoundary { $0.attach(hook) }
            let before = try volume.contents()
            let cause = LMDBError(code: .corrupted, operation: "put", object: "inodes")
            #expect(throws: VolumeError.groupAborted(cause)) {
                try volume.perform { operations in
                    _ = try operations.create(.root, name(1))
                    throw cause
                }
            }
            #expect(try volume.contents() == before)
            #expect(hook.commits.isEmpty)
            _ = try volume.perform { try $0.create(.root, name(2)) }
            #expect(hook.commits.count == 1)
            #expect(hook.deltaCount == 1)
            let derived = try volume.derived()
            #expect(try volume.liveEntries("parents") == derived.parents)
        }
    }

    @Test func `a long job is several commits, and hooks hear of each, in order`() throws {
        try withVolume { volume in
            let hook = NotingHook()
            try volume.atCommitBoundary { $0.attach(hook) }
            let first = try volume.read().commit
            try volume.perform { operations in
                for number in 0..<10_000 { _ = try operations.create(.root, name(number)) }
            }
            let count = 10_000 / GroupLimits.operations + 1
            #expect(hook.commits == (1...UInt64(count)).map { first + $0 })
            #expect(hook.deltaCount == 10_000)
            #expect(hook.notes.withLock { $0.admissions } >= count)
            try volume.atCommitBoundary { boundary in
                #expect(boundary.hooks.count == 1)
                boundary.detach(hook)
            }
            _ = try volume.perform { try $0.create(.root, Array("x".utf8)) }
            #expect(hook.commits.count == count)
        }
    }

    @Test func `a boundary is reached in the middle of a long job`() throws {
        try withVolume { volume in
            let isIn = Gate(), reached = Mutex(0)
            let job = ThreadTask {
                _ = try volume.perform { operations in
                    isIn.open()
                    for number in 0..<100_000 where reached.withLock({ $0 < 3 }) {
                        _ = try operations.create(.root, name(number))
                    }
                }
            }
            try isIn.wait()
            while !job.isEnded {
                let commits = try volume.atCommitBoundary { boundary in
                    (boundary.lastCommit, try boundary.snapshot().commit)
                }
                #expect(commits.0 == commits.1)
                reached.withLock { $0 += 1 }
            }
            try job.value()
            #expect(reached.withLock { $0 } >= 3)
        }
    }

    @Test func `only the deltas that are wanted are collected`() throws {
        try withVolume { volume in
            let hook = NotingHook([0])
            try volume.atCommitBoundary { $0.attach(hook) }
            try volume.perform { operations in
                _ = try operations.create(.root, name(1))
                try operations.map(inode: 2, blocks: 3)
            }
            let deltas = hook.notes.withLock { $0.deltas }
            #expect(deltas.map(\.slot) == [0])
            let offset = [UInt8](repeating: 0, count: 8)
            #expect(deltas.first?.primary == [0, 0, 0, 0, 0, 0, 0, 2, 3, 0] + offset)
        }
    }

    @Test func `a transaction without changes is no commit`() throws {
        try withVolume { volume in
            let hook = NotingHook()
            try volume.atCommitBoundary { $0.attach(hook) }
            let before = try volume.read().commit
            try volume.perform { _ in }
            #expect(try volume.read().commit == before)
            #expect(hook.commits.isEmpty)
        }
    }

    @Test func `a damaged live index fails no operation`() throws {
        try withVolume { volume in
            try volume.perform { operations in
                for number in 0..<20 { _ = try operations.create(.root, name(number)) }
            }
            _ = try volume.damage(index: "parents", count: 12, kind: .mixed, seed: 3)
            try volume.perform { operations in
                for number in 0..<20 { try operations.unlink(.root, name(number)) }
            }
            #expect(try volume.records(TableName.dirents).isEmpty)
            #expect(try volume.liveEntries("parents").count == 4)
            #expect(try volume.statistics().indexAnomalies == 4)
            #expect(try volume.statistics().generations.map(\.record.entries) == [0, 3, 2])
        }
    }

    @Test func `full metadata gives ENOSPC, and room can be made`() throws {
        try withVolume(open: { $0.metadataLimit = 4 << 20 }) { volume in
            var made = 0
            var refusal: VolumeError?
            while refusal == nil {
                do {
                    try volume.perform { operations in
                        for _ in 0..<64 {
                            _ = try operations.create(.root, name(made))
                            made += 1
                        }
                    }
                } catch let error as VolumeError {
                    refusal = error
                }
            }
            #expect(refusal?.errno == ENOSPC)
            let present = try volume.records(TableName.dirents).count
            #expect(present > 500)
            #expect(try volume.records(TableName.inodes).count == present + 1)
            for number in 0..<present / 2 {
                try volume.perform { try $0.unlink(.root, name(number)) }
            }
            try volume.sync()
            for number in 0..<present / 8 {
                _ = try volume.perform { try $0.create(.root, Array("again-\(number)".utf8)) }
            }
            let derived = try volume.derived()
            #expect(try volume.liveEntries("parents") == derived.parents)
        }
    }
}

extension Operations {
    /// Gives an inode one more extent behind its others, as a test's own primitive.
    mutating func map(inode: InodeNumber, blocks: UInt64, offset: UInt64 = 0) throws {
        guard let run = try takeFree(blocks, near: nil) else { throw VolumeError.noSpace("test") }
        try putExtent(
            ExtentRecord(
                inode: inode, fork: .data, offset: offset, start: run.start,
                length: UInt32(run.length), state: .written), replacing: nil)
    }
}
