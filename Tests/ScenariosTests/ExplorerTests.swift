// The explorer, the shrinker and the simulation: that they cover what they say, find what is
// wrong, and say the same for the same seed.

import Testing
import Tidemark

@testable import Scenarios

@Suite struct ExplorerTests {
    private let runner = ScenarioRunner(directory: "/tmp")

    private func read(_ text: String) throws -> Scenario {
        try ScenarioReader.read(text, file: "test.yaml")
    }

    /// One file, one rename, one window at a time.
    private let small = """
        setup: [mkdir a, mkdir b, create a/f]
        run: {indexes: [parents], strategy: check}
        writers: {w: [rename a/f b/f]}
        """

    @Test func `all orders of a small scenario are covered, and counted`() throws {
        let result = try runner.explore(try read(small), ExploreOptions())
        #expect(result.failures.isEmpty)
        #expect(result.isExhaustive)
        #expect(result.walks == 0)
        // The three parts of the transaction among the scanner's steps alone are more.
        #expect(result.interleavings > 1000)
        #expect(result.crashes == 2 * result.states)
    }

    @Test func `the number of interleavings is that of the ways that can be walked`() throws {
        // Without a writer and with one record only assistant and coordinator can change places.
        let scenario = try read(
            """
            setup: [create f]
            run: {indexes: [parents], strategy: check, window: 9}
            """)
        var options = ExploreOptions()
        options.faults = false
        let counted = try runner.explore(scenario, options)
        var ways = 0
        func walk(_ order: [Int]) throws {
            let stage = try MemoryStage(scenario)
            let player = try Player(scenario, on: stage)
            for lane in order { try player.step(lane) }
            let choices = player.choices
            if choices.isEmpty { ways += 1 }
            for lane in choices { try walk(order + [lane]) }
        }
        try walk([])
        #expect(counted.interleavings == Double(ways))
        #expect(ways > 1)
    }

    @Test func `exploring twice finds the same`() throws {
        let scenario = try Suite.read("names/rename-file-ahead.yaml")
        var options = ExploreOptions()
        options.states = 300
        options.walks = 20
        let first = try runner.explore(scenario, options)
        let second = try runner.explore(scenario, options)
        #expect(first.interleavings == second.interleavings)
        #expect(first.steps == second.steps)
        #expect(first.situations == second.situations)
    }

    @Test(arguments: [
        "names/rename-file-ahead.yaml", "names/exchange-across-the-cursor.yaml",
        "summaries/both-sides-of-the-cursor.yaml", "summaries/killed-between-two-corrections.yaml",
        "scopes/killed-and-gone-on-with.yaml",
    ])
    func `a scenario is explored with its crashes and faults`(file: String) throws {
        var options = ExploreOptions()
        options.states = 500
        options.walks = 20
        let result = try runner.explore(try Suite.read(file), options)
        #expect(result.failures.map(\.text) == [], "\(file)")
        #expect(result.crashesTried > 10)
        #expect(result.faults > 50)
    }

    #if TIDEMARK_MUTANTS
    @Test func `a failure is made small, and its file fails by itself`() throws {
        var scenario = try read(
            """
            setup: [mkdir a, mkdir b, create a/f, create a/g, write a/f 0 4, create b/h]
            damage: [missing parents b:h]
            run: {strategy: rebuild, scanners: 2, window: 2, spill: 64, load-batch: 2}
            writers:
              v: [chmod a 700, [create a/x, create b/x]]
              w: [rename a/f b/f, unlink a/g]
            """)
        scenario.title = ["two", "lines"]
        var broken = runner
        broken.mutants = Mutants(.removalsDropped)
        broken.shrinkSeconds = .infinity
        var options = ExploreOptions()
        options.states = 300
        options.walks = 40
        options.crashes = false
        options.faults = false
        let found = try #require(try broken.explore(scenario, options).failures.first)
        let smallest = try #require(broken.shrink(found.scenario, options)).scenario
        let size = smallest.writers.reduce(0) { $0 + $1.transactions.count }
        #expect(size == 1)
        #expect(smallest.setup.count < scenario.setup.count)
        #expect(smallest.damage.isEmpty)
        let again = try read(ScenarioWriter.write(smallest))
        #expect(again.title.count == 2)
        #expect(!broken.replay(again, on: .memory).isPassed)
        #expect(runner.replay(again, on: .memory).isPassed)
        #expect(runner.replay(again, on: .volume).isPassed)
    }

    @Test func `a simulation finds a mistake, and its file fails by itself`() throws {
        var broken = runner
        broken.mutants = Mutants(.overlayMissesDeltas)
        var isRightWithout = false, seed: UInt64 = 1
        while !isRightWithout {
            let result = broken.simulate(seeds: seed...2000)
            let failure = try #require(result.failure, "no order can be played without it")
            let again = try read(ScenarioWriter.write(failure.scenario))
            #expect(!broken.replay(again, on: .memory).isPassed, "SEED=\(failure.seed)")
            // Without the mistake a run may take other steps, and the order can't be played.
            isRightWithout = runner.replay(again, on: .memory).isPassed
            seed = failure.seed + 1
        }
    }
    #endif

    @Test(arguments: [UInt64(1), 1001])
    func `a short simulation finds nothing, in memory and on volumes`(seed: UInt64) {
        let result = runner.simulate(seeds: seed...(seed + 149), volumeEvery: 30)
        if let failure = result.failure {
            Issue.record("SEED=\(failure.seed) \(failure.text)")
        }
        #expect(result.seeds == 150)
        #expect(result.crashes > 0 && result.faults > 0)
    }
}
