// The stage that is a real volume: what the player says happens, and nothing else.

import Bytes
import Foundation
import Synchronization
import TestSupport
import Testing
import Threads
import Tidemark
import Volume

@testable import Scenarios

/// A scenario from its text.
func scenario(_ text: String) throws -> Scenario {
    try ScenarioReader.read(text, file: "test.yaml")
}

/// The operations of a text, one a line.
func operations(_ text: String) throws -> [Scenarios.Operation] {
    let lines = text.split(separator: "\n").map { "  - \($0)" }.joined(separator: "\n")
    return try scenario("setup:\n\(lines)\n").setup
}

/// A stage in a directory of its own, closed afterwards, with nothing to be said against it.
func withVolumeStage<R>(_ text: String, _ body: (VolumeStage) throws -> R) throws -> R {
    let directory = try temporaryDirectory() + "/stage"
    let stage = try VolumeStage(try scenario(text), directory: directory)
    let result: R
    do {
        result = try body(stage)
    } catch {
        _ = try? stage.close()
        throw error
    }
    #expect(try stage.close() == [])
    #expect(!FileManager.default.fileExists(atPath: directory))
    return result
}

extension Stage {
    /// A transaction from its begin to its report.
    func play(_ transaction: Transaction) throws {
        try begin(transaction)
        try commit()
        try report()
    }

    func play(_ text: String) throws {
        for operation in try operations(text) { try play(Transaction([operation])) }
    }
}

/// Notes which commits it was told of, and how many deltas of the reverse map and the parent
/// pointers each had.
final class NotingHook: CommitHook, @unchecked Sendable {
    private(set) var commits: [UInt64] = []
    private(set) var deltas = 0

    func wants(_ index: IndexSlot) -> Bool { index.rawValue < 2 }
    func committed(
        _ commit: UInt64, by origin: CommitOrigin, deltas: borrowing DeltaBatch
    ) {
        commits.append(commit)
        self.deltas += deltas.count
    }
    func admit(within seconds: Double) -> Bool { true }
}

