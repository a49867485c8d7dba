// Entries of an index where none can be: below and above all keys that records derive, shorter
// and longer than any, and under the key that has its place elsewhere.

import Bytes
import LMDB
import TestSupport
import Testing
import Tidemark
import VolumeFormat
import VolumeIndexes
import VolumeVerify

@testable import Volume

/// One stray entry.
struct StrayEntry: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let key: [UInt8]
    let value: [UInt8]
    let isSealed: Bool

    static let all: [StrayEntry] = {
        let keys: [(String, [UInt8])] = [
            ("one zero", [0]), ("five zeroes", [0, 0, 0, 0, 0]), ("six zeroes", [0, 0, 0, 0, 0, 0]),
            ("a type that is none, with an id", [0, 0, 0, 0, 7]),
            ("17 zeroes", [UInt8](repeating: 0, count: 17)),
            ("24 zeroes and a one", [UInt8](repeating: 0, count: 24) + [1]),
            ("one byte above all", [0xff]), ("25 ones", [UInt8](repeating: 0xff, count: 25)),
            ("low and longer than any", [UInt8](repeating: 0, count: 289)),
            ("in between and longer than any", [1] + [UInt8](repeating: 0, count: 400)),
            ("high and as long as liblmdb allows", [UInt8](repeating: 0xff, count: 511)),
        ]
        let values: [(String, [UInt8])] = [
            ("sixteen bytes", [UInt8](repeating: 3, count: 16)),
            ("a long value", [UInt8](repeating: 1, count: 20_000)),
        ]
        return keys.flatMap { key in
            values.flatMap { value in
                [true, false].map { isSealed in
                    StrayEntry(
                        testDescription:
                            "\(key.0), \(value.0), \(isSealed ? "right" : "wrong") checksum",
                        key: key.1, value: value.1, isSealed: isSealed)
                }
            }
        }
    }()

    var stored: [UInt8] {
        let whole = sealedValue(key: key.rawSpan, body: value)
        return isSealed ? whole : whole.dropLast() + [whole.last! ^ 1]
    }
}

@Suite(.temporaryDirectory) struct StrayEntryTests {
    private func run(_ volume: Volume, _ strategy: Strategy) -> RunReport {
        var options = RunOptions()
        options.strategy = strategy
        let run = Run(
            owner: volume, indexes: volume.indexes.indices.map { IndexSlot($0) },
            store: MemoryStore(), options: options, clock: .system)
        return RunDriver(run).drive()
    }

    private func table(_ index: IndexSlot, _ operations: borrowing Operations) -> Table {
        operations.state[index].active.table
    }

    @Test(arguments: ["rmap", "parents", "quota"], [Strategy.patch, .rebuild])
    func `an entry where none can be is found, and gone behind a repair`(
        name: String, strategy: Strategy
    ) throws {
        let slot = try #require(VolumeSlots.withGenerations.first { $0.name == name }?.slot)
        try withVolume { volume in
            var writer = SummaryWriter(seed: 11)
            try writer.write(volume, operations: 60)
            #expect(run(volume, .check).outcome == .clean)
            for stray in StrayEntry.all {
                try volume.perform { operations in
                    try operations.begin()
                    try operations.transaction.put(
                        table(slot, operations), stray.key.rawSpan, stray.stored.rawSpan)
                }
                let found = try Verifier.verify(volume.metadata)
                #expect(found.indexes.first { $0.name == name }?.stray == 1, "\(stray)")
                let checked = run(volume, .check)
                #expect(checked.outcome == .corrupt, "\(stray) \(checked)")
                #expect(checked.indexes[slot.rawValue].found.stray == 1, "\(stray) \(checked)")
                let repaired = run(volume, strategy)
                #expect(repaired.outcome == .repaired, "\(stray) \(repaired)")
                let after = try Verifier.verify(volume.metadata)
                #expect(after.isClean, "\(stray) \(after.examples)")
            }
        }
    }

    @Test(arguments: [Strategy.patch, .rebuild])
    func `many entries where none can be are found by parts, and gone behind a repair`(
        strategy: Strategy
    ) throws {
        try withVolume { volume in
            var writer = SummaryWriter(seed: 12)
            try writer.write(volume, operations: 60)
            try volume.perform { operations in
                try operations.begin()
                for slot in VolumeSlots.withGenerations.map(\.slot) {
                    for number in 0..<3000 as Range<UInt16> {
                        // Long, and the same up to the end.
                        let key =
                            [UInt8](repeating: 0, count: 500)
                            + [UInt8(number >> 8), UInt8(number & 0xff)]
                        let value = sealedValue(key: key.rawSpan, body: [1])
                        try operations.transaction.put(
                            table(slot, operations), key.rawSpan, value.rawSpan)
                    }
                }
            }
            let repaired = run(volume, strategy)
            #expect(repaired.outcome == .repaired, "\(repaired)")
            for slot in VolumeSlots.withGenerations.map(\.slot) {
                #expect(repaired.indexes[slot.rawValue].found.stray == 3000)
            }
            let after = try Verifier.verify(volume.metadata)
            #expect(after.isClean, "\(after.examples)")
        }
    }

    @Test func `the volume's own usage is right beside a stray entry under its key`() throws {
        try withVolume { volume in
            var writer = SummaryWriter(seed: 13)
            try writer.write(volume, operations: 60)
            for strategy in [Strategy.patch, .rebuild] {
                let key = QuotaKey.volume.bytes
                let stray = sealedValue(
                    key: key.span, body: QuotaUsage(blocks: 1, inodes: 2).bytes.span.array)
                try volume.perform { operations in
                    try operations.begin()
                    try operations.transaction.put(
                        operations.state.quota.active.table, key.span, stray.rawSpan)
                    operations.counters.inodes += 5
                    operations.counters.freeBlocks -= 7
                }
                let repaired = run(volume, strategy)
                #expect(repaired.outcome == .repaired, "\(repaired)")
                let after = try Verifier.verify(volume.metadata)
                #expect(after.isClean, "\(strategy) \(after.examples)")
            }
        }
    }
}
