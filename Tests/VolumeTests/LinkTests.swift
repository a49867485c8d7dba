// Link counts that are wrong, and names and inodes that no count can bring together.

import Bytes
import LMDB
import TestSupport
import Testing
import Tidemark
import VolumeFormat
import VolumeIndexes
import VolumeVerify

@testable import Volume

private let kinds: [VolumeVerify.PrimaryDefect] = [
    .danglingEntry, .entryGeneration, .entryType, .orphanInode, .directoryNames, .directoryParent,
]

/// What verify says of the kinds of defects that a comparison of links finds too.
private func defects(_ report: VerifyReport) -> [String: Int] {
    var counts: [String: Int] = [:]
    for kind in kinds where (report.primaries[kind] ?? 0) > 0 {
        counts[kind.rawValue] = Int(report.primaries[kind] ?? 0)
    }
    return counts
}

private func run(
    _ volume: Volume, _ strategy: Strategy, between: (Coordinator.Step) throws -> Void = { _ in }
) throws -> RunReport {
    var stepped = SteppedRun(volume, [VolumeSlots.links], strategy, seed: 1) {
        $0.limits.window = 1000
    }
    return try stepped.finish(between)
}

extension Volume {
    fileprivate func setLinks(_ n: InodeNumber, _ links: UInt32) throws {
        try perform { ops in
            try ops.begin()
            var inode = try ops.existing(n)
            inode.links = links
            try ops.put(inode, n)
        }
    }

    fileprivate func links(_ n: InodeNumber) throws -> UInt32? { try read().inode(n)?.links }
}

private struct Defect: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let counts: [String: Int]
    /// Changes primitives behind the operations' back. File 2 has names `a` and `d/b`, directory
    /// 3 is `d`, directory 4 `d/e`, pipe 5 `d/p`.
    let plant: @Sendable (inout Operations) throws -> Void

    init(
        _ name: String, _ counts: [String: Int],
        _ plant: @escaping @Sendable (inout Operations) throws -> Void
    ) {
        testDescription = name
        self.counts = counts
        self.plant = plant
    }
}

private let planted: [Defect] = [
    Defect("nothing", [:]) { _ in },
    Defect("an orphan", ["orphanInode": 1]) { ops in
        let target = try ops.target(3, bytes("p"))
        try ops.removeDirent(3, bytes("p"), target)
    },
    Defect("an orphaned directory, and what it holds", ["orphanInode": 1]) { ops in
        let target = try ops.target(3, bytes("e"))
        try ops.removeDirent(3, bytes("e"), target)
    },
    Defect("two dangling names", ["danglingEntry": 2]) { ops in
        for (name, type) in [("x", FileType.regular), ("y", .directory)] {
            let target = DirentTarget(child: 99, generation: 1, type: type)
            try ops.putDirent(.root, bytes(name), target)
        }
    },
    Defect("another generation", ["entryGeneration": 1]) { ops in
        var target = try ops.target(.root, bytes("a"))
        target.generation += 1
        try ops.putDirent(.root, bytes("a"), target)
    },
    Defect("another type", ["entryType": 2]) { ops in
        for name in ["a", "f"] {
            var target = try ops.target(.root, bytes(name))
            target.type = target.type == .regular ? .fifo : .regular
            try ops.putDirent(.root, bytes(name), target)
        }
    },
    Defect("a directory with two names", ["directoryNames": 1]) { ops in
        let target = try ops.target(3, bytes("e"))
        try ops.putDirent(.root, bytes("again"), target)
    },
    Defect("a directory with another parent", ["directoryParent": 1]) { ops in
        var inode = try ops.existing(4)
        inode.parent = .root
        try ops.put(inode, 4)
    },
    Defect("a root with a name, and another parent", ["directoryNames": 1, "directoryParent": 1]) {
        ops in
        try ops.putDirent(3, bytes("root"), DirentTarget(child: 1, generation: 1, type: .directory))
        var inode = try ops.existing(1)
        inode.parent = 3
        try ops.put(inode, 1)
    },
]

@Suite(.temporaryDirectory) struct LinkTests {
    /// See `Defect.plant`; and a fifo `f`.
    private func fill(_ volume: Volume) throws {
        try volume.perform { ops in
            let file = try ops.create(.root, bytes("a")).number
            let directory = try ops.makeDirectory(.root, bytes("d")).number
            _ = try ops.makeDirectory(directory, bytes("e"))
            _ = try ops.makeNode(directory, bytes("p"), .fifo)
            _ = try ops.makeNode(.root, bytes("f"), .fifo)
            _ = try ops.link(file, directory, bytes("b"))
        }
    }

    @Test(arguments: planted)
    fileprivate func `check and verify agree on defects of names`(_ defect: Defect) throws {
        try withVolume { volume in
            try fill(volume)
            try volume.perform { ops in
                try ops.begin()
                try defect.plant(&ops)
            }
            let verified = try Verifier.verify(volume.metadata)
            let report = try run(volume, .check)
            #expect(report.primaryDefects.counts == defect.counts)
            #expect(defects(verified) == defect.counts)
            #expect(report.primaryDefects.first.count == defect.counts.values.reduce(0, +))
            #expect(UInt64(report.indexes[0].found.wrong) == verified.primaries[.linkCount] ?? 0)
            #expect(UInt64(report.indexes[0].entries) == verified.indexes[3].entries)
            // Counts are mended, defects are left, and the outcome says so.
            let repaired = try run(volume, .auto)
            #expect(repaired.outcome == (defect.counts.isEmpty ? .clean : .corrupt))
            let after = try Verifier.verify(volume.metadata)
            #expect(after.indexes[3].wrong == 0, "\(after.examples)")
            #expect(defects(after) == defect.counts)
        }
    }

