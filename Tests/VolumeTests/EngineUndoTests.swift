// The generation that a rebuild replaced: maintained, made active again, discarded.

import Bytes
import LMDB
import Synchronization
import TestSupport
import Testing
import Tidemark
import VolumeFormat
import VolumeVerify

@testable import Volume

@Suite(.temporaryDirectory) struct EngineUndoTests {
    static let rmap = GroupState.rmapSlot
    static let parents = GroupState.parentsSlot

    /// Files that nobody changes afterwards.
    private func fill(_ volume: Volume, _ count: Int) throws {
        try volume.perform { operations in
            for number in 0..<count {
                let file = try operations.create(.root, Array("calm-\(number)".utf8)).number
                try operations.begin()
                try operations.map(inode: file, blocks: 2, offset: UInt64(number))
            }
        }
    }

    /// Names and extents, changed at random.
    private func churn(_ volume: Volume, _ count: Int, _ random: inout SplitMix64) throws {
        try volume.perform { operations in
            for _ in 0..<count {
                let name = name(Int.random(in: 0..<100, using: &random))
                let other = Array("other-\(Int.random(in: 0..<100, using: &random))".utf8)
                guard let target = try operations.dirent(.root, name) else {
                    _ = try operations.create(.root, name)
                    continue
                }
                switch Int.random(in: 0..<3, using: &random) {
                case 0: try operations.unlink(.root, name)
                case 1: try operations.rename(.root, name, to: .root, other)
                default:
                    try operations.begin()
                    let offset = UInt64.random(in: 0...1 << 40, using: &random)
                    try operations.map(inode: target.child, blocks: 1, offset: offset)
                }
            }
        }
    }

    private func rebuild(_ volume: Volume, keepsOld: Bool) -> RunReport {
        var options = RunOptions()
        options.strategy = .rebuild
        options.keepsOld = keepsOld
        let run = Run(
            owner: volume, indexes: [Self.rmap, Self.parents], store: MemoryStore(),
            options: options, clock: .system)
        return RunDriver(run).drive()
    }

    /// The keys at which an index differs from what is derived, with what it holds there.
    private func damage(_ volume: Volume, _ index: String) throws -> [[UInt8]: [UInt8]] {
        let derived = try volume.derived()
        let right = index == "rmap" ? derived.rmap : derived.parents
        let live = try volume.liveEntries(index)
        var damage: [[UInt8]: [UInt8]] = [:]
        for key in Set(right.keys).union(live.keys) where right[key] != live[key] {
            damage[key] = live[key] ?? []
        }
        return damage
    }

    private func record(
        _ volume: Volume, _ index: String, _ state: GenerationState
    ) throws -> GenerationRecord? {
        try volume.read().generations().first { $0.index == index && $0.state == state }
    }

