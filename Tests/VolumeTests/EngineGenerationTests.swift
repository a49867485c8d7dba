// Loading, activating and reaping generations while the volume changes.

import Bytes
import LMDB
import TestSupport
import Testing
import Tidemark
import VolumeFormat

@testable import Volume

@Suite(.temporaryDirectory) struct EngineGenerationTests {
    static let parents = GroupState.parentsSlot
    static let rmap = GroupState.rmapSlot

    /// Names and extents, changed at random.
    private func churn(_ volume: Volume, _ count: Int, _ random: inout SplitMix64) throws {
        try volume.perform { operations in
            for _ in 0..<count {
                let name = name(Int.random(in: 0..<200, using: &random))
                if let target = try operations.dirent(.root, name) {
                    if Bool.random(using: &random) {
                        try operations.unlink(.root, name)
                    } else {
                        try operations.begin()
                        let offset = UInt64.random(in: 0...1 << 40, using: &random)
                        try operations.map(inode: target.child, blocks: 1, offset: offset)
                    }
                } else {
                    _ = try operations.create(.root, name)
                }
            }
        }
    }

    @Test(arguments: 1...12)
    func `a generation loaded in batches while the volume changes is right`(seed: UInt64) throws {
        try withVolume { volume in
            var random = SplitMix64(seed: seed)
            try churn(volume, 500, &random)
            for (slot, index) in [(Self.parents, "parents"), (Self.rmap, "rmap")] {
                let number = try volume.atCommitBoundary {
                    try $0.requireGenerations().createGeneration(of: slot)
                }
                var next: KeyBytes? = KeyBytes()
                while let from = next {
                    let size = Int.random(in: 1...60, using: &random)
                    // What a batch holds, and that it is appended, is one boundary.
                    next = try volume.atCommitBoundary { boundary in
                        let batch = EntryBatch()
                        let end = try boundary.snapshot().entries(
                            of: slot, from: from, limit: size, into: batch)
                        try boundary.requireGenerations().append(
                            batch, to: number, of: slot, end: end)
                        return end
                    }
                    try churn(volume, 20, &random)
                }
                let problem = try volume.atCommitBoundary {
                    try $0.requireGenerations().validate(generation: number, of: slot)
                }
                #expect(problem == nil, "SEED=\(seed)")
                try churn(volume, 50, &random)
                try volume.atCommitBoundary {
                    try $0.requireGenerations().activate(
                        generation: number, of: slot, keepsOld: false)
                }
                try churn(volume, 50, &random)
                let derived = try volume.derived()
                let expected = index == "rmap" ? derived.rmap : derived.parents
                #expect(try volume.liveEntries(index) == expected, "SEED=\(seed)")
                let record = try volume.read().activeGeneration(of: slot)
                #expect(record.number == number)
                #expect(record.entries == UInt64(expected.count), "SEED=\(seed)")
            }
            var steps = 0
            while try volume.atCommitBoundary({ try $0.requireGenerations().reap(limit: 7) }) {
                steps += 1
            }
            #expect(steps > 0)
            let names = try volume.read().tableNames()
            #expect(names.suffix(3) == ["parents.g2", "quota.g1", "rmap.g2"])
        }
    }

