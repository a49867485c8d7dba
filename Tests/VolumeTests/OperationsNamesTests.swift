// Names: what each operation answers, and what it leaves behind.

import TestSupport
import Testing
import VolumeFormat

@testable import Volume

#if canImport(Glibc)
import Glibc
#endif

@Suite(.temporaryDirectory) struct OperationsNamesTests {
    @Test func `a new file has the attributes asked for and one name`() throws {
        let small = try SmallVolume()
        small.now = 5
        let new = NewInode(permissions: 0o4755, uid: 7, gid: 8, project: 9)
        let made = try small.volume.perform { try $0.create(.root, bytes("a"), new) }
        let inode = try #require(try small.inode(made.number))
        #expect(inode == made.record)
        #expect(inode.type == .regular && inode.permissions == 0o4755)
        #expect(inode.uid == 7 && inode.gid == 8 && inode.project == 9)
        #expect(inode.links == 1 && inode.size == 0 && inode.blocks == 0)
        #expect(inode.born.seconds == 5)
        let target = try small.snapshot().lookup(.root, bytes("a"))
        #expect(
            target
                == DirentTarget(
                    child: made.number, generation: inode.generation, type: .regular))
        let root = try small.snapshot().attributes(.root).record
        #expect(root.size == 1 && root.links == 2 && root.modified.seconds == 5)
    }

    @Test func `names that can't be are refused`() throws {
        let small = try SmallVolume()
        let long = [UInt8](repeating: 0x61, count: 256)
        let cases: [([UInt8], Int32)] = [
            ([], ENOENT), (bytes("a/b"), EINVAL), ([0x61, 0], EINVAL), (bytes("."), EINVAL),
            (bytes(".."), EINVAL), (long, ENAMETOOLONG),
        ]
        let file = try small.create("file")
        for (name, expected) in cases {
            let answers = try [
                errnoOf { try small.volume.perform { _ = try $0.create(.root, name) } },
                errnoOf { try small.volume.perform { _ = try $0.makeDirectory(.root, name) } },
                errnoOf { try small.volume.perform { _ = try $0.symlink(.root, name, to: [1]) } },
                errnoOf { try small.volume.perform { _ = try $0.link(file, .root, name) } },
                errnoOf { try small.volume.perform { try $0.unlink(.root, name) } },
                errnoOf { try small.volume.perform { try $0.removeDirectory(.root, name) } },
                errnoOf {
                    try small.volume.perform {
                        try $0.rename(.root, bytes("file"), to: .root, name)
                    }
                },
            ]
            #expect(answers.allSatisfy { $0 == expected }, "\(name): \(answers)")
        }
        let good = [UInt8](repeating: 0xff, count: 255)
        _ = try small.volume.perform { try $0.create(.root, good) }
        #expect(try small.snapshot().lookup(.root, good) != nil)
    }

    @Test func `a name can be made only in a directory that exists, once`() throws {
        let small = try SmallVolume()
        let file = try small.create("file")
        for (dir, expected) in [(99, ENOENT), (file, ENOTDIR), (InodeNumber.root, EEXIST)] {
            let answer = try errnoOf {
                try small.volume.perform { _ = try $0.create(dir, bytes("file")) }
            }
            #expect(answer == expected)
        }
        let directory = try small.makeDirectory("d")
        try small.volume.open(directory)
        try small.volume.perform { try $0.removeDirectory(.root, bytes("d")) }
        let answer = try errnoOf { try small.create("x", in: directory) }
        #expect(answer == ENOENT)
        try small.volume.close(directory)
        #expect(try small.inode(directory) == nil)
    }

    @Test func `nodes have types and devices that fit`() throws {
        let small = try SmallVolume()
        let device = try small.volume.perform {
            try $0.makeNode(.root, bytes("dev"), .characterDevice, device: 5 << 32 | 1)
        }
        #expect(try small.inode(device.number)?.device == 5 << 32 | 1)
        for type in [FileType.fifo, .socket, .regular] {
            let made = try small.volume.perform { try $0.makeNode(.root, bytes("\(type)"), type) }
            #expect(try small.inode(made.number)?.type == type)
        }
        for (type, device) in [(FileType.directory, 0), (.symlink, 0), (.fifo, 1)] {
            let answer = try errnoOf {
                try small.volume.perform {
                    _ = try $0.makeNode(.root, bytes("x"), type, device: UInt64(device))
                }
            }
            #expect(answer == EINVAL)
        }
    }

    @Test func `a symlink holds any target up to 4095 bytes`() throws {
        let small = try SmallVolume()
        let target = [UInt8](repeating: 0xfe, count: 4095)
        let made = try small.volume.perform { try $0.symlink(.root, bytes("s"), to: target) }
        #expect(try small.snapshot().readlink(made.number) == target)
        #expect(made.record.size == 4095)
        for (target, expected) in [
            ([], ENOENT), ([UInt8](repeating: 1, count: 4096), ENAMETOOLONG), ([1, 0], EINVAL),
        ] {
            let answer = try errnoOf {
                try small.volume.perform { _ = try $0.symlink(.root, bytes("t"), to: target) }
            }
            #expect(answer == expected)
        }
        #expect(try errnoOf { _ = try small.snapshot().readlink(.root) } == EINVAL)
        try small.volume.perform { try $0.unlink(.root, bytes("s")) }
        #expect(try small.inode(made.number) == nil)
    }

    @Test func `an inode goes with its last name`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.volume.perform { _ = try $0.link(n, .root, bytes("b")) }
        #expect(try small.inode(n)?.links == 2)
        try small.volume.perform { try $0.unlink(.root, bytes("a")) }
        #expect(try small.inode(n)?.links == 1)
        try small.volume.perform { try $0.unlink(.root, bytes("b")) }
        #expect(try small.inode(n) == nil)
    }

    @Test func `links and unlinks that can't be are refused`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        let d = try small.makeDirectory("d")
        let volume = small.volume
        func link(_ n: InodeNumber, _ dir: InodeNumber, _ name: String) throws -> Int32? {
            try errnoOf { try volume.perform { _ = try $0.link(n, dir, bytes(name)) } }
        }
        #expect(try link(d, .root, "e") == EPERM)
        #expect(try link(n, .root, "d") == EEXIST)
        #expect(try link(99, d, "d") == ENOENT)
        #expect(try errnoOf { try volume.perform { try $0.unlink(.root, bytes("d")) } } == EISDIR)
        #expect(try errnoOf { try volume.perform { try $0.unlink(.root, bytes("x")) } } == ENOENT)
        #expect(try errnoOf { try volume.perform { try $0.unlink(n, bytes("x")) } } == ENOTDIR)
        #expect(
            try errnoOf { try volume.perform { try $0.removeDirectory(.root, bytes("a")) } }
                == ENOTDIR)
        try small.create("f", in: d)
        #expect(
            try errnoOf { try volume.perform { try $0.removeDirectory(.root, bytes("d")) } }
                == ENOTEMPTY)
        try volume.perform { operations in
            var inode = try #require(try operations.inode(n))
            inode.links = .max
            try operations.put(inode, n)
        }
        #expect(try link(n, .root, "b") == EMLINK)
    }

    @Test func `an inode number is used again with another generation`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        let before = try #require(try small.inode(n)).generation
        try small.volume.perform { try $0.unlink(.root, bytes("a")) }
        #expect(try small.create("b") == n)
        #expect(try #require(try small.inode(n)).generation != before)
        let answer = try errnoOf { try small.volume.open(n, generation: before) }
        #expect(answer == ENOENT)
    }

    @Test func `an entry that leads nowhere is damage and not a missing name`() throws {
        let small = try SmallVolume()
        let n = try small.create("a")
        try small.volume.perform { try $0.deleteInode(n) }
        #expect(
            try errnoOf { try small.volume.perform { try $0.unlink(.root, bytes("a")) } } == EIO)
        #expect(try small.snapshot().lookup(.root, bytes("a")) != nil)
    }
}

