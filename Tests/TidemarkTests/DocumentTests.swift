// What the documents promise a reader, as far as a program can see it.

import Foundation
import Testing

@Suite struct DocumentTests {
    private static let root = StyleTests.root

    private static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
    }

    /// All pages, by their path in the repository.
    private static func pages() throws -> [String] {
        let docs = root.appendingPathComponent("Docs").path
        let found = FileManager.default.enumerator(atPath: docs)?.allObjects as? [String] ?? []
        let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Scenarios/README.md"]
        return top + found.filter { $0.hasSuffix(".md") }.map { "Docs/" + $0 }.sorted()
    }

    /// The lines of a page outside of its blocks of code.
    private static func prose(_ text: String) -> [Substring] {
        var isCode = false
        return text.split(separator: "\n", omittingEmptySubsequences: false).filter { line in
            if line.hasPrefix("```") { isCode.toggle() }
            return !isCode
        }
    }

    /// The anchor that GitHub gives to a heading.
    private static func anchor(_ heading: Substring) -> String {
        String(
            heading.drop { $0 == "#" || $0 == " " }.lowercased().compactMap { character in
                if character == " " { return "-" }
                let isKept = character.isLetter || character.isNumber || "-_".contains(character)
                return isKept ? character : nil
            })
    }

    @Test func `the README has at most 120 lines`() throws {
        let lines = try Self.text("README.md").split(
            separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.count <= 121, "\(lines.count - 1) lines")
    }

    @Test func `scripts that the pages name are there and can be run`() throws {
        for page in try Self.pages() {
            for match in try Self.text(page).matches(of: /\bScripts\/([a-z-]+)/) {
                let path = Self.root.appendingPathComponent(String(match.output.0)).path
                #expect(access(path, X_OK) == 0, "\(page) names \(match.output.0)")
            }
        }
    }

    @Test func `links lead to files and headings that are there`() throws {
        var count = 0
        for page in try Self.pages() {
            let folder = Self.root.appendingPathComponent(page).deletingLastPathComponent()
            for line in Self.prose(try Self.text(page)) {
                for match in line.matches(of: /\]\(([^)#\s]*)(?:#([^)\s]+))?\)/) {
                    let (_, path, heading) = match.output
                    guard !path.contains("://") else { continue }
                    count += 1
                    let file =
                        path.isEmpty
                        ? Self.root.appendingPathComponent(page)
                        : folder.appendingPathComponent(String(path)).standardizedFileURL
                    #expect(
                        FileManager.default.fileExists(atPath: file.path), "\(page): \(path)")
                    guard let heading else { continue }
                    let lines = Self.prose(try String(contentsOf: file, encoding: .utf8))
                    let anchors = lines.filter { $0.hasPrefix("#") }.map(Self.anchor)
                    #expect(anchors.contains(String(heading)), "\(page): \(path)#\(heading)")
                }
            }
        }
        #expect(count > 100)
    }

    @Test func `a decision record has a title, a status and a line in the index`() throws {
        let folder = Self.root.appendingPathComponent("Docs/decisions").path
        let index = try Self.text("Docs/decisions/README.md")
        let files = try FileManager.default.contentsOfDirectory(atPath: folder)
            .filter { $0.hasSuffix(".md") && $0 != "README.md" }
        #expect(files.count > 30)
        for file in files {
            let lines = try Self.text("Docs/decisions/" + file).split(
                separator: "\n", omittingEmptySubsequences: false)
            let number = try #require(Int(file.prefix(4)))
            let start = "# \(number). "
            #expect(lines[0].hasPrefix(start), "\(file) begins with \(lines[0])")
            let title = lines[0].dropFirst(start.count)
            let status = lines[2]
            let isSuperseded =
                status.wholeMatch(of: /Status: superseded by \[\d+\]\(.+\)\..*/) != nil
            #expect(status.hasPrefix("Status: accepted.") || isSuperseded, "\(file): \(status)")
            let row = "| \(number) | [\(title)](\(file)) | "
            #expect(
                index.contains(row + (isSuperseded ? "superseded" : "accepted")),
                "the index lacks \(row)")
        }
    }

    @Test func `the changelog begins with what is new, and its versions fall`() throws {
        let headings = try Self.text("CHANGELOG.md").split(separator: "\n").filter {
            $0.hasPrefix("## ")
        }
        let versions = headings.compactMap {
            $0.firstMatch(of: /^## \[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d{2}-\d{2}$/)
        }.map { [Int($0.output.1)!, Int($0.output.2)!, Int($0.output.3)!] }
        #expect(headings.first == "## [Unreleased]" || headings.count == versions.count)
        #expect(versions.count >= headings.count - 1 && !versions.isEmpty)
        for (newer, older) in zip(versions, versions.dropFirst()) {
            #expect(older.lexicographicallyPrecedes(newer))
        }
    }
}
