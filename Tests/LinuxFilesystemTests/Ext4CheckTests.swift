// Checks of mounted ext4: images that `debugfs -w` has damaged in one way each, with and without
// programs that work beside the check, and clean ones.

import CXattr
import Foundation
import LinuxOwner
import Testing

@testable import LinuxFilesystem

/// How an ext4 is made.
struct Ext4Variant: CustomTestStringConvertible, Sendable {
    let name: String
    let options: [String]
    var testDescription: String { name }

    static let all = [
        Ext4Variant(name: "1k blocks", options: ["-b", "1024"]),
        Ext4Variant(name: "4k blocks", options: ["-b", "4096"]),
        Ext4Variant(name: "inline data", options: ["-b", "4096", "-O", "inline_data"]),
        Ext4Variant(name: "bigalloc", options: ["-b", "4096", "-O", "bigalloc", "-C", "16384"]),
        Ext4Variant(
            name: "as ext3",
            options: ["-b", "4096", "-O", "^extent,^64bit,^metadata_csum,^flex_bg,^huge_file"]),
        Ext4Variant(name: "meta_bg", options: ["-b", "1024", "-O", "meta_bg,^resize_inode"]),
        Ext4Variant(name: "quota", options: ["-b", "4096", "-O", "quota,project"]),
        Ext4Variant(name: "large attributes", options: ["-b", "4096", "-O", "ea_inode"]),
        Ext4Variant(
            name: "sparse_super2", options: ["-b", "1024", "-O", "sparse_super2,^resize_inode"]),
        Ext4Variant(
            name: "no types in directories",
            options: ["-b", "1024", "-O", "^filetype,metadata_csum"]),
        Ext4Variant(name: "small inodes", options: ["-b", "1024", "-I", "128"]),
    ]
}

@Suite(
    .enabled(
        if: LiveMachine.ext4 == nil && LiveMachine.path("debugfs") != nil
            && (try? TraceSystem())?.has(.ext4) == true,
        LiveMachine.ext4 ?? "needs debugfs, and an instance of the kernel's tracer"))
