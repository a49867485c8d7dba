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

    /// What an invariant's violation begins with; else an expectation of the file was not met.
    private static let rules = [
        "I1", "I3", "I4", "I5", "load", "found", "outcome:", "reap:", "record:", "false finding:",
        "missed:",
    ]

    /// The first scenario in which it breaks an invariant, or else one whose expectations it
    /// does not meet, and what is said there.
    func catcher() throws -> (file: String, how: String, text: String)? {
        var unexpected: (file: String, how: String, text: String)?
        for (file, scenario) in AnyMutant.suite {
            guard let first = runner.replay(scenario, on: .memory).failures.first else { continue }
            let isInvariant = AnyMutant.rules.contains { first.hasPrefix($0) }
            if isInvariant { return (file, "replayed", first) }
            unexpected = unexpected ?? (file, "replayed", first)
        }
        var options = ExploreOptions()
        options.states = 1000
        options.walks = 0
        options.faults = false
        let suite = AnyMutant.suite
        let first = suite.filter { $0.file == unexpected?.file }
        let others = unexpected == nil ? suite.filter { $0.file.hasPrefix("load/") } : []
        for (file, scenario) in first + others {
            let result = try runner.explore(scenario, options)
            if let first = result.failures.first { return (file, "explored", first.text) }
        }
        return unexpected
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