    @Test func `an index is neither activated nor valid before its end is loaded`() throws {
        try withVolume { volume in
            try volume.atCommitBoundary { boundary in
                let number = try boundary.requireGenerations().createGeneration(of: Self.rmap)
                #expect(number == 2)
                #expect(
                    try boundary.requireGenerations().validate(generation: number, of: Self.rmap)
                        == "it is not loaded to its end")
                #expect(throws: VolumeError.self) {
                    try boundary.requireGenerations().activate(
                        generation: number, of: Self.rmap, keepsOld: false)
                }
                #expect(throws: VolumeError.self) {
                    try boundary.requireGenerations().createGeneration(of: Self.rmap)
                }
                #expect(throws: VolumeError.self) {
                    try boundary.requireGenerations().validate(generation: 7, of: Self.rmap)
                }
                try boundary.requireGenerations().discard(generation: number, of: Self.rmap)
                #expect(try boundary.requireGenerations().reap(limit: 10) == false)
            }
            #expect(try volume.read().activeGeneration(of: Self.rmap).number == 1)
            #expect(try volume.read().generations().count == 3)
        }
    }

    @Test func `a loaded batch that misses an entry is spoilt by the change that tells`() throws {
        for kind in ["missing", "stray"] {
            try withVolume { volume in
                try volume.perform { for n in 0..<9 { _ = try $0.create(.root, name(n)) } }
                let number = try volume.atCommitBoundary { boundary in
                    let number = try boundary.requireGenerations().createGeneration(
                        of: Self.parents)
                    let batch = EntryBatch()
                    if kind == "stray" {
                        let key: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 1, 120]
                        batch.append(key: key.rawSpan, value: ([0, 0, 0, 1] as [UInt8]).rawSpan)
                    }
                    try boundary.requireGenerations().append(
                        batch, to: number, of: Self.parents, end: nil)
                    return number
                }
                try volume.perform { operations in
                    if kind == "missing" {
                        try operations.unlink(.root, name(3))
                    } else {
                        _ = try operations.create(.root, [120])
                    }
                }
                let problem = try volume.atCommitBoundary {
                    try $0.requireGenerations().validate(generation: number, of: Self.parents)
                }
                #expect(problem?.contains("an entry that was") == true)
                #expect(throws: VolumeError.self) {
                    try volume.atCommitBoundary {
                        try $0.requireGenerations().activate(
                            generation: number, of: Self.parents, keepsOld: false)
                    }
                }
                let derived = try volume.derived()
                #expect(try volume.liveEntries("parents") == derived.parents)
            }
        }
    }

    @Test func `a table that lost an entry behind our back does not pass`() throws {
        try withVolume { volume in
            let problem = try volume.atCommitBoundary { boundary in
                let number = try boundary.requireGenerations().createGeneration(of: Self.rmap)
                let batch = EntryBatch()
                _ = try boundary.snapshot().entries(
                    of: Self.rmap, from: KeyBytes(), limit: 10, into: batch)
                try boundary.requireGenerations().append(batch, to: number, of: Self.rmap, end: nil)
                #expect(
                    try boundary.requireGenerations().validate(generation: number, of: Self.rmap)
                        == nil)
                return number
            }
            try volume.perform { operations in
                guard let table = operations.state.rmap.load?.generation.table else { return }
                try operations.transaction.empty(table)
            }
            let told = try volume.atCommitBoundary {
                try $0.requireGenerations().validate(generation: problem, of: Self.rmap)
            }
            #expect(told == "the table holds 0 entries, and should hold 2")
        }
    }

    @Test func `a generation that was being loaded at a crash is reaped after it`() throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 64 << 20))
            try withOpen(path) { volume in
                try volume.perform { for n in 0..<500 { _ = try $0.create(.root, name(n)) } }
                try volume.atCommitBoundary { boundary in
                    let number = try boundary.requireGenerations().createGeneration(
                        of: Self.parents)
                    let batch = EntryBatch()
                    let end = try boundary.snapshot().entries(
                        of: Self.parents, from: KeyBytes(), limit: 300, into: batch)
                    try boundary.requireGenerations().append(
                        batch, to: number, of: Self.parents, end: end)
                }
            }
            try withOpen(path) { volume in
                let states = try volume.read().generations().map(\.state)
                #expect(
                    states.sorted { $0.rawValue < $1.rawValue } == [
                        .active, .active, .active, .reaping,
                    ])
                try volume.perform { for n in 0..<50 { try $0.unlink(.root, name(n)) } }
                while try volume.atCommitBoundary({ try $0.requireGenerations().reap(limit: 1) }) {}
                #expect(try volume.read().generations().count == 3)
                #expect(try volume.liveEntries("parents").count == 450)
            }
        }
    }

    @Test func `an old snapshot reads the generation that was active in it`() throws {
        try withVolume { volume in
            try volume.perform { for n in 0..<100 { _ = try $0.create(.root, name(n)) } }
            let old = try volume.read()
            let number = try volume.atCommitBoundary { boundary in
                let number = try boundary.requireGenerations().createGeneration(of: Self.parents)
                let batch = EntryBatch()
                _ = try boundary.snapshot().entries(
                    of: Self.parents, from: KeyBytes(), limit: 1000, into: batch)
                try boundary.requireGenerations().append(
                    batch, to: number, of: Self.parents, end: nil)
                try boundary.requireGenerations().activate(
                    generation: number, of: Self.parents, keepsOld: false)
                return number
            }
            while try volume.atCommitBoundary({ try $0.requireGenerations().reap(limit: 10) }) {}
            let batch = EntryBatch()
            _ = try old.entries(of: Self.parents, from: KeyBytes(), limit: 1000, into: batch)
            #expect(batch.count == 100)
            #expect(try old.activeGeneration(of: Self.parents).number == 1)
            #expect(try volume.read().activeGeneration(of: Self.parents).number == number)
        }
    }

    @Test func `amending puts exactly the given entries right`() throws {
        try withVolume { volume in
            try volume.perform { for n in 0..<100 { _ = try $0.create(.root, name(n)) } }
            let right = try volume.liveEntries("parents")
            let done = try volume.damage(index: "parents", count: 30, kind: .mixed, seed: 5)
            #expect(done == DamageDone(missing: 10, stray: 10, wrong: 10))
            let live = try volume.liveEntries("parents")
            var amendments: [(key: [UInt8], value: [UInt8]?)] = []
            for (key, value) in live where right[key] != value {
                amendments.append((key, right[key].map { Array($0.dropLast(4)) }))
            }
            for (key, value) in right where live[key] == nil {
                amendments.append((key, Array(value.dropLast(4))))
            }
            #expect(amendments.count == 30)
            let list = amendments
            #expect(
                try volume.atCommitBoundary { try $0.requireAmending().amend(Self.parents, list) }
                    == 30)
            #expect(
                try volume.atCommitBoundary { try $0.requireAmending().amend(Self.parents, list) }
                    == 0)
            #expect(try volume.liveEntries("parents") == right)
            #expect(try volume.read().activeGeneration(of: Self.parents).entries == 100)
        }
    }
}
