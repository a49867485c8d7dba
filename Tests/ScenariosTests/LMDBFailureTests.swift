// Every call of liblmdb that writes fails once, on a real volume and in its side files, while a
// scenario is played: a put, a delete, a commit, the beginning of a transaction; for want of
// room, of memory, or by an error of the disk. Writers may be refused then, wholly; a run may be
// aborted; and when nothing fails any more a new run makes all well, as the witness sees it.

import Foundation
import LMDB
import TestSupport
import Testing
import Tidemark

@testable import Scenarios

#if TIDEMARK_MUTANTS
@Suite(.temporaryDirectory) struct LMDBFailureTests {
    /// Plays the scenario with one failure.
    /// - Returns: how many calls there were of each kind.
    private func play(
        _ scenario: Scenario, _ plan: CallFailures.Plan?, in folder: String
    ) throws -> [CallFailures.Call: Int] {
        let failures = CallFailures()
        CallFailures.register(failures, below: folder)
        defer { CallFailures.register(nil, below: folder) }
        let stage = try VolumeStage(scenario, directory: folder)
        let player = try Player(scenario, on: stage, toleratesRefusals: true)
        failures.begin(plan)
        let walk = Walk(player, seed: 7)
        try walk.play()
        failures.end()
        let counts = failures.counts
        for run in scenario.runs { try walk.restart(run.name) }
        try walk.play()
        try player.checkRecovered()
        #expect(try stage.close() == [])
        return counts
    }

    @Test(arguments: [
        "names/rename-file-ahead.yaml", "load/blocks-change-hands.yaml",
        "patch/changed-between-look-and-patch.yaml",
    ])
    func `a failure of any call of liblmdb leaves a volume that a new run makes well`(
        file: String
    ) throws {
        let folder = try temporaryDirectory()
        var scenario = try Suite.read(file)
        scenario.order = []
        let counts = try play(scenario, nil, in: folder)
        let codes: [LMDBError.Code] = [.mapFull, .system(ENOMEM), .system(EIO)]
        var tried = 0
        for call in CallFailures.Call.writing {
            let count = try #require(counts[call], "\(call) is never called")
            // Where there are many, every third.
            for number in stride(from: 1, through: count, by: count > 40 ? 3 : 1) {
                let plan = CallFailures.Plan(call, number: number, code: codes[number % 3])
                do { _ = try play(scenario, plan, in: folder) } catch {
                    Issue.record("\(file): \(call) \(number): \(error)")
                }
                tried += 1
            }
        }
        #expect(tried > 12)
    }
}
#endif
