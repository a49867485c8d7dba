// The tree in memory by itself: its indexes are right after whatever is done, nothing changes
// that should not, and its fingerprint tells states apart.

import Bytes
import Testing

@testable import Scenarios
import Tidemark

/// All that a version holds, by reading it as a run would.
private func dump(_ snapshot: any OwnerSnapshot) throws -> [[UInt8]] {
    let sink = WindowSink(batches: [EntryBatch(), EntryBatch()], sequence: .none)
    #expect(try snapshot.read(.all, limit: .max, into: sink) == nil)
    var lines: [[UInt8]] = []
    for slot in [0, 1] {
        let batch = EntryBatch()
        #expect(
            try snapshot.entries(of: IndexSlot(slot), from: KeyBytes(), limit: .max, into: batch)
                == nil)
        for list in [sink.batches[slot], batch] {
            guard let list else { continue }
            var position = list.startPosition
            while position < list.endPosition {
                lines.append(list.key(at: position).array + list.value(at: position).array)
                position = list.position(after: position)
            }
        }
    }
    return lines
}

/// A version's fingerprint, computed from nothing.
private func plainFingerprint(_ state: MemoryState) -> UInt64 {
    func anew<Element>(_ table: MemoryTable<Element>) -> MemoryTable<Element> {
        var other = MemoryTable<Element>()
        for element in table.reversed() { other.put(element) }
        return other
    }
    func anew(_ index: MemoryIndex) -> MemoryIndex {
        var other = index
        other.active.table = anew(index.active.table)
        if let load = index.load { other.load?.generation.table = anew(load.generation.table) }
        return other
    }
    var other = MemoryState()
    for inode in state.inodes.reversed() { other.put(inode) }
    other.records = anew(state.records)
    other.rmap = anew(state.rmap)
    other.parents = anew(state.parents)
    other.quota = anew(state.quota)
    other.usage = state.usage
    other.nextInode = state.nextInode
    other.nextGeneration = state.nextGeneration
    other.sinceVoid = state.sinceVoid
    other.opens = state.opens.reversed()
    other.retired = state.retired
    return other.fingerprint
}

