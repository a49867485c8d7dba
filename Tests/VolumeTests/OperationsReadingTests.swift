// From a block to its owner, from an inode to its paths, and the other way round.

import Bytes
import LMDB
import TestSupport
import Testing
import VolumeFormat
import VolumeIndexes

@testable import Volume

#if canImport(Glibc)
import Glibc
#endif

@Suite(.temporaryDirectory) struct OperationsReadingTests {
    @Test func `every block leads to its owner`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.write(n, 0, [UInt8](repeating: 1, count: 5 * 512))
        let extent = try #require(try small.snapshot().extents(n).first)
        let snapshot = try small.snapshot()
        for block in extent.start..<extent.startEnd {
            #expect(try snapshot.owners(ofBlock: block).owners == [extent])
        }
        #expect(try snapshot.owners(ofBlock: 0).owners.map(\.inode) == [.volume])
        #expect(try snapshot.owners(ofBlock: 255).owners.map(\.inode) == [.volume])
        #expect(try snapshot.owners(ofBlock: extent.startEnd).owners == [])
        let all = try snapshot.owners(ofBlock: 0, length: 256)
        #expect(all.owners.map(\.inode) == [.volume, n, .volume])
        #expect(!all.isCut && all.damaged.isEmpty)
    }

    @Test func `a block with two owners shows both`() throws {
        let small = try SmallVolume()
        let claims = [(10, 100), (20, 5), (50, 2)].map { start, length in
            ExtentRecord(
                inode: 70, fork: .data, offset: UInt64(start), start: UInt64(start),
                length: UInt32(length), state: .written)
        }
        try small.volume.perform { operations in
            for claim in claims { try operations.putExtent(claim, replacing: nil) }
        }
        let snapshot = try small.snapshot()
        #expect(try snapshot.owners(ofBlock: 51).owners == [claims[0], claims[2]])
        #expect(try snapshot.owners(ofBlock: 80).owners == [claims[0]])
        #expect(try snapshot.owners(ofBlock: 22, length: 30).owners == claims)
        #expect(try snapshot.owners(ofBlock: 80, lookBack: 1).isCut)
    }

    @Test func `every name of an inode is among its paths`() throws {
        let small = try SmallVolume()
        let a = try small.makeDirectory("a")
        let b = try small.makeDirectory("b", in: a)
        let n = try small.create("x", in: b)
        try small.volume.perform { operations in
            _ = try operations.link(n, a, bytes("y"))
            _ = try operations.link(n, .root, [0xff])
        }
        let snapshot = try small.snapshot()
        let report = try snapshot.paths(of: n)
        #expect(Set(report.paths) == [bytes("/a/b/x"), bytes("/a/y"), bytes("/") + [0xff]])
        #expect(report.problems == [] && !report.isCut)
        #expect(try snapshot.paths(of: .root).paths == [bytes("/")])
        let cut = try snapshot.paths(of: n, limit: 2)
        #expect(cut.paths.count == 2 && cut.isCut)
        #expect(try errnoOf { _ = try snapshot.paths(of: 99) } == ENOENT)
        for path in report.paths { #expect(try snapshot.resolve(path) == n) }
    }

    @Test func `parent pointers that are missing, stray or damaged are reported`() throws {
        let small = try SmallVolume()
        let a = try small.makeDirectory("a")
        let n = try small.create("x", in: a)
        let generation = try #require(try small.inode(a)).generation
        let target = DirentTarget(child: a, generation: generation, type: .directory)
        try small.volume.perform { try $0.removeParent(.root, bytes("a").span.bytes, target) }
        #expect(
            try small.snapshot().paths(of: n).problems == [.missing(inode: a, links: 1, found: 0)])
        try small.volume.perform { try $0.addParent(.root, bytes("z").span.bytes, target) }
        let stray = PathProblem.stray(inode: a, parent: .root, name: bytes("z"))
        #expect(try small.snapshot().paths(of: n).problems == [stray])
        #expect(try small.snapshot().paths(of: n).paths == [])
        try small.volume.perform { operations in
            let key = ParentPointers.key(child: n, parent: a, name: bytes("x").span.bytes)
            let table = operations.state.parents.active.table
            try operations.transaction.put(table, key.span, bytes("nonsense").span.bytes)
        }
        let problems = try small.snapshot().paths(of: n).problems
        #expect(problems.count == 2)
        guard case .damaged(n, _) = problems.first else {
            Issue.record("\(problems)")
            return
        }
    }

    @Test func `parent pointers in a circle end`() throws {
        let small = try SmallVolume()
        let a = try small.makeDirectory("a")
        let b = try small.makeDirectory("b", in: a)
        let generations = try [a, b].map { try #require(try small.inode($0)).generation }
        // a is in b, and b in a: entries and pointers agree with each other.
        try small.volume.perform { operations in
            let toA = DirentTarget(child: a, generation: generations[0], type: .directory)
            try operations.removeDirent(.root, bytes("a"), toA)
            try operations.putDirent(b, bytes("a"), toA)
        }
        let report = try small.snapshot().paths(of: b)
        #expect(report.paths == [] && report.problems.contains(.loop(inode: b)))
    }

    @Test func `paths are walked as POSIX says`() throws {
        let small = try SmallVolume()
        let a = try small.makeDirectory("a")
        let n = try small.create("x", in: a)
        try small.volume.perform { operations in
            _ = try operations.symlink(.root, bytes("s"), to: bytes("a"))
            _ = try operations.symlink(a, bytes("up"), to: bytes("../s/x"))
            _ = try operations.symlink(.root, bytes("loop"), to: bytes("/loop"))
        }
        let snapshot = try small.snapshot()
        for path in ["/a/x", "a//x", "/s/x", "/a/../a/./x", "/../a/x"] {
            #expect(try snapshot.resolve(path) == n, "\(path)")
        }
        #expect(try snapshot.resolve("/a/up", follow: true) == n)
        #expect(try snapshot.resolve("/s/") == a)
        #expect(try snapshot.resolve("/s") != a)
        #expect(try snapshot.resolve("/") == .root)
        #expect(try errnoOf { _ = try snapshot.resolve("/a/none") } == ENOENT)
        #expect(try errnoOf { _ = try snapshot.resolve("/a/x/y") } == ENOTDIR)
        #expect(try errnoOf { _ = try snapshot.resolve("/a/x/") } == ENOTDIR)
        #expect(try errnoOf { _ = try snapshot.resolve("/loop", follow: true) } == ELOOP)
    }

    @Test func `a directory is listed in parts`() throws {
        let small = try SmallVolume()
        let names = (0..<100).map { bytes("name \($0)") }
        try small.volume.perform { operations in
            for name in names { _ = try operations.create(.root, name) }
        }
        let snapshot = try small.snapshot()
        var found: [[UInt8]] = []
        while true {
            let part = try snapshot.list(.root, after: found.last ?? [], limit: 7)
            found += part.map(\.name)
            if part.isEmpty { break }
        }
        #expect(found == names.sorted { $0.lexicographicallyPrecedes($1) })
    }
}
