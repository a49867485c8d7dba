// How tests wait: for what happens, with a bound, by what TestSupport offers. Who sleeps waits too
// long on a fast machine and too short on a slow one; who asserts how long something took tests the
// machine.

import Foundation
import Testing

@Suite struct WaitingStyleTests {
    private struct Exception {
        let file: String
        let line: String
        let why: String
    }

    /// Lines that may sleep all the same.
    private static let allowed: [Exception] = []

    private static func lines() throws -> [(file: URL, number: Int, text: String)] {
        let files = StyleTests.swiftFiles().filter {
            $0.path.contains("/Tests/") && !$0.path.contains("/Tests/TestSupport/")
                && $0.lastPathComponent != "WaitingStyleTests.swift"
        }
        #expect(files.count > 50)
        return try files.flatMap { file in
            try String(contentsOf: file, encoding: .utf8)
                .split(separator: "\n", omittingEmptySubsequences: false).enumerated()
                .map { (file, $0.offset + 1, String($0.element)) }
        }
    }

    @Test func `no test sleeps, and no script of a test`() throws {
        // Of Swift, C and Python; of a shell. `sleep 3600` is a process that only stays, and goes
        // by itself where the test dies that should have ended it.
        let sleeps = /[sS]leep\w*\s*\(|sleep (?!3600)[0-9.$"]/
        for line in try Self.lines() where line.text.contains(sleeps) {
            let isAllowed = Self.allowed.contains {
                line.file.path.hasSuffix($0.file) && line.text.contains($0.line) && !$0.why.isEmpty
            }
            if !isAllowed { Issue.record("\(line.file.path):\(line.number) sleeps") }
        }
    }

    @Test func `no test asserts how long something takes`() throws {
        let durations = /\.timeLimit\(|timeIntervalSince|ContinuousClock|time\.(time|monotonic)\(/
        for line in try Self.lines() where line.text.contains(durations) {
            Issue.record("\(line.file.path):\(line.number) measures time; use `until`")
        }
    }
}
