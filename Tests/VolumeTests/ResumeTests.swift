// Runs that are cut off anywhere, by the death of the process or of the machine, and go on.

import Bytes
import Foundation
import Synchronization
import TestSupport
import Testing
import Tidemark
import VolumeFormat
import VolumeIndexes
import VolumeVerify

@testable import Volume

private let all = [
    VolumeSlots.rmap, VolumeSlots.parents, VolumeSlots.quota, VolumeSlots.links,
]

/// Thrown between two steps: nothing of the process goes on.
private struct Crash: Error {}

/// A volume that makes nothing durable by itself, and tells when it was made so: the test has to
/// know what a failure of the machine leaves.
private final class QuietOwner: ExactOwner {
    private let volume: Volume
    /// What the metadata held when the run has made it durable, until the test takes note.
    let durable = Mutex<[UInt8]?>(nil)

    init(_ volume: Volume) { self.volume = volume }

    var label: String { volume.label }
    var indexes: [any SecondaryIndex] { volume.indexes }
    var durableCommit: UInt64 { volume.durableCommit }
    func snapshot() throws -> any OwnerSnapshot { try volume.snapshot() }
    func askForDurability() {}

    func makeDurable() throws {
        try volume.makeDurable()
        let bytes = try [UInt8](Data(contentsOf: URL(filePath: volume.path + "/meta.mdb")))
        durable.withLock { $0 = bytes }
    }

    func atCommitBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R { try volume.atCommitBoundary(body) }
}

/// A volume, its writers and its run, over any number of crashes.
private struct Life {
    let directory: String
    let strategy: Strategy
    /// Whether the run is limited to all that is below the root, and what that came to.
    let isScoped: Bool
    var scope: Scope?
    var random: SplitMix64
    var writer: SummaryWriter
    /// The writer at the last durable point.
    var durableWriter: SummaryWriter
    /// What the files held when they were last made durable.
    var older: [String: [UInt8]] = [:]
    var lives = 0
    /// How often the run went on, and how often it began anew after a crash.
    var resumed = 0, restarted = 0
    /// Primary records that were read before, by the checkpoints that runs went on from.
    var spared = 0

    private static let pageSize = 4096

    init(
        _ directory: String, _ strategy: Strategy, isScoped: Bool = false, seed: UInt64
    ) throws {
        self.isScoped = isScoped
        self.directory = directory
        self.strategy = strategy
        random = SplitMix64(seed: seed)
        writer = SummaryWriter(seed: seed)
        writer.unlinks = false
        durableWriter = writer
        try Volume.create(path, options: CreateOptions(size: 64 << 20))
    }

    var path: String { "\(directory)/v\(lives)" }

    private func read(_ path: String) -> [UInt8] {
        (try? Data(contentsOf: URL(fileURLWithPath: path))).map { [UInt8]($0) } ?? []
    }

    // MARK: One life

    /// Opens the volume, writes, and works on the run until its end or a crash.
    /// - Returns: the report, or nil where it crashed.
    mutating func live(steps: Int?, machine: Bool) throws -> RunReport? {
        let identity = "boot \(machineLives)"
        do {
            let report = try withOpen(
                path,
                {
                    $0.durableSeconds = 1000
                    $0.bootIdentity = identity
                }
            ) { volume -> RunReport in
                if lives == 0 { try begin(volume) }
                if lives > 0 { try writer.write(volume, operations: number(0...6)) }
                do {
                    return try work(volume, steps)
                } catch is Crash {
                    // A point that a checkpoint has asked for is made by a thread, at any moment:
                    // what it covers is only known once it is there.
                    if machine, isPointAsked { try sync(volume) }
                    try copy(machine)
                    throw Crash()
                }
            }
            return report
        } catch is Crash {
            lives += 1
            if machine {
                machineLives += 1
                writer = durableWriter
            }
            return nil
        }
    }

    private var machineLives = 0
    /// Whether a durable point may have been made since the last one that was waited for.
    private var isPointAsked = false

    private mutating func number(_ range: ClosedRange<Int>) -> Int {
        Int.random(in: range, using: &random)
    }

    private mutating func begin(_ volume: Volume) throws {
        try writer.write(volume, operations: 250)
        for (place, index) in volume.indexes.enumerated() {
            _ = try volume.damage(
                index: index.name, count: [5, 9, 3, 4][place],
                kind: index.name == "links" ? .wrong : .mixed, seed: random.next())
        }
        if isScoped { scope = try volume.read().scope(.subtree("/")) }
        try sync(volume)
    }

