// The states of runs: every state, and every move between two of them, is met by a scenario file.

import Testing
import Tidemark

@testable import Scenarios

@Suite struct StateTests {
    private static let moves: [RunMove] = RunState.allCases.flatMap { from in
        RunState.allCases.filter { from != $0 && from.mayBecome($0) }.map {
            RunMove(from: from, to: $0)
        }
    }

    /// Between two commits of one step, where no turn of an order comes.
    private static let withinAStep = RunMove(from: .prepared, to: .crashed)

    @Test func `the suite meets every state, and every move between two of them`() throws {
        let runner = ScenarioRunner(directory: "/tmp")
        var met: Set<RunMove> = []
        for file in Suite.files {
            met.formUnion(runner.replay(try Suite.read(file), on: .memory).moves)
        }
        let missing = Self.moves.filter { !met.contains($0) && $0 != Self.withinAStep }
        #expect(missing == [])
        #expect(met.subtracting(Self.moves) == [])
    }

    @Test func `a run that was entered and has not begun is found as crashed`() throws {
        let scenario = try ScenarioReader.read(
            "{setup: [create a], run: {indexes: [parents], resumable: true}}", file: "test.yaml")
        let stage = try MemoryStage(scenario)
        let player = try Player(scenario, on: stage)
        let coordinator = try #require(player.lanes.firstIndex(of: .coordinator(run: "run")))
        try player.step(coordinator)
        try player.crash(isMachine: false, afterCommits: 1)
        let record = try #require(
            try stage.owner.atCommitBoundary { try $0.requireJournal().runs() }.first)
        #expect(record.state == .crashed && record.reason?.contains("prepared") == true)
        try player.resume("run")
        try player.finish { try player.step($0) }
        try player.checkEnd()
        #expect(player.runs[0].run.report.outcome == .clean)
    }

    @Test
    func `a process that dies in the step that appends leaves no batch that lacks a change`()
        throws
    {
        let scenario = try Suite.read("resume/read-again-in-an-interrupted-load.yaml")
        let stage = try MemoryStage(scenario)
        let player = try Player(scenario, on: stage)
        func lane(_ lane: Turn.Lane) throws -> Int {
            try #require(player.lanes.firstIndex(of: lane))
        }
        let coordinator = try lane(.coordinator(run: "run"))
        try player.step(coordinator)
        for _ in 0..<3 { try player.step(try lane(.checkpoint(run: "run"))) }
        while player.runs[0].coordinator.next != .load {
            let next = player.lanes.indices.last {
                !player.lanes[$0].isWriter && player.canStep($0)
            }
            try player.step(try #require(next))
        }
        for _ in 0..<3 { try player.step(try lane(.writer("w"))) }
        try player.step(coordinator)
        #expect(stage.commitsInStep > 1)
        try player.crash(isMachine: false, afterCommits: 1)
        try player.check()
        try player.goOn("run")
        try player.finish {
            try player.step($0)
            try player.check()
        }
        try player.checkEnd()
        #expect(player.runs[0].run.report.indexes[0].recheck?.total == 0)
    }
}
