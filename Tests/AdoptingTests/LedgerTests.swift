// A store of somebody else's is explored through the public interface alone.

import Scenarios
import Testing
import Tidemark

@Suite struct LedgerTests {
    private func scenario(_ text: String) throws -> Scenario {
        try ScenarioReader.read(text, file: "ledger.yaml")
    }

    private let changed = """
        # Tags move while they are checked.
        store: {kind: catalogue}
        setup:
          - set 1 a 1
          - set 2 b 2
          - set 3 c 3
        damage:
          - missing tags 2:b
        run: {strategy: check, window: 1}
        writers:
          a:
            - set 1 a 9
            - remove 3 c
        expect:
          outcome: corrupt
          found: {tags: {missing: 1}}
          exact: false
        """

    private var options: ExploreOptions {
        var options = ExploreOptions()
        options.walks = 20
        return options
    }

    @Test func `all orders of a check and a writer are explored on it, and all pass`() throws {
        let runner = ScenarioRunner(directory: "/nowhere")
        let found = try runner.explore(try scenario(changed), options) { try LedgerStage($0) }
        #expect(found.failures.isEmpty, "\(found.failures.map(\.text))")
        #expect(found.isExhaustive && found.interleavings > 100 && found.crashesTried > 10)
        #expect(found.areFaultsComplete)
    }

    @Test(arguments: [Ledger.Mistake.forgetsRemovals, .staleSnapshots])
    func `a mistake of the store is found`(mistake: Ledger.Mistake) throws {
        let runner = ScenarioRunner(directory: "/nowhere")
        let found = try runner.explore(try scenario(changed), options) {
            try LedgerStage($0, mistake)
        }
        #expect(!found.failures.isEmpty)
    }

    @Test func `one order is replayed on it, and a name of another store is refused`() throws {
        let runner = ScenarioRunner(directory: "/nowhere")
        let scenario = try scenario(changed)
        let result = runner.replay(scenario, on: try LedgerStage(scenario), named: "ledger")
        #expect(result.failures.isEmpty, "\(result.failures) \(result.obstacle ?? "")")
        #expect(result.stage == "ledger" && result.steps > 10)
        let tree = try self.scenario(
            """
            # A file.
            setup:
              - create a
            """)
        #expect(throws: StageError.self) { try LedgerStage(tree) }
    }
}
