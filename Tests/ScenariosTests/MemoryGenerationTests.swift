// Generations of the tree in memory, and the mistakes that it can make on purpose.

import Bytes
import Testing

@testable import Scenarios
import Tidemark

/// A batch of entries in order.
private func batch(_ entries: some Sequence<Entry>) -> EntryBatch {
    let batch = EntryBatch()
    for entry in entries { batch.append(key: entry.key.rawSpan, value: entry.value.rawSpan) }
    return batch
}

private let several: [Scenarios.Operation] = [
    .make(.mkdir, path("d")), .make(.create, path("a")), .make(.create, path("b")),
    .make(.create, path("c")), .link(path("a"), path("d/a")),
    .map(.write, path("a"), offset: 0, length: 4), .map(.write, path("b"), offset: 3, length: 2),
]

extension MemoryStage {
    fileprivate func change<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R {
        try owner.atCommitBoundary(body)
    }

    fileprivate func mend<R: Sendable>(
        _ body: @Sendable (any Generations) throws -> R
    ) throws -> R {
        try change { try body($0.requireGenerations()) }
    }

    fileprivate func runMany(_ number: Int, from source: inout RandomTransactions) throws {
        for _ in 0..<number {
            source.learn(contents())
            _ = try run(source.transaction())
        }
    }

    /// Loads a new generation of `slot` with what is expected, in batches of `size`, with
    /// `between` called before each.
    fileprivate func load(
        _ slot: IndexSlot, size: Int, between: (Int) throws -> Void = { _ in }
    ) throws -> UInt32 {
        let number = try mend { try $0.createGeneration(of: slot) }
        var cursor: [UInt8] = []
        for round in 0... {
            try between(round)
            let rest = try expected(slot, below: nil).filter { !$0.key.precedes(cursor) }
            let batch = batch(rest.prefix(size))
            let end = rest.count > size ? KeyBytes(rest[size].key) : nil
            try mend { try $0.append(batch, to: number, of: slot, end: end) }
            guard let end else { break }
            cursor = end.array
        }
        return number
    }
}