    private mutating func sync(_ volume: Volume) throws {
        try volume.sync()
        isPointAsked = false
        older["meta.mdb"] = read(path + "/meta.mdb")
        durableWriter = writer
    }

    /// Begins the run, or goes on with it.
    private mutating func work(_ volume: Volume, _ steps: Int?) throws -> RunReport {
        let record = try volume.runs().last { $0.state.isResumable }
        if lives > 0, let record {
            #expect(record.state == .crashed && record.number == 1)
        }
        let owner = QuietOwner(volume)
        var stepped = try open(volume, owner, record)
        var left = steps ?? .max
        return try stepped.finish { [run = stepped.run] _ in
            if let bytes = owner.durable.withLock({ $0.take() }) {
                older["meta.mdb"] = bytes
                durableWriter = writer
            }
            left -= 1
            if left == 0 { throw Crash() }
            if number(0...2) == 0 { try writer.write(volume) }
            if number(0...5) == 0, run.mayBeginCheckpoint {
                try run.beginCheckpoint()
                isPointAsked = true
            }
            if number(0...7) == 0 { try sync(volume) }
            if number(0...2) == 0, run.maySaveCheckpoint {
                try run.saveCheckpoint()
                let side = volume.sideFilePath(run: 1)
                older["side"] = read(side)
            }
        }
    }

    private mutating func open(
        _ volume: Volume, _ owner: QuietOwner, _ record: RunRecord?
    ) throws -> SteppedRun {
        let seed = random.next(), path = volume.sideFilePath(run: 1)
        let identity = SideFile.Identity(owner: volume.geometry.identity, run: 1)
        func stepped(_ store: any SideStore, _ keeping: Keeping) -> SteppedRun {
            let slots = isScoped ? VolumeScope.subtree("/").indexes : all
            // A run that goes on knows its scope from its checkpoint.
            let given = keeping.isNew ? scope : nil
            return SteppedRun(
                owner, slots, strategy, seed: seed, store: store, keeping: keeping
            ) {
                $0.scope = given
                $0.patchEntries = 3
                $0.replayDeltas = 7
            }
        }
        if let record {
            do {
                let (file, checkpoint) = try SideFile.open(path: path, identity: identity)
                let why = Keeping.refusal(
                    record, checkpoint, lastCommit: try volume.read().commit,
                    indexes: volume.indexes)
                #expect(why == nil)
                resumed += 1
                spared += checkpoint.recordsRead
                return stepped(file, Keeping(record, from: checkpoint))
            } catch SideFileError.lost {
                restarted += 1
            }
        }
        let new = RunRecord(
            number: 1, indexes: isScoped ? ["rmap", "parents"] : volume.indexes.map(\.name),
            strategy: strategy, scope: scope?.label)
        let file = try SideFile(path: path, identity: identity)
        return stepped(file, Keeping(new: record ?? new))
    }

    // MARK: Crashes

    /// The files as they are, or as a failure of the system may leave them: of the pages written
    /// since they were last made durable, any are on the disk and the others as they were.
    private mutating func copy(_ isMachine: Bool) throws {
        let target = "\(directory)/v\(lives + 1)"
        try FileManager.default.copyItem(atPath: path, toPath: target)
        for name in try FileManager.default.contentsOfDirectory(atPath: target + "/runs")
        where name.hasSuffix("-lock") {
            try FileManager.default.removeItem(atPath: target + "/runs/" + name)
        }
        try? FileManager.default.removeItem(atPath: target + "/meta.mdb-lock")
        guard isMachine else { return }
        try tear(target + "/meta.mdb", older["meta.mdb"] ?? [])
        let side = target + "/runs/run-1.mdb"
        if FileManager.default.fileExists(atPath: side) { try tear(side, older["side"] ?? []) }
    }

    private mutating func tear(_ file: String, _ older: [UInt8]) throws {
        var torn = read(file)
        for start in stride(from: 0, to: torn.count, by: Life.pageSize)
        where Bool.random(using: &random) {
            for index in start..<min(start + Life.pageSize, torn.count) {
                torn[index] = index < older.count ? older[index] : 0
            }
        }
        try Data(torn).write(to: URL(fileURLWithPath: file))
    }
}

