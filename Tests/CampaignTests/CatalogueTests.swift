// The catalogue of defects and its page.

import Foundation
import TestSupport
import Testing
import VolumeVerify

@Suite struct DefectCatalogueTests {
    @Test func `the page of defects is the catalogue`() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let page = try String(
            contentsOf: root.appendingPathComponent("Docs/defects.md"), encoding: .utf8)
        let lines = page.split(separator: "\n").map(String.init).filter { $0.hasPrefix("|") }
        #expect(lines == PrimaryDefect.table)
    }
}
