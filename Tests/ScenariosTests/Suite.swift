// The scenario files of this repository, for tests.

import Foundation

@testable import Scenarios

enum Suite {
    /// The folder `Scenarios`.
    static let folder =
        URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path + "/Scenarios"

    /// Paths relative to the folder, in order.
    static let files: [String] = {
        let all = (try? FileManager.default.subpathsOfDirectory(atPath: folder)) ?? []
        return all.filter { $0.hasSuffix(".yaml") }.sorted()
    }()

    static func read(_ file: String) throws -> Scenario {
        let text = try String(contentsOfFile: folder + "/" + file, encoding: .utf8)
        return try ScenarioReader.read(text, file: file)
    }
}