@Suite(.temporaryDirectory) struct OperationsRenameTests {
    /// `/a/x` (a file), `/b`, and `/a/sub`.
    private func tree() throws -> (SmallVolume, a: InodeNumber, b: InodeNumber, x: InodeNumber) {
        let small = try SmallVolume()
        let a = try small.makeDirectory("a")
        let b = try small.makeDirectory("b")
        let x = try small.create("x", in: a)
        try small.makeDirectory("sub", in: a)
        return (small, a, b, x)
    }

    @Test func `a moved directory has another parent, and both parents count it`() throws {
        let (small, a, b, _) = try tree()
        let sub = try #require(try small.snapshot().lookup(a, bytes("sub"))).child
        small.now = 50
        try small.volume.perform { try $0.rename(a, bytes("sub"), to: b, bytes("new")) }
        #expect(try small.inode(sub)?.parent == b)
        #expect(try small.inode(sub)?.changed.seconds == 50)
        let (inodeA, inodeB) = (try small.inode(a)!, try small.inode(b)!)
        #expect(inodeA.links == 2 && inodeA.size == 1 && inodeA.modified.seconds == 50)
        #expect(inodeB.links == 3 && inodeB.size == 1 && inodeB.modified.seconds == 50)
        #expect(try small.snapshot().resolve("/b/new") == sub)
        #expect(try small.snapshot().paths(of: sub).paths == [bytes("/b/new")])
    }

