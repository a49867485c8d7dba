// The stage that is a catalogue.

import Bytes
import Foundation
import Testing
import Tidemark

@testable import Scenarios

@Suite struct CatalogueStageTests {
    private let text = """
        store: catalogue
        setup: [set 1 red 10, set 1 blue 20, set 2 red 30]
        """

    private func stage() throws -> CatalogueStage { try CatalogueStage(try scenario(text)) }

    private func transaction(_ text: String, isAborted: Bool = false) throws -> Transaction {
        let lines = text.split(separator: "\n").map { "  - \($0)" }.joined(separator: "\n")
        let operations = try scenario("store: catalogue\nsetup:\n\(lines)\n").setup
        return Transaction(operations, isAborted: isAborted)
    }

    @Test func `a commit is visible before it is reported, and reported when told`() throws {
        let stage = try stage()
        let hook = NotingHook()
        try stage.owner.atCommitBoundary { $0.attach(hook) }
        let before = try stage.owner.snapshot().commit
        try stage.begin(try transaction("set 3 green 5\nremove 1 blue"))
        #expect(try stage.owner.snapshot().commit == before)
        try stage.commit()
        #expect(try stage.owner.snapshot().commit == before + 1)
        #expect(hook.commits.isEmpty)
        try stage.report()
        #expect(hook.commits == [before + 1])
        #expect(hook.deltas == 4)
        for slot in [IndexSlot(0), IndexSlot(1)] {
            #expect(try stage.expected(slot, below: nil).count == 3)
            #expect(try Player.differences(stage, slot).isEmpty)
        }
    }

    @Test func `an aborted transaction leaves everything as it was, and is not reported`() throws {
        let stage = try stage()
        let hook = NotingHook()
        try stage.owner.atCommitBoundary { $0.attach(hook) }
        let digest = try stage.digest(), fingerprint = stage.fingerprint
        try stage.play(try transaction("remove 1 red", isAborted: true))
        #expect(try stage.digest() == digest)
        #expect(stage.fingerprint == fingerprint)
        #expect(hook.commits.isEmpty)
        try stage.begin(Transaction(try operations("create a")))
        #expect(throws: StageError.self) { try stage.commit() }
    }

    @Test func `a crash of the machine goes back to the last sync, one of the process does not`()
        throws
    {
        let stage = try stage()
        try stage.play(try transaction("set 4 red 1"))
        try stage.play(Transaction([], isSync: true))
        let durable = try stage.digest()
        let hook = NotingHook()
        try stage.owner.atCommitBoundary { boundary in
            boundary.attach(hook)
            _ = try boundary.requireGenerations().createGeneration(of: IndexSlot(0))
        }
        try stage.play(try transaction("remove 4 red"))
        let committed = try stage.digest()
        #expect(committed != durable)
        #expect(
            stage.crashFingerprint(isMachine: false) != stage.crashFingerprint(isMachine: true))
        try stage.crash(isMachine: false)
        #expect(try stage.digest() == committed)
        try stage.owner.atCommitBoundary { boundary in
            #expect(boundary.hooks.isEmpty)
            while try boundary.requireGenerations().reap(limit: 10) {}
        }
        #expect(try stage.generations(IndexSlot(0)) == [1])
        try stage.play(try transaction("set 9 red 1"))
        try stage.crash(isMachine: true)
        #expect(try stage.digest() == committed)
    }

    @Test func `damage is exactly what a check by threads finds`() throws {
        let damage = """
            damage:
              - missing tags 1:red
              - wrong tags 1:blue
              - stray tags 7:red
              - missing weights 2:red
              - wrong weights 1:red
              - stray weights 1:blue
            """
        let stage = try stage()
        for damage in try scenario(text + "\n" + damage).damage { try stage.damage(damage) }
        let run = Run(
            owner: stage.owner, indexes: [IndexSlot(0), IndexSlot(1)],
            store: try stage.makeSideStore(1), options: RunOptions(), clock: .system)
        let report = RunDriver(run).drive()
        #expect(report.outcome == .corrupt)
        for index in report.indexes {
            #expect(index.found.missing == 1, "\(index.name)")
            #expect(index.found.stray == 1, "\(index.name)")
            #expect(index.found.wrong == 1, "\(index.name)")
        }
    }

    @Test func `rewound it is as after the setup, and equal contents have one fingerprint`() throws
    {
        let stage = try stage()
        let digest = try stage.digest(), fingerprint = stage.fingerprint
        try stage.play(try transaction("set 8 red 1"))
        #expect(stage.fingerprint != fingerprint)
        let other = stage.fingerprint(of: try stage.owner.snapshot())
        try stage.play(try transaction("set 8 red 2"))
        #expect(stage.fingerprint(of: try stage.owner.snapshot()) != other)
        try stage.play(try transaction("set 8 red 1"))
        #expect(stage.fingerprint(of: try stage.owner.snapshot()) == other)
        stage.rewind()
        #expect(try stage.digest() == digest)
        #expect(stage.fingerprint == fingerprint)
    }

    @Test func `the end of a place lies right behind its record`() throws {
        let stage = try stage()
        let place = Place(path: Path(names: []), part: .tagging(item: 1, tag: "blue"))
        let end = try stage.end(of: place)
        #expect(try stage.expected(IndexSlot(0), below: end).count == 1)
        #expect(throws: StageError.self) { try stage.end(of: Place(path: Path(names: []))) }
    }
}
