// Usage, help, and standard streams.

import Foundation
import TestSupport
import Testing

@Suite struct UsageTests {
    @Test(arguments: [
        ["frobnicate"], ["create"], ["create", "v", "--size", "banana"],
        ["create", "v", "--size", "1K"], ["create", "v", "--block-size", "1000"],
        ["create", "v", "w"], ["import", "v"], ["check", "v", "--index", "names"],
        ["check", "v", "--quiet", "--verbose"], ["repair", "v", "--strategy", "check"],
        ["damage", "v", "--index", "rmap"], ["damage", "v", "--index", "rmap", "--count", "-1"],
        ["damage", "v", "--index", "rmap", "--count", "1", "--kind", "odd"], ["owner", "v"],
        ["damage", "v", "--count", "1"], ["damage", "v", "--primary", "odd", "--count", "1"],
        ["damage", "v", "--index", "rmap", "--primary", "leakedBlocks", "--count", "1"],
        ["damage", "v", "--primary", "leakedBlocks", "--count", "1", "--kind", "missing"],
        ["repair", "v", "--keep-old", "--strategy", "patch"],
        ["rollback", "v", "--index", "names"],
        ["owner", "v", "--block", "1", "--sector", "2"], ["owner", "v", "--block", "-1"],
        ["owner", "v", "--block", "1", "--length", "0"], ["paths", "v"],
        ["stress", "v", "--seconds", "0"], ["stress", "v", "--seconds", "1", "--writers", "0"],
        ["stress", "v", "--seconds", "1", "--damage", "5"], ["set", "v"],
        ["set", "v", "--share", "0"], ["set", "v", "--speed-limit", "fast"], ["stop", "v", "one"],
        ["repair", "v", "--memory", "1K"], ["check", "v", "--max-duration", "-1"],
        // More than any machine has that runs this.
        ["check", "v", "--memory", "1T"],
        ["stress", "v", "--seconds", "1", "--record", "f", "--share", "5"], ["status"],
    ])
    func `wrong usage ends with status 8 and says why on standard error`(
        arguments: [String]
    ) throws {
        let ended = try run(arguments)
        #expect(ended.status == 8)
        #expect(ended.output.isEmpty)
        #expect(ended.errors.contains("Usage: tidemark"))
    }

    static let commands = [
        "create", "import", "stat", "dump", "verify", "damage", "check", "repair", "rollback",
        "stress", "owner", "paths", "status", "stop", "pause", "resume", "set",
    ]

    @Test(arguments: commands)
    func `help teaches with an example and goes to standard output`(command: String) throws {
        let ended = try run(command, "--help")
        #expect(ended.status == 0)
        #expect(ended.output.contains("tidemark \(command) /tmp/v"))
        #expect(ended.errors.isEmpty)
    }

    @Test func `the first help lists every command and the exit statuses`() throws {
        let ended = try run("--help")
        #expect(ended.status == 0)
        for command in UsageTests.commands { #expect(ended.output.contains("  \(command) ")) }
        #expect(ended.output.contains("Exit status"))
    }

    private static func page(_ path: String) throws -> String {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../..")
        return try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
    }

    @Test func `the version is that of the changelog and of the man page`() throws {
        let ended = try run("--version")
        #expect(ended.status == 0)
        let newest = try #require(
            try Self.page("CHANGELOG.md").firstMatch(of: #/\n## \[([0-9.]+)\] - /#)?.output.1)
        #expect(ended.output == "tidemark \(newest)\n")
        #expect(try Self.page("Docs/man/tidemark.1").contains("\"Tidemark \(newest)\""))
    }

    /// What the pages show a reader to type, by its subcommand.
    private static func shownCommands() throws -> [(page: String, words: [String])] {
        let pages = [
            "README.md", "Docs/tour.md", "Docs/operations.md", "Docs/mounting.md",
            "Docs/scenarios.md",
        ]
        return try pages.flatMap { page in
            try Self.page(page).split(separator: "\n").compactMap { line in
                let words = line.split(separator: " ").map(String.init)
                guard let start = words.firstIndex(of: "tidemark"),
                    words[..<start].allSatisfy({ ["$", "if", "!", "&&", "["].contains($0) }),
                    words.count > start + 1, words[start + 1].allSatisfy(\.isLowercase)
                else { return nil }
                return (page, Array(words[(start + 1)...]))
            }
        }
    }

    @Test func `commands and options that the pages show are known`() throws {
        let shown = try Self.shownCommands()
        #expect(shown.count > 30)
        for command in Set(shown.map(\.words[0])) {
            let ended = try run(command, "--help")
            #expect(ended.status == 0, "tidemark \(command): \(ended.errors)")
            for (page, words) in shown where words[0] == command {
                for option in words where option.hasPrefix("--") {
                    #expect(ended.output.contains(option), "\(page): \(words)")
                }
            }
        }
    }

    @Test(arguments: ["bash", "zsh", "fish"])
    func `a completion script is printed for the shell`(shell: String) throws {
        let ended = try run("--generate-completion-script", shell)
        #expect(ended.status == 0)
        #expect(ended.output.contains("tidemark"))
        #expect(ended.output.contains("repair"))
    }

    @Test(arguments: commands)
    func `the man page has a section for the command`(command: String) throws {
        #expect(try Self.page("Docs/man/tidemark.1").contains("\n.SS \(command)\n"))
    }

    @Test func `a reader that goes away ends the command without a word`() throws {
        try withVolume(files: 3000) { volume in
            let ended = try shell(
                "\"$1\" dump \"$2\" inodes | head -n 1; echo \"${PIPESTATUS[0]}\"", tidemark, volume
            )
            #expect(ended.errors.isEmpty)
            let lines = ended.output.split(separator: "\n")
            #expect(lines.count == 2)
            #expect(lines.last == "0")
        }
    }

    @Test func `quiet prints nothing and the status tells`() throws {
        try withVolume(files: 20) { volume in
            let clean = try run("check", volume, "--quiet")
            #expect(clean.status == 0)
            #expect(clean.output.isEmpty && clean.errors.isEmpty)
            #expect(
                try run("damage", volume, "--index", "rmap", "--count", "3", "-q").output.isEmpty)
            let corrupt = try run("check", volume, "--quiet")
            #expect(corrupt.status == 1)
            #expect(corrupt.output.isEmpty && corrupt.errors.isEmpty)
        }
    }
}
