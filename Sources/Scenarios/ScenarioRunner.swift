// What the command and the tests use: a scenario replayed, explored, sampled, shrunk.

internal import Bytes
internal import Catalogue
internal import Synchronization
package import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

/// What scenarios are played on.
public enum StageKind: String, Sendable, CaseIterable {
    case memory, volume
}

public struct ScenarioRunner: Sendable {
    /// A directory in which volumes are made, and removed again.
    public let directory: String
    /// Seconds that a failure may take to be made small. What counts otherwise is how many
    /// scenarios are tried, which does not depend on the machine.
    package var shrinkSeconds = 30.0
    package var mutants = Mutants()
    #if TIDEMARK_MUTANTS
    var ownerMutant: OwnerMutant?
    #endif

    public init(directory: String) { self.directory = directory }

    /// Plays `scenario` once, in its order.
    public func replay(
        _ scenario: Scenario, on kind: StageKind, isTraced: Bool = false
    ) -> ReplayResult {
        do {
            return play(
                scenario, on: try makeStage(scenario, kind), named: kind.rawValue,
                isTraced: isTraced, isOwnerMutant: isOwnerMutant)
        } catch {
            var result = ReplayResult()
            result.stage = kind.rawValue
            if let error = error as? StageError {
                result.failures.append("\(error)")
                return result
            }
            result.obstacle = "\(error)"
            return result
        }
    }

    /// Explores `scenario` in memory.
    public func explore(_ scenario: Scenario, _ options: ExploreOptions) throws -> Exploration {
        let stage = try makeExplorable(scenario), spare = try makeExplorable(scenario)
        return Explorer(
            scenario, on: stage, spare: spare, options: options, mutants: mutants,
            isOwnerMutant: isOwnerMutant
        ).explore()
    }

    /// Explores `scenario` on a stage of the caller's: all orders of its lanes, a crash at each
    /// state, a failure of each call.
    /// - Parameter makeStage: called twice: crashes are tried on a second stage while an order
    ///   goes on.
    /// - Throws: what `makeStage` throws. What is found is in the result.
    public func explore(
        _ scenario: Scenario, _ options: ExploreOptions,
        on makeStage: (Scenario) throws -> any ExplorableStage
    ) throws -> Exploration {
        Explorer(
            scenario, on: try makeStage(scenario), spare: try makeStage(scenario), options: options,
            mutants: mutants, isOwnerMutant: false
        ).explore()
    }

    /// Plays `scenario` once, in its order, on a stage of the caller's.
    /// - Parameter name: of the stage, for the result.
    public func replay(
        _ scenario: Scenario, on stage: any Stage, named name: String, isTraced: Bool = false
    ) -> ReplayResult {
        play(scenario, on: stage, named: name, isTraced: isTraced, isOwnerMutant: false)
    }

    private func play(
        _ scenario: Scenario, on stage: any Stage, named name: String, isTraced: Bool,
        isOwnerMutant: Bool
    ) -> ReplayResult {
        let start = RunClock.system.now()
        var result = ReplayResult()
        do {
            let player = try Player(
                scenario, on: stage, mutants: mutants, isOwnerMutant: isOwnerMutant)
            result = Replay(player, isTraced: isTraced).play()
            result.failures += try stage.close()
        } catch let error as StageError {
            result.failures.append("\(error)")
        } catch {
            result.obstacle = "\(error)"
        }
        result.stage = name
        result.seconds = Double(RunClock.system.now() - start) / 1e9
        return result
    }

    /// Walks at random through `scenario` on a real volume, with a crash in every other walk.
    public func sample(_ scenario: Scenario, walks: Int, seed: UInt64) -> Exploration {
        var result = Exploration()
        let counter = SituationCounter()
        let start = RunClock.system.now()
        for number in 0..<walks where result.failures.isEmpty {
            let seed = seed &+ UInt64(number)
            var failing = scenario
            do {
                let stage = try makeStage(scenario, .volume)
                let player = try Player(scenario, on: stage)
                player.observer = counter
                let walk = Walk(player, seed: seed)
                walk.crashRate = number % 2 == 1 ? 0.02 : 0
                defer { failing = walk.scenario() }
                try walk.play()
                result.crashesTried += walk.crashes
                let findings = try stage.close()
                if let first = findings.first { throw Violation(rule: "verify", text: first) }
            } catch {
                result.failures.append(
                    Exploration.Failure(text: "\(error) (SEED=\(seed))", scenario: failing))
            }
            result.walks += 1
            result.interleavings += 1
        }
        result.crashes = result.crashesTried
        result.steps = counter.steps
        result.situations = counter.counts
        result.seconds = Double(RunClock.system.now() - start) / 1e9
        return result
    }

    /// The smallest scenario that fails as `scenario` does when it is explored.
    public func shrink(_ scenario: Scenario, _ options: ExploreOptions) -> Exploration.Failure? {
        var quick = options
        quick.seconds = min(options.seconds, shrinkSeconds)
        quick.states = min(options.states, 20_000)
        let kind = rule(of: scenario, quick)
        var shrinker = Shrinker { candidate in
            guard let result = try? explore(candidate, quick), let first = result.failures.first,
                rule(first.text) == kind
            else { return nil }
            return (first.scenario, first.text)
        }
        let start = RunClock.system.now()
        shrinker.hasTime = { Double(RunClock.system.now() - start) / 1e9 < shrinkSeconds }
        return shrinker.shrink(scenario).map {
            var smallest = $0.scenario
            smallest.title = [
                "Found by exploration, and made as small as the failure allows:", $0.text,
            ]
            return Exploration.Failure(text: $0.text, scenario: smallest)
        }
    }

    private func rule(of scenario: Scenario, _ options: ExploreOptions) -> String? {
        (try? explore(scenario, options))?.failures.first.map { rule($0.text) }
    }

    /// The first word of a failure: what kind of failure it is.
    private func rule(_ text: String) -> String {
        String(text.prefix { $0 != ":" && $0 != " " })
    }

    // MARK: Stages

    private var isOwnerMutant: Bool {
        #if TIDEMARK_MUTANTS
        ownerMutant != nil
        #else
        false
        #endif
    }

    private func makeExplorable(_ scenario: Scenario) throws -> any ExplorableStage {
        switch scenario.store.kind {
        case .tree: try makeMemoryStage(scenario)
        case .catalogue: try CatalogueStage(scenario)
        case .unlocked: try makeUnlockedStage(scenario)
        }
    }

    private func makeMemoryStage(_ scenario: Scenario) throws -> MemoryStage {
        let stage = try MemoryStage(scenario)
        #if TIDEMARK_MUTANTS
        stage.tree.mutant = ownerMutant
        #endif
        return stage
    }

    private func makeUnlockedStage(_ scenario: Scenario) throws -> UnlockedStage {
        let stage = try UnlockedStage(scenario)
        #if TIDEMARK_MUTANTS
        stage.catalogue.mistake.withLock { $0 = ownerMutant?.unlocked }
        #endif
        return stage
    }

    func makeStage(_ scenario: Scenario, _ kind: StageKind) throws -> any Stage {
        switch (kind, scenario.store.kind) {
        case (.memory, .tree): return try makeMemoryStage(scenario)
        case (.volume, .tree): return try VolumeStage(scenario, directory: directory)
        case (_, .catalogue): return try CatalogueStage(scenario)
        case (_, .unlocked): return try makeUnlockedStage(scenario)
        }
    }
}
