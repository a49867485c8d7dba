// Quota usage and link counts: maintained by every operation, checked and corrected while
// operations go on.

import Bytes
import Inspection
import LMDB
import TestSupport
import Testing
import Tidemark
import VolumeFormat
import VolumeIndexes
import VolumeVerify

@testable import Volume

private let all = [
    VolumeSlots.rmap, VolumeSlots.parents, VolumeSlots.quota, VolumeSlots.links,
]

/// Operations of every kind that moves usage or links.
struct SummaryWriter {
    var random: SplitMix64
    var files: [(dir: InodeNumber, name: [UInt8], inode: InodeNumber)] = []
    var directories: [InodeNumber] = [.root]
    var serial = 0
    /// Whether names are taken away from files.
    var unlinks = true

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    private mutating func number(_ range: ClosedRange<Int>) -> Int {
        Int.random(in: range, using: &random)
    }

    mutating func write(_ volume: Volume, operations count: Int = 1) throws {
        for _ in 0..<count {
            try volume.perform { ops in
                do { try self.operate(&ops) } catch let error as VolumeError {
                    if case .noEntry = error { return }
                    throw error
                }
            }
        }
    }

    mutating func operate(_ ops: inout Operations) throws {
        serial += 1
        let name = Array("n\(serial)".utf8)
        let dir = directories.randomElement(using: &random) ?? .root
        guard let place = files.indices.randomElement(using: &random), number(0...9) > 1 else {
            return try make(&ops, dir, name)
        }
        let file = files[place]
        switch number(0...9) {
        case 0...2:
            let ids = (0..<3).map { _ in UInt32(Int.random(in: 0...5, using: &random)) }
            _ = try ops.setAttributes(
                file.inode, AttributeChanges(uid: ids[0], gid: ids[1], project: ids[2]))
        case 3:
            let start = UInt64(number(0...40)) * 4096
            try ops.reserve(file.inode, [start..<(start + 8192)], .unwritten, size: 0)
        case 4:
            try ops.truncate(file.inode, to: UInt64(number(0...10)) * 4096)
        case 5:
            _ = try ops.link(file.inode, dir, name)
            files.append((dir, name, file.inode))
        case 6...7:
            try ops.rename(file.dir, file.name, to: dir, name, .noReplace)
            files[place] = (dir, name, file.inode)
        default:
            guard unlinks else { return }
            try ops.unlink(file.dir, file.name)
            files.remove(at: place)
        }
    }

    private mutating func make(_ ops: inout Operations, _ dir: InodeNumber, _ name: [UInt8]) throws
    {
        let owner = NewInode(uid: UInt32(number(0...5)), gid: UInt32(number(0...5)))
        switch number(0...4) {
        case 0: directories.append(try ops.makeDirectory(dir, name, owner).number)
        case 1: _ = try ops.symlink(dir, name, to: [1, 2], owner)
        default: files.append((dir, name, try ops.create(dir, name, owner).number))
        }
    }
}

private func verify(_ volume: Volume) throws -> VerifyReport {
    try Verifier.verify(volume.metadata)
}

private func run(
    _ volume: Volume, _ indexes: [IndexSlot] = all, _ strategy: Strategy = .check
) -> RunReport {
    var options = RunOptions()
    options.strategy = strategy
    let run = Run(
        owner: volume, indexes: indexes, store: MemoryStore(), options: options, clock: .system)
    return RunDriver(run).drive()
}