    @Test(arguments: 1...10)
    func `what is kept is as it was replaced, and follows every change`(seed: UInt64) throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 64 << 20))
            var random = SplitMix64(seed: seed)
            var damaged: [String: [[UInt8]: [UInt8]]] = [:]
            try withOpen(path) { volume in
                try fill(volume, 200)
                for index in ["rmap", "parents"] where !seed.isMultiple(of: 2) {
                    _ = try volume.damage(index: index, count: 30, kind: .mixed, seed: seed)
                }
                for index in ["rmap", "parents"] { damaged[index] = try damage(volume, index) }
                try churn(volume, 200, &random)
                #expect(rebuild(volume, keepsOld: true).indexes.allSatisfy { $0.previous == 1 })
                try churn(volume, 300, &random)
            }
            // What is kept is maintained after opening, too.
            try withOpen(path) { volume in
                try churn(volume, 300, &random)
                for index in ["rmap", "parents"] {
                    #expect(try damage(volume, index).isEmpty, "SEED=\(seed)")
                    let kept = try record(volume, index, .previous)
                    let active = try record(volume, index, .active)
                    #expect(kept?.entries == active?.entries && kept?.sum == active?.sum)
                }
                let done = try Undo.rollBack([], of: volume)
                #expect(done.map(\.active) == [1, 1] && done.map(\.previous) == [2, 2])
                for index in ["rmap", "parents"] {
                    #expect(try damage(volume, index) == damaged[index], "SEED=\(seed) \(index)")
                }
                try churn(volume, 200, &random)
                _ = try Undo.rollBack([], of: volume)
                for index in ["rmap", "parents"] {
                    #expect(try damage(volume, index).isEmpty, "SEED=\(seed) \(index)")
                }
            }
        }
    }

    /// What quota usage holds, less what it should hold, by key.
    private func usageLacks(_ volume: Volume) throws -> [[UInt8]: [UInt64]] {
        var lacks: [[UInt8]: [UInt64]] = [:]
        let snapshot = try volume.read()
        var right: [UInt64] = [0, 0]
        try snapshot.dump(TableName.inodes) { key, value in
            let inode = try InodeRecord(key: key, value: value)
            right = [right[0] &+ inode.blocks, right[1] &+ 1]
        }
        for type in 1...3 as ClosedRange<UInt8> {
            lacks[[type, 0, 0, 0, 0]] = right.map { 0 &- $0 }
        }
        for (key, value) in try volume.liveEntries("quota") {
            let found = [
                value.rawSpan.integer(at: 0, as: UInt64.self), value.rawSpan.integer(at: 8),
            ]
            lacks[key, default: [0, 0]][0] &+= found[0]
            lacks[key, default: [0, 0]][1] &+= found[1]
        }
        return lacks.filter { $0.value != [0, 0] }
    }

    @Test(arguments: 1...6)
    func `quota usage of the previous generation goes on lacking what it lacked`(seed: UInt64)
        throws
    {
        try withVolume { volume in
            var random = SplitMix64(seed: seed)
            try fill(volume, 50)
            try churn(volume, 100, &random)
            #expect(try usageLacks(volume).isEmpty, "SEED=\(seed)")
            _ = try volume.damage(index: "quota", count: 2, kind: .wrong, seed: seed)
            let before = try usageLacks(volume)
            #expect(before.count == 2)
            var options = RunOptions()
            options.strategy = .rebuild
            options.keepsOld = true
            let run = Run(
                owner: volume, indexes: [GroupState.quotaSlot], store: MemoryStore(),
                options: options, clock: .system)
            #expect(RunDriver(run).drive().indexes[0].previous == 1)
            try churn(volume, 200, &random)
            #expect(try usageLacks(volume).isEmpty, "SEED=\(seed)")
            _ = try Undo.rollBack([GroupState.quotaSlot], of: volume)
            #expect(try usageLacks(volume) == before, "SEED=\(seed)")
            try churn(volume, 200, &random)
            _ = try Undo.rollBack([GroupState.quotaSlot], of: volume)
            #expect(try usageLacks(volume).isEmpty, "SEED=\(seed)")
        }
    }

    /// The tables of the two indexes that are rebuilt here.
    private func generationTables(_ volume: Volume) throws -> [String] {
        try volume.read().tableNames().filter {
            $0.hasPrefix("rmap.") || $0.hasPrefix("parents.")
        }
    }

    @Test func `a rebuild discards the previous generation of an earlier one`() throws {
        try withVolume { volume in
            try fill(volume, 20)
            #expect(rebuild(volume, keepsOld: true).indexes.map(\.forgotten) == [nil, nil])
            let second = rebuild(volume, keepsOld: true)
            #expect(second.indexes.map(\.generation) == [3, 3])
            #expect(second.indexes.map(\.previous) == [2, 2])
            #expect(second.indexes.map(\.forgotten) == [1, 1])
            while try volume.atCommitBoundary({ try $0.requireGenerations().reap(limit: 64) }) {}
            let names = try generationTables(volume)
            #expect(names == ["parents.g2", "parents.g3", "rmap.g2", "rmap.g3"])
            let third = rebuild(volume, keepsOld: false)
            #expect(third.indexes.map(\.previous) == [nil, nil])
            #expect(third.indexes.map(\.forgotten) == [2, 2])
            while try volume.atCommitBoundary({ try $0.requireGenerations().reap(limit: 64) }) {}
            #expect(try generationTables(volume) == ["parents.g4", "rmap.g4"])
        }
    }

    @Test func `after a rollback the next generation gets a number of its own`() throws {
        try withVolume { volume in
            try fill(volume, 20)
            _ = rebuild(volume, keepsOld: true)
            _ = try Undo.rollBack([Self.rmap], of: volume)
            #expect(try record(volume, "rmap", .active)?.number == 1)
            #expect(try record(volume, "parents", .active)?.number == 2)
            let report = rebuild(volume, keepsOld: false)
            #expect(report.outcome == .clean)
            #expect(report.indexes.map(\.generation) == [3, 3])
            #expect(report.indexes.map(\.forgotten) == [2, 1])
        }
    }

    @Test func `a rollback is refused where nothing is kept or a run is at work`() throws {
        try withVolume { volume in
            try fill(volume, 20)
            #expect(throws: UndoRefusal.self) { try Undo.rollBack([], of: volume) }
            _ = rebuild(volume, keepsOld: true)
            _ = try Undo.forget([Self.parents], of: volume)
            let before = try volume.contents()
            // Of one of the two nothing is kept: neither goes back.
            #expect(throws: UndoRefusal.self) {
                try Undo.rollBack([Self.rmap, Self.parents], of: volume)
            }
            let hook = IndexHook(wanted: Self.rmap)
            try volume.atCommitBoundary { $0.attach(hook) }
            #expect(throws: UndoRefusal.self) { try Undo.rollBack([], of: volume) }
            #expect(try volume.contents() == before)
            try volume.atCommitBoundary { $0.detach(hook) }
            #expect(try Undo.rollBack([], of: volume).map(\.index) == [Self.rmap])
        }
    }

    @Test func `a rollback is refused while an interrupted repair is to go on`() throws {
        try withVolume { volume in
            try fill(volume, 20)
            _ = rebuild(volume, keepsOld: true)
            try volume.atCommitBoundary { boundary in
                var run = RunRecord(
                    number: try boundary.requireJournal().newRunNumber(), indexes: ["rmap"],
                    strategy: .rebuild)
                run.state = .stopped
                try boundary.requireJournal().store(run)
            }
            #expect {
                try Undo.rollBack([Self.rmap], of: volume)
            } throws: { error in
                (error as? UndoRefusal)?.description.contains("was interrupted") == true
            }
            #expect(try Undo.rollBack([Self.parents], of: volume).map(\.active) == [1])
        }
    }

    @Test func `a rollback is a commit without deltas, and old snapshots don't see it`() throws {
        try withVolume { volume in
            try fill(volume, 20)
            _ = rebuild(volume, keepsOld: true)
            let old = try volume.read()
            let hook = IndexHook(wanted: Self.parents)
            try volume.atCommitBoundary { $0.attach(hook) }
            _ = try Undo.rollBack([Self.rmap], of: volume)
            let last = try volume.atCommitBoundary { $0.lastCommit }
            #expect(hook.commits.withLock { $0 } == [IndexHook.Told(commit: last, deltas: 0)])
            #expect(try old.activeGeneration(of: Self.rmap).number == 2)
            #expect(try volume.read().activeGeneration(of: Self.rmap).number == 1)
        }
    }

    @Test func `a previous generation without its table is told, and the volume opens`() throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 64 << 20))
            try withOpen(path) { volume in
                try fill(volume, 20)
                _ = rebuild(volume, keepsOld: true)
                try volume.perform { operations in
                    guard let kept = operations.state.rmap.previous else { return }
                    try operations.transaction.drop(kept.table)
                    operations.state.rmap.previous = nil
                }
            }
            let report = try Verifier.verify(metadata: path + "/meta.mdb")
            #expect(report.primaries[.missingTable] == 1)
            #expect(report.indexes.prefix(2).map(\.isClean) == [true, true])
            try withOpen(path) { volume in
                let active = try volume.read().activeGeneration(of: Self.rmap).number
                #expect(active == 2)
            }
        }
    }

    @Test func `a state that is not known is damage, and keeps no volume closed`() throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 64 << 20))
            try withOpen(path) { volume in
                try volume.perform { operations in
                    let record = GenerationRecord(
                        index: "rmap", number: 7, state: .previous, entries: 0, sum: 0)
                    var body = Array(record.value).dropLast(4)
                    body[0] = 5
                    let key = record.key
                    let value = sealedValue(key: key.rawSpan, body: Array(body))
                    try operations.transaction.put(
                        operations.core.tables.superblock, key.rawSpan, value.rawSpan)
                }
            }
            let report = try Verifier.verify(metadata: path + "/meta.mdb")
            #expect(!report.isClean)
            try withOpen(path) { volume in
                let active = try volume.read().activeGeneration(of: Self.rmap).number
                #expect(active == 1)
            }
        }
    }

    @Test func `verify judges what is served, and not what is kept`() throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 64 << 20))
            try withOpen(path) { volume in
                try fill(volume, 100)
                _ = try volume.damage(index: "rmap", count: 9, kind: .mixed, seed: 1)
                _ = rebuild(volume, keepsOld: true)
            }
            let clean = try Verifier.verify(metadata: path + "/meta.mdb").indexes
            #expect(clean.prefix(2).map(\.isClean) == [true, true])
            try withOpen(path) { _ = try Undo.rollBack([], of: $0) }
            let back = try Verifier.verify(metadata: path + "/meta.mdb").indexes
            #expect(back.prefix(2).map(\.discrepancies) == [9, 0])
        }
    }
}

/// A hook that wants one index and remembers what it was told.
private final class IndexHook: CommitHook {
    struct Told: Equatable {
        let commit: UInt64
        let deltas: Int
    }

    let wanted: IndexSlot
    let commits = Mutex<[Told]>([])

    init(wanted: IndexSlot) { self.wanted = wanted }

    func wants(_ index: IndexSlot) -> Bool { index == wanted }

    func committed(
        _ commit: UInt64, by origin: CommitOrigin, deltas: borrowing DeltaBatch
    ) {
        let told = Told(commit: commit, deltas: deltas.count)
        commits.withLock { $0.append(told) }
    }

    func admit(within seconds: Double) -> Bool { true }
}
