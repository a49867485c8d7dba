// Races of writers with a run about summaries, one by one, and the fold's passes.

import Bytes
import Inspection
import TestSupport
import Testing
import VolumeFormat
import VolumeIndexes
import VolumeVerify

import Tidemark
@testable import Volume

@Suite(.temporaryDirectory) struct SummaryRaceTests {
    private let summaries = [VolumeSlots.quota, VolumeSlots.links]

    /// Sixty files with one name and an owner each, in the root, and two directories: the first
    /// has a low number, the second a high one.
    private func fill(_ volume: Volume) throws -> (low: InodeNumber, high: InodeNumber) {
        try volume.perform { ops in
            let low = try ops.makeDirectory(.root, bytes("low")).number
            for n in 0..<60 { _ = try ops.create(.root, name(n), NewInode(uid: UInt32(n % 7))) }
            return (low, try ops.makeDirectory(.root, bytes("high")).number)
        }
    }

    /// Runs a check, and `change` once, when the cursor stands behind the lower directory and
    /// before the higher one.
    private func check(
        _ change: (inout Operations, InodeNumber, InodeNumber) throws -> Void
    ) throws {
        try withVolume { volume in
            let (low, high) = try fill(volume)
            var stepped = SteppedRun(volume, summaries, .check, seed: 7) { $0.limits.window = 70 }
            let run = stepped.run
            var isDone = false
            let report = try stepped.finish { _ in
                guard !isDone, let cursor = run.cursor, cursor.count >= 8 else { return }
                let place: UInt64 = cursor.span.integer(at: 0)
                guard place > low, place < high else { return }
                isDone = true
                try volume.perform { try change(&$0, low, high) }
            }
            #expect(isDone)
            #expect(report.outcome == .clean, "\(report)")
            #expect(try Verifier.verify(volume.metadata).isClean)
        }
    }

    @Test func `a directory is renamed across the cursor, from below and from above`() throws {
        try check { ops, low, high in
            let moved = try ops.makeDirectory(low, bytes("d")).number
            try ops.rename(low, bytes("d"), to: high, bytes("d"))
            _ = try ops.makeDirectory(high, bytes("e"))
            try ops.rename(high, bytes("e"), to: low, bytes("e"))
            #expect(try ops.existing(moved).parent == high)
        }
    }

    @Test func `hard links are made and taken away on both sides`() throws {
        try check { ops, low, high in
            for directory in [low, high] {
                let n = try ops.create(directory, bytes("f")).number
                _ = try ops.link(n, low, bytes("g\(directory)"))
                _ = try ops.link(n, high, bytes("h\(directory)"))
            }
            try ops.unlink(low, bytes("g\(high)"))
            try ops.unlink(high, bytes("h\(low)"))
        }
    }

    @Test func `owners change on both sides, and back`() throws {
        try check { ops, low, high in
            for n in [low, high, low + 1, high - 1] {
                _ = try ops.setAttributes(n, AttributeChanges(uid: 50, project: 3))
            }
            _ = try ops.setAttributes(low, AttributeChanges(uid: 0, project: 0))
        }
    }

    @Test func `inodes go on both sides, one of them open`() throws {
        try check { ops, low, high in
            for n in [1, 58] { try ops.unlink(.root, name(n)) }
            try ops.removeDirectory(.root, bytes("low"))
            _ = try ops.create(high, bytes("again"))
        }
    }

    @Test(arguments: [Strategy.patch, .rebuild])
    func `a correction is committed while writers change the same counter`(
        strategy: Strategy
    ) throws {
        try withVolume { volume in
            _ = try fill(volume)
            let key = QuotaKey(.user, 3).bytes.span.array
            let wrong = QuotaUsage(blocks: 1000, inodes: 2).bytes.span.array
            _ = try volume.alter(VolumeSlots.quota, key: key, payload: wrong)
            var stepped = SteppedRun(volume, [VolumeSlots.quota], strategy, seed: 3)
            var number = 100
            let report = try stepped.finish { _ in
                try volume.perform { ops in
                    _ = try ops.create(.root, name(number), NewInode(uid: 3))
                    if number % 2 == 0 { try ops.unlink(.root, name(number)) }
                    number += 1
                }
            }
            #expect(report.outcome == .repaired, "\(report)")
            #expect(report.indexes[0].found.wrong == 1)
            #expect(try Verifier.verify(volume.metadata).isClean)
        }
    }

    @Test func `a run about links keeps nobody from a run about parents`() throws {
        try withVolume { volume in
            _ = try fill(volume)
            var links = SteppedRun(volume, [VolumeSlots.links], .check, seed: 1)
            var isOther = false
            let report = try links.finish { step in
                guard step == .settle, !isOther else { return }
                isOther = true
                var parents = SteppedRun(volume, [VolumeSlots.parents], .rebuild, seed: 2)
                #expect(try parents.finish { _ in }.outcome == .clean)
                var again = SteppedRun(volume, [VolumeSlots.links], .check, seed: 2)
                let second = try again.finish { _ in }
                #expect(second.reason?.contains("another run is at work on links") == true)
            }
            #expect(isOther && report.outcome == .clean)
        }
    }

    // MARK: The fold

    /// What a fold that may hold `limit` counters finds, and in how many passes.
    private func fold(
        _ run: Run, _ cut: Run.Cut, limit: Int
    ) throws -> (found: [Tidemark.Discrepancy], entries: Int, passes: Int) {
        let found = Found()
        let merge = try cut.shadow.merge(2, index: QuotaIndex())
        let part = FoldedPart(
            slot: VolumeSlots.quota, snapshot: cut.snapshots[0], sources: [merge], range: .all,
            batchBytes: 4096, log: nil,
            report: {
                found.add($0)
                return true
            }, reportDefect: { _ in })
        let fold = QuotaFold(part, limit: limit)
        while try fold.step(7) {}
        return (found.all, part.entries, fold.passes)
    }

    private final class Found: @unchecked Sendable {
        private(set) var all: [Tidemark.Discrepancy] = []
        func add(_ discrepancy: Tidemark.Discrepancy) { all.append(discrepancy) }
    }

    @Test(arguments: [1, 2, 3, 10, 40])
    func `passes by ranges of keys find what one pass finds`(limit: Int) throws {
        try withVolume { volume in
            var random = SplitMix64(seed: 4)
            try volume.perform { ops in
                for n in 0..<200 {
                    let ids = (0..<3).map { _ in UInt32.random(in: 0..<30, using: &random) }
                    let owner = NewInode(uid: ids[0], gid: ids[1], project: ids[2])
                    _ = try ops.create(.root, name(n), owner)
                }
            }
            _ = try volume.damage(index: "quota", count: 21, kind: .mixed, seed: 1)
            let run = Run(
                owner: volume, indexes: [VolumeSlots.quota], store: MemoryStore(),
                options: RunOptions(), clock: RunClock { 0 })
            try run.prepare()
            let scanner = run.makeScanner()
            while !run.isScanned { if try scanner.step() == .nothing { try run.drain() } }
            try run.settle()
            let cut = try #require(try run.cut())
            let whole = try fold(run, cut, limit: 1000)
            #expect(whole.passes == 1 && whole.found.count == 21)
            let split = try fold(run, cut, limit: limit)
            #expect(split.found == whole.found && split.entries == whole.entries)
            #expect(split.passes > 90 / (limit + 1))
            run.finish(AbortReason("the test is over"))
        }
    }
}