struct Ext4CheckTests {
    /// An image in a directory of its own, not mounted yet.
    static func withImage<R>(
        _ options: [String], _ body: (String, String) throws -> R
    ) throws -> R {
        let place = FileManager.default.temporaryDirectory
            .appendingPathComponent("tidemark-ext4-\(UUID().uuidString)")
        let image = place.appendingPathComponent("image").path
        let point = place.appendingPathComponent("mounted").path
        try FileManager.default.createDirectory(atPath: point, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        try Data().write(to: URL(fileURLWithPath: image))
        try #require(truncate(image, 96 << 20) == 0)
        try LiveMachine.run("mkfs.ext4", ["-q"] + options + [image])
        return try body(image, point)
    }

    static func mounted<R>(
        _ image: String, _ point: String, options: String = "loop", _ body: () throws -> R
    ) throws -> R {
        try LiveMachine.run("mount", ["-o", options, image, point])
        defer { try? LiveMachine.run("umount", [point]) }
        return try body()
    }

    /// Files of all kinds: small, large, sparse with a deep map, links, long links, attributes in
    /// blocks of their own, directories that are large and small.
    static func fill(_ path: String) throws {
        let files = FileManager.default
        for n in 0..<60 {
            try Data(repeating: 1, count: n * 997).write(to: URL(fileURLWithPath: "\(path)/f\(n)"))
        }
        try files.createDirectory(atPath: "\(path)/d/e", withIntermediateDirectories: true)
        for n in 0..<400 {
            #expect(link("\(path)/f\(n % 60)", "\(path)/d/a-name-of-some-length-\(n)") == 0)
        }
        let sparse = open("\(path)/sparse", O_RDWR | O_CREAT, 0o600)
        let block = [UInt8](repeating: 2, count: 1024)
        for n in 0..<700 { #expect(pwrite(sparse, block, 1024, n * 32768) == 1024) }
        #expect(close(sparse) == 0)
        #expect(symlink(String(repeating: "long/", count: 100), "\(path)/link") == 0)
        #expect(symlink("short", "\(path)/d/short") == 0)
        #expect(mkfifo("\(path)/pipe", 0o600) == 0)
        let value = [UInt8](repeating: 3, count: 700)
        for name in ["f7", "f8", "d"] {
            #expect(setxattr("\(path)/\(name)", "user.a", value, value.count, 0) == 0)
        }
        try LiveMachine.run("sync", ["-f", path])
    }

    static func check(_ path: String, kilobytes: Int = 16384) throws -> Ext4CheckReport {
        // Where events are lost in every pass, each waits before it reads.
        let passes = kilobytes < 1024 ? 3 : 8
        return try Ext4Check(path: path, passes: passes, bufferKilobytes: kilobytes).perform()
    }

    static func debug(_ image: String, _ commands: [String]) throws {
        for command in commands {
            try LiveMachine.run("debugfs", ["-w", "-R", command, image])
        }
    }

    static func withLoad<R>(_ isOn: Bool, _ path: String, _ body: () throws -> R) throws -> R {
        guard isOn else { return try body() }
        try FileManager.default.createDirectory(
            atPath: path + "/load", withIntermediateDirectories: false)
        return try OwnerRunTests.withLoad(in: path + "/load", programs: 2, seed: 1, body)
    }

    @Test(arguments: Ext4Variant.all)
    func `a consistent ext4 is clean, however it was made`(_ variant: Ext4Variant) throws {
        // A kernel without quota mounts one that has it for reading only.
        try Self.withImage(variant.options) { image, point in
            let isForReading =
                variant.name == "quota"
                && (try? Self.mounted(image, point) {}) == nil
            try Self.mounted(image, point, options: isForReading ? "loop,ro" : "loop") {
                if !isForReading { try Self.fill(point) }
                let report = try Self.check(point)
                #expect(report.findings == [])
                #expect(report.verdict == .clean)
                #expect(report.inodes > (isForReading ? 10 : 60))
            }
        }
    }

    @Test(arguments: [16384, 8])
    func `a consistent ext4 under load shows nothing, whatever is lost`(kilobytes: Int) throws {
        try Self.withImage(["-b", "1024"]) { image, point in
            try Self.mounted(image, point) {
                try Self.fill(point)
                try Self.withLoad(true, point) {
                    let report = try Self.check(point, kilobytes: kilobytes)
                    #expect(report.findings == [])
                    #expect([.clean, .unsettled].contains(report.verdict))
                }
            }
        }
    }

    @Test(arguments: [["-b", "1024"], ["-b", "4096", "-O", "inline_data"]])
    func `a directory that is removed while it is open is clean`(options: [String]) throws {
        try Self.withImage(options) { image, point in
            try Self.mounted(image, point) {
                #expect(mkdir(point + "/held", 0o700) == 0)
                let held = open(point + "/held", O_RDONLY | O_DIRECTORY)
                try #require(held >= 0)
                defer { _ = close(held) }
                #expect(rmdir(point + "/held") == 0)
                let report = try Self.check(point)
                #expect(report.findings == [])
                #expect(report.verdict == .clean)
            }
        }
    }

    enum Lie: String, CaseIterable, Sendable {
        case leaked, free, twoOwners, links, fewLinks, freeInode, clearedInode

        /// What debugfs is told, given inodes and blocks of the files.
        func commands(_ f: (inode: UInt64, block: UInt64), _ g: (inode: UInt64, block: UInt64))
            -> [String]
        {
            switch self {
            case .leaked: ["setb 97000 3"]
            case .free: ["freeb \(f.block) 1"]
            case .twoOwners: ["sif <\(g.inode)> block[0] \(f.block)"]
            case .links: ["sif <\(f.inode)> links_count 9"]
            case .fewLinks: ["sif <\(f.inode)> links_count 1"]
            case .freeInode: ["freei <\(f.inode)>"]
            case .clearedInode: ["clri <\(f.inode)>"]
            }
        }
    }

    /// Inode and first block of a file.
    static func place(_ path: String) throws -> (inode: UInt64, block: UInt64) {
        var status = stat()
        try #require(lstat(path, &status) == 0)
        let mount = try MountedFilesystem(path: (path as NSString).deletingLastPathComponent)
        let file = try Descriptor.open(path)
        let batch = ExtentBatch()
        _ = try mount.readExtents(of: file, from: 0, into: batch, object: path)
        let first = try #require(batch.extents.first)
        return (UInt64(status.st_ino), first.physical / UInt64(mount.blockSize))
    }

    @Test(arguments: Lie.allCases, [false, true])
    func `each damage that debugfs makes is found, and none besides`(
        _ lie: Lie, underLoad isLoaded: Bool
    ) throws {
        // Without extents `debugfs sif block[0]` points a file at a block.
        // What is leaked lies in the last of many groups: ext4 allocates nothing any more in a
        // group whose bitmap and descriptor disagree.
        let options = ["-b", "1024", "-O", "^extent,^64bit,^metadata_csum,^uninit_bg"]
        try Self.withImage(options) { image, point in
            let (f, g) = try Self.mounted(image, point) {
                try Self.fill(point)
                return (try Self.place(point + "/f40"), try Self.place(point + "/f50"))
            }
            try Self.debug(image, lie.commands(f, g))
            try Self.mounted(image, point) {
                // What is freed must not be given away before it is looked at.
                try Self.withLoad(isLoaded && lie != .free && lie != .freeInode, point) {
                    let report = try Self.check(point)
                    Self.expect(lie, report.findings, f, g)
                }
            }
        }
    }

    static func expect(
        _ lie: Lie, _ findings: [MountFinding], _ f: (inode: UInt64, block: UInt64),
        _ g: (inode: UInt64, block: UInt64)
    ) {
        let objects = findings.map { "\($0.index) \($0.object)" }
        switch lie {
        case .leaked: #expect(objects == ["blocks blocks 97000–97002"])
        case .free:
            #expect(objects == ["blocks block \(f.block)"])
            #expect(findings.first?.inodes == [f.inode])
            #expect(findings.first?.paths[f.inode]?.contains("/f40") == true)
        case .twoOwners:
            // And the block that the other had is leaked.
            #expect(
                Set(objects) == ["blocks block \(f.block)", "blocks block \(g.block)"])
            let finding = findings.first { $0.object == "block \(f.block)" }
            #expect(finding.map { Set($0.inodes) } == [f.inode, g.inode])
        case .links, .fewLinks:
            #expect(objects == ["links inode \(f.inode)"])
            #expect(findings.first?.paths[f.inode]?.contains("/f40") == true)
        case .freeInode:
            #expect(objects == ["names inode \(f.inode)"])
        case .clearedInode:
            #expect(objects.contains("names inode \(f.inode)"))
            // Its blocks are in use, and nobody has them.
            #expect(findings.allSatisfy { $0.index == "names" || $0.problem.contains("no file") })
        }
        for finding in findings {
            #expect(finding.mend.contains("e2fsck -f"))
            #expect(!finding.consequence.isEmpty && !finding.avoid.isEmpty)
        }
    }

    @Test func `a device that fails in places is told, and what is found elsewhere stays`() throws {
        // Every group has its tables within it, and all of them are written.
        let options = ["-b", "1024", "-O", "^extent,^64bit,^metadata_csum,^uninit_bg,^flex_bg"]
        try Self.withImage(options) { image, point in
            let f = try Self.mounted(image, point) {
                try Self.fill(point)
                return try Self.place(point + "/f40")
            }
            try Self.debug(image, ["freeb \(f.block) 1"])
            try Self.mounted(image, point, options: "loop,ro") {
                // A loop device answers EIO behind the end of its file.
                try #require(truncate(image, 64 << 20) == 0)
                let report = try Self.check(point)
                #expect(report.findings.map(\.object) == ["block \(f.block)"])
                #expect(report.verdict == .corrupt)
                let problems = report.damaged.filter { $0.problem.contains("Input/output error") }
                #expect(problems.contains { $0.object.hasPrefix("inodes ") })
            }
        }
    }

    @Test(arguments: [3, 8])
    func `a block of attributes has no owner once four passes say so`(passes: Int) throws {
        let options = ["-b", "1024", "-O", "^extent,^64bit,^metadata_csum,^uninit_bg"]
        try Self.withImage(options) { image, point in
            try Self.debug(image, ["setb 97000 1"])
            let file = open(image, O_WRONLY)
            try #require(file >= 0)
            // Magic, and one reference.
            let header: [UInt32] = [UInt32(0xea02_0000).littleEndian, UInt32(1).littleEndian]
            #expect(pwrite(file, header, 8, 97000 * 1024) == 8)
            #expect(close(file) == 0)
            try Self.mounted(image, point) {
                let report = try Ext4Check(path: point, passes: passes).perform()
                #expect(report.findings.map(\.object) == (passes < 4 ? [] : ["block 97000"]))
                #expect(report.verdict == (passes < 4 ? .unsettled : .corrupt))
                #expect(report.unsettledClusters == (passes < 4 ? 1 : 0))
                #expect(report.passes == min(passes, 4))
            }
        }
    }

    @Test func `a block map that leads to itself is told, and has an end`() throws {
        let options = ["-b", "1024", "-O", "^extent,^64bit,^metadata_csum,^uninit_bg"]
        try Self.withImage(options) { image, point in
            let (f, g) = try Self.mounted(image, point) {
                try Self.fill(point)
                return (try Self.place(point + "/f40"), try Self.place(point + "/f50"))
            }
            try Self.debug(image, ["sif <\(f.inode)> block[TIND] \(g.block)"])
            let file = open(image, O_WRONLY)
            try #require(file >= 0)
            let pointers = [UInt32](repeating: UInt32(g.block).littleEndian, count: 256)
            #expect(pwrite(file, pointers, 1024, off_t(g.block) * 1024) == 1024)
            #expect(close(file) == 0)
            try Self.mounted(image, point) {
                let report = try Self.check(point)
                #expect(
                    report.damaged.contains {
                        $0.object == "inode \(f.inode)" && $0.problem.contains("leads back")
                    })
                #expect(report.verdict == .corrupt)
            }
        }
    }

