// Verify on volumes that the volume's own code made: it must agree with every operation,
// and notice whatever is taken away or changed behind the volume's back.

import Bytes
import LMDB
import TestSupport
import Testing
import VolumeFormat
import VolumeVerify

@testable import Volume

@Suite(.temporaryDirectory) struct VerifyVolumeTests {
    @Test func `a new volume is clean`() throws {
        let small = try SmallVolume()
        let report = try Verifier.verify(small.volume.core.environment)
        #expect(report.isClean, "\(report.examples)")
        #expect(report.indexes.map(\.entries) == [2, 0, 4, 1])
    }

    @Test func `a volume that every operation has changed is clean, open and closed`() throws {
        let small = try SmallVolume(blocks: 1024)
        let open = try changeInEveryWay(small)
        let report = try Verifier.verify(small.volume.core.environment)
        #expect(report.isClean, "\(report.examples)")
        try small.volume.close(open)
        try small.volume.close()
        let closed = try Verifier.verify(metadata: small.directory + "/v/meta.mdb")
        #expect(closed.isClean, "\(closed.examples)")
    }

    @Test(arguments: 0..<15)
    func `a volume after random operations is clean`(_ seed: UInt64) throws {
        var random = VerifyRandom(seed: seed)
        let small = try SmallVolume(blocks: 200)
        for _ in 0..<300 {
            do {
                try randomOperation(small.volume, &random)
            } catch is VolumeError {
                // Refused, and so without effect: which verify will see.
            }
        }
        let report = try Verifier.verify(small.volume.core.environment)
        #expect(report.isClean, "SEED=\(seed): \(report.examples)")
    }

    @Test func `every record that is taken out of a closed volume is missed`() throws {
        let small = try SmallVolume(blocks: 1024)
        try small.volume.close(changeInEveryWay(small))
        try small.volume.close()
        let fixture = try VerifyFixture(metadata: small.directory + "/v/meta.mdb")
        #expect(try fixture.verify().isClean)
        for (table, records) in fixture.tables {
            for (key, value) in records {
                // Nothing else tells of a small attribute.
                if table == TableName.xattrs, value[0] == 0 { continue }
                var other = fixture
                other.remove(table, key)
                let report = try other.verify()
                #expect(!report.isClean, "\(table) \(key)")
                if table.contains(".g") {
                    #expect(report.primaries.isEmpty)
                    #expect(report.indexes.map(\.missing).reduce(0, +) == 1)
                    #expect(report.indexes.map(\.discrepancies).reduce(0, +) == 1)
                }
            }
        }
    }

    @Test func `every byte that changes in a closed volume is noticed in its place`() throws {
        let small = try SmallVolume(blocks: 1024)
        try small.volume.close(changeInEveryWay(small))
        try small.volume.close()
        let fixture = try VerifyFixture(metadata: small.directory + "/v/meta.mdb")
        for (table, records) in fixture.tables {
            for key in records.keys {
                var other = fixture
                // The last byte before the checksum, or the checksum's own.
                let count = other.tables[table]![key]!.count
                other.tables[table]![key]![max(count - 5, 0)] ^= 0x40
                let report = try other.verify()
                if table.contains(".g") {
                    #expect(report.primaries.isEmpty)
                    #expect(report.indexes.map(\.wrong).reduce(0, +) == 1)
                } else {
                    #expect(report.damagedRecords == [table: 1], "\(key)")
                }
            }
        }
    }

    @Test(arguments: DamageKind.allCases, 0..<4 as Range<UInt64>)
    func `damage done on purpose is found exactly`(_ kind: DamageKind, _ seed: UInt64) throws {
        let small = try SmallVolume(blocks: 1024)
        try small.volume.perform { operations in
            for number in 0..<100 {
                let made = try operations.create(.root, bytes("f\(number)"))
                try operations.allocate(made.number, 0, 512, .reserve(keepSize: false))
                // Its neighbour's block goes, so that extents don't become one.
                if number % 2 == 1 { try operations.unlink(.root, bytes("f\(number)")) }
            }
        }
        var done: [DamageDone] = []
        for index in ["rmap", "parents"] {
            done.append(try small.volume.damage(index: index, count: 20, kind: kind, seed: seed))
        }
        let report = try Verifier.verify(small.volume.core.environment)
        #expect(report.primaries.isEmpty, "SEED=\(seed): \(report.examples)")
        for (index, done) in zip(report.indexes, done) {
            let found = [index.missing, index.stray, index.wrong].map { Int($0) }
            #expect(found == [done.missing, done.stray, done.wrong], "SEED=\(seed)")
            #expect(index.discrepancies == 20, "SEED=\(seed)")
        }
        try small.volume.close()
    }

