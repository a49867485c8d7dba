// An owner and a side file under the scenario's hand: what fails, what can't be read, who is
// told what and when.

import Bytes
import Synchronization
import Testing

@testable import Scenarios
import Tidemark

private func tree() throws -> MemoryTree {
    try MemoryTree(
        StoreDescription(),
        setup: [
            .make(.mkdir, path("d")), .make(.create, path("d/a")), .make(.create, path("d/b")),
            .make(.create, path("e")), .map(.write, path("e"), offset: 0, length: 4),
        ])
}

/// Everything that can fail on an owner, once.
private func callAll(_ owner: any ExactOwner) throws {
    let snapshot = try owner.snapshot()
    _ = try snapshot.windowEnd(after: KeyBytes(), records: 1)
    let sink = WindowSink(batches: [EntryBatch(), EntryBatch()], sequence: .none)
    _ = try snapshot.read(.all, limit: 10, into: sink)
    _ = try snapshot.entries(of: parents, from: KeyBytes(), limit: 10, into: EntryBatch())
    _ = try snapshot.room(forEntries: 1, payload: 1, of: parents)
    try owner.makeDurable()
    try owner.atCommitBoundary { boundary in
        let number = try boundary.requireGenerations().createGeneration(of: parents)
        try boundary.requireGenerations().append(EntryBatch(), to: number, of: parents, end: nil)
        _ = try boundary.requireGenerations().validate(generation: number, of: parents)
        try boundary.requireGenerations().activate(generation: number, of: parents, keepsOld: false)
        let other = try boundary.requireGenerations().createGeneration(of: parents)
        try boundary.requireGenerations().discard(generation: other, of: parents)
        let last = try boundary.requireGenerations().createGeneration(of: parents)
        try boundary.requireGenerations().append(EntryBatch(), to: last, of: parents, end: nil)
        try boundary.requireGenerations().activate(generation: last, of: parents, keepsOld: true)
        try boundary.requireGenerations().rollBack([parents])
        try boundary.requireGenerations().forgetPrevious(of: [parents])
        _ = try boundary.requireAmending().amend(parents, [])
        _ = try boundary.requireGenerations().reap(limit: 1)
        try boundary.requireJournal().store(
            RunRecord(
                number: try boundary.requireJournal().newRunNumber(), indexes: ["parents"],
                strategy: .check))
    }
    _ = try snapshot.logged(from: LogPosition(commit: 0, ordinal: 0), limit: 1) { _, _ in }
}

private func callAll(_ store: any SideStore) throws {
    try store.append(ChunkList(), to: 1)
    let reader = try store.readers(of: [1])[0]
    var arena = ByteArena()
    _ = try reader.seek(KeyBytes(), into: &arena)
    _ = try reader.next(into: &arena)
    try store.makeDurable()
}

/// Calls of an owner that nobody can lock: orders of its scenarios are explored with them failing.
private let unlocked: [Fault.Point] = [.subscribe, .poll, .mark]

@Suite struct MemorySteeredTests {
    @Test(arguments: Fault.Point.allCases.filter { !unlocked.contains($0) })
    func `each call fails when it is to, and only then`(point: Fault.Point) throws {
        let faults = Faults([Fault(point, cause: .ioError)])
        let owner = SteeredOwner(try tree(), faults: faults)
        let store = FaultyStore(MemoryStore(), faults)
        let isStore = [.sideFileAppend, .sideFileRead, .saveCheckpoint].contains(point)
        try callAll(owner)
        try callAll(store)
        #expect(faults.calls(of: point) == 0)
        faults.isArmed = true
        #expect(throws: (any Error).self) { isStore ? try callAll(store) : try callAll(owner) }
        #expect(faults.struck == [Fault(point, cause: .ioError)])
        // The second call is not to fail.
        let fresh = SteeredOwner(try tree(), faults: faults)
        isStore ? try callAll(store) : try callAll(fresh)
    }

    @Test func `window ends found by reading are those that the tree knows`() throws {
        let tree = try tree()
        let plain = SteeredOwner(tree, faults: Faults([]))
        var options = SteeredOwner.Options()
        options.exactBoundaries = true
        let exact = SteeredOwner(tree, faults: Faults([]), options: options)
        for size in 1...8 {
            var key: KeyBytes? = KeyBytes()
            while let start = key {
                key = try plain.snapshot().windowEnd(after: start, records: size)
                #expect(try exact.snapshot().windowEnd(after: start, records: size) == key)
            }
        }
    }