    @Test func `what can't be read of an ext4 is told with its own tool`() {
        let error = LinuxOwnerError(
            ext4: "/mnt", LinuxCallError("read", "/dev/sdb", .failed(EIO)))
        #expect("\(error)".contains("e2fsck -fn"))
        #expect(!"\(error)".contains("xfs_repair"))
    }

    @Test func `other filesystems are refused, and nothing is written to a damaged one`() throws {
        #expect(throws: LinuxOwnerError.self) { try Ext4Check(path: "/proc") }
        try Self.withImage(["-b", "4096"]) { image, point in
            try Self.debug(image, ["setb 20000 1"])
            // The kernel reads all bitmaps some seconds after a mount, and notes by itself what is
            // wrong with their counts.
            let options = "loop,no_prefetch_block_bitmaps,noinit_itable"
            let report = try Self.mounted(image, point, options: options) {
                try Self.check(point)
            }
            #expect(report.verdict == .corrupt)
            // A check that had disturbed the kernel would have left a count of errors.
            let state = try Self.output("dumpe2fs", ["-h", image])
            #expect(!state.contains("FS Error count"))
        }
    }

    static func output(_ tool: String, _ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try #require(LiveMachine.path(tool)))
        process.arguments = arguments
        let said = Pipe()
        process.standardOutput = said
        process.standardError = FileHandle.nullDevice
        try process.run()
        let text = said.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return String(decoding: text, as: UTF8.self)
    }
}