@Suite(.temporaryDirectory) struct SummaryTests {
    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func `usage and links are exact after thousands of operations, some taken back`(
        seed: UInt64
    ) throws {
        try withVolume { volume in
            var writer = SummaryWriter(seed: seed)
            for round in 0..<40 {
                try volume.perform { ops in for _ in 0..<40 { try writer.operate(&ops) } }
                guard round % 4 == 3 else { continue }
                let before = writer
                #expect(throws: VolumeError.self) {
                    try volume.perform { ops in
                        for _ in 0..<10 { try writer.operate(&ops) }
                        throw LMDBError(code: .corrupted, operation: "put", object: "inodes")
                    }
                }
                writer = before
            }
            let report = try verify(volume)
            #expect(report.isClean, "SEED=\(seed) \(report.examples)")
            #expect(run(volume).outcome == .clean, "SEED=\(seed)")
        }
    }

    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func `a repair of all indexes between the steps of writers ends exact`(seed: UInt64) throws {
        try withVolume { volume in
            var writer = SummaryWriter(seed: seed)
            try writer.write(volume, operations: 300)
            let rebuilds = seed % 2 == 0
            let counts = [3, 9, 7, 8]
            for (place, index) in volume.indexes.enumerated() {
                let kind = index.name == "links" ? DamageKind.wrong : .mixed
                _ = try volume.damage(
                    index: index.name, count: counts[place], kind: kind, seed: seed)
            }
            #expect(try verify(volume).indexes.map { Int($0.discrepancies) } == counts)
            // What loses a name while its count is wrong may be orphaned: another test's matter.
            writer.unlinks = false
            var stepped = SteppedRun(volume, all, rebuilds ? .auto : .patch, seed: seed) {
                $0.patchEntries = 3
            }
            let report = try stepped.finish { _ in
                if writer.random.next() % 3 == 0 { try writer.write(volume) }
            }
            let context: Comment = "SEED=\(seed) \(report)"
            #expect(report.outcome == .repaired, context)
            #expect(report.indexes[2].found.total >= 6, context)
            #expect(report.indexes[2].generation == (rebuilds ? 2 : nil), context)
            #expect(report.indexes[3].found.wrong == 8 && report.indexes[3].patched == 8, context)
            while try volume.atCommitBoundary({ try $0.requireGenerations().reap(limit: 100) }) {}
            let after = try verify(volume)
            #expect(after.isClean, "SEED=\(seed) \(after.examples) \(after.indexes)")
        }
    }

    @Test(arguments: [Strategy.auto, .patch, .rebuild])
    func `the counters of the volume are a part of quota`(strategy: Strategy) throws {
        try withVolume { volume in
            var writer = SummaryWriter(seed: 3)
            try writer.write(volume, operations: 100)
            try volume.perform { ops in
                try ops.begin()
                ops.counters.freeBlocks -= 11
                ops.counters.inodes += 3
            }
            let report = run(volume, [VolumeSlots.quota], strategy)
            #expect(report.outcome == .repaired, "\(report)")
            #expect(report.indexes[0].found.wrong == 1)
            #expect(try verify(volume).isClean)
        }
    }

    @Test func `counters that are gone or can't be read are right again, whatever came meanwhile`()
        throws
    {
        try withVolume { volume in
            var writer = SummaryWriter(seed: 9)
            try writer.write(volume, operations: 200)
            let key = QuotaKey(.user, 0).bytes.span.array
            try volume.perform { ops in
                try ops.begin()
                let table = ops.state.quota.active.table
                try ops.transaction.put(table, key.rawSpan, [1, 2, 3].span.bytes)
                for id in 1...5 as ClosedRange<UInt32> {
                    _ = try ops.transaction.delete(table, QuotaKey(.user, id).bytes.span)
                }
                try ops.transaction.put(table, [9, 9].span.bytes, [1].span.bytes)
            }
            var stepped = SteppedRun(volume, [VolumeSlots.quota], .auto, seed: 1)
            let report = try stepped.finish { _ in try writer.write(volume) }
            #expect(report.outcome == .repaired, "\(report)")
            let after = try verify(volume)
            #expect(after.isClean, "\(after.examples)")
        }
    }

    @Test func `a run that is stopped changes no counter`() throws {
        try withVolume { volume in
            var writer = SummaryWriter(seed: 5)
            try writer.write(volume, operations: 100)
            _ = try volume.damage(index: "quota", count: 6, kind: .mixed, seed: 5)
            let before = try volume.liveEntries("quota")
            var stepped = SteppedRun(volume, [VolumeSlots.quota], .rebuild, seed: 2)
            let run = stepped.run
            let report = try stepped.finish { step in
                if step == .load { run.abort(AbortReason("a test")) }
            }
            #expect(report.outcome == .aborted)
            #expect(try volume.liveEntries("quota") == before)
        }
    }

    @Test func `a change of owner that is taken back counts for the old one`() throws {
        try withVolume { volume in
            let n = try volume.perform { try $0.create(.root, name(1), NewInode(uid: 7)).number }
            let before = try volume.liveEntries("quota")
            #expect(throws: VolumeError.self) {
                try volume.perform { ops in
                    _ = try ops.setAttributes(n, AttributeChanges(uid: 8))
                    throw LMDBError(code: .corrupted, operation: "put", object: "inodes")
                }
            }
            #expect(try volume.liveEntries("quota") == before)
            try volume.perform { _ = try $0.setAttributes(n, AttributeChanges(uid: 8)) }
            #expect(try volume.liveEntries("quota").keys.contains { $0 == [1, 0, 0, 0, 8] })
            #expect(try !volume.liveEntries("quota").keys.contains { $0 == [1, 0, 0, 0, 7] })
        }
    }

    @Test func `a transaction on both sides of the cursor counts once on each`() throws {
        try withVolume { volume in
            var numbers: [InodeNumber] = []
            try volume.perform { ops in
                for n in 0..<60 {
                    numbers.append(try ops.create(.root, name(n), NewInode(uid: 1)).number)
                }
            }
            var isDone = false
            var stepped = SteppedRun(volume, [VolumeSlots.quota], .check, seed: 1) {
                $0.limits.window = 10
            }
            let run = stepped.run
            let report = try stepped.finish { _ in
                guard !isDone, let cursor = run.cursor, cursor.count >= 8 else { return }
                guard cursor.span.integer(at: 0, as: UInt64.self) > 20 else { return }
                isDone = true
                try volume.perform { ops in
                    for n in [numbers[2], numbers[50]] {
                        _ = try ops.setAttributes(n, AttributeChanges(uid: 2))
                    }
                }
            }
            #expect(isDone)
            #expect(report.outcome == .clean, "\(report)")
            #expect(report.applied == 1 && report.elided == 1)
        }
    }
}
