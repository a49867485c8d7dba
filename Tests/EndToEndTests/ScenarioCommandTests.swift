// `tidemark replay`, `explore` and `simulate`, as a user calls them.

import Foundation
import TestSupport
import Testing

@Suite struct ScenarioCommandTests {
    private static let folder =
        URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path + "/Scenarios"

    private static let rename = folder + "/names/rename-file-ahead.yaml"

    private func withFile<R>(_ text: String, _ body: (String) throws -> R) throws -> R {
        try withDirectory { directory in
            let path = directory + "/scenario.yaml"
            try text.write(toFile: path, atomically: true, encoding: .utf8)
            return try body(path)
        }
    }

    @Test func `replaying all scenarios ends with the count`() throws {
        let ended = try run("replay", Self.folder)
        #expect(ended.status == 0, "\(ended.output.suffix(2000))")
        let last = try #require(ended.output.split(separator: "\n").last)
        #expect(last.hasSuffix(" passed, 0 failed"))
        let passed = try #require(last.split(separator: " ").first.flatMap { Int($0) })
        #expect(passed >= 60)
        #expect(ended.output.split(separator: "\n").count == passed + 1)
    }

    @Test func `a trace draws the lanes side by side with the cursor`() throws {
        let ended = try run("replay", "--trace", "--on", "memory", Self.rename)
        #expect(ended.status == 0)
        let head = try #require(ended.output.split(separator: "\n").dropFirst().first)
        for title in ["cursor", "scanner", "assistant", "run"] { #expect(head.contains(title)) }
        #expect(ended.output.contains("applied"))
    }

    @Test func `replay prints one document with the result of each stage`() throws {
        let document = try run("replay", "--json", Self.rename).document()
        #expect(document.int("schema") == 1)
        #expect(document.int("passed") == 1)
        let stages = document.list("files")[0].list("stages")
        #expect(stages.map { $0.string("stage") } == ["memory", "volume"])
        #expect(stages.allSatisfy { $0.list("failures").isEmpty })
    }

    @Test func `an expectation that is not met is a failure, and says what came instead`() throws {
        let text = try String(contentsOfFile: Self.rename, encoding: .utf8)
        try withFile(text.replacingOccurrences(of: "applied: 1", with: "applied: 7")) { path in
            let ended = try run("replay", path)
            #expect(ended.status == 1)
            #expect(ended.output.contains("FAIL"))
            #expect(ended.output.contains("applied 1, expected 7"))
            #expect(ended.output.hasSuffix("0 passed, 1 failed\n"))
        }
    }

    @Test func `a mistake in a file is told with its place`() throws {
        try withFile("# a\n# b\nsetup:\n  - creat x\n") { path in
            let ended = try run("replay", path)
            #expect(ended.status == 4)
            #expect(ended.errors.contains("\(path):4:5"))
            #expect(ended.output.hasSuffix("0 passed, 0 failed, 1 not understood\n"))
        }
    }

    @Test func `a file that is not there, and a folder without scenarios, are told`() throws {
        #expect(try run("replay", "/nowhere/x.yaml").status == 4)
        try withDirectory { directory in
            let ended = try run("replay", directory)
            #expect(ended.status == 4)
            #expect(ended.errors.contains(".yaml"))
        }
    }

    @Test func `where no volume can be made the scenario is not played, and has not failed`() throws
    {
        let ended = try run("replay", "--directory", "/proc", Self.rename)
        #expect(ended.status == 4)
        #expect(ended.output.contains("on volume: not played: "))
        #expect(ended.output.hasSuffix("0 passed, 0 failed, 1 not played\n"))
    }

    @Test func `explore says how much it has tried`() throws {
        let ended = try run("explore", Self.rename, "--states", "300", "--seeds", "1-20")
        #expect(ended.status == 0, "\(ended.errors)")
        for word in ["interleavings", "crashes", "faults", "20 walks"] {
            #expect(ended.output.contains(word))
        }
        let document = try run("explore", "--json", "--states", "300", "--volume", "2", Self.rename)
            .document()
        #expect(document.int("failures") == 0)
        #expect(document.list("files").map { $0.string("stage") } == ["memory", "volume"])
    }

    @Test func `situations that no file meets are a failure where that is asked for`() throws {
        let options = ["--states", "50", "--no-faults", "--no-crashes"]
        let ended = try run(["explore", "--all-situations", Self.rename] + options)
        #expect(ended.status == 1)
        #expect(ended.output.contains("never met: "))
    }

    @Test func `a simulation counts its seeds`() throws {
        let ended = try run("simulate", "--seeds", "1-50", "--volume-every", "25")
        #expect(ended.status == 0, "\(ended.output)")
        #expect(ended.output.hasPrefix("50 seeds, 0 failed"))
    }

    @Test(arguments: [
        ["explore", "x.yaml", "--states", "0"], ["explore", "x.yaml", "--seeds", "b-a"],
        ["simulate", "--seeds", "9-1"], ["simulate"], ["replay"],
        ["replay", "x.yaml", "--on", "moon"],
    ])
    func `wrong usage ends with 8`(arguments: [String]) throws {
        #expect(try run(arguments).status == 8)
    }
}
