// What people and scripts see: a result that did not arrive is told of, and so is every failure.

import Foundation
import TestSupport
import Testing

@Suite struct OutputTests {
    /// Runs the command with standard output that leads to `file`.
    private func run(_ arguments: [String], to file: String) throws -> Ended {
        try Started("/bin/bash", ["-c", "\"$@\" > \(file)", "bash", tidemark] + arguments).wait()
    }

    /// Runs the command with standard output that is a pipe without a reader.
    private func runUnread(_ arguments: [String]) throws -> Ended {
        let script = """
            import os, subprocess, sys
            reader, writer = os.pipe()
            os.close(reader)
            sys.exit(subprocess.run(sys.argv[1:], stdout=writer).returncode)
            """
        let words = ["python3", "-c", script, tidemark] + arguments
        return try Started("/usr/bin/env", words).wait()
    }

    @Test func `a result that could not be written is not success, whatever the command`() throws {
        try withVolume(files: 5) { volume in
            let commands = [
                ["check", volume], ["verify", volume], ["dump", volume, "inodes"],
                ["stat", volume], ["repair", volume], ["paths", volume, "--inode", "1"],
                ["owner", volume, "--block", "0"], ["status", volume],
                ["damage", volume, "--index", "rmap", "--count", "0"],
            ]
            for command in commands {
                for form in [[], ["--json"]] {
                    let full = try run(command + form, to: "/dev/full")
                    #expect(full.status & 4 != 0, "\(command): \(full.status)")
                    #expect(full.errors.contains("No space left"), "\(command): \(full.errors)")
                    let unread = try runUnread(command + form)
                    #expect(unread.status == 0, "\(command): \(unread.status)")
                    #expect(unread.errors.isEmpty, "\(command): \(unread.errors)")
                }
                let quiet = try run(command + ["--quiet"], to: "/dev/full")
                if command[0] != "dump" { #expect(quiet.status == 0, "\(command)") }
            }
            for words in [["--help"], ["--version"], ["help", "check"]] {
                #expect(try run(words, to: "/dev/full").status == 4)
            }
        }
    }

    @Test func `a list that could not be written is not success`() throws {
        try withVolume(files: 5) { volume in
            try json("damage", volume, "--index", "rmap", "--count", "5")
            let ended = try tidemarkRun("check", volume, "--list", "/dev/full")
            #expect(ended.status & 4 != 0)
            #expect(ended.errors.contains("the list is not whole"), "\(ended.errors)")
        }
    }

    @Test(arguments: ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    func `no file of a volume takes the place of a closed stream`(closed: String) throws {
        try withVolume(files: 40) { volume in
            let tree = volume + "/../tree"
            // Every name exists already, so each is told of on standard error.
            let ended = try shell(
                "\"$1\" import \"$2\" \"$3\" --verbose \(closed)", tidemark, volume, tree)
            #expect(ended.status == 4)
            try expectVerified(volume)
            let check = try shell("\"$1\" check \"$2\" \(closed)", tidemark, volume)
            #expect(check.status == (closed.contains(">&-") && !closed.hasPrefix("2") ? 4 : 0))
        }
    }

    @Test(arguments: [
        ["check", "v", "--share", "500"], ["check", "v", "--index", "nope"],
        ["check", "v", "--blocks", "5:0"], ["paths", "v", "--inode", "x"], ["frobnicate"],
        ["create"], ["repair", "v", "--keep-old", "--strategy", "patch"], ["owner", "v"],
    ])
    func `wrong usage has its document`(arguments: [String]) throws {
        let ended = try tidemarkRun(arguments + ["--json"])
        #expect(ended.status == 8)
        let document = try ended.document()
        #expect(document.int("schema") == 1)
        #expect(document.string("error")?.isEmpty == false)
        #expect(ended.errors.contains("Usage: tidemark"))
        if arguments.count > 1 {
            #expect(document.string("command") == arguments[0])
            #expect(document.string("target") == "v")
        }
    }

    @Test func `a failure has its document, and quiet prints it too`() throws {
        let missing = try tidemarkRun("check", "/nonexistent/volume", "--json", "--quiet")
        #expect(missing.status == 4)
        #expect(try missing.document().string("error")?.contains("/nonexistent/volume") == true)
        #expect(missing.errors.contains("/nonexistent/volume"))
        try withVolume(files: 5) { volume in
            try json("damage", volume, "--index", "rmap", "--count", "5")
            let stopped = try tidemarkRun("check", volume, "--quiet", "--stop-after", "1")
            #expect(stopped.status == 4)
            #expect(stopped.output.isEmpty && stopped.errors.contains("stopped"))
            let corrupt = try tidemarkRun("check", volume, "--quiet")
            #expect(corrupt.status == 1 && corrupt.output.isEmpty && corrupt.errors.isEmpty)
        }
    }

    @Test func `the reason why nothing is mounted is in the document`() throws {
        try withVolume(files: 1) { volume in
            let ended = try tidemarkRun("mount", volume, volume + "/nowhere", "--json")
            #expect(ended.status == 4)
            #expect(try ended.document().string("error")?.contains("nowhere") == true)
        }
    }

    @Test func `numbers at the ends of their ranges are refused`() throws {
        try withVolume(files: 1) { volume in
            let most = "18446744073709551615", signed = "9223372036854775807"
            for words in [
                ["owner", volume, "--block", most, "--length", "2"],
                ["owner", volume, "--block", "1", "--length", most],
                ["owner", volume, "--sector", most], ["paths", volume, "--inode", most],
                ["paths", volume, "--inode", "1", "--limit", signed],
                ["damage", volume, "--index", "rmap", "--count", signed],
                ["damage", volume, "--primary", "leakedBlocks", "--count", signed],
                ["check", volume, "--blocks", "\(most):1"], ["check", volume, "--inode", most],
                ["check", volume, "--window", signed], ["check", volume, "--memory", "8E"],
                ["check", volume, "--stop-after", "99999999999999999999"],
                ["create", volume + "2", "--size", most], ["simulate", "--seeds", most],
                ["stop", volume, signed], ["resume", volume, most],
            ] {
                let ended = try tidemarkRun(words)
                let isRefused = ended.status == 4 || ended.status == 8 || ended.status == 0
                #expect(isRefused, "\(words): \(ended.status) \(ended.errors)")
            }
            try expectVerified(volume)
        }
    }
}

/// In place of `run`, whose name this suite uses itself.
private func tidemarkRun(_ arguments: String...) throws -> Ended { try tidemarkRun(arguments) }

private func tidemarkRun(_ arguments: [String]) throws -> Ended {
    try Started(tidemark, arguments).wait()
}
