// The calls on filesystems that are mounted for the test.

import Foundation
import Testing

@testable import LinuxFilesystem

/// A block of the device and what it is said to hold.
struct BlockUse: Hashable {
    let block, inode, offset: UInt64
    let isAttribute, isUnwritten: Bool
}

@Suite(.enabled(if: LiveMachine.xfs == nil, LiveMachine.xfs ?? ""))
struct LiveTests {
    static func open(_ path: String) throws -> XFSFilesystem {
        try XFSFilesystem(try MountedFilesystem(path: path))
    }

    /// What the files say that they have.
    static func fileBlocks(_ xfs: XFSFilesystem) throws -> Set<BlockUse> {
        var found = Set<BlockUse>()
        let inodes = InodeBatch(capacity: 64), extents = ExtentBatch(capacity: 7)
        var next: UInt64 = 0
        while try xfs.readInodes(from: next, into: inodes) {
            for inode in inodes.inodes where inode.kind == .file || inode.kind == .directory {
                guard let file = try xfs.open(inode.inode, generation: inode.generation) else {
                    Issue.record("inode \(inode.inode) is gone")
                    continue
                }
                for fork in [Fork.data, .attribute] {
                    var offset: UInt64? = 0
                    while let from = offset {
                        offset = try xfs.readExtents(
                            of: file, fork, from: from, into: extents, object: "a file")
                        for extent in extents.extents {
                            add(extent, inode.inode, fork == .attribute, to: &found)
                        }
                    }
                }
            }
            next = try #require(inodes.inodes.last).inode + 1
        }
        return found
    }

    private static func add(
        _ extent: FileExtent, _ inode: UInt64, _ isAttribute: Bool, to found: inout Set<BlockUse>
    ) {
        for byte in stride(from: 0, to: extent.length, by: 4096) {
            found.insert(
                BlockUse(
                    block: (extent.physical + byte) / 4096, inode: inode,
                    offset: (extent.offset + byte) / 4096, isAttribute: isAttribute,
                    isUnwritten: extent.isUnwritten))
        }
    }

    /// What the reverse map says.
    static func mappedBlocks(_ xfs: XFSFilesystem) throws -> Set<BlockUse> {
        var found = Set<BlockUse>()
        let batch = SpaceBatch(capacity: 50)
        var isFirst = true, hasMore = true
        let range = 0..<xfs.geometry.dataBlocks * UInt64(xfs.geometry.blockSize)
        while hasMore {
            hasMore = try xfs.mount.readSpace(range, isFirst: isFirst, into: batch)
            isFirst = false
            for record in batch.records where !record.isSpecial && !record.isExtentMap {
                let extent = FileExtent(
                    offset: record.offset, physical: record.physical, length: record.length,
                    isUnwritten: record.isUnwritten, isShared: record.isShared)
                add(extent, record.owner, record.isAttributeFork, to: &found)
            }
        }
        return found
    }

    /// A line for each name of each inode that is no directory's `.` or `..`.
    static func names(_ xfs: XFSFilesystem) throws -> (entries: Set<String>, parents: Set<String>) {
        var entries = Set<String>(), parents = Set<String>()
        let inodes = InodeBatch(), reader = DirectoryReader(capacity: 4096)
        let parent = ParentReader(capacity: 1024)
        var next: UInt64 = 0
        while try xfs.readInodes(from: next, into: inodes) {
            for inode in inodes.inodes {
                parent.begin(xfs, inode.inode, generation: inode.generation)
                while try parent.read(xfs) {
                    parent.forEach { directory, _, name in
                        parents.insert("\(inode.inode) in \(directory) \(text(name))")
                    }
                }
                guard inode.kind == .directory,
                    let directory = try xfs.open(inode.inode, generation: inode.generation)
                else { continue }
                while try reader.read(directory, object: "a directory") {
                    reader.forEach { child, _, name in
                        let name = text(name)
                        if name == "." || name == ".." { return }
                        entries.insert("\(child) in \(inode.inode) \(name)")
                    }
                }
            }
            next = try #require(inodes.inodes.last).inode + 1
        }
        return (entries, parents)
    }

    static func text(_ name: RawSpan) -> String {
        name.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    }

    @Test func `on a consistent filesystem files and the reverse map agree, block by block`() throws
    {
        try LiveMachine.withMounted(.clean) { path in
            let xfs = try Self.open(path)
            #expect(xfs.geometry.hasReverseMap && xfs.geometry.hasParentPointers)
            let files = try Self.fileBlocks(xfs)
            #expect(files.count > 100)
            #expect(files == (try Self.mappedBlocks(xfs)))
            let names = try Self.names(xfs)
            #expect(names.entries.count > 2900)
            #expect(names.entries == names.parents)
        }
    }

    @Test func `index blocks of large directories and blocks behind a file's end are told of, too`()
        throws
    {
        try LiveMachine.withMounted(.xfs) { path in
            let xfs = try Self.open(path)
            for n in 0..<3000 {
                let name = "\(path)/a-name-of-some-length-\(n)"
                try #require(FileManager.default.createFile(atPath: name, contents: nil))
            }
            let name = path + "/reserved"
            try Data(repeating: 1, count: 5000).write(to: URL(fileURLWithPath: name))
            try LiveMachine.run("fallocate", ["-n", "-l", "1M", name])
            try LiveMachine.run("sync", ["-f", path])
            let files = try Self.fileBlocks(xfs)
            // Directory blocks from 32 GiB on hold the hash index.
            #expect(files.contains { $0.offset >= 32 << 30 / 4096 && $0.inode == 128 })
            #expect(files.filter { $0.isUnwritten }.count >= 250)
            #expect(files == (try Self.mappedBlocks(xfs)))
        }
    }

