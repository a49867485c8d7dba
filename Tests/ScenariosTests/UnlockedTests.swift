// The protocol for stores that nobody can lock, in simulation: the rules find nothing that is not
// so, and every deliberate mistake does.

import Bytes
import Testing
import Tidemark

@testable import Scenarios

@Suite struct UnlockedTests {
    @Test func `a simulation of a store that nobody can lock finds nothing`() throws {
        let runner = ScenarioRunner(directory: "/tmp")
        let result = runner.simulate(.unlocked, seeds: 1...160)
        if let failure = result.failure {
            Issue.record("SEED=\(failure.seed): \(failure.text)")
        }
        #expect(result.seeds == 160)
        // What it has to come to for that to say anything.
        for situation in [
            Situation.olderThanRead, .elidedBelow, .lossScanning, .lossComparing, .lossBehindLook,
            .lookedUpAgain, .judgementDeferred, .comparisonDeferred,
            .comparisonPaused, .unsettled, .manyWindows,
        ] {
            let place = Situation.allCases.firstIndex(of: situation) ?? 0
            #expect(result.situations[place] > 0, "never met: \(situation.rawValue)")
        }
    }
}

#if TIDEMARK_MUTANTS
/// The mistakes that only a store that nobody can lock shows: those of the model, and some more.
private let unlockedMutants: [AnyMutant] =
    [
        Mutant.stampedAfterRead, .lastToArriveWins, .tombstonesDropped, .olderThanReadApplied,
        .lossIgnored, .lossVoidsUpToItsBeginning, .voidEndsWithLoss, .comparedBeforeReread,
        .noWatermark, .candidatesAreFindings, .rereadIsNoNews,
        .comparedNarrowed,
        .withheldIsGone, .withheldAskedLate, .lookUpIsBelieved,
    ].map { .run($0) }
    + [OwnerMutant.readsWithoutLock, .tellsLossesAtTheirEnd].map { .owner($0) }

extension UnlockedTests {
    @Test(arguments: unlockedMutants)
    func `a simulation finds each deliberate mistake`(mutant: AnyMutant) throws {
        let result = mutant.runner.simulate(.unlocked, seeds: 1...20_000)
        let failure = try #require(result.failure, "the mutant survives")
        print("caught: \(mutant.testDescription) | SEED=\(failure.seed): \(failure.text)")
    }
}
#endif
