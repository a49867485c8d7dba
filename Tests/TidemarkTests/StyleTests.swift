// What CONTRIBUTING.md asks of every Swift file, as far as a program can see it.

import Foundation
import Testing

@Suite struct StyleTests {
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    static func swiftFiles() -> [URL] {
        ["Sources", "Tests", "Benchmarks/Sources"].flatMap { folder -> [URL] in
            let start = root.appendingPathComponent(folder)
            let found = FileManager.default.enumerator(at: start, includingPropertiesForKeys: nil)
            return (found?.allObjects as? [URL] ?? []).filter { $0.pathExtension == "swift" }
        }
    }

    @Test func `lines have at most 100 columns and files at most 800 lines`() throws {
        let files = Self.swiftFiles()
        #expect(files.count > 50)
        for file in files {
            let lines = try String(contentsOf: file, encoding: .utf8)
                .split(separator: "\n", omittingEmptySubsequences: false)
            #expect(lines.count <= 800, "\(file.path) has \(lines.count) lines")
            for (number, line) in lines.enumerated() where line.count > 100 {
                Issue.record("\(file.path):\(number + 1) has \(line.count) columns")
            }
        }
    }

    @Test func `functions have at most 70 lines`() throws {
        for file in Self.swiftFiles() {
            let lines = try String(contentsOf: file, encoding: .utf8)
                .split(separator: "\n", omittingEmptySubsequences: false)
            for (start, line) in lines.enumerated()
            where line.contains("func ") && line.hasSuffix("{") {
                let indent = line.prefix { $0 == " " }
                let end = lines[start...].firstIndex { $0 == indent + "}" } ?? start
                #expect(end - start <= 71, "\(file.path):\(start + 1)")
            }
        }
    }

    @Test func `the witness shares no code with what it judges`() throws {
        for file in Self.swiftFiles() where file.path.contains("/Sources/VolumeVerify/") {
            let text = try String(contentsOf: file, encoding: .utf8)
            for module in ["Tidemark", "Volume", "VolumeIndexes"] {
                #expect(!text.contains("import \(module)\n"), "\(file.path) imports \(module)")
            }
        }
    }
}
