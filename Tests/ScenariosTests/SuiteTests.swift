// The scenario files: each says why its race is hard, and passes in memory and on a volume.

import Foundation
import TestSupport
import Testing
import Tidemark

@testable import Scenarios

@Suite(.temporaryDirectory) struct SuiteTests {
    @Test(arguments: Suite.files)
    func `every scenario passes, in memory and on a volume`(file: String) throws {
        let scenario = try Suite.read(file)
        let runner = ScenarioRunner(directory: try temporaryDirectory())
        for kind in scenario.store.kind == .catalogue ? [StageKind.memory] : StageKind.allCases {
            let result = runner.replay(scenario, on: kind)
            #expect(result.failures == [], "\(file) on \(kind)")
            #expect(result.obstacle == nil, "\(file) on \(kind)")
        }
    }

    @Test(arguments: Suite.files)
    func `every scenario opens with two lines that say why it is hard`(file: String) throws {
        let scenario = try Suite.read(file)
        #expect(scenario.title.count >= 2, "\(file)")
    }

    @Test func `the suite has at least sixty scenarios, in folders by theme`() {
        #expect(Suite.files.count >= 60)
        #expect(Suite.files.allSatisfy { $0.contains("/") })
    }
}
