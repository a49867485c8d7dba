// Indexes whose active generation is damaged: its record, its key, its number, its table. The
// volume is opened all the same, a check says what is wrong, and a repair makes the index whole.

import Bytes
import Foundation
import LMDB
import TestSupport
import Testing
import Tidemark
import VolumeFormat
import VolumeIndexes
import VolumeVerify

@testable import Volume

/// One harm to the generation of an index.
struct GenerationHarm: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let apply: @Sendable (Environment, String) throws -> Void

    private static func replace(
        _ index: String, _ environment: Environment,
        _ change: (inout GenerationRecord) -> [GenerationRecord]
    ) throws {
        let superblock = try #require(try environment.table(TableName.superblock, create: false))
        try environment.write { transaction in
            var record = GenerationRecord(
                index: index, number: 1, state: .active, entries: 0, sum: 0)
            let key = record.key
            let value = try transaction.get(superblock, key.rawSpan)?.array ?? []
            record = try GenerationRecord(key: key.rawSpan, value: value.rawSpan)
            _ = try transaction.delete(superblock, key.rawSpan)
            for new in change(&record) {
                let key = new.key, value = new.value
                try transaction.put(superblock, key.rawSpan, value.rawSpan)
            }
        }
    }

    private static func change(
        _ name: String, _ change: @escaping @Sendable (inout GenerationRecord) -> Void
    ) -> GenerationHarm {
        GenerationHarm(testDescription: name) { environment, index in
            try replace(index, environment) { change(&$0); return [$0] }
        }
    }

    static let all: [GenerationHarm] = [
        change("its state is previous") { $0.state = .previous },
        change("its state is loading") { $0.state = .loading },
        change("its state is reaping") { $0.state = .reaping },
        change("its number is another") { $0.number = 7 },
        change("its number is the highest") { $0.number = .max - 1 },
        change("its index is none") { $0.index = "rmaq" },
        change("it counts another table") { ($0.entries, $0.sum) = (99, 98) },
        GenerationHarm(testDescription: "its record is gone") { environment, index in
            try replace(index, environment) { _ in [] }
        },
        GenerationHarm(testDescription: "another one is active too") { environment, index in
            try replace(index, environment) { record in
                var other = record
                other.number = 2
                return [record, other]
            }
            _ = try environment.table("\(index).g2", create: true)
        },
        GenerationHarm(testDescription: "another one is active too, without a table") {
            environment, index in
            try replace(index, environment) { record in
                var other = record
                other.number = 3
                return [record, other]
            }
        },
        GenerationHarm(testDescription: "its record has a wrong checksum") { environment, index in
            let superblock = try #require(
                try environment.table(TableName.superblock, create: false))
            let key = Array("generation/\(index)/1".utf8)
            try environment.write { transaction in
                var value = try transaction.get(superblock, key.rawSpan)?.array ?? []
                value[value.count - 1] ^= 1
                try transaction.put(superblock, key.rawSpan, value.rawSpan)
            }
        },
        GenerationHarm(testDescription: "its table is gone") { environment, index in
            let table = try #require(try environment.table("\(index).g1", create: false))
            try environment.write { try $0.drop(table) }
        },
        GenerationHarm(testDescription: "its table and its record are gone") {
            environment, index in
            let table = try #require(try environment.table("\(index).g1", create: false))
            try environment.write { try $0.drop(table) }
            try replace(index, environment) { _ in [] }
        },
        GenerationHarm(testDescription: "its table is empty") { environment, index in
            let table = try #require(try environment.table("\(index).g1", create: false))
            try environment.write { try $0.empty(table) }
        },
    ]
}

@Suite(.temporaryDirectory) struct LostGenerationTests {
    private func run(_ volume: Volume, _ strategy: Strategy) -> RunReport {
        var options = RunOptions()
        options.strategy = strategy
        let run = Run(
            owner: volume, indexes: volume.indexes.indices.map { IndexSlot($0) },
            store: MemoryStore(), options: options, clock: .system)
        return RunDriver(run).drive()
    }

    private func verify(_ path: String) throws -> VerifyReport {
        try Verifier.verify(metadata: path + "/meta.mdb", data: path + "/data")
    }

    @Test(arguments: ["rmap", "parents", "quota"])
    func `an index whose generation is damaged is told of, used and made whole`(
        index: String
    ) throws {
        let directory = try temporaryDirectory()
        let base = directory + "/base"
        try Volume.create(base, options: CreateOptions(size: 64 << 20))
        var writer = SummaryWriter(seed: 21)
        try withOpen(base) { try writer.write($0, operations: 80) }
        for (number, harm) in GenerationHarm.all.enumerated() {
            let lied = directory + "/\(number)"
            try FileManager.default.copyItem(atPath: base, toPath: lied)
            do {
                let environment = try Environment(
                    path: lied + "/meta.mdb", options: .init(mapSize: 1 << 30))
                try harm.apply(environment, index)
                try environment.sync()
            }
            let found = try verify(lied)
            #expect(!found.isClean, "\(harm)")
            try withOpen(lied, { $0.mode = .readOnly }) { volume in
                let checked = run(volume, .check)
                #expect(checked.outcome == .corrupt, "\(harm) \(checked)")
                _ = try volume.statistics()
                #expect(try volume.read().tableNames().count > 10)
            }
            for strategy in [Strategy.patch, .rebuild, .auto] {
                let copy = lied + strategy.rawValue
                try FileManager.default.copyItem(atPath: lied, toPath: copy)
                try withOpen(copy) { volume in
                    var own = writer
                    own.unlinks = false
                    try own.write(volume, operations: 20)
                    let repaired = run(volume, strategy)
                    // A rebuild that was asked for anyway has nothing to mend where only counts
                    // were wrong.
                    let mayBe: [RunOutcome] =
                        strategy == .rebuild ? [.repaired, .clean] : [.repaired]
                    #expect(mayBe.contains(repaired.outcome), "\(harm) \(strategy) \(repaired)")
                    #expect(run(volume, .check).outcome == .clean, "\(harm) \(strategy)")
                    try own.write(volume, operations: 20)
                }
                let after = try verify(copy)
                #expect(after.isClean, "\(harm) \(strategy) \(after.examples)")
                try withOpen(copy) { volume in
                    while try volume.atCommitBoundary({
                        try $0.requireGenerations().reap(limit: 100)
                    }) {}
                }
                #expect(try verify(copy).isClean, "\(harm) \(strategy)")
            }
        }
    }
}