    @Test func `hooks are real, whatever stands before them, and pass the gate first`() throws {
        let passed = Mutex<[UInt64]>([])
        var options = SteeredOwner.Options()
        let hook = RecordingHook()
        options.gate = { number in
            #expect(!hook.commits.contains { $0.number == number })
            passed.withLock { $0.append(number) }
        }
        let tree = try tree()
        let owner = SteeredOwner(tree, faults: Faults([]), options: options)
        try owner.atCommitBoundary { boundary in
            boundary.attach(hook)
            #expect(boundary.hooks.count == 1 && boundary.hooks[0] === hook)
        }
        try tree.run(Transaction([.unlink(path("e"))]))
        #expect(passed.withLock { $0 } == hook.commits.map(\.number))
        #expect(hook.commits.count == 1)
        try owner.atCommitBoundary { boundary in
            boundary.detach(hook)
            #expect(boundary.hooks.isEmpty)
        }
        #expect(tree.attached.isEmpty)
        #expect(owner.longestHold > 0)
    }

    // MARK: Records that can't be read

    /// What is read of the tree's parent pointers and mappings in steps of `limit`: the
    /// entries' keys, the records counted, the damage told.
    private func read(
        _ owner: any ExactOwner, limit: Int, wanted: [Bool] = [true, true], range: KeyRange = .all
    ) throws -> (keys: [[UInt8]], records: Int, damage: [PrimaryDamage], steps: Int) {
        let sink = WindowSink(batches: wanted.map { $0 ? EntryBatch() : nil }, sequence: .none)
        var range = range, steps = 0
        while true {
            steps += 1
            let before = sink.records
            let rest = try owner.snapshot().read(range, limit: limit, into: sink)
            #expect(rest == nil || sink.records > before)
            guard let rest else { break }
            #expect(range.lower < rest)
            range.lower = rest
        }
        var keys: [[UInt8]] = []
        for batch in sink.batches.compactMap({ $0 }) {
            var position = batch.startPosition
            while position < batch.endPosition {
                keys.append(batch.key(at: position).array)
                position = batch.position(after: position)
            }
        }
        return (keys, sink.records, sink.damage, steps)
    }

    private func stage(unreadable place: Place) throws -> MemoryStage {
        var scenario = Scenario()
        scenario.setup = [
            .make(.mkdir, path("d")), .make(.create, path("d/a")), .make(.create, path("d/b")),
            .make(.create, path("e")), .map(.write, path("e"), offset: 0, length: 4),
        ]
        scenario.faults = [Fault(.windowRead, cause: .damaged, unreadable: place)]
        return try MemoryStage(scenario)
    }

    @Test func `an unreadable record is told and left out, the others are read`() throws {
        let place = Place(path: path("d"), part: .entry("a"))
        let stage = try stage(unreadable: place)
        let all = try read(stage.owner, limit: 100)
        #expect(all.damage.isEmpty)
        #expect(all.records == 6)
        stage.faults.isArmed = true
        for limit in 1...8 {
            let found = try read(stage.owner, limit: limit)
            #expect(found.keys.count == 5, "limit \(limit)")
            #expect(Set(found.keys).isSubset(of: Set(all.keys)))
            #expect(found.records == 6)
            #expect(found.damage.map(\.object) == ["name \"a\" in directory 2"])
        }
        // Only a reading that meets it tells of it: not of another kind, nor elsewhere.
        #expect(try read(stage.owner, limit: 3, wanted: [true, false]).damage.isEmpty)
        let beyond = KeyRange(lower: try stage.end(of: place), upper: nil)
        #expect(try read(stage.owner, limit: 3, range: beyond).damage.isEmpty)
        #expect(try stage.run(Transaction([.unlink(path("d/a"))])))
        #expect(try read(stage.owner, limit: 3).damage.isEmpty)
        stage.rewind()
        stage.faults.begin([])
        stage.faults.isArmed = true
        #expect(try read(stage.owner, limit: 3).damage.isEmpty)
    }

    @Test func `all of an inode can be unreadable`() throws {
        let stage = try stage(unreadable: Place(path: path("d")))
        stage.faults.isArmed = true
        let found = try read(stage.owner, limit: 100)
        #expect(found.keys.count == 4)
        #expect(found.damage.count == 1)
        #expect(found.records == 6)
    }
}