@Suite(.temporaryDirectory) struct VolumeStageTests {
    private func lines(_ stage: VolumeStage) throws -> [String] {
        let text = try VolumeStage.contents(of: stage.volume).text
        return String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    @Test func `each operation does what it says`() throws {
        try withVolumeStage("store: {kind: tree, blocks: 64}") { stage in
            try stage.play(
                """
                mkdir d
                create d/f
                write d/f 0 4
                allocate d/f 4 2
                punch d/f 1 1
                zero d/f 0 1
                symlink s
                fifo p
                link d/f g
                chmod g 0600
                mkdir e
                move p d/q
                exchange s d/q
                create x
                rename x g
                """)
            #expect(
                try lines(stage) == [
                    "/\tdirectory\t4\t", "/d\tdirectory\t2\t",
                    "/d/f\tfile\t1\t0+1:unwritten,2+2:written,4+2:unwritten", "/d/q\tsymlink\t1\t",
                    "/e\tdirectory\t2\t", "/g\tfile\t1\t", "/s\tfifo\t1\t",
                ])
            try stage.play(
                """
                truncate d/f 3
                unlink g
                unlink d/q
                rmdir e
                """)
            #expect(
                try lines(stage) == [
                    "/\tdirectory\t3\t", "/d\tdirectory\t2\t",
                    "/d/f\tfile\t1\t0+1:unwritten,2+1:written", "/s\tfifo\t1\t",
                ])
            for slot in [IndexSlot(0), IndexSlot(1)] {
                #expect(try Player.differences(stage, slot).isEmpty)
            }
        }
    }

    @Test func `paths are resolved in the transaction, also from an inode by its number`() throws {
        try withVolumeStage("setup: [mkdir a]") { stage in
            try stage.play(
                Transaction(try operations("mkdir a/b\ncreate a/b/c\nrename a/b z\nunlink z/c")))
            try stage.play("\"create #2/n\"\n\"create #3/m\"")
            #expect(
                try lines(stage).map { $0.split(separator: "\t")[0] } == [
                    "/", "/a", "/a/n", "/z", "/z/m",
                ])
        }
    }

    @Test func `a commit is visible before it is reported, and reported when told`() throws {
        try withVolumeStage("setup: [create a]") { stage in
            let hook = NotingHook()
            try stage.owner.atCommitBoundary { $0.attach(hook) }
            let before = try stage.owner.snapshot().commit
            try stage.begin(Transaction(try operations("create b")))
            #expect(try stage.owner.snapshot().commit == before)
            try stage.commit()
            #expect(try stage.owner.snapshot().commit == before + 1)
            #expect(hook.commits.isEmpty)
            try stage.report()
            #expect(hook.commits == [before + 1])
            #expect(hook.deltas == 1)
            #expect(try stage.owner.atCommitBoundary { $0.lastCommit } == before + 1)
        }
    }

    @Test func `boundary work passes the gate, and several hooks are told at one report`() throws {
        try withVolumeStage("setup: [create a]") { stage in
            let hooks = [NotingHook(), NotingHook()]
            try stage.owner.atCommitBoundary { boundary in
                for hook in hooks { boundary.attach(hook) }
                _ = try boundary.requireGenerations().createGeneration(of: IndexSlot(0))
            }
            #expect(hooks.map(\.commits.count) == [1, 1])
            try stage.begin(Transaction(try operations("create b")))
            try stage.commit()
            #expect(hooks.map(\.commits.count) == [1, 1])
            try stage.report()
            #expect(hooks.map(\.commits.count) == [2, 2])
            try stage.owner.atCommitBoundary { boundary in
                for hook in hooks { boundary.detach(hook) }
            }
            #expect(try stage.owner.atCommitBoundary { $0.hooks.count } == 0)
            #expect(try stage.generations(IndexSlot(0)) == [1, 2])
        }
    }

    @Test(arguments: [false, true])
    func `an aborted transaction leaves everything as it was`(isHooked: Bool) throws {
        try withVolumeStage("setup: [create a, write a 0 4]") { stage in
            let hook = NotingHook()
            if isHooked { try stage.owner.atCommitBoundary { $0.attach(hook) } }
            let digest = try stage.digest()
            try stage.play(
                Transaction(try operations("unlink a\ncreate b\nwrite b 0 2"), isAborted: true))
            #expect(try stage.digest() == digest)
            #expect(hook.commits.isEmpty)
            try stage.play("create c")
            #expect(stage.reusedInodes.isEmpty)
            #expect(hook.commits.count == (isHooked ? 1 : 0))
        }
    }

    @Test func `a refused operation undoes all of its transaction`() throws {
        try withVolumeStage("setup: [create a]") { stage in
            let digest = try stage.digest()
            try stage.begin(Transaction(try operations("create b\nwrite b 0 2\ncreate a")))
            let error = #expect(throws: StageError.self) { try stage.commit() }
            #expect(error?.description.contains("exists already") == true)
            #expect(try stage.digest() == digest)
            for text in ["unlink x", "create x/y", "close a", "write a 0 5000", "rmdir a"] {
                try stage.begin(Transaction(try operations(text)))
                #expect(throws: StageError.self, "\(text)") { try stage.commit() }
            }
            #expect(throws: StageError.self) {
                try stage.begin(Transaction(try operations("open a\ncreate b")))
            }
            try stage.play("create b")
        }
    }

    @Test func `an open inode lives without a name until it is closed`() throws {
        try withVolumeStage("setup: [create a, write a 0 4]") { stage in
            let hook = NotingHook()
            try stage.owner.atCommitBoundary { $0.attach(hook) }
            try stage.play("open a\nunlink a\ncreate b")
            #expect(try stage.expected(IndexSlot(0), below: nil).count == 2)
            let told = hook.commits.count
            try stage.begin(Transaction(try operations("close a")))
            try stage.commit()
            #expect(try stage.expected(IndexSlot(0), below: nil).count == 1)
            #expect(hook.commits.count == told)
            try stage.report()
            #expect(hook.commits.count == told + 1)
            try stage.play("create c")
            #expect(stage.reusedInodes == [2])
        }
    }

    @Test func `a crash of the process keeps what was committed`() throws {
        try withVolumeStage("setup: [create a]") { stage in
            try stage.play("create b\nopen b\nunlink b")
            let digest = try stage.digest()
            let hook = NotingHook()
            try stage.owner.atCommitBoundary { boundary in
                boundary.attach(hook)
                _ = try boundary.requireGenerations().createGeneration(of: IndexSlot(1))
            }
            try stage.begin(Transaction(try operations("create lost")))
            try stage.crash(isMachine: false)
            #expect(try stage.digest() == digest)
            #expect(try stage.owner.atCommitBoundary { $0.hooks.count } == 0)
            #expect(try stage.generations(IndexSlot(1)) == [1])
            try stage.play("create c")
            #expect(hook.commits.count <= 1)
        }
    }

    @Test func `a crash between visible and reported keeps the commit, and tells nobody`() throws {
        try withVolumeStage("setup: [create a]") { stage in
            let hook = NotingHook()
            try stage.owner.atCommitBoundary { $0.attach(hook) }
            try stage.begin(Transaction(try operations("create kept")))
            try stage.commit()
            let digest = try stage.digest()
            try stage.crash(isMachine: false)
            #expect(try stage.digest() == digest)
            try stage.play("create c")
        }
    }

    @Test func `a crash of the machine loses what was not durable`() throws {
        try withVolumeStage("setup: [create a]") { stage in
            try stage.play("create b")
            try stage.play(Transaction([], isSync: true))
            let digest = try stage.digest()
            try stage.play("create c\nunlink a\nwrite b 0 3")
            try stage.begin(Transaction(try operations("create lost")))
            try stage.commit()
            try stage.crash(isMachine: true)
            #expect(try stage.digest() == digest)
            try stage.play("create d")
            let later = try stage.digest()
            try stage.crash(isMachine: false)
            #expect(try stage.digest() == later)
            // Opening the volume has made all of it durable.
            try stage.crash(isMachine: true)
            #expect(try stage.digest() == later)
        }
    }

    static let damage = """
        store: {kind: tree, blocks: 4096}
        setup: [mkdir d, create d/f, write d/f 0 4, create d/g, create h, write h 2 2]
        damage:
          - missing parents d:f
          - wrong parents d:g
          - stray parents d:ghost
          - missing rmap d/f@2
          - wrong rmap h@3
          - stray rmap h@9
        """

    @Test func `damage is exactly what a check by threads finds`() throws {
        try withVolumeStage(Self.damage) { stage in
            for damage in try scenario(Self.damage).damage { try stage.damage(damage) }
            var options = RunOptions()
            options.strategy = .check
            let run = Run(
                owner: stage.owner, indexes: [IndexSlot(0), IndexSlot(1)],
                store: try stage.makeSideStore(1), options: options, clock: .system)
            let report = RunDriver(run).drive()
            #expect(report.outcome == .corrupt)
            for index in report.indexes {
                #expect(index.found.missing == 1)
                #expect(index.found.stray == 1)
                #expect(index.found.wrong == 1)
            }
            #expect(try Player.differences(stage, IndexSlot(0)).count == 3)
        }
    }

    @Test func `damage survives crashes, and impossible damage is refused`() throws {
        try withVolumeStage(Self.damage) { stage in
            let damage = try scenario(Self.damage).damage
            for damage in damage { try stage.damage(damage) }
            try stage.crash(isMachine: true)
            #expect(try Player.differences(stage, IndexSlot(0)).count == 3)
            #expect(try Player.differences(stage, IndexSlot(1)).count == 3)
            for damage in damage where damage.kind != .wrong {
                #expect(throws: StageError.self, "\(damage)") { try stage.damage(damage) }
            }
        }
    }

    @Test func `faults strike where they are planned`() throws {
        let text = """
            setup: [create a]
            faults:
              - snapshot, call 2: i/o error
            """
        try withVolumeStage(text) { stage in
            stage.faults.isArmed = true
            _ = try stage.owner.snapshot()
            #expect(throws: (any Error).self) { try stage.owner.snapshot() }
            #expect(stage.faults.struck.count == 1)
            stage.faults.isArmed = false
        }
    }

    @Test func `the end of a place lies right behind its records`() throws {
        try withVolumeStage("setup: [mkdir d, create d/f, write d/f 3 4]") { stage in
            let path = Path(names: ["d"])
            let all = try stage.end(of: Place(path: path))
            #expect(all.array == [0, 0, 0, 0, 0, 0, 0, 3])
            let entry = try stage.end(of: Place(path: path, part: .entry("f")))
            #expect(entry.array == [0, 0, 0, 0, 0, 0, 0, 2, 2, 0x66, 0])
            let extent = try stage.end(
                of: Place(path: Path(names: ["d", "f"]), part: .extent(5)))
            #expect(extent.array == [0, 0, 0, 0, 0, 0, 0, 3, 3, 0] + [0, 0, 0, 0, 0, 0, 0, 3, 0])
            #expect(throws: StageError.self) {
                try stage.end(of: Place(path: Path(names: ["none"])))
            }
            #expect(try stage.expected(IndexSlot(1), below: entry).count == 2)
            #expect(try stage.expected(IndexSlot(0), below: entry).count == 1)
        }
    }

    /// A stage that loses its patience when the test says so.
    private func withStage(_ body: (VolumeStage, ManualClock) throws -> Void) throws {
        let directory = try temporaryDirectory() + "/stage", clock = ManualClock()
        let stage = try VolumeStage(
            try scenario("setup: [create a]"), directory: directory, clock: clock)
        defer { #expect(!FileManager.default.fileExists(atPath: directory)) }
        try body(stage, clock)
    }

    /// Lets so much time pass for whoever waits next that it gives up.
    private func losePatience(_ who: String, _ clock: ManualClock) -> ThreadTask<Void> {
        ThreadTask {
            _ = try #require(clock.untilWaiting([who], within: patience))
            clock.advance(by: 3600)
        }
    }

    @Test func `a boundary asked for in a transaction ends it, and nobody waits for good`() throws {
        try withStage { stage, clock in
            let digest = try stage.digest()
            try stage.begin(Transaction(try operations("create b")))
            let giving = losePatience("volume", clock)
            #expect(try stage.owner.atCommitBoundary { $0.hooks.count } == 0)
            try giving.value()
            #expect(throws: VolumeError.self) { try stage.commit() }
            #expect(try stage.digest() == digest)
            try stage.play("create c")
            #expect(try stage.close() == [])
        }
    }

    @Test func `a hook that never admits a writer is an error, not a standstill`() throws {
        try withStage { stage, clock in
            let hook = StubbornHook()
            try stage.owner.atCommitBoundary { $0.attach(hook) }
            let transaction = Transaction(try operations("create b"))
            for step in [{ try stage.begin(transaction) }, { _ = try stage.close() }] {
                let giving = losePatience("player", clock)
                #expect(throws: StageTimeout.self) { try step() }
                try giving.value()
            }
            hook.admits.store(true, ordering: .relaxed)
        }
    }
}

/// Lets nobody write.
private final class StubbornHook: CommitHook {
    let admits = Atomic<Bool>(false)

    func wants(_ index: IndexSlot) -> Bool { false }
    func committed(
        _ commit: UInt64, by origin: CommitOrigin, deltas: borrowing DeltaBatch
    ) {}
    func admit(within seconds: Double) -> Bool { admits.load(ordering: .relaxed) }
}
