// The primitives that several records go together in: free space, extents, inode numbers,
// names; against plain sets, over seeds.

import Bytes
import LMDB
import TestSupport
import Testing
import VolumeFormat

@testable import Volume

@Suite(.temporaryDirectory) struct EngineSpaceTests {
    @Test(arguments: 1...20)
    func `free space is what a plain set of blocks says, in both tables`(seed: UInt64) throws {
        try withVolume(size: 4096 * 400) { volume in
            var random = SplitMix64(seed: seed)
            var free = Set<UInt64>(16..<399)
            var taken: [FreeRecord] = []
            try volume.perform { operations in
                for _ in 0..<300 {
                    try operations.begin()
                    if Bool.random(using: &random) || taken.isEmpty {
                        let wanted = UInt64.random(in: 1...60, using: &random)
                        let near = taken.randomElement(using: &random)?.end
                        let run = try operations.takeFree(wanted, near: near)
                        #expect((run == nil) == free.isEmpty, "SEED=\(seed)")
                        guard let run else { continue }
                        #expect(run.length <= wanted, "SEED=\(seed)")
                        if let near, free.contains(near), !free.contains(near - 1) {
                            #expect(run.start == near, "SEED=\(seed)")
                        }
                        for block in run.start..<run.end {
                            #expect(free.remove(block) != nil, "SEED=\(seed)")
                        }
                        taken.append(run)
                    } else {
                        let index = Int.random(in: 0..<taken.count, using: &random)
                        let run = taken.remove(at: index)
                        try operations.giveBack(start: run.start, length: run.length)
                        free.formUnion(run.start..<run.end)
                        try operations.begin()
                        #expect(throws: VolumeError.self) {
                            try operations.giveBack(start: run.start, length: 1)
                        }
                    }
                    #expect(operations.counters.freeBlocks == UInt64(free.count), "SEED=\(seed)")
                }
            }
            try checkFreeTables(volume, free, seed)
        }
    }

    private func checkFreeTables(_ volume: Volume, _ free: Set<UInt64>, _ seed: UInt64) throws {
        var runs: [FreeRecord] = []
        for block in free.sorted() {
            if let last = runs.last, last.end == block {
                runs[runs.count - 1].length += 1
            } else {
                runs.append(FreeRecord(start: block, length: 1))
            }
        }
        let byStart = try volume.records(TableName.free).map {
            try FreeRecord(key: $0.key.rawSpan, value: $0.value.rawSpan)
        }
        let byLength = try volume.records(TableName.freeByLength).map {
            try FreeRecord(lengthKey: $0.key.rawSpan, value: $0.value.rawSpan)
        }
        #expect(byStart.sorted { $0.start < $1.start } == runs, "SEED=\(seed)")
        #expect(byLength.sorted { $0.start < $1.start } == runs, "SEED=\(seed)")
    }

    @Test func `a run that starts at the place asked for is preferred, then the best fit`() throws {
        try withVolume(size: 4096 * 1000) { volume in
            try volume.perform { operations in
                try operations.begin()
                let all = try operations.takeFree(983, near: nil)
                #expect(all == FreeRecord(start: 16, length: 983))
                #expect(try operations.takeFree(1, near: nil) == nil)
                for (start, length) in [(100, 10), (200, 5), (300, 50)] as [(UInt64, UInt64)] {
                    try operations.giveBack(start: start, length: length)
                }
                #expect(try operations.takeFree(3, near: 300) == FreeRecord(start: 300, length: 3))
                #expect(try operations.takeFree(4, near: 1) == FreeRecord(start: 200, length: 4))
                let longest = try operations.takeFree(100, near: nil)
                #expect(longest == FreeRecord(start: 303, length: 47))
            }
        }
    }

    @Test func `freeing what is free or beyond the volume is damage and changes nothing`() throws {
        try withVolume(size: 4096 * 1000) { volume in
            let before = try volume.contents()
            let runs: [(UInt64, UInt64)] = [(500, 1), (15, 2), (998, 5), (1000, 1), (.max, 2)]
            for (start, length) in runs {
                #expect(throws: VolumeError.self) {
                    try volume.perform { operations in
                        try operations.begin()
                        try operations.giveBack(start: start, length: length)
                    }
                }
            }
            #expect(try volume.contents() == before)
        }
    }

    @Test(arguments: 1...20)
    func `live indexes and their sums follow changes of names and extents`(seed: UInt64) throws {
        try withVolume(size: 4096 * 5000) { volume in
            var random = SplitMix64(seed: seed)
            var extents: [ExtentRecord] = []
            var names: [[UInt8]: DirentTarget] = [:]
            for _ in 0..<10 {
                try volume.perform { operations in
                    for _ in 0..<30 {
                        try operations.begin()
                        try changeExtents(&operations, &extents, &random)
                        try changeNames(&operations, &names, &random)
                    }
                }
            }
            let derived = try volume.derived()
            #expect(derived.rmap.count == extents.count + 2, "SEED=\(seed)")
            #expect(derived.parents.count == names.count, "SEED=\(seed)")
            #expect(try volume.liveEntries("rmap") == derived.rmap, "SEED=\(seed)")
            #expect(try volume.liveEntries("parents") == derived.parents, "SEED=\(seed)")
            try checkSums(volume, seed)
        }
    }

    /// A new extent, one extended or cut or in another state, or one less.
    private func changeExtents(
        _ operations: inout Operations, _ extents: inout [ExtentRecord], _ random: inout SplitMix64
    ) throws {
        switch Int.random(in: 0..<4, using: &random) {
        case 0, 1:
            guard let run = try operations.takeFree(.random(in: 1...8, using: &random), near: nil)
            else { return }
            let extent = ExtentRecord(
                inode: .random(in: 2...9, using: &random), fork: .data,
                offset: UInt64(extents.count) * 100 + run.start * 1_000_000, start: run.start,
                length: UInt32(run.length), state: .unwritten)
            try operations.putExtent(extent, replacing: nil)
            extents.append(extent)
        case 2 where !extents.isEmpty:
            let index = Int.random(in: 0..<extents.count, using: &random)
            let old = extents[index]
            var new = old
            if Bool.random(using: &random) {
                new.state = new.state == .written ? .unwritten : .written
            } else if new.length > 1 {
                try operations.giveBack(start: new.start, length: 1)
                new.start += 1
                new.offset += 1
                new.length -= 1
            }
            try operations.putExtent(new, replacing: old)
            extents[index] = new
        case 3 where !extents.isEmpty:
            let old = extents.remove(at: Int.random(in: 0..<extents.count, using: &random))
            try operations.removeExtent(old)
            try operations.giveBack(start: old.start, length: UInt64(old.length))
        default: break
        }
    }

    private func changeNames(
        _ operations: inout Operations, _ names: inout [[UInt8]: DirentTarget],
        _ random: inout SplitMix64
    ) throws {
        let key = name(Int.random(in: 0..<40, using: &random))
        if let target = names[key], Bool.random(using: &random) {
            try operations.removeDirent(.root, key, target)
            names[key] = nil
        } else {
            let target = DirentTarget(
                child: .random(in: 2...5, using: &random),
                generation: .random(in: 1...3, using: &random), type: .regular)
            try operations.putDirent(.root, key, target)
            names[key] = target
        }
    }

    private func checkSums(_ volume: Volume, _ seed: UInt64) throws {
        let sizes = try volume.statistics().generations
        for size in sizes where size.record.index != "quota" {
            let entries = try volume.liveEntries(size.record.index)
            let sum = entries.values.reduce(0 as UInt64) {
                $0 &+ GenerationRecord.mix($1.rawSpan.integer(at: $1.count - 4))
            }
            #expect(size.record.entries == UInt64(entries.count), "SEED=\(seed)")
            #expect(size.record.sum == sum, "SEED=\(seed)")
        }
    }

    @Test func `inode numbers come back lowest first, with new generations`() throws {
        try withVolume { volume in
            try volume.perform { operations in
                try operations.begin()
                let first = try (0..<4).map { _ in try operations.allocateInode() }
                #expect(first.map(\.0) == [2, 3, 4, 5])
                try operations.releaseInode(4)
                try operations.releaseInode(3)
                let again = try (0..<3).map { _ in try operations.allocateInode() }
                #expect(again.map(\.0) == [3, 4, 6])
                #expect(Set((first + again).map(\.generation)).count == 7)
                #expect(operations.counters.inodes == 6)
            }
        }
    }

    @Test func `damage met in the middle of changes is not committed`() throws {
        try withVolume(size: 4096 * 1000) { volume in
            let before = try volume.contents()
            #expect(throws: VolumeError.self) {
                try volume.perform { operations in
                    try operations.begin()
                    _ = try operations.takeFree(10, near: nil)
                    // The caller hides it; the group is aborted all the same.
                    try? operations.giveBack(start: 500, length: 1)
                }
            }
            #expect(try volume.contents() == before)
        }
    }
}
