// Damage done on purpose is exactly what was asked for.

import Bytes
import LMDB
import TestSupport
import Testing
import Tidemark
import VolumeFormat

@testable import Volume

@Suite(.temporaryDirectory) struct EngineDamageTests {
    /// Missing, stray and wrong entries of a live index.
    private func discrepancies(_ volume: Volume, _ index: String) throws -> DamageDone {
        let derived = try volume.derived()
        let expected = index == "rmap" ? derived.rmap : derived.parents
        let live = try volume.liveEntries(index)
        var found = DamageDone()
        for (key, value) in expected {
            if let other = live[key] {
                if other != value {
                    found.wrong += 1
                    // Another value, but a good checksum and a length that can be.
                    #expect(sealedValue(key: key.rawSpan, body: Array(other.dropLast(4))) == other)
                    let length: UInt32 = other.rawSpan.integer(at: 0)
                    #expect(index != "rmap" || length > 0)
                }
            } else {
                found.missing += 1
            }
        }
        for (key, value) in live where expected[key] == nil {
            found.stray += 1
            #expect(sealedValue(key: key.rawSpan, body: Array(value.dropLast(4))) == value)
        }
        return found
    }

    private func fill(_ volume: Volume, _ count: Int) throws {
        try volume.perform { operations in
            for number in 0..<count {
                let inode = try operations.create(.root, name(number)).number
                try operations.begin()
                try operations.map(inode: inode, blocks: 2)
            }
        }
    }

    @Test(arguments: ["rmap", "parents"], DamageKind.allCases)
    func `damage is exact, of each kind`(index: String, kind: DamageKind) throws {
        // Few and many of all there are, and once more on top of that.
        for count in [1, 10, 300] {
            try withVolume { volume in
                try fill(volume, 400)
                let first = try volume.damage(index: index, count: count, kind: kind, seed: 1)
                #expect(first.missing + first.stray + first.wrong == count)
                #expect(try discrepancies(volume, index) == first)
                let second = try volume.damage(index: index, count: 5, kind: kind, seed: 1)
                let sum = DamageDone(
                    missing: first.missing + second.missing, stray: first.stray + second.stray,
                    wrong: first.wrong + second.wrong)
                #expect(try discrepancies(volume, index) == sum)
            }
        }
    }

    @Test func `the same seed does the same damage, another seed another`() throws {
        var results: [[[UInt8]: [UInt8]]] = []
        for seed in [7, 7, 8] as [UInt64] {
            try withVolume { volume in
                try volume.perform { operations in
                    try operations.begin()
                    for number in 0..<2000 {
                        try operations.putDirent(
                            .root, name(number),
                            DirentTarget(child: UInt64(number) + 2, generation: 1, type: .regular))
                    }
                }
                let done = try volume.damage(index: "parents", count: 90, kind: .mixed, seed: seed)
                #expect(done == DamageDone(missing: 30, stray: 30, wrong: 30))
                results.append(try volume.liveEntries("parents"))
            }
        }
        #expect(results[0] == results[1])
        #expect(results[0] != results[2])
    }

    @Test func `more damage than there are entries is refused, and nothing is done`() throws {
        try withVolume { volume in
            try fill(volume, 10)
            let before = try volume.contents()
            #expect(throws: VolumeError.self) {
                try volume.damage(index: "rmap", count: 13, kind: .missing, seed: 1)
            }
            #expect(throws: VolumeError.self) {
                try volume.damage(index: "nonsense", count: 1, kind: .missing, seed: 1)
            }
            #expect(try volume.contents() == before)
            let all = try volume.damage(index: "rmap", count: 12, kind: .missing, seed: 1)
            #expect(all.missing == 12)
            #expect(try volume.liveEntries("rmap").isEmpty)
        }
    }

    @Test func `neither primary records nor records of generations nor hooks learn of it`() throws {
        try withVolume { volume in
            try fill(volume, 50)
            let hook = NotingHook()
            try volume.atCommitBoundary { $0.attach(hook) }
            var before = try volume.contents()
            _ = try volume.damage(index: "rmap", count: 9, kind: .mixed, seed: 2)
            var after = try volume.contents()
            #expect(before["rmap.g1"] != after["rmap.g1"])
            before["rmap.g1"] = nil
            after["rmap.g1"] = nil
            #expect(before == after)
            #expect(hook.deltaCount == 0)
        }
    }
}
