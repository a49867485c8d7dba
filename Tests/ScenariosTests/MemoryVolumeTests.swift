// The tree in memory against a real volume: whatever is done, both give the same answer, the
// same records, and tell their hooks the same.

import Bytes
import Foundation
import TestSupport
import Testing

@testable import Scenarios
import Tidemark

private func withBoth(_ scenario: Scenario, _ body: (MemoryStage, VolumeStage) throws -> Void)
    throws
{
    let directory = try temporaryDirectory() + "/stage"
    let volume = try VolumeStage(scenario, directory: directory)
    let memory = try MemoryStage(scenario)
    do { try body(memory, volume) } catch {
        _ = try? volume.close()
        throw error
    }
    #expect(try volume.close() == [])
    #expect(try memory.close() == [])
}

private func expectSame(_ memory: MemoryStage, _ volume: VolumeStage, _ context: Comment) throws {
    for slot in memory.owner.indexes.indices.map({ IndexSlot($0) }) {
        let expected = try volume.expected(slot, below: nil)
        try #require(memory.expected(slot, below: nil) == expected, context)
        let folded = try volume.folded(slot)
        try #require(memory.folded(slot) == folded, context)
        #expect(try memory.plainLive(slot) == volume.plainLive(slot), context)
        #expect(try memory.activeGeneration(slot) == volume.activeGeneration(slot), context)
    }
    #expect(try memory.digest() == volume.digest(), context)
}

@Suite(.temporaryDirectory) struct MemoryVolumeTests {
    @Test(arguments: 1...16 as ClosedRange<UInt64>)
    func `random transactions do the same to a tree in memory and to a volume`(
        seed: UInt64
    ) throws {
        var source = RandomTransactions(seed: seed)
        try withBoth(scenario(blocks: 48)) { memory, volume in
            let all = Set(memory.owner.indexes.indices)
            var hooks = (memory: RecordingHook(all), volume: RecordingHook(all))
            try memory.attach(hooks.memory)
            try volume.attach(hooks.volume)
            for number in 0..<160 {
                source.learn(memory.contents())
                let transaction = source.transaction()
                let context: Comment = "SEED=\(seed), number \(number): \(transaction)"
                let isDone = try memory.run(transaction)
                let isDoneThere = try volume.run(transaction)
                try #require(isDoneThere == isDone, context)
                try #require(hooks.memory.entries == hooks.volume.entries, context)
                try #require(hooks.memory.shares == hooks.volume.shares, context)
                if number % 16 == 15 { try expectSame(memory, volume, context) }
                guard number % 40 == 39 else { continue }
                let isMachine = source.random.isOne(in: 2)
                try memory.crash(isMachine: isMachine)
                try volume.crash(isMachine: isMachine)
                try expectSame(memory, volume, context)
                source.forgetOpened()
                hooks = (RecordingHook(all), RecordingHook(all))
                try memory.attach(hooks.memory)
                try volume.attach(hooks.volume)
            }
        }
    }

    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func `windows hold the same records in memory and on a volume`(seed: UInt64) throws {
        var source = RandomTransactions(seed: seed)
        try withBoth(scenario(blocks: 200)) { memory, volume in
            for _ in 0..<150 {
                source.learn(memory.contents())
                let transaction = source.transaction()
                _ = try memory.run(transaction)
                _ = try volume.run(transaction)
            }
            let kinds = [
                [true, true, false, false], [true, false, false, false],
                [false, true, false, false], [false, false, true, false],
                [false, true, false, true], [true, true, true, true],
            ]
            for wanted in kinds {
                for size in 1...5 {
                    #expect(
                        try windows(memory.owner, size, wanted)
                            == windows(volume.owner, size, wanted),
                        "SEED=\(seed), \(size) records, \(wanted)")
                }
            }
        }
    }

    /// All entries as a scanner would read them: each window's end, and what its readings give.
    private func windows(_ owner: any ExactOwner, _ size: Int, _ wanted: [Bool]) throws -> [[UInt8]]
    {
        let snapshot = try owner.snapshot()
        var lines: [[UInt8]] = []
        var lower: KeyBytes? = KeyBytes()
        while let start = lower {
            let end = try snapshot.windowEnd(after: start, records: size) { wanted[$0.rawValue] }
            lines.append(end?.array ?? [])
            var range = KeyRange(lower: start, upper: end)
            while true {
                let sink = WindowSink(
                    batches: wanted.map { $0 ? EntryBatch() : nil }, sequence: .none)
                let rest = try snapshot.read(range, limit: size, into: sink)
                lines.append([UInt8(sink.records)])
                for batch in sink.batches.compactMap({ $0 }) {
                    var position = batch.startPosition
                    while position < batch.endPosition {
                        lines.append(
                            batch.key(at: position).array + batch.value(at: position).array)
                        position = batch.position(after: position)
                    }
                }
                guard let rest else { break }
                range.lower = rest
            }
            lower = end
        }
        return lines
    }

    @Test func `damage of each kind is the same in memory and on a volume`() throws {
        let setup: [Scenarios.Operation] = [
            .make(.mkdir, path("a")), .make(.create, path("a/f")), .make(.create, path("g")),
            .map(.write, path("g"), offset: 0, length: 3),
            .map(.allocate, path("g"), offset: 6, length: 2),
        ]
        let damages = [
            Damage(
                kind: .missing, index: "parents",
                place: Place(path: path("a"), part: .entry("f"))),
            Damage(
                kind: .wrong, index: "parents", place: Place(path: path("/"), part: .entry("a"))
            ),
            Damage(
                kind: .stray, index: "parents",
                place: Place(path: path("a"), part: .entry("ghost"))),
            Damage(
                kind: .missing, index: "rmap", place: Place(path: path("g"), part: .extent(7))),
            Damage(
                kind: .wrong, index: "rmap", place: Place(path: path("g"), part: .extent(0))),
            Damage(
                kind: .stray, index: "rmap", place: Place(path: path("g"), part: .extent(20))),
            Damage(kind: .wrong, index: "links", place: Place(path: path("a/f"))),
            Damage(kind: .wrong, index: "links", place: Place(path: path("a"))),
            Damage(
                kind: .missing, index: "quota",
                place: Place(path: path("user"), part: .entry("0"))),
            Damage(
                kind: .wrong, index: "quota",
                place: Place(path: path("group"), part: .entry("0"))),
            Damage(
                kind: .stray, index: "quota",
                place: Place(path: path("project"), part: .entry("7"))),
            Damage(
                kind: .wrong, index: "quota",
                place: Place(path: path("volume"), part: .entry("0"))),
        ]
        var described = scenario(setup: setup)
        described.damage = damages
        try withBoth(described) { memory, volume in
            for damage in damages {
                try memory.damage(damage)
                try volume.damage(damage)
                #expect(throws: StageError.self) { try memory.damage(damage.missing) }
            }
            try expectSame(memory, volume, "after damage")
            for place in damages.prefix(8).map(\.place) {
                #expect(try memory.end(of: place) == volume.end(of: place))
            }
            try memory.crash(isMachine: true)
            try volume.crash(isMachine: true)
            try expectSame(memory, volume, "after a crash")
        }
    }
}

extension Damage {
    /// At a place that has no entry.
    fileprivate var missing: Damage {
        Damage(
            kind: .missing, index: "parents",
            place: Place(path: Path(names: []), part: .entry("nobody")))
    }
}
