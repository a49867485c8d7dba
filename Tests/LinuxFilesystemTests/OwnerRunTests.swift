// Checks of a mounted XFS by the framework, while programs work in it.

import Bytes
import Foundation
import LinuxOwner
import Synchronization
import Testing
import Tidemark

@testable import LinuxFilesystem

@Suite(
    .enabled(
        if: LiveMachine.canTrace,
        LiveMachine.xfs ?? "the kernel lets this process have no instance of its tracer"))
struct OwnerRunTests {
    /// Programs that work in a directory until `body` ends.
    static func withLoad<R>(
        in path: String, programs: Int, seed: Int, _ body: () throws -> R
    ) throws -> R {
        let script = LiveMachine.fixtures.appendingPathComponent("load.py").path
        var processes: [Process] = []
        defer {
            for process in processes { kill(process.processIdentifier, SIGKILL) }
            for process in processes { process.waitUntilExit() }
        }
        for number in 0..<programs {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = ["python3", script, path, "\(seed + number)"]
            let said = Pipe()
            process.standardOutput = said
            try process.run()
            processes.append(process)
            _ = said.fileHandleForReading.availableData
        }
        return try body()
    }

    static func check(_ path: String, bufferKilobytes: Int = 16384) throws -> XFSCheckReport {
        var options = RunOptions()
        options.limits.window = 2000
        options.compareEntries = 1000
        let check = try XFSCheck(path: path, bufferKilobytes: bufferKilobytes)
        return try check.perform(store: MemoryStore(), options: options)
    }

    /// What a check was not able to judge, in the words of findings.
    static func unsettled(_ result: XFSCheckReport) -> Set<String> {
        var objects = Set(result.links.unsettled.map { "inode \($0)" })
        for index in result.run.indexes {
            for difference in index.firstUnsettled {
                let number: UInt64 = difference.key.rawSpan.integer(at: 0)
                objects.insert(index.name == "rmap" ? "block \(number)" : "inode \(number)")
            }
        }
        return objects
    }

    @Test(arguments: 0..<2)
    func `a consistent filesystem under load shows nothing`(seed: Int) throws {
        try LiveMachine.withMounted(.clean) { path in
            try Self.withLoad(in: path, programs: 2, seed: seed) {
                let result = try Self.check(path)
                #expect(result.run.reason == nil)
                #expect([.clean, .unsettled].contains(result.verdict))
                #expect(result.findings == [])
                #expect(result.run.applied > 0)
            }
        }
    }

    @Test(arguments: [16384, 8])
    func `the five lies are found under load, and nothing else, whatever is lost`(
        kilobytes: Int
    ) throws {
        try LiveMachine.withMounted(.damaged) { path in
            let place = path + "/load"
            try FileManager.default.createDirectory(
                atPath: place, withIntermediateDirectories: false)
            try Self.withLoad(in: place, programs: 2, seed: kilobytes) {
                let result = try Self.check(path, bufferKilobytes: kilobytes)
                #expect(result.run.reason == nil)
                let lies = ["block 72", "block 20867", "inode 275", "inode 815", "inode 262461"]
                let found = result.findings.map(\.object)
                // Where every look was overtaken by a loss, a lie is told as unsettled.
                let unsettled = kilobytes < 1024 ? Self.unsettled(result) : []
                let text =
                    "unsettled: \(unsettled), \(result.run.losses) losses, "
                    + result.findings.map { "\($0.object): \($0.problem)" }.joined(separator: "; ")
                let told = lies.filter { found.contains($0) || unsettled.contains($0) }
                #expect(told == lies, "\(text)")
                #expect(found.filter { !lies.contains($0) } == [], "\(text)")
                #expect(result.verdict == (found.isEmpty ? .unsettled : .corrupt))
            }
        }
    }

    @Test func `blocks of a file that is removed and not yet freed are unsettled`() throws {
        try LiveMachine.withMounted(.damaged) { path in
            let name = path + "/removed"
            let file = open(name, O_RDWR | O_CREAT, 0o600)
            try #require(file >= 0)
            let block = [UInt8](repeating: 1, count: 65536)
            #expect(write(file, block, block.count) == block.count)
            #expect(fsync(file) == 0)
            #expect(unlink(name) == 0)
            // Open, it is a file like any other.
            #expect(try Self.check(path).findings.count == 5)
            // Frozen, the kernel frees nothing.
            try LiveMachine.run("fsfreeze", ["-f", path])
            do {
                defer { try? LiveMachine.run("fsfreeze", ["-u", path]) }
                #expect(close(file) == 0)
                let result = try Self.check(path)
                #expect(result.run.reason == nil)
                // Inode 9999 of the wrong mapping is not in use: that is a finding as before.
                #expect(result.findings.count == 5)
                #expect(result.unsettled >= 16)
            }
            let result = try Self.check(path)
            #expect(result.findings.count == 5)
        }
    }

    @Test func `parent pointers that can't be read make a check incomplete, and end nothing`()
        throws
    {
        let place = Mutex<UInt64>(0)
        try LiveMachine.withMounted(
            .clean,
            fill: { path in
                let name = path + "/named"
                try Data().write(to: URL(fileURLWithPath: name))
                for n in 0..<60 {
                    #expect(link(name, "\(path)/\(String(repeating: "n", count: 200))\(n)") == 0)
                }
                try LiveMachine.run("sync", ["-f", path])
                let xfs = try XFSFilesystem(try MountedFilesystem(path: path))
                let file = try Descriptor.open(name)
                let batch = ExtentBatch()
                _ = try xfs.readExtents(
                    of: file, .attribute, from: 0, into: batch, object: name)
                let first = try #require(batch.extents.first)
                place.withLock { $0 = first.physical }
            },
            damage: { image in
                let file = open(image, O_WRONLY)
                try #require(file >= 0)
                defer { close(file) }
                let block = [UInt8](repeating: 0x5a, count: 4096)
                #expect(pwrite(file, block, 4096, off_t(place.withLock { $0 })) == 4096)
            }
        ) { path in
            var status = stat()
            try #require(lstat(path + "/named", &status) == 0)
            let result = try Self.check(path)
            #expect(result.run.reason == nil)
            #expect(result.verdict == .incomplete)
            #expect(result.findings == [])
            #expect(result.run.damagedPrimaries.contains { $0.object == "inode \(status.st_ino)" })
        }
    }

    @Test func `a file that a program has a lease on is not read, and the check says so`() throws {
        try LiveMachine.withMounted(.clean) { path in
            let name = path + "/leased"
            try Data(repeating: 1, count: 10000).write(to: URL(fileURLWithPath: name))
            let file = open(name, O_RDWR)
            try #require(file >= 0)
            defer { close(file) }
            // F_SETSIG to SIGURG, which is ignored by default; F_SETLEASE, F_WRLCK.
            #expect(fcntl(file, 10, SIGURG) == 0)
            try #require(fcntl(file, 1024, Int32(1)) == 0)
            let result = try Self.check(path)
            #expect(result.verdict == .incomplete)
            #expect(result.findings == [])
            #expect(result.run.damagedPrimaries.count == 1)
        }
    }
}
