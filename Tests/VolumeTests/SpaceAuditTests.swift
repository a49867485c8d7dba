// Defects between extents and free space: a check of the reverse map counts what verify counts,
// in however many parts it compares.

import Bytes
import LMDB
import Synchronization
import TestSupport
import Testing
import Tidemark
import VolumeFormat
import VolumeVerify

@testable import Volume

@Suite(.temporaryDirectory) struct SpaceAuditTests {
    static let kinds: [VolumeVerify.PrimaryDefect] = [
        .extentOverlap, .extentOverFree, .extentBeyondVolume, .freeOverlap, .freeBeyondVolume,
        .leakedBlocks, .damagedRecord,
    ]

    private func check(
        _ volume: Volume, parts: Int, told: @escaping @Sendable (Tidemark.PrimaryDefect) -> Void
    ) -> RunReport {
        var options = RunOptions()
        options.compareParts = parts
        // Small chunks, for there to be places where to divide; small steps, to go on often.
        options.chunkBytes = 128
        options.compareEntries = 3
        let run = Run(
            owner: volume, indexes: [GroupState.rmapSlot], store: MemoryStore(),
            options: options, clock: .system, onDefect: told)
        return RunDriver(run).drive()
    }

    private func expectAgreement(
        _ volume: Volume, _ comment: String, parts: [Int] = [1, 2, 3, 5, 8]
    ) throws -> [String: Int] {
        let verified = try Verifier.verify(volume.metadata)
        var expected: [String: Int] = [:]
        for kind in Self.kinds {
            if let count = verified.primaries[kind] { expected[kind.rawValue] = Int(count) }
        }
        for parts in parts {
            let told = Mutex(0)
            let report = check(volume, parts: parts) { _ in told.withLock { $0 += 1 } }
            let defects = report.primaryDefects
            #expect(defects.counts == expected, "\(comment) in \(parts) parts")
            #expect(told.withLock { $0 } == defects.first.count)
            #expect(defects.first.count == min(defects.total, PrimaryDefects.limit))
            #expect(
                report.outcome
                    == (report.indexes[0].found.total + defects.total == 0)
                    .outcome, "\(comment) \(report.reason ?? "")")
        }
        return expected
    }

    @Test(arguments: 1...40)
    func `a check in parts finds what verify finds`(seed: UInt64) throws {
        try withVolume(size: 16 << 20) { volume in
            var random = SplitMix64(seed: seed)
            let blocks = volume.geometry.blocks
            let extents = Int.random(in: 0...120, using: &random)
            let runs = Int.random(in: 0...60, using: &random)
            // Some reach over many others, and over the ends of parts.
            let lengths: [UInt64] = [2, 8, 40, 400, 3000]
            let keepsFree = Bool.random(using: &random)
            try volume.perform { operations in
                let tables = operations.core.tables
                if !keepsFree {
                    try operations.transaction.empty(tables.free)
                    try operations.transaction.empty(tables.freeByLength)
                }
                for number in 0..<extents {
                    let length = lengths.randomElement(using: &random) ?? 1
                    let extent = ExtentRecord(
                        inode: UInt64.random(in: 2...9, using: &random), fork: .data,
                        offset: UInt64(number), start: .random(in: 0..<blocks, using: &random),
                        length: UInt32.random(in: 1...UInt32(length), using: &random),
                        state: .written)
                    let key = extent.key, value = extent.value
                    try operations.transaction.put(tables.extents, key.span, value.span)
                }
                for _ in 0..<runs {
                    let length = lengths.randomElement(using: &random) ?? 1
                    let run = FreeRecord(
                        start: .random(in: 0..<blocks, using: &random),
                        length: .random(in: 1...length, using: &random))
                    let key = FreeRecord.key(start: run.start)
                    var value = run.value.span.array
                    if Int.random(in: 0..<8, using: &random) == 0 { value[3] ^= 1 }
                    try operations.transaction.put(tables.free, key.span, value.rawSpan)
                }
                operations.hasChanged = true
            }
            _ = try expectAgreement(volume, "SEED=\(seed)")
        }
    }

    /// Extents one behind the other, block by block, with nothing free between them.
    private func fill(_ volume: Volume, _ count: Int) throws {
        try volume.perform { operations in
            let file = try operations.create(.root, name(0)).number
            for number in 0..<count {
                try operations.begin()
                try operations.map(inode: file, blocks: 1, offset: UInt64(2 * number))
            }
        }
    }

    @Test func `one extent over all parts overlaps each of the others once`() throws {
        try withVolume { volume in
            try fill(volume, 300)
            #expect(try expectAgreement(volume, "sound").isEmpty)
            let first = try volume.records(TableName.extents).values.map {
                $0.rawSpan.integer(at: 0, as: UInt64.self)
            }.sorted()[1]
            try volume.perform { operations in
                let extent = ExtentRecord(
                    inode: 77, fork: .attributes, offset: 5, start: first, length: 250,
                    state: .written)
                let key = extent.key, value = extent.value
                try operations.transaction.put(
                    operations.core.tables.extents, key.span, value.span)
            }
            #expect(try expectAgreement(volume, "long")["extentOverlap"] == 250)
        }
    }

    @Test func `what blocks what is told, and a repair reports it and mends the index`() throws {
        try withVolume { volume in
            try fill(volume, 50)
            let free = try #require(try volume.read().free(ofBlock: 0, length: 1 << 20).runs.last)
            try volume.perform { operations in
                let extent = ExtentRecord(
                    inode: 77, fork: .data, offset: 5, start: free.start + 3, length: 4,
                    state: .written)
                let key = extent.key, value = extent.value
                try operations.transaction.put(
                    operations.core.tables.extents, key.span, value.span)
            }
            var options = RunOptions()
            options.strategy = .patch
            let run = Run(
                owner: volume, indexes: [GroupState.rmapSlot], store: MemoryStore(),
                options: options, clock: .system)
            let report = RunDriver(run).drive()
            // The index says what the records say, and these still contradict each other.
            #expect(report.outcome == .corrupt)
            #expect(report.indexes[0].recheck?.total == 0)
            let defect = try #require(report.primaryDefects.first.first)
            #expect(report.primaryDefects.counts == ["extentOverFree": 1])
            #expect(defect.object == "extent of inode 77, offset 5")
            #expect(
                defect.problem
                    == "blocks \(free.start + 3) to \(free.start + 7) are free, too")
            #expect(defect.blocks.hasPrefix("allocating there"))
        }
    }
}

extension Bool {
    fileprivate var outcome: RunReport.Outcome { self ? .clean : .corrupt }
}
