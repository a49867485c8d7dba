// Maps of files that are kept between reads.

import Bytes
import LMDB
import TestSupport
import Testing
import VolumeFormat

@testable import Volume

@Suite(.temporaryDirectory) struct FileMapCacheTests {
    private func isKept(_ small: SmallVolume, _ n: InodeNumber) -> Bool {
        let core = small.volume.core
        return core.maps.look(n, commit: core.environment.lastCommit) != nil
    }

    private func readOften(_ small: SmallVolume, _ n: InodeNumber) throws {
        for _ in 0...FileMapCache.worthIt { _ = try small.volume.read(n, at: 0, 100) }
    }

    @Test func `a file that is read often is looked up once, until something is committed`() throws
    {
        let small = try SmallVolume()
        let n = try small.create("a"), other = try small.create("b")
        try small.write(n, 0, [UInt8](repeating: 1, count: 2000))
        _ = try small.volume.read(n, at: 0, 100)
        #expect(!isKept(small, n))
        try readOften(small, n)
        #expect(isKept(small, n))
        let changes: [(() throws -> Void, [UInt8])] = [
            ({ try small.write(n, 500, [7]) }, ones(500) + [7] + ones(1499)),
            (
                { try small.volume.perform { try $0.allocate(n, 512, 512, .punchHole) } },
                ones(500) + [7] + ones(11) + zeroes(512) + ones(976)
            ),
            (
                { try small.volume.perform { _ = try $0.truncate(n, to: 505) } },
                ones(500) + [7] + ones(4)
            ),
            ({ try small.write(n, 600, [8]) }, ones(500) + [7] + ones(4) + zeroes(95) + [8]),
            ({ try small.write(other, 0, [9]) }, ones(500) + [7] + ones(4) + zeroes(95) + [8]),
        ]
        for (change, expected) in changes {
            try change()
            #expect(!isKept(small, n))
            for _ in 0..<(2 * FileMapCache.worthIt) {
                #expect(try small.volume.read(n, at: 0, 9999) == expected)
                #expect(
                    try small.volume.read(n, at: 400, 120) == Array(expected[400...].prefix(120)))
            }
            #expect(isKept(small, n))
        }
        #expect(throws: VolumeError.self) {
            _ = try small.volume.read(n, generation: 77, at: 0, 1)
        }
        try small.volume.close()
        #expect(throws: VolumeError.self) { _ = try small.volume.read(n, at: 0, 1) }
    }

    private func ones(_ count: Int) -> [UInt8] { [UInt8](repeating: 1, count: count) }
    private func zeroes(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

    @Test func `a file of very many pieces is looked up for each read`() throws {
        let small = try SmallVolume(blocks: 8192)
        let n = try small.create("a")
        let pieces = UInt64(FileMapCache.mostExtents)
        try small.volume.perform { operations in
            for piece in 0..<pieces {
                try operations.allocate(n, piece * 1024, 512, .reserve(keepSize: false))
            }
        }
        try readOften(small, n)
        #expect(!isKept(small, n))
        try small.volume.perform { try $0.allocate(n, 0, 512, .punchHole) }
        try readOften(small, n)
        #expect(isKept(small, n))
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `a part of a kept map is what a snapshot finds`(seed: UInt64) throws {
        let small = try SmallVolume(blocks: 4096)
        var random = SplitMix64(seed: seed)
        let n = try small.create("a")
        try small.volume.perform { operations in
            for _ in 0..<30 {
                try operations.allocate(
                    n, .random(in: 0..<300, using: &random) * 512,
                    .random(in: 1...20, using: &random) * 512,
                    [.reserve(keepSize: false), .punchHole].randomElement(using: &random)!)
            }
        }
        let snapshot = try small.snapshot()
        let file = MappedFile(
            inode: n, commit: snapshot.commit, record: try snapshot.existing(n),
            extents: try snapshot.extents(n))
        for _ in 0..<200 {
            let start = UInt64.random(in: 0..<330, using: &random)
            let range = start..<(start + .random(in: 1...60, using: &random))
            #expect(try file.map(range) == snapshot.map(n, .data, range), "SEED=\(seed) \(range)")
        }
    }
}