    @Test func `counts of files, directories and the root are mended, in many transactions`() throws
    {
        try withVolume { volume in
            try fill(volume)
            let wrong: [(InodeNumber, UInt32)] = [
                (1, 0), (2, 1), (3, 9), (4, 0), (5, 4_000_000_000),
            ]
            for (n, links) in wrong { try volume.setLinks(n, links) }
            #expect(try Verifier.verify(volume.metadata).indexes[3].wrong == 5)
            var stepped = SteppedRun(volume, [VolumeSlots.links], .rebuild, seed: 1) {
                $0.patchEntries = 2
            }
            let report = try stepped.finish { _ in }
            #expect(report.outcome == .repaired, "\(report)")
            #expect(report.indexes[0].action == .patch && report.indexes[0].patched == 5)
            #expect(try (1...5).map { try volume.links($0) } == [3, 2, 3, 2, 1])
            #expect(try Verifier.verify(volume.metadata).isClean)
        }
    }

    @Test func `an inode that is unlinked and open is as it should be`() throws {
        try withVolume { volume in
            try fill(volume)
            _ = try volume.open(5)
            try volume.perform { try $0.unlink(3, bytes("p")) }
            #expect(try volume.links(5) == 0)
            #expect(try run(volume, .auto).outcome == .clean)
            try volume.close(5)
            #expect(try Verifier.verify(volume.metadata).isClean)
        }
    }

    @Test func `a count that was too high goes to 0 with the last name, and the file with it`()
        throws
    {
        try withVolume { volume in
            try fill(volume)
            try volume.setLinks(2, 3)
            let report = try run(volume, .auto) { step in
                guard step == .plan else { return }
                try volume.perform { ops in
                    guard try ops.dirent(3, bytes("b")) != nil else { return }
                    try ops.unlink(.root, bytes("a"))
                    try ops.unlink(3, bytes("b"))
                }
            }
            #expect(report.outcome == .repaired, "\(report)")
            while try volume.perform({ try $0.reclaim().next }) != nil {}
            #expect(try volume.links(2) == nil)
            #expect(try Verifier.verify(volume.metadata).isClean)
        }
    }

    @Test func `a count of 0 does not free a file with its next name`() throws {
        try withVolume { volume in
            try fill(volume)
            try volume.setLinks(2, 0)
            try volume.perform { try $0.unlink(.root, bytes("a")) }
            #expect(try volume.links(2) == .max)
            #expect(try run(volume, .auto).outcome == .repaired)
            #expect(try volume.links(2) == 1)
            #expect(try Verifier.verify(volume.metadata).isClean)
        }
    }

    @Test func `a file that lost a name too many while open gets back what is left`() throws {
        try withVolume { volume in
            try fill(volume)
            try volume.setLinks(2, 1)
            _ = try volume.open(2)
            let report = try run(volume, .auto) { step in
                guard step == .plan else { return }
                try volume.perform { ops in
                    if try ops.dirent(.root, bytes("a")) != nil {
                        try ops.unlink(.root, bytes("a"))
                    }
                }
            }
            #expect(report.outcome == .repaired, "\(report)")
            #expect(try volume.links(2) == 1)
            try volume.close(2)
            #expect(try volume.links(2) == 1)
            #expect(try Verifier.verify(volume.metadata).isClean)
        }
    }

    @Test func `a correction is not for the next inode of the same number`() throws {
        try withVolume { volume in
            try fill(volume)
            try volume.setLinks(5, 7)
            let report = try run(volume, .auto) { step in
                guard step == .beginPatch else { return }
                try volume.perform { ops in
                    let target = try ops.target(3, bytes("p"))
                    guard target.generation < 7 else { return }
                    try ops.removeDirent(3, bytes("p"), target)
                    var directory = try ops.existing(3)
                    directory.size -= 1
                    try ops.put(directory, 3)
                    try ops.deleteInode(5)
                    try ops.releaseInode(5)
                    #expect(try ops.create(3, bytes("p")).number == 5)
                }
            }
            #expect(report.indexes[0].patched == 0 && report.indexes[0].found.wrong == 1)
            #expect(try volume.links(5) == 1)
            #expect(try Verifier.verify(volume.metadata).isClean)
        }
    }

    @Test func `a directory that is removed with a wrong count stays removed`() throws {
        try withVolume { volume in
            try fill(volume)
            try volume.setLinks(4, 6)
            _ = try volume.open(4)
            let report = try run(volume, .auto) { step in
                guard step == .plan else { return }
                try volume.perform { ops in
                    if try ops.dirent(3, bytes("e")) != nil {
                        try ops.removeDirectory(3, bytes("e"))
                    }
                }
            }
            #expect(report.outcome == .repaired, "\(report)")
            #expect(try volume.links(4) == 0)
            try volume.close(4)
            #expect(try Verifier.verify(volume.metadata).isClean)
        }
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func `whatever wrong counts lead to, check and verify see the same`(seed: UInt64) throws {
        try withVolume { volume in
            var writer = SummaryWriter(seed: seed)
            try writer.write(volume, operations: 200)
            _ = try volume.damage(index: "links", count: 15, kind: .wrong, seed: seed)
            var stepped = SteppedRun(volume, [VolumeSlots.links], .auto, seed: seed)
            _ = try stepped.finish { _ in
                // An inode that was freed too early may be another one by now.
                do { try writer.write(volume) } catch is VolumeError {}
            }
            let report = try run(volume, .check)
            let verified = try Verifier.verify(volume.metadata)
            #expect(report.primaryDefects.counts == defects(verified), "SEED=\(seed)")
            #expect(
                UInt64(report.indexes[0].found.wrong) == verified.primaries[.linkCount] ?? 0,
                "SEED=\(seed)")
        }
    }
}
