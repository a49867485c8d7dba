// Recording: a run on threads, written as a scenario, replays to the same end.

import Bytes
import Foundation
import Synchronization
import TestSupport
import Testing
import Threads
import Tidemark
import Volume
import VolumeFormat

@testable import Scenarios

/// A volume in a directory of its own, for the length of a test.
@discardableResult
private func withVolume<R>(
    _ options: CreateOptions = CreateOptions(size: 64 << 20), _ body: (Volume) throws -> R
) throws -> R {
    let directory = try temporaryDirectory()
    try Volume.create(directory + "/v", options: options)
    let volume = try Volume.open(directory + "/v")
    defer { try? volume.close() }
    return try body(volume)
}

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// A writer whose names collide with those of others.
private final class Writer: @unchecked Sendable {
    private let number: Int
    private let volume: Volume
    private let recorder: Recorder
    private let directories: [InodeNumber]
    private var random: SplitMix64
    private var job = 0

    init(_ number: Int, _ volume: Volume, _ recorder: Recorder, _ directories: [InodeNumber]) {
        self.number = number
        self.volume = volume
        self.recorder = recorder
        self.directories = directories
        random = SplitMix64(seed: UInt64(number))
    }

    func run(jobs: Int) throws {
        for _ in 0..<jobs {
            job += 1
            try volume.perform { operations in
                for _ in 0..<8 { try self.operate(&operations) }
            }
        }
    }

    private func operate(_ operations: inout Operations) throws {
        let operation = choose()
        do { try operations.perform(operation) } catch is VolumeError {
            return
        } catch is StageError {
            return
        }
        recorder.note(operation, writer: number, job: job, commit: operations.commitUnderWay)
    }

    private func path() -> Path {
        Path(
            base: directories[Int.random(in: directories.indices, using: &random)],
            names: ["n\(Int.random(in: 0..<120, using: &random))"])
    }

    private func choose() -> Scenarios.Operation {
        let offset = UInt64.random(in: 0..<30, using: &random)
        let length = UInt64.random(in: 1...6, using: &random)
        switch Int.random(in: 0..<13, using: &random) {
        case 0...3: return .make(.create, path())
        case 4: return .unlink(path())
        case 5: return .link(path(), path())
        case 6: return .rename(.rename, path(), path())
        case 7: return .rename(.exchange, path(), path())
        case 8: return .map(.write, path(), offset: offset, length: length)
        case 9: return .map(.allocate, path(), offset: offset, length: length)
        case 10: return .map(.punch, path(), offset: offset, length: length)
        case 11: return .chown(path(), uid: UInt32(length), gid: 1, project: UInt32(length % 2))
        default: return .truncate(path(), offset)
        }
    }
}

@Suite(.temporaryDirectory) struct RecordTests {
    /// Names, holes in the numbers, a directory with a higher number than what is in it.
    private func fill(_ volume: Volume) throws {
        try volume.perform { operations in
            let a = try operations.create(.root, bytes("a")).number
            try operations.create(.root, bytes("gone"))
            let b = try operations.create(.root, bytes("b")).number
            try operations.symlink(.root, bytes("s"), to: bytes("anywhere"))
            let inner = try operations.makeDirectory(.root, bytes("inner")).number
            let outer = try operations.makeDirectory(.root, bytes("it's outer: @1")).number
            try operations.makeNode(outer, bytes("p"), .fifo)
            try operations.rename(.root, bytes("inner"), to: outer, bytes("inner"))
            try operations.rename(.root, bytes("a"), to: inner, bytes("recorded-1"))
            try operations.link(b, inner, bytes("b2"))
            try operations.unlink(.root, bytes("gone"))
            try operations.create(.root, bytes("gone too"))
            try operations.create(.root, bytes("gone"))
            try operations.unlink(.root, bytes("gone too"))
            try operations.reserve(a, [0..<8192], .written, size: 5000)
            try operations.allocate(a, 40960, 4096, .reserve(keepSize: false))
            try operations.truncate(b, to: 100_000)
            try operations.setAttributes(b, AttributeChanges(uid: 3, gid: 4, project: 5))
        }
    }