    @Test func `the kernel serves the lies of a damaged filesystem`() throws {
        try LiveMachine.withMounted(.damaged) { path in
            let xfs = try Self.open(path)
            let files = try Self.fileBlocks(xfs), mapped = try Self.mappedBlocks(xfs)
            let group = UInt64(xfs.geometry.groupBlocks)
            #expect(Set(files.subtracting(mapped).map(\.block)) == [72, group + 387])
            #expect(
                Set(mapped.subtracting(files).map { [$0.block, $0.inode, $0.offset] })
                    == [[72, 9999, 0], [group + 387, 262401, 77]])
            let names = try Self.names(xfs)
            #expect(
                names.entries.subtracting(names.parents) == [
                    "275 in 150 file-00330", "815 in 167 file-01739",
                ])
            #expect(
                names.parents.subtracting(names.entries) == [
                    "275 in 150 lie-00000x", "815 in 128 file-01739",
                ])
            let batch = InodeBatch(capacity: 1)
            #expect(try xfs.status(of: 262461, using: batch)?.links == 3)
        }
    }

    @Test func `files are read by inode and generation, and what is gone is gone`() throws {
        try LiveMachine.withMounted(.xfs) { path in
            let xfs = try Self.open(path)
            let name = path + "/file"
            try Data("contents".utf8).write(to: URL(fileURLWithPath: name))
            var status = stat()
            #expect(stat(name, &status) == 0)
            let batch = InodeBatch(capacity: 4)
            let inode = try #require(try xfs.status(of: UInt64(status.st_ino), using: batch))
            #expect(inode.size == 8 && inode.links == 1 && inode.kind == .file)
            #expect(try xfs.open(inode.inode, generation: inode.generation) != nil)
            #expect(try xfs.open(inode.inode, generation: inode.generation &+ 1) == nil)
            #expect(unlink(name) == 0)
            #expect(try xfs.status(of: inode.inode, using: batch) == nil)
            #expect(try xfs.open(inode.inode, generation: inode.generation) == nil)
            #expect(try xfs.status(of: 1 << 40, using: batch) == nil)
        }
    }

    @Test func `another filesystem is told apart from XFS`() throws {
        let mount = try MountedFilesystem(path: "/proc")
        #expect(mount.kind == .other)
        #expect(throws: LinuxCallError.self) { try XFSFilesystem(mount) }
    }

    @Test(.enabled(if: LiveMachine.ext4 == nil, LiveMachine.ext4 ?? ""))
    func `an inode of ext4 that is being made is opened once it is, and one of others too`()
        throws
    {
        try LiveMachine.withMounted(.ext4) { path in
            let mount = try MountedFilesystem(path: path)
            var calls: [Int32] = []
            func opened(_ refusals: [Int32]) throws -> Bool {
                calls = []
                let open = { (flags: Int32) -> Int32 in
                    calls.append(flags)
                    guard calls.count <= refusals.count else { return dup(mount.root.number) }
                    errno = refusals[calls.count - 1]
                    return -1
                }
                guard let file = try mount.openExt4(2, open: open) else { return false }
                return file.number >= 0
            }
            let isOpen = try opened([ENOMEM, ENOMEM])
            #expect(isOpen && calls.count == 3)
            let isOthers = try opened([EPERM, ENOMEM])
            #expect(isOthers && calls[0] != calls[1] && calls[1] == calls[2])
            #expect(throws: LinuxCallError.self) { try opened([EPERM, EPERM]) }
            let isGone = try opened([ESTALE])
            #expect(!isGone && calls.count == 1)
            // Where memory is wanting it is no endless wait.
            let wanting = Array(repeating: ENOMEM, count: 2000)
            #expect(throws: LinuxCallError.self) { try opened(wanting) }
            #expect(calls.count == 1000)
        }
    }

    @Test(.enabled(if: LiveMachine.ext4 == nil, LiveMachine.ext4 ?? ""))
    func `ext4 tells of extents, and of used and free blocks`() throws {
        try LiveMachine.withMounted(.ext4) { path in
            let mount = try MountedFilesystem(path: path)
            #expect(mount.kind == .ext4)
            let name = path + "/file"
            try Data(repeating: 1, count: 100_000).write(to: URL(fileURLWithPath: name))
            let file = try Descriptor.open(name)
            #expect(fsync(file.number) == 0)
            let extents = ExtentBatch()
            #expect(try mount.readExtents(of: file, from: 0, into: extents, object: name) == nil)
            #expect(extents.extents.map(\.length).reduce(0, +) == 102_400)
            let space = SpaceBatch(capacity: 5)
            var isFirst = true, total: UInt64 = 0
            while true {
                let hasMore = try mount.readSpace(0..<64 << 20, isFirst: isFirst, into: space)
                total += space.records.map(\.length).reduce(0, +)
                isFirst = false
                if !hasMore { break }
            }
            #expect(total == 64 << 20)
        }
    }
}