@Suite(.temporaryDirectory) struct ResumeTests {
    @Test(arguments: [false, true], 1...20 as ClosedRange<UInt64>)
    func `a run that is cut off anywhere goes on, and ends exact`(
        machine: Bool, seed: UInt64
    ) throws {
        try withDirectory { directory in
            let strategy: Strategy = seed % 2 == 0 ? .rebuild : .patch
            var life = try Life(directory, strategy, seed: seed &* 7919)
            var random = SplitMix64(seed: seed)
            var report: RunReport?
            for _ in 0..<4 where report == nil {
                report = try life.live(
                    steps: Int.random(in: 5...700, using: &random), machine: machine)
            }
            let last = try report ?? life.live(steps: nil, machine: machine)
            let context: Comment = """
                SEED=\(seed) machine=\(machine) \(life.lives) lives, \(life.resumed) resumed: \
                \(last.map { "\($0.outcome) \($0.reason ?? "") \($0.primaryDefects)" } ?? "")
                """
            let ended = try #require(last, context)
            #expect(ended.outcome == .repaired || ended.outcome == .clean, context)
            #expect(!ended.mustStartAgain, context)
            try withOpen(life.path) { volume in
                while try volume.atCommitBoundary({ try $0.requireGenerations().reap(limit: 100) })
                {}
                let found = try Verifier.verify(volume.metadata)
                #expect(found.isClean, "\(context) \(found.examples) \(found.indexes)")
                let record = try #require(try volume.runs().last, context)
                #expect(record.state == .completed && record.logFrom == nil, context)
                #expect(record.resumes == life.resumed, context)
            }
        }
    }

    @Test func `before its hooks are in force a run has no position`() throws {
        try withVolume { volume in
            let record = RunRecord(number: 1, indexes: ["rmap"], strategy: .rebuild)
            let run = Run(
                owner: volume, indexes: [VolumeSlots.rmap], store: MemoryStore(),
                options: RunOptions(), clock: .system, keeping: Keeping(new: record))
            #expect(!run.mayBeginCheckpoint)
            try run.prepare()
            #expect(run.mayBeginCheckpoint)
            run.finish(AbortReason("the test is over"))
            #expect(!run.mayBeginCheckpoint)
        }
    }

    @Test(arguments: [false, true], 1...10 as ClosedRange<UInt64>)
    func `a run with a scope that is cut off anywhere goes on, and ends exact within it`(
        machine: Bool, seed: UInt64
    ) throws {
        try withDirectory { directory in
            var life = try Life(directory, .patch, isScoped: true, seed: seed &* 104_729)
            var random = SplitMix64(seed: seed)
            var report: RunReport?
            for _ in 0..<4 where report == nil {
                report = try life.live(
                    steps: Int.random(in: 5...300, using: &random), machine: machine)
            }
            let last = try report ?? life.live(steps: nil, machine: machine)
            let context: Comment = """
                SEED=\(seed) machine=\(machine) \(life.lives) lives, \(life.resumed) resumed: \
                \(last.map { "\($0.outcome) \($0.reason ?? "")" } ?? "")
                """
            let ended = try #require(last, context)
            #expect(ended.outcome == .repaired || ended.outcome == .clean, context)
            #expect(ended.scope == "subtree /" && !ended.mustStartAgain, context)
            let scope = try #require(life.scope)
            try withOpen(life.path) { volume in
                try expectExact(volume, within: scope, context)
                let record = try #require(try volume.runs().last, context)
                #expect(record.state == .completed && record.scope == "subtree /", context)
                #expect(record.resumes == life.resumed, context)
            }
        }
    }

    /// The entries of both indexes are those of the records, as far as they are of the scope.
    private func expectExact(_ volume: Volume, within scope: Scope, _ context: Comment) throws {
        let all = try volume.derived()
        for (index, kind, right) in [
            ("rmap", RecordKind.extent, all.rmap), ("parents", .dirent, all.parents),
        ] {
            func holds(_ key: [UInt8]) -> Bool {
                key.count > 16
                    && scope.records.contains(
                        Array(key[8..<16] + [kind.rawValue] + key[16...]).rawSpan)
            }
            let live = try volume.liveEntries(index).filter { holds($0.key) }
            #expect(live == right.filter { holds($0.key) }, context)
        }
    }
}
