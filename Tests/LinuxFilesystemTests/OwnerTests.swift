// A mounted XFS as an owner: what it reads, what it serves, what it reports.

import Bytes
import CXattr
import Foundation
import LinuxOwner
import Testing
import Tidemark

@testable import LinuxFilesystem

/// Entries of an index, as text.
typealias Entries = [[UInt8]: [UInt8]]

@Suite(.enabled(if: LiveMachine.xfs == nil, LiveMachine.xfs ?? ""))
struct OwnerTests {
    /// Everything that the records derive, read window by window and piece by piece.
    static func derived(
        _ owner: XFSOwner, window: Int = 1000, piece: Int = 100
    ) throws -> [Entries] {
        var found = owner.indexes.map { _ in Entries() }
        var lower: KeyBytes? = KeyBytes()
        while let from = lower {
            lower = try owner.windowEnd(after: from, records: window) { _ in true }
            if let lower { #expect(from < lower) }
            var next: KeyBytes? = from
            while let place = next {
                let batches = owner.indexes.map { _ in EntryBatch() }
                let sink = WindowSink(batches: batches, sequence: owner.now())
                next = try owner.read(
                    KeyRange(lower: place, upper: lower), limit: piece, into: sink)
                if let next { #expect(place < next) }
                #expect(sink.damage.isEmpty)
                for (slot, batch) in batches.enumerated() {
                    for (key, value) in entries(batch) {
                        #expect(found[slot].updateValue(value, forKey: key) == nil)
                    }
                }
            }
        }
        return found
    }

    static func entries(_ batch: EntryBatch) -> [([UInt8], [UInt8])] {
        var entries: [([UInt8], [UInt8])] = []
        _ = batch.forEach(from: batch.startPosition) { key, value in
            entries.append((key.array, value.array))
            return true
        }
        return entries
    }

    /// Everything that the kernel serves.
    static func served(_ owner: XFSOwner, _ slot: Int, limit: Int) throws -> Entries {
        var found = Entries()
        var last: [UInt8] = []
        var next: KeyBytes? = KeyBytes()
        while let from = next {
            let batch = EntryBatch()
            next = try owner.entries(of: IndexSlot(slot), from: from, limit: limit, into: batch)
            if let next { #expect(from < next) }
            #expect(batch.count <= limit)
            for (key, value) in entries(batch) {
                #expect(last.isEmpty || compareBytes(last.rawSpan, key.rawSpan) < 0)
                last = key
                found[key] = value
            }
        }
        return found
    }

    /// Files with many extents, shared blocks, attributes in blocks of their own, links.
    static func fill(_ path: String) throws {
        for n in 0..<300 {
            try Data(repeating: 1, count: n * 97).write(to: URL(fileURLWithPath: "\(path)/f\(n)"))
        }
        try FileManager.default.createDirectory(
            atPath: "\(path)/d/e", withIntermediateDirectories: true)
        for n in 0..<1000 {
            let name = "\(path)/d/a-name-of-some-length-\(n)"
            #expect(link("\(path)/f\(n % 300)", name) == 0)
        }
        let sparse = open("\(path)/sparse", O_RDWR | O_CREAT, 0o600)
        let block = [UInt8](repeating: 2, count: 4096)
        for n in 0..<1500 { #expect(pwrite(sparse, block, 4096, n * 8192) == 4096) }
        #expect(close(sparse) == 0)
        try LiveMachine.run("cp", ["--reflink=always", "\(path)/sparse", "\(path)/shared"])
        try LiveMachine.run("fallocate", ["-l", "3M", "\(path)/unwritten"])
        let value = [UInt8](repeating: 3, count: 9000)
        let name = "\(path)/f7"
        for n in 0..<20 {
            #expect(setxattr(name, "user.a\(n)", value, value.count, 0) == 0)
        }
        #expect(symlink(String(repeating: "long/", count: 160), "\(path)/link") == 0)
        try LiveMachine.run("sync", ["-f", path])
    }

    @Test(arguments: [(1000, 100), (61, 25), (100_000, 100_000)])
    func `what files say and what the kernel serves is the same, however it is cut into pieces`(
        window: Int, piece: Int
    ) throws {
        try LiveMachine.withMounted(.xfs) { path in
            try Self.fill(path)
            let owner = try XFSOwner(path: path)
            #expect(owner.indexes.map(\.name) == ["rmap"])
            let derived = try Self.derived(owner, window: window, piece: piece)
            // A long symbolic link has a block, and can't be asked for it.
            #expect(owner.uncovered.unreadable.count == 1)
            #expect(derived[0].count > 4000)
            let served = try Self.served(owner, 0, limit: piece)
            let others = served.keys.filter { derived[0][$0] == nil }
            #expect(others.count == 1)
            #expect(derived[0].count + 1 == served.count)
            #expect(derived[0].filter { served[$0.key] != $0.value }.isEmpty)
            #expect(
                try owner.standing(of: others.map { KeyBytes($0) }, of: IndexSlot(0))
                    == [.notCovered])
            let uncovered = try owner.countUncovered()
            #expect(uncovered.unreadableBlocks == 1)
            #expect(uncovered.metadata["journal"] ?? 0 > 0)
            #expect(uncovered.extentMaps > 0)
        }
    }

    @Test(arguments: [(1000, 100), (37, 11)])
    func `a consistent filesystem with parent pointers shows no difference`(
        window: Int, piece: Int
    ) throws {
        try LiveMachine.withMounted(.clean) { path in
            let owner = try XFSOwner(path: path)
            #expect(owner.indexes.map(\.name) == ["rmap", "parents"])
            let derived = try Self.derived(owner, window: window, piece: piece)
            for slot in 0..<2 {
                #expect(derived[slot] == (try Self.served(owner, slot, limit: piece)))
            }
            let links = try owner.judgeLinks()
            #expect(links.findings.isEmpty && links.unsettled.isEmpty)
        }
    }

    @Test func `looked up one by one, entries are as they are when read in order`() throws {
        try LiveMachine.withMounted(.clean) { path in
            let owner = try XFSOwner(path: path)
            for slot in 0..<2 {
                let all = try Self.served(owner, slot, limit: 1000).sorted {
                    $0.key.lexicographicallyPrecedes($1.key)
                }
                let some = stride(from: 0, to: all.count, by: 37).map { all[$0] }
                // And, between them, keys that are not there.
                let keys = some.flatMap { entry -> [KeyBytes] in
                    var other = entry.key
                    other[other.count - 1] ^= 0x55
                    return [KeyBytes(entry.key), KeyBytes(other)]
                }
                let batch = EntryBatch()
                try owner.lookUp(keys, of: IndexSlot(slot), into: batch)
                let found = Self.entries(batch)
                #expect(found.map(\.0) == some.map(\.key))
                #expect(found.map(\.1) == some.map(\.value))
            }
        }
    }

    static func differences(
        _ slot: IndexSlot, _ derived: Entries, _ served: Entries
    ) -> [Discrepancy] {
        var found: [Discrepancy] = []
        for (key, value) in derived where served[key] != value {
            let kind: Discrepancy.Kind = served[key] == nil ? .missing : .wrong
            found.append(
                Discrepancy(
                    index: slot, kind: kind, key: key, found: served[key], expected: value))
        }
        for (key, value) in served where derived[key] == nil {
            found.append(
                Discrepancy(index: slot, kind: .stray, key: key, found: value, expected: nil))
        }
        return found
    }

    @Test func `the five lies of the damaged filesystem are five findings, with their paths`()
        throws
    {
        try LiveMachine.withMounted(.damaged) { path in
            let owner = try XFSOwner(path: path)
            let derived = try Self.derived(owner)
            var discrepancies: [Discrepancy] = []
            for slot in 0..<2 {
                let served = try Self.served(owner, slot, limit: 500)
                discrepancies += Self.differences(IndexSlot(slot), derived[slot], served)
            }
            let links = try owner.judgeLinks(surplus: owner.surplusParents(discrepancies))
            let findings = try owner.findings(
                discrepancies, links.findings, device: "/dev/sdx1")
            #expect(
                findings.map(\.object) == [
                    "block 72", "block 20867", "inode 275", "inode 815", "inode 262461",
                ])
            #expect(findings[0].inodes == [139, 9999])
            #expect(findings[0].problem.contains("inode 9999"))
            #expect(findings[2].problem.contains("lie-00000x"))
            #expect(findings[4].problem.contains("3"))
            // Each is found where its path says that it is.
            for finding in findings {
                let inode = finding.inodes[0]
                let paths = try #require(finding.paths[inode])
                for name in paths {
                    var status = stat()
                    #expect(lstat(path + name, &status) == 0)
                    #expect(UInt64(status.st_ino) == inode)
                }
            }
        }
    }

    @Test(
        .enabled(
            if: access("/proc/fs/xfs/xqmstat", F_OK) == 0, "this kernel has no quota of XFS"))
    func `blocks of the kernel's own files are not covered`() throws {
        try LiveMachine.withMounted(.xfs, options: "uquota") { path in
            try Data(repeating: 1, count: 5000).write(to: URL(fileURLWithPath: "\(path)/f"))
            try LiveMachine.run("sync", ["-f", path])
            let owner = try XFSOwner(path: path)
            let files = try owner.xfs.quotaFiles()
            #expect(!files.isEmpty)
            let derived = try Self.derived(owner)
            let served = try Self.served(owner, 0, limit: 1000)
            let others = served.keys.filter { derived[0][$0] == nil }.map { KeyBytes($0) }
            #expect(!others.isEmpty)
            let standing = try owner.standing(of: others, of: IndexSlot(0))
            #expect(standing.allSatisfy { $0 == .notCovered })
            let uncovered = try owner.countUncovered()
            #expect(uncovered.kernelFiles == Set(files))
            #expect(uncovered.kernelBlocks == UInt64(others.count))
        }
    }

    @Test func `a file of another owner is opened without CAP_FOWNER`() throws {
        try LiveMachine.withMounted(.xfs) { path in
            let name = "\(path)/others"
            try Data().write(to: URL(fileURLWithPath: name))
            #expect(chown(name, 12345, 12345) == 0)
            let xfs = try XFSFilesystem(try MountedFilesystem(path: path))
            var status = stat()
            try #require(lstat(name, &status) == 0)
            let inode = UInt64(status.st_ino)
            let found = try xfs.status(of: inode, using: InodeBatch(capacity: 1))
            let generation = try #require(found).generation
            // CAP_FOWNER.
            let isOpen = try xfs.mount.without(capability: 3) { () throws(LinuxCallError) -> Bool in
                guard let file = try xfs.open(inode, generation: generation) else { return false }
                return file.number >= 0
            }
            #expect(isOpen)
        }
    }

    @Test func `blocks of a file at and beyond 4 EiB are read`() throws {
        try LiveMachine.withMounted(.xfs) { path in
            let file = open("\(path)/far", O_RDWR | O_CREAT, 0o600)
            try #require(file >= 0)
            defer { close(file) }
            let block = [UInt8](repeating: 1, count: 4096)
            for place in [off_t(1) << 62, off_t.max - 8191 - (off_t.max - 8191) % 4096] {
                #expect(pwrite(file, block, 4096, place) == 4096)
            }
            #expect(fsync(file) == 0)
            let owner = try XFSOwner(path: path)
            for window in [1, 1000] {
                let derived = try Self.derived(owner, window: window, piece: 1)
                let served = try Self.served(owner, 0, limit: 1000)
                #expect(derived[0] == served)
            }
        }
    }

    @Test func `a filesystem that has been shut down is recognised, and one that has grown`() throws
    {
        try LiveMachine.withMounted(.xfs) { path in
            let owner = try XFSOwner(path: path)
            try owner.checkAlive()
            try LiveMachine.run("xfs_io", ["-x", "-c", "shutdown", path])
            for attempt in 0..<2 {
                do {
                    if attempt == 0 { try owner.checkAlive() } else { _ = try XFSOwner(path: path) }
                    Issue.record("it has been shut down")
                } catch let error as LinuxOwnerError {
                    #expect(error.reason == .shutDown)
                    #expect("\(error)".contains("xfs_repair -n"))
                }
            }
        }
        let small = LiveMachine.Image.made(
            "xfs", megabytes: 640, ["-m", "rmapbt=1,reflink=1", "-d", "size=400m"])
        try LiveMachine.withMounted(small) { path in
            let owner = try XFSOwner(path: path)
            try LiveMachine.run("xfs_growfs", [path])
            do {
                try owner.checkAlive()
                Issue.record("it has grown")
            } catch let error as LinuxOwnerError {
                #expect(error.reason == .grown)
            }
        }
    }

    @Test func `what can't be checked is refused with what to do`() throws {
        #expect(throws: LinuxOwnerError.self) { try XFSOwner(path: "/proc") }
        #expect(throws: LinuxOwnerError.self) { try XFSOwner(path: "/nowhere") }
        let bare = LiveMachine.Image.made("xfs", megabytes: 320, ["-m", "rmapbt=0,reflink=0"])
        try LiveMachine.withMounted(bare) { path in
            do {
                _ = try XFSOwner(path: path)
                Issue.record("there is nothing to check")
            } catch let error as LinuxOwnerError {
                #expect(error.reason == .noReverseMap)
                #expect("\(error)".contains("mkfs.xfs -m rmapbt=1"))
            }
        }
    }
}

@Suite(.enabled(if: LiveMachine.xfs == nil, LiveMachine.xfs ?? ""))
struct ExaminationTests {
    static func states(_ examination: Examination) -> [String: Ability.State] {
        Dictionary(uniqueKeysWithValues: examination.abilities.map { ($0.name, $0.state) })
    }

    @Test func `what a filesystem has and lacks is told`() throws {
        try LiveMachine.withMounted(.clean) { path in
            let states = Self.states(try Examination(path: path))
            #expect(states["filesystem"] == .available)
            #expect(states["rmap"] == .available)
            #expect(states["parents"] == .available)
            #expect(states["events"] == (LiveMachine.canTrace ? .available : .missing))
        }
        try LiveMachine.withMounted(.xfs) { path in
            let examination = try Examination(path: path)
            #expect(Self.states(examination)["parents"] == .limited)
            #expect(examination.canCheck == LiveMachine.canTrace)
        }
        if LiveMachine.ext4 == nil {
            try LiveMachine.withMounted(.ext4) { path in
                let examination = try Examination(path: path)
                let states = Self.states(examination)
                #expect(states["filesystem"] == .available && states["blocks"] == .available)
                #expect(examination.canCheck == (states["events"] == .available))
            }
        }
        let other = try Examination(path: "/proc")
        #expect(!other.canCheck)
        #expect(Self.states(other)["filesystem"] == .missing)
    }
}
