// A simulation: for each seed a scenario, an order, faults and crashes, all chosen by it. First
// the safety phase: anything may fail at any time, and after every step all invariants hold.
// Then the liveness phase: nothing fails any more, every lane must come to its end, and each run,
// begun anew, to a good one: its indexes exact, where it repairs.

internal import Bytes
internal import Tidemark

/// What came of a number of seeds.
public struct SimulationResult: Sendable {
    public internal(set) var seeds = 0
    public internal(set) var steps = 0
    public internal(set) var crashes = 0
    public internal(set) var faults = 0
    public internal(set) var refused = 0
    public internal(set) var seconds = 0.0
    /// How often each situation was met, in the order of `Situation.allCases`.
    public internal(set) var situations = [Int](repeating: 0, count: Situation.allCases.count)
    /// The first seed that failed, how, and the scenario to see it with.
    public internal(set) var failure: (seed: UInt64, text: String, scenario: Scenario)?
}

struct Simulation {
    let seed: UInt64
    let counter: SituationCounter
    let makeStage: (Scenario) throws -> any Stage
    var mutants = Mutants()
    var store = StoreDescription.Kind.tree

    struct Failed: Error {
        let text: String
        let scenario: Scenario
    }

    /// Plays one seed, and adds to `result` what came of it.
    func play(_ result: inout SimulationResult) throws {
        var generator = ScenarioGenerator(seed: seed)
        let isUnlocked = store == .unlocked
        let scenario = try isUnlocked ? generator.generateUnlocked() : generator.generate()
        var random = SplitMix64(seed: seed ^ 0x7f4a_7c15)
        let stage = try makeStage(scenario)
        let player = try Player(scenario, on: stage, mutants: mutants, toleratesRefusals: true)
        player.observer = counter
        let walk = Walk(player, seed: seed &* 0x9e37_79b9)
        let crashes = random.next(below: 3) == 0
        walk.crashRate = crashes && !isUnlocked ? 0.01 : 0
        if random.next(below: 2) == 0 {
            stage.faults.strike(rate: 0.004, random: SplitMix64(seed: seed &+ 1))
        }
        do {
            try walk.play()
            stage.faults.strike(rate: 0, random: random)
            for run in scenario.runs { try walk.restart(run.name) }
            try walk.play()
            try player.checkRecovered()
            result.refused += player.refused.count
            let findings = try stage.close()
            if let first = findings.first { throw Violation(rule: "verify", text: first) }
        } catch {
            var failing = walk.scenario()
            failing.faults = stage.faults.struck
            failing.expect = failing.expectationsOfAnyEnd
            throw Failed(text: "\(error)", scenario: failing)
        }
        result.crashes += walk.crashes
        result.faults += stage.faults.struck.count
    }
}

extension ScenarioRunner {
    /// Plays `seeds`, one after the other, until one fails or `seconds` have passed.
    /// - Parameters:
    ///   - store: what they are played on: a tree, or a store that nobody can lock.
    ///   - volumeEvery: every so many seeds a tree is played on a real volume; 0: none.
    public func simulate(
        _ store: StoreDescription.Kind = .tree, seeds: ClosedRange<UInt64>,
        seconds: Double = .infinity, volumeEvery: Int = 0,
        progress: (Int) -> Void = { _ in }
    ) -> SimulationResult {
        var result = SimulationResult()
        let counter = SituationCounter()
        let start = RunClock.system.now()
        for seed in seeds {
            guard Double(RunClock.system.now() - start) / 1e9 < seconds else { break }
            let isOnVolume = volumeEvery > 0 && seed % UInt64(volumeEvery) == 0
            let simulation = Simulation(
                seed: seed, counter: counter,
                makeStage: { try makeStage($0, isOnVolume ? .volume : .memory) },
                mutants: mutants, store: store)
            do {
                try simulation.play(&result)
            } catch let failed as Simulation.Failed {
                result.failure = (seed, failed.text, failed.scenario)
            } catch {
                result.failure = (seed, "\(error)", Scenario())
            }
            result.seeds += 1
            progress(result.seeds)
            if result.failure != nil { break }
        }
        result.steps = counter.steps
        result.situations = counter.counts
        result.seconds = Double(RunClock.system.now() - start) / 1e9
        return result
    }
}
