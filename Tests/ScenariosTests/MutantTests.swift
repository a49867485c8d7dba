// Every deliberate mistake is caught: by the replay of a scenario in the order of its file, or
// else by exploring one.

import Testing
import Tidemark

@testable import Scenarios

#if TIDEMARK_MUTANTS
/// A mistake of a run, or of the owner.
enum AnyMutant: CustomTestStringConvertible, Sendable, CaseIterable {
    case run(Mutant)
    case owner(OwnerMutant)

    static var allCases: [AnyMutant] {
        Mutant.allCases.map { .run($0) } + OwnerMutant.allCases.map { .owner($0) }
    }

    var testDescription: String {
        switch self {
        case .run(let mutant): mutant.rawValue
        case .owner(let mutant): "owner: \(mutant.rawValue)"
        }
    }

    var runner: ScenarioRunner {
        var runner = ScenarioRunner(directory: "/tmp")
        switch self {
        case .run(let mutant): runner.mutants = Mutants(mutant)
        case .owner(let mutant): runner.ownerMutant = mutant
        }
        return runner
    }

    /// The scenarios that pass where nobody makes a mistake.
    private static let suite: [(file: String, scenario: Scenario)] = {
        let plain = ScenarioRunner(directory: "/tmp")
        return Suite.files.compactMap { file in
            guard let scenario = try? Suite.read(file),
                plain.replay(scenario, on: .memory).isPassed
            else { return nil }
            return (file, scenario)
        }
    }()

    /// The first scenario that catches it, and what is said there.
    func catcher() throws -> (file: String, how: String, text: String)? {
        for (file, scenario) in AnyMutant.suite {
            let result = runner.replay(scenario, on: .memory)
            if let first = result.failures.first { return (file, "replayed", first) }
        }
        var options = ExploreOptions()
        options.states = 1000
        options.walks = 0
        options.faults = false
        for (file, scenario) in AnyMutant.suite where file.hasPrefix("load/") {
            let result = try runner.explore(scenario, options)
            if let first = result.failures.first { return (file, "explored", first.text) }
        }
        return nil
    }
}

@Suite struct MutantTests {
    @Test(arguments: AnyMutant.allCases)
    func `every deliberate mistake is caught by a scenario`(mutant: AnyMutant) throws {
        let caught = try #require(try mutant.catcher(), "the mutant survives")
        print("caught: \(mutant.testDescription) | \(caught.file) (\(caught.how)): \(caught.text)")
    }
}
#endif