@Suite struct MemoryGenerationTests {
    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func `a generation is kept up while it is loaded, and takes over`(seed: UInt64) throws {
        var source = RandomTransactions(seed: seed)
        let stage = try MemoryStage(scenario(blocks: 100))
        try stage.runMany(100, from: &source)
        for slot in [rmap, parents] {
            let number = try stage.load(slot, size: 2) { _ in
                try stage.runMany(2, from: &source)
            }
            try stage.runMany(20, from: &source)
            #expect(
                try stage.entries(slot, generation: number) == stage.expected(slot, below: nil),
                "SEED=\(seed)")
            #expect(try stage.mend { try $0.validate(generation: number, of: slot) } == nil)
            try stage.mend { try $0.activate(generation: number, of: slot, keepsOld: false) }
            #expect(try stage.generations(slot) == [1, 2])
            #expect(try stage.activeGeneration(slot) == 2)
            while try stage.change({ try $0.requireGenerations().reap(limit: 3) }) {}
            #expect(try stage.generations(slot) == [2])
            #expect(try stage.plainLive(slot) == stage.expected(slot, below: nil))
        }
    }

    @Test func `numbers of generations go on above those that wait to be deleted`() throws {
        let stage = try MemoryStage(scenario(setup: several))
        let first = try stage.load(parents, size: 10)
        try stage.mend { try $0.discard(generation: first, of: parents) }
        #expect(try stage.mend { try $0.createGeneration(of: parents) } == 3)
        #expect(throws: (any Error).self) {
            try stage.mend { try $0.createGeneration(of: parents) }
        }
        try stage.mend { try $0.discard(generation: 3, of: parents) }
        // The third, which is empty, is dropped when the next one is made.
        #expect(try stage.mend { try $0.createGeneration(of: parents) } == 3)
        #expect(try stage.mend { try $0.createGeneration(of: rmap) } == 2)
    }

    @Test func `generations are deleted from their ends, the first retired first`() throws {
        let stage = try MemoryStage(scenario(setup: several))
        for slot in [parents, rmap] {
            let number = try stage.load(slot, size: 10)
            try stage.mend { try $0.activate(generation: number, of: slot, keepsOld: false) }
        }
        stage.tree.beginStep()
        #expect(try stage.mend { try $0.reap(limit: 4) })
        let retired = stage.tree.current.state.retired
        #expect(retired.map(\.slot) == [parents, rmap])
        #expect(
            retired[0].generation.table.map(\.key) == [
                try stage.expected(parents, below: nil)[0].key
            ])
        #expect(try stage.mend { try $0.reap(limit: 4) })
        #expect(try !stage.mend { try $0.reap(limit: 4) })
        let commit = stage.tree.current.commit
        #expect(try !stage.mend { try $0.reap(limit: 4) })
        #expect(stage.tree.current.commit == commit)
        #expect(stage.tree.committedInStep.count == 3)
    }

    @Test func `a change that misses in what is loaded spoils it, and the change is made`() throws {
        let stage = try MemoryStage(scenario(setup: several))
        let number = try stage.mend { try $0.createGeneration(of: parents) }
        let half = batch(try stage.expected(parents, below: nil).dropFirst())
        try stage.change {
            try $0.requireGenerations().append(half, to: number, of: parents, end: nil)
        }
        #expect(try stage.mend { try $0.validate(generation: number, of: parents) } == nil)
        #expect(try stage.run(Transaction([.unlink(path("b"))])))
        #expect(try stage.mend { try $0.validate(generation: number, of: parents) } == nil)
        #expect(try stage.run(Transaction([.rename(.rename, path("d"), path("e"))])))
        #expect(try stage.mend { try $0.validate(generation: number, of: parents) } != nil)
        #expect(try stage.plainLive(parents) == stage.expected(parents, below: nil))
        #expect(throws: (any Error).self) {
            try stage.mend { try $0.activate(generation: number, of: parents, keepsOld: false) }
        }
        #expect(try stage.activeGeneration(parents) == 1)
    }

    @Test func `a patch changes what it is told to, and counts what was not so`() throws {
        let stage = try MemoryStage(scenario(setup: several))
        let entries = try stage.expected(parents, below: nil)
        let place = Place(path: path("/"), part: .entry("a"))
        try stage.damage(Damage(kind: .missing, index: "parents", place: place))
        let wanted = entries.map { (key: $0.key, value: Optional($0.value)) }
        #expect(try stage.change { try $0.requireAmending().amend(parents, wanted) } == 1)
        #expect(try stage.plainLive(parents) == entries)
        let commit = stage.tree.current.commit
        #expect(try stage.change { try $0.requireAmending().amend(parents, wanted) } == 0)
        #expect(stage.tree.current.commit == commit)
    }

    @Test func `after a crash a half loaded generation waits to be deleted`() throws {
        let stage = try MemoryStage(scenario(setup: several))
        let number = try stage.load(parents, size: 2)
        #expect(try stage.run(Transaction([], isSync: true)))
        for isMachine in [false, true] {
            try stage.crash(isMachine: isMachine)
            #expect(try stage.generations(parents) == [1, number])
            #expect(stage.tree.current.state.parents.load == nil)
        }
        while try stage.change({ try $0.requireGenerations().reap(limit: 1) }) {}
        #expect(try stage.generations(parents) == [1])
    }

    @Test func `a crash can come between any two commits of a step`() throws {
        let stage = try MemoryStage(scenario(setup: several))
        stage.tree.beginStep()
        let number = try stage.load(parents, size: 2)
        let versions = stage.tree.committedInStep
        #expect(versions.count == 1 + (try stage.expected(parents, below: nil).count + 1) / 2)
        try stage.crash(at: versions[1])
        #expect(try stage.generations(parents) == [1, number])
        #expect(stage.tree.current.state.retired[0].generation.table.count == 2)
    }

    // MARK: Mistakes

    #if TIDEMARK_MUTANTS
    private func stage(_ mutant: OwnerMutant) throws -> (MemoryStage, RecordingHook) {
        let stage = try MemoryStage(scenario(setup: several))
        stage.tree.mutant = mutant
        let hook = RecordingHook()
        try stage.attach(hook)
        return (stage, hook)
    }

    @Test func `reports before the commit`() throws {
        let (stage, hook) = try stage(.reportedBeforeCommit)
        let before = try stage.digest()
        try stage.begin(Transaction([.unlink(path("a"))]))
        try stage.commit()
        #expect(hook.commits.map(\.number) == [try stage.owner.snapshot().commit])
        #expect(try stage.digest() == before)
        try stage.report()
        #expect(hook.commits.map(\.number) == [try stage.owner.snapshot().commit])
        #expect(try stage.digest() != before)
    }

    @Test func `reports what was taken back`() throws {
        let (stage, hook) = try stage(.reportedOnAbort)
        let before = try stage.digest()
        #expect(try stage.run(Transaction([.unlink(path("b"))], isAborted: true)))
        #expect(try stage.digest() == before)
        #expect(hook.changes.count == 1)
    }

    @Test func `leaves out of its reports what it should not`() throws {
        let cases: [(OwnerMutant, Scenarios.Operation, [UInt8])] = [
            (.exchangeReportedHalf, .rename(.exchange, path("a"), path("b")), [0, 1]),
            (.replacedNameNotReported, .rename(.rename, path("b"), path("c")), [0, 1]),
            (.truncateNotReported, .truncate(path("a"), 0), []),
        ]
        for (mutant, operation, kinds) in cases {
            let (stage, hook) = try stage(mutant)
            #expect(try stage.run(Transaction([operation])))
            #expect(hook.commits.map { $0.changes.map(\.kind) } == [kinds], "\(mutant)")
            #expect(try stage.plainLive(parents) == stage.expected(parents, below: nil))
        }
    }

    @Test func `does not keep up what is loaded`() throws {
        let (stage, _) = try stage(.loadNotMaintained)
        let number = try stage.load(parents, size: 10)
        #expect(try stage.run(Transaction([.unlink(path("b"))])))
        #expect(
            try stage.entries(parents, generation: number) != stage.expected(parents, below: nil))
    }

    @Test func `empties the old generation before the new one is active`() throws {
        let (stage, _) = try stage(.reapBeforeFlip)
        let number = try stage.load(parents, size: 10)
        stage.tree.beginStep()
        try stage.mend { try $0.activate(generation: number, of: parents, keepsOld: false) }
        #expect(try stage.plainLive(parents) == stage.expected(parents, below: nil))
        #expect(stage.tree.committedInStep.count == 2)
        try stage.crash(at: stage.tree.committedInStep[0])
        #expect(try stage.plainLive(parents) == [])
    }

    @Test func `forgets in a crash what waits to be deleted`() throws {
        let (stage, _) = try stage(.forgetsReapingInCrash)
        let number = try stage.load(parents, size: 10)
        try stage.mend { try $0.activate(generation: number, of: parents, keepsOld: false) }
        try stage.crash(isMachine: false)
        #expect(try !stage.mend { try $0.reap(limit: 100) })
        #expect(try stage.generations(parents) == [1, 2])
    }
    #endif
}