    // MARK: Operations

    /// - Returns: an inode that is open, without a name.
    private func changeInEveryWay(_ small: SmallVolume) throws -> InodeNumber {
        let volume = small.volume
        let directory = try small.makeDirectory("d")
        let inner = try small.makeDirectory("inner", in: directory)
        let file = try small.create("file", in: inner)
        try small.write(file, 0, Array(repeating: 1, count: 5000))
        try small.write(file, 20_000, [1, 2, 3])
        try volume.setXattr(file, bytes("user.small"), [1, 2])
        try volume.setXattr(file, bytes("user.large"), Array(repeating: 3, count: 3000))
        try volume.setXattr(file, bytes("user.other"), Array(repeating: 4, count: 2000))
        let opened = try small.create("opened")
        try small.write(opened, 0, Array(repeating: 1, count: 2000))
        try volume.open(opened)
        try volume.perform { operations in
            try operations.link(file, .root, bytes("hard"))
            try operations.symlink(directory, bytes("link"), to: bytes("../d/inner"))
            try operations.makeNode(.root, bytes("pipe"), .fifo)
            try operations.makeNode(.root, bytes("disk"), .blockDevice, device: 8 << 32)
            try operations.allocate(file, 30_000, 9000, .reserve(keepSize: true))
            try operations.allocate(file, 1024, 1024, .punchHole)
            try operations.rename(inner, bytes("file"), to: .root, bytes("moved"))
            try operations.rename(directory, bytes("inner"), to: .root, bytes("up"))
            try operations.rename(.root, bytes("pipe"), to: directory, bytes("link"), .exchange)
            try operations.removeXattr(file, bytes("user.large"))
            try operations.create(.root, bytes("gone"))
            try operations.unlink(.root, bytes("gone"))
            try operations.makeDirectory(.root, bytes("empty"))
            try operations.removeDirectory(.root, bytes("empty"))
            try operations.unlink(.root, bytes("opened"))
        }
        return opened
    }

    private func randomOperation(_ volume: Volume, _ random: inout VerifyRandom) throws {
        let snapshot = try volume.read()
        let possible: ClosedRange<InodeNumber> = 1...12
        let numbers = try possible.filter { try snapshot.inode($0) != nil }
        let directories = try numbers.filter { try snapshot.inode($0)?.type == .directory }
        let n = numbers.randomElement(using: &random)!
        let a = directories.randomElement(using: &random)!
        let b = directories.randomElement(using: &random)!
        let x = bytes(["x", "y", "z"].randomElement(using: &random)!)
        let y = bytes(["x", "y", "z"].randomElement(using: &random)!)
        let offset = UInt64.random(in: 0..<20_000, using: &random)
        let count = Int.random(in: 1..<9000, using: &random)
        let step = Int.random(in: 0..<16, using: &random)
        switch step {
        case 0: try volume.write(n, at: offset, [UInt8](repeating: 1, count: count).span.bytes)
        case 1: try volume.setXattr(n, bytes("user.") + x, [UInt8](repeating: 2, count: count / 2))
        default:
            try volume.perform { operations in
                switch step {
                case 2, 3: try operations.create(a, x)
                case 4: try operations.makeDirectory(a, x)
                case 5: try operations.symlink(a, x, to: y)
                case 6: try operations.link(n, a, x)
                case 7: try operations.unlink(a, x)
                case 8: try operations.removeDirectory(a, x)
                case 9, 10: try operations.rename(a, x, to: b, y)
                case 11: try operations.rename(a, x, to: b, y, .exchange)
                case 12: _ = try operations.truncate(n, to: offset)
                case 13: try operations.allocate(n, offset, UInt64(count), .punchHole)
                case 14: try operations.allocate(n, offset, UInt64(count), .reserve(keepSize: true))
                default: try operations.removeXattr(n, bytes("user.") + x)
                }
            }
        }
    }
}

extension VerifyFixture {
    /// The tables of a volume that nobody has open.
    init(metadata path: String) throws {
        self.init()
        let environment = try Environment(path: path, options: .init(isReadOnly: true))
        for name in tables.keys {
            guard let table = try environment.table(name, create: false) else { continue }
            let reader = try environment.beginRead()
            var cursor = try reader.cursor(table)
            var found = try cursor.first()
            while found {
                set(name, cursor.key.array, cursor.value.array)
                found = try cursor.next()
            }
        }
    }
}
