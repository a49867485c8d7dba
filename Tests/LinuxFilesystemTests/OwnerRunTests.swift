// Checks of a mounted XFS by the framework, while programs work in it.

import Bytes
import Foundation
import LinuxOwner
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
        options.windowRecords = 2000
        options.compareEntries = 1000
        let check = try XFSCheck(path: path, bufferKilobytes: bufferKilobytes)
        return try check.perform(store: MemoryStore(), options: options)
    }

    /// What fails on a machine that has nothing else to do: `Docs/linux.md` tells it.
    static let known: Comment =
        "blocks of unlinked inodes are told as stray; a directory that is removed ends the run"

    @Test(arguments: 0..<2)
    func `a consistent filesystem under load shows nothing`(seed: Int) throws {
        try LiveMachine.withMounted(.clean) { path in
            try Self.withLoad(in: path, programs: 2, seed: seed) {
                let result = try Self.check(path)
                withKnownIssue(Self.known, isIntermittent: true) {
                    #expect(result.run.reason == nil)
                    #expect([.clean, .unsettled].contains(result.verdict))
                    #expect(result.findings == [])
                    #expect(result.run.applied > 0)
                }
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
                withKnownIssue(Self.known, isIntermittent: true) {
                    #expect(result.run.reason == nil)
                    #expect(result.verdict == .corrupt)
                    #expect(
                        result.findings.map(\.object) == [
                            "block 72", "block 20867", "inode 275", "inode 815", "inode 262461",
                        ])
                }
            }
        }
    }
}