    @Test func `what has the new name is replaced, if it is of the same sort`() throws {
        let (small, a, b, x) = try tree()
        let victim = try small.create("y", in: b)
        let volume = small.volume
        #expect(
            try errnoOf { try volume.perform { try $0.rename(a, bytes("sub"), to: b, bytes("y")) } }
                == ENOTDIR)
        #expect(
            try errnoOf {
                try volume.perform { try $0.rename(b, bytes("y"), to: a, bytes("sub")) }
            } == EISDIR)
        try volume.perform { try $0.rename(a, bytes("x"), to: b, bytes("y")) }
        #expect(try small.inode(victim) == nil)
        #expect(try small.snapshot().lookup(b, bytes("y"))?.child == x)
        #expect(try small.inode(b)?.size == 1)
        // /b is not empty, so nothing can take its place.
        #expect(
            try errnoOf {
                try volume.perform { try $0.rename(a, bytes("sub"), to: .root, bytes("b")) }
            } == ENOTEMPTY)
        try volume.perform { try $0.unlink(b, bytes("y")) }
        try volume.perform { try $0.rename(a, bytes("sub"), to: .root, bytes("b")) }
        #expect(try small.inode(b) == nil)
        #expect(try small.inode(.root)?.links == 4)
        #expect(try small.inode(a)?.links == 2)
    }

    @Test func `a directory can't be moved below itself`() throws {
        let (small, a, _, _) = try tree()
        let sub = try #require(try small.snapshot().lookup(a, bytes("sub"))).child
        let volume = small.volume
        for to in [a, sub] {
            #expect(
                try errnoOf {
                    try volume.perform { try $0.rename(.root, bytes("a"), to: to, bytes("n")) }
                } == EINVAL)
        }
        try small.create("f", in: sub)
        #expect(
            try errnoOf {
                try volume.perform {
                    try $0.rename(sub, bytes("f"), to: .root, bytes("a"), .exchange)
                }
            } == EINVAL)
    }

    @Test func `noReplace and exchange want the new name absent and present`() throws {
        let (small, a, b, x) = try tree()
        let volume = small.volume
        #expect(
            try errnoOf {
                try volume.perform {
                    try $0.rename(a, bytes("x"), to: .root, bytes("b"), .noReplace)
                }
            } == EEXIST)
        #expect(
            try errnoOf {
                try volume.perform {
                    try $0.rename(a, bytes("x"), to: b, bytes("none"), .exchange)
                }
            } == ENOENT)
        // A file and a directory change places.
        try volume.perform { try $0.rename(a, bytes("x"), to: .root, bytes("b"), .exchange) }
        #expect(try small.snapshot().resolve("/b") == x)
        #expect(try small.snapshot().resolve("/a/x") == b)
        #expect(try small.inode(b)?.parent == a)
        #expect(try small.inode(a)?.links == 4)
        #expect(try small.inode(.root)?.links == 3)
        try volume.perform { try $0.rename(.root, bytes("b"), to: .root, bytes("c"), .noReplace) }
        #expect(try small.snapshot().resolve("/c") == x)
    }

    @Test func `renaming one name of an inode to another of its names does nothing`() throws {
        let (small, a, _, x) = try tree()
        try small.volume.perform { _ = try $0.link(x, a, bytes("y")) }
        let before = try small.inode(a)
        small.now += 10
        try small.volume.perform { try $0.rename(a, bytes("x"), to: a, bytes("y")) }
        #expect(try small.inode(a) == before)
        #expect(try small.inode(x)?.links == 2)
    }
}