@Suite struct MemoryTreeTests {
    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func `after each of random transactions the indexes are right and nothing else has changed`(
        seed: UInt64
    ) throws {
        var source = RandomTransactions(seed: seed)
        let stage = try MemoryStage(scenario(blocks: 40))
        var kept: [(snapshot: any OwnerSnapshot, lines: [[UInt8]])] = []
        for number in 0..<200 {
            source.learn(stage.contents())
            let transaction = source.transaction()
            let context: Comment = "SEED=\(seed), number \(number): \(transaction)"
            let before = try (stage.digest(), stage.tree.current, stage.fingerprint)
            let isDone = try stage.run(transaction)
            if !isDone || transaction.isAborted {
                #expect(try stage.digest() == before.0, context)
                #expect(stage.tree.current === before.1, context)
                #expect(stage.fingerprint == before.2, context)
            }
            for slot in stage.owner.indexes.indices.map({ IndexSlot($0) }) {
                #expect(try stage.plainLive(slot) == stage.folded(slot), context)
            }
            let state = stage.tree.current.state
            #expect(state.problems(blocks: 40) == [], context)
            #expect(plainFingerprint(state) == stage.tree.current.fingerprint, context)
            let snapshot = try stage.owner.snapshot()
            kept.append((snapshot, try dump(snapshot)))
            guard number % 50 == 49 else { continue }
            for (snapshot, lines) in kept { #expect(try dump(snapshot) == lines, context) }
            kept = []
        }
    }

    // MARK: Fingerprints

    private let pair: [Scenarios.Operation] = [
        .make(.create, path("a")), .make(.create, path("b")), .make(.mkdir, path("d")),
        .map(.write, path("a"), offset: 0, length: 4),
        .map(.write, path("b"), offset: 0, length: 2),
    ]

    private func fingerprint(_ transactions: [Transaction]) throws -> UInt64 {
        let stage = try MemoryStage(scenario(setup: pair))
        for transaction in transactions { #expect(try stage.run(transaction)) }
        return stage.fingerprint
    }

    @Test func `transactions that commute give one fingerprint in either order`() throws {
        let changes = [
            Transaction([.rename(.rename, path("a"), path("d/a"))]),
            Transaction([.chmod(path("b"), 0o600)]),
            Transaction([.link(path("b"), path("c"))]),
            Transaction([.map(.punch, path("b"), offset: 1, length: 1)]),
            Transaction([.open(path("d"))]),
        ]
        let first = try fingerprint(changes)
        for shift in 1..<changes.count {
            let turned = Array(changes[shift...] + changes[..<shift])
            #expect(try fingerprint(turned) == first)
            #expect(try fingerprint(turned.reversed()) == first)
        }
    }

    @Test func `different transactions give different fingerprints`() throws {
        let changes: [[Transaction]] = [
            [],
            [Transaction([.unlink(path("a"))])],
            [Transaction([.unlink(path("a"))]), Transaction([], isSync: true)],
            [Transaction([.chmod(path("a"), 0o600)])],
            [Transaction([.open(path("a"))])],
            [Transaction([.open(path("a"))]), Transaction([.unlink(path("a"))])],
            [Transaction([.open(path("a"))]), Transaction([.open(path("a"))])],
            [Transaction([.map(.zero, path("a"), offset: 0, length: 4)])],
            [Transaction([.map(.punch, path("a"), offset: 0, length: 1)])],
            [Transaction([.truncate(path("a"), 20)])],
            [Transaction([.rename(.exchange, path("a"), path("b"))])],
            [Transaction([.rename(.rename, path("a"), path("b"))])],
            // The number is used again, with another generation.
            [Transaction([.unlink(path("a"))]), Transaction([.make(.create, path("a"))])],
            [Transaction([.make(.symlink, path("s"))])],
            [Transaction([.make(.fifo, path("s"))])],
        ]
        let all = try changes.map(fingerprint)
        #expect(Set(all).count == all.count)
    }

    @Test func `a tree that starts again is as it was`() throws {
        let stage = try MemoryStage(scenario(setup: pair))
        let other = MemoryTree(stage.tree, at: stage.tree.current)
        let before = stage.fingerprint
        let hook = RecordingHook()
        try stage.attach(hook)
        let place = Place(path: path("/"), part: .entry("a"))
        try stage.damage(Damage(kind: .missing, index: "parents", place: place))
        #expect(try stage.run(Transaction([.unlink(path("b"))])))
        try stage.begin(Transaction([.unlink(path("a"))]))
        try stage.commit()
        stage.rewind()
        #expect(stage.fingerprint == before)
        #expect(other.fingerprint == before)
        #expect(try stage.owner.atCommitBoundary { $0.hooks.count } == 0)
        #expect(try stage.run(Transaction([.unlink(path("a"))])))
        #expect(hook.commits.count == 1)
        #expect(other.fingerprint == before)
    }

    // MARK: Reporting

    @Test func `a commit is visible before it is reported, and a boundary comes after both`() throws
    {
        let stage = try MemoryStage(scenario(setup: pair))
        let hook = RecordingHook()
        try stage.attach(hook)
        let before = try stage.digest()
        try stage.begin(Transaction([.unlink(path("a"))]))
        #expect(try stage.digest() == before)
        try stage.commit()
        #expect(try stage.digest() != before)
        #expect(hook.commits.isEmpty)
        try stage.report()
        let number = try stage.owner.atCommitBoundary { $0.lastCommit }
        #expect(hook.commits.map(\.number) == [number])
        // The name, and the extent.
        #expect(hook.commits[0].changes.map(\.slot) == [1, 0])
    }

    @Test func `a transaction that changes nothing makes no commit`() throws {
        let stage = try MemoryStage(scenario(setup: pair))
        let hook = RecordingHook()
        try stage.attach(hook)
        #expect(try stage.run(Transaction([.link(path("a"), path("c"))])))
        #expect(try stage.run(Transaction([.rename(.rename, path("a"), path("c"))])))
        #expect(try stage.run(Transaction([.open(path("a"))])))
        #expect(hook.commits.count == 1)
    }

    @Test func `only the deltas that a hook wants are reported`() throws {
        let stage = try MemoryStage(scenario(setup: pair))
        let hook = RecordingHook([1])
        try stage.attach(hook)
        #expect(try stage.run(Transaction([.unlink(path("a"))])))
        #expect(hook.commits[0].changes.map(\.slot) == [1])
    }

    @Test func `every so many transactions one says which records to read again`() throws {
        let stage = try MemoryStage(scenario(voidEvery: 2, setup: pair))
        let hook = RecordingHook()
        try stage.attach(hook)
        #expect(try stage.run(Transaction([.chmod(path("a"), 0o600)])))
        #expect(try stage.run(Transaction([.unlink(path("a"))], isAborted: true)))
        #expect(try stage.run(Transaction([.rename(.rename, path("a"), path("b"))])))
        #expect(try stage.run(Transaction([.rename(.rename, path("b"), path("c"))])))
        let kinds = hook.commits.map { $0.changes.map(\.kind) }
        // The name that goes, the name that leads elsewhere, the extent of the file that goes.
        #expect(kinds == [[], [2, 2, 2], [0, 1]])
        for void in hook.commits[1].changes { #expect(void.key == void.primary + [0]) }
    }

    // MARK: Crashes

    @Test
    func `a crash of the process keeps what is committed, one of the machine what is durable`()
        throws
    {
        let stage = try MemoryStage(scenario(setup: pair))
        let prepared = try stage.digest()
        #expect(try stage.run(Transaction([.unlink(path("a"))])))
        try stage.owner.makeDurable()
        let synced = try stage.digest()
        #expect(try stage.run(Transaction([.unlink(path("b"))])))
        try stage.begin(Transaction([.rmdir(path("d"))]))
        try stage.commit()
        let committed = try stage.digest()
        try stage.crash(isMachine: false)
        #expect(try stage.digest() == committed)
        // Opening it again has made that durable.
        try stage.crash(isMachine: true)
        #expect(try stage.digest() == committed)
        stage.rewind()
        #expect(try stage.digest() == prepared)
        #expect(try stage.run(Transaction([.unlink(path("a"))])))
        #expect(try stage.run(Transaction([], isSync: true)))
        #expect(try stage.run(Transaction([.unlink(path("b"))])))
        try stage.begin(Transaction([.rmdir(path("d"))]))
        try stage.crash(isMachine: true)
        #expect(try stage.digest() == synced)
        #expect(try stage.run(Transaction([.unlink(path("b"))])))
        try stage.owner.makeDurable()
        try stage.crash(isMachine: true)
        #expect(try stage.digest() != synced)
    }

    @Test func `after a crash nothing is open, and inodes without names are gone`() throws {
        let stage = try MemoryStage(scenario(blocks: 40, setup: pair))
        let hook = RecordingHook()
        try stage.attach(hook)
        #expect(try stage.run(Transaction([.open(path("a"))])))
        #expect(try stage.run(Transaction([.unlink(path("a"))])))
        #expect(try stage.expected(rmap, below: nil).count == 3)
        try stage.crash(isMachine: false)
        #expect(try stage.expected(rmap, below: nil).count == 2)
        #expect(try !stage.run(Transaction([.close(path("a"))])))
        #expect(try stage.owner.atCommitBoundary { $0.hooks.count } == 0)
        #expect(try stage.run(Transaction([.make(.create, path("e"))])))
        #expect(stage.reusedInodes == [2])
        #expect(hook.commits.count == 1)
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func `what a crash would leave is known before it`(seed: UInt64) throws {
        var source = RandomTransactions(seed: seed)
        let stage = try MemoryStage(scenario(blocks: 60))
        for number in 0..<60 {
            source.learn(stage.contents())
            let transaction = source.transaction()
            let isMachine = source.random.isOne(in: 2)
            do {
                try stage.begin(transaction)
                try stage.commit()
            } catch is StageError { continue }
            guard number % 6 == 5 else {
                try stage.report()
                continue
            }
            if source.random.isOne(in: 2) {
                try stage.report()
                _ = try stage.owner.atCommitBoundary {
                    try $0.requireGenerations().createGeneration(of: parents)
                }
            }
            let foretold = stage.crashFingerprint(isMachine: isMachine)
            #expect(stage.crashFingerprint(isMachine: isMachine) == foretold)
            try stage.crash(isMachine: isMachine)
            #expect(stage.tree.current.fingerprint == foretold, "SEED=\(seed)")
            #expect(stage.crashFingerprint(isMachine: true) == foretold, "SEED=\(seed)")
            source.forgetOpened()
        }
    }
}