    @Test func `contents are made again, with the same inode numbers`() throws {
        try withVolume { volume in
            try fill(volume)
            var scenario = Scenario()
            scenario.setup = try Recorder.contents(of: volume)
            let text = ScenarioWriter.write(scenario)
            #expect(try ScenarioReader.read(text, file: "contents").setup == scenario.setup)
            try withVolumeStage(text) { stage in
                let made = try VolumePrimaries(try stage.volume.read())
                let wanted = try VolumePrimaries(try volume.read())
                #expect(made.inodes.keys.sorted() == wanted.inodes.keys.sorted())
                #expect(made.inodes.mapValues(\.type) == wanted.inodes.mapValues(\.type))
                #expect(
                    made.inodes.mapValues { QuotaShare($0) }
                        == wanted.inodes.mapValues { QuotaShare($0) })
                #expect(
                    try VolumeStage.contents(of: stage.volume).text
                        == VolumeStage.contents(of: volume).text)
                // The free numbers are the same, too.
                try stage.play("create x\ncreate y")
                try volume.perform { operations in
                    try operations.create(.root, bytes("x"))
                    try operations.create(.root, bytes("y"))
                }
                let after = try VolumePrimaries(try volume.read())
                #expect(
                    try VolumePrimaries(try stage.volume.read()).inodes.keys.sorted()
                        == after.inodes.keys.sorted())
            }
        }
    }

    @Test(
        arguments: [
            ["rmap"], ["parents", "rmap"], ["quota"], ["links", "parents", "quota", "rmap"],
        ], [1, 2])
    func `a run with writers is recorded, and replays to the same end`(
        indexes: [String], writers: Int
    ) throws {
        try withVolume { volume in
            let directories = try volume.perform { operations in
                [
                    try operations.makeDirectory(.root, bytes("one")).number,
                    try operations.makeDirectory(.root, bytes("two")).number,
                ]
            }
            let recorder = try Recorder(volume, writers: writers)
            let failures = Mutex<[String]>([])
            let threads = (0..<writers).map { number in
                let writer = Writer(number, volume, recorder, directories)
                return DedicatedThread(name: "writer") {
                    do { try writer.run(jobs: 150) } catch {
                        failures.withLock { $0.append("\(error)") }
                    }
                }
            }
            var reports: [RunReport] = []
            for _ in 0..<2 { reports.append(try repair(volume, recorder, indexes)) }
            for thread in threads { thread.join() }
            #expect(failures.withLock { $0 } == [])
            #expect(reports.allSatisfy { $0.outcome == .clean })
            let scenario = try recorder.finish(volume, title: ["A recording."])
            #expect(scenario.runs.count == 2)
            #expect(scenario.order.contains { $0.until == .step("commit") })
            try replay(scenario)
            // Of several jobs in one group a replay makes several commits.
            if writers == 1 { try expectSameRace(scenario, reports) }
        }
    }

    /// The windows of the replay meet the same changes as those of the live runs did.
    private func expectSameRace(_ scenario: Scenario, _ reports: [RunReport]) throws {
        let player = try Player(scenario, on: try MemoryStage(scenario))
        #expect(Replay(player, isTraced: false).play().failures == [])
        for (run, report) in zip(player.runs, reports) {
            #expect(run.run.report.windows == report.windows)
            #expect(run.run.report.elided == report.elided)
            // The live hook was closed a moment before it was detached.
            #expect(run.run.report.applied >= report.applied)
        }
    }

    private func repair(
        _ volume: Volume, _ recorder: Recorder, _ indexes: [String]
    ) throws -> RunReport {
        let slots = indexes.map { name in
            IndexSlot(volume.indexes.firstIndex { $0.name == name } ?? 0)
        }
        let recorded = recorder.beginRun(volume, slots, .rebuild)
        let run = Run(
            owner: recorded.owner, indexes: slots, store: MemoryStore(),
            options: recorded.options, clock: recorded.clock)
        return RunDriver(run).drive()
    }

    /// Through its text, on both stages.
    private func replay(_ scenario: Scenario) throws {
        let text = ScenarioWriter.write(scenario)
        let read = try ScenarioReader.read(text, file: "recording")
        let runner = ScenarioRunner(
            directory: try temporaryDirectory() + "/replay")
        for kind in StageKind.allCases {
            #expect(runner.replay(read, on: kind).failures == [], "\(kind)")
        }
        var other = read
        other.expect.digest = "another"
        #expect(runner.replay(other, on: .memory).failures.count == 1)
    }

    @Test func `without a repair it is the transactions that are recorded`() throws {
        try withVolume { volume in
            let recorder = try Recorder(volume, writers: 1)
            try Writer(0, volume, recorder, [.root]).run(jobs: 20)
            let scenario = try recorder.finish(volume, title: ["A recording."])
            #expect(scenario.runs.map(\.strategy) == [.check])
            try replay(scenario)
        }
    }

    @Test func `what a scenario can't say is no beginning`() throws {
        try withVolume { volume in
            _ = try volume.perform {
                try $0.makeNode(.root, bytes("d"), .characterDevice, device: 259)
            }
            #expect(throws: RecordError.self) { try Recorder(volume, writers: 1) }
        }
        try withVolume { volume in
            _ = try volume.perform { try $0.create(.root, [0xff, 0x41]) }
            let error = #expect(throws: RecordError.self) { try Recorder(volume, writers: 1) }
            #expect(error?.description.contains("fresh") == true)
        }
        try withVolume { volume in
            try volume.perform { operations in
                let inode = try operations.create(.root, bytes("a")).number
                try operations.allocate(inode, 0, 40960, .reserve(keepSize: true))
            }
            #expect(throws: RecordError.self) { try Recorder(volume, writers: 1) }
        }
        try withVolume { volume in
            try volume.perform { operations in
                for number in 0..<Recorder.maximumSetup {
                    try operations.create(.root, bytes("n\(number)"))
                }
            }
            #expect(throws: RecordError.self) { try Recorder(volume, writers: 1) }
        }
        var options = CreateOptions(size: 16 << 20)
        options.blockSize = 1024
        try withVolume(options) { volume in
            #expect(throws: RecordError.self) { try Recorder(volume, writers: 1) }
        }
    }

    @Test func `a recording is bounded, and one whose operations were lost is none`() throws {
        try withVolume { volume in
            let recorder = try Recorder(volume, writers: 1, limit: 100)
            try Writer(0, volume, recorder, [.root]).run(jobs: 40)
            #expect(recorder.failure == .tooLong(100))
            #expect(throws: RecordError.tooLong(100)) { try recorder.finish(volume, title: []) }
            let other = try Recorder(volume, writers: 1)
            other.lose()
            #expect(throws: RecordError.lost) { try other.finish(volume, title: []) }
        }
    }

    @Test func `windows are put where they were opened, also between visible and reported`()
        throws
    {
        try withVolume { volume in
            let recorder = try Recorder(volume, writers: 1)
            _ = recorder.beginRun(volume, [IndexSlot(0)], .rebuild)
            let path = Path(base: 1, names: ["a"])
            let place = { Place(path: Path(base: $0, names: [])) }
            let scanner = Turn.Lane.scanner(run: "run", number: 1), writer = Turn.Lane.writer("w1")
            recorder.note(step: "prepare", run: 0, commit: 3)
            recorder.note(.make(.create, path), writer: 0, job: 1, commit: 4)
            recorder.note(.unlink(path), writer: 0, job: 2, commit: 5)
            // Looked at before the first transaction, opened behind it; read when the second
            // was visible, and the next one opened when that had not been reported.
            recorder.note(windowOf: 0, last: place(7), looked: 3, opened: 4, read: 5)
            recorder.note(.make(.create, path), writer: 0, job: 3, commit: 6)
            recorder.note(windowOf: 0, last: place(9), looked: nil, opened: 4, read: 6)
            recorder.note(step: "cut", run: 0, commit: 6)
            let scenario = try recorder.finish(volume, title: [])
            #expect(
                scenario.order == [
                    Turn(.coordinator(run: "run"), .step("prepare")), Turn(scanner, .steps(1)),
                    Turn(writer, .steps(1)), Turn(scanner, .opened(place(7))),
                    Turn(writer, .step("commit")), Turn(scanner, .read(place(7))),
                    Turn(scanner, .opened(place(9))), Turn(writer, .step("report")),
                    Turn(writer, .steps(1)), Turn(scanner, .read(place(9))),
                    Turn(.coordinator(run: "run"), .step("cut")),
                ])
        }
    }
}
