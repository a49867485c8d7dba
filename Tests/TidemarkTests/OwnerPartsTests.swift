// A run is planned from what its owner offers; and what an owner reports is not believed.

import Bytes
import Catalogue
import Testing

import Tidemark

@Suite struct OwnerPartsTests {
    /// A catalogue that offers `parts`, of which `damage` entries of the first index are gone.
    private func damaged(_ parts: Catalogue.Parts, _ damage: Int) throws -> Catalogue {
        let catalogue = Catalogue(parts: parts)
        try catalogue.transaction { transaction in
            for number in 0..<500 {
                transaction.set(Tagging(item: UInt64(number), tag: [UInt8(number % 7)]), weight: 3)
            }
        }
        catalogue.damage(slots[0]) { entries in
            for key in entries.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }).prefix(damage)
            { entries[key] = nil }
        }
        return catalogue
    }

    private func repair(
        _ catalogue: Catalogue, _ strategy: Strategy, remembered: Int = 1 << 16,
        keeping: Keeping? = nil
    ) -> RunReport {
        var options = RunOptions()
        options.strategy = strategy
        options.rememberedDiscrepancies = remembered
        let run = Run(
            owner: catalogue, indexes: [slots[0]], store: MemoryStore(), options: options,
            clock: RunClock { 0 }, keeping: keeping)
        return RunDriver(run).drive()
    }

    private func isWhole(_ catalogue: Catalogue) -> Bool {
        catalogue.entries(of: slots[0]).count == catalogue.records.count
    }

    @Test(arguments: [Strategy.auto, .patch, .rebuild], [1, 40, 400])
    func `an owner without generations is patched, however much is wrong`(
        strategy: Strategy, damage: Int
    ) throws {
        let catalogue = try damaged(.amending, damage)
        let report = repair(catalogue, strategy, remembered: 64)
        #expect(report.outcome == .repaired, "\(report.reason ?? "")")
        #expect(report.indexes[0].action == .patch)
        #expect(report.indexes[0].patched == damage)
        #expect(isWhole(catalogue))
    }

    @Test(arguments: [Strategy.auto, .patch, .rebuild], [1, 400])
    func `an owner that changes no single entries is rebuilt, however little is wrong`(
        strategy: Strategy, damage: Int
    ) throws {
        let catalogue = try damaged(.generations, damage)
        let report = repair(catalogue, strategy)
        #expect(report.outcome == .repaired, "\(report.reason ?? "")")
        #expect(report.indexes[0].action == .rebuild)
        #expect(isWhole(catalogue))
    }

    @Test(arguments: [Strategy.check, .auto, .patch, .rebuild])
    func `of an owner that offers neither a run finds what is wrong, and changes nothing`(
        strategy: Strategy
    ) throws {
        let catalogue = try damaged([], 40)
        let before = catalogue.entries(of: slots[0])
        let report = repair(catalogue, strategy)
        #expect(report.outcome == .corrupt)
        #expect(report.indexes[0].found.missing == 40)
        #expect(report.indexes[0].action == .none)
        #expect(report.indexes[0].reason.contains("advice") == (strategy != .check))
        #expect(catalogue.entries(of: slots[0]) == before)
    }

    @Test(arguments: [Catalogue.Parts.all, .amending, []])
    func `an owner without damage is clean whatever it offers`(parts: Catalogue.Parts) throws {
        let report = repair(try damaged(parts, 0), .auto)
        #expect(report.outcome == .clean)
    }

    @Test func `without a journal a run that is to outlive its process fails, and says why`() throws
    {
        let catalogue = try damaged(.all, 3)
        let record = RunRecord(number: 1, indexes: ["tags"], strategy: .auto)
        let report = repair(catalogue, .auto, keeping: Keeping(new: record))
        #expect(report.outcome == .aborted)
        #expect(report.reason?.contains("records of runs") == true)
        try catalogue.atCommitBoundary { #expect($0.hooks.isEmpty) }
    }

    @Test func `going back is refused where there are no generations`() throws {
        let catalogue = try damaged(.amending, 0)
        #expect(throws: PartMissing.self) { try Undo.rollBack([], of: catalogue) }
        #expect(try Undo.forget([], of: catalogue).isEmpty)
    }
}

@Suite struct OwnerNumbersTests {
    private func hook(at commit: UInt64) -> HookPoint {
        let hook = HookPoint(
            wanted: [true], limits: .init(), pool: BatchPool(capacity: 1024, limit: 4))
        hook.attached(at: commit)
        return hook
    }

    /// Takes the first window, so that changes below its end are applied.
    private func opened(at commit: UInt64) throws -> HookPoint {
        let hook = hook(at: commit)
        #expect(hook.open(from: KeyBytes(), to: nil) != nil)
        return hook
    }

    private func change(_ key: [UInt8] = [7]) -> DeltaBatch {
        var deltas = DeltaBatch()
        deltas.add(IndexSlot(0), primary: key.span.bytes, key: key.span.bytes, value: RawSpan())
        return deltas
    }

    @Test(arguments: [5, 4, 0, 1 << 44, UInt64.max])
    func `a commit out of order, twice, or beyond 44 bits aborts the run and nothing else`(
        number: UInt64
    ) throws {
        let hook = try opened(at: 5)
        hook.committed(number, by: .writer, deltas: change())
        let reason = try #require(hook.abortReason)
        #expect(reason.kind == .gaveWay)
        #expect(reason.description.contains("commit \(number)"))
        // The owner goes on, and writers wait for nobody.
        hook.committed(6, by: .writer, deltas: change())
        hook.committed(.max, by: .writer, deltas: change())
        #expect(hook.admit(within: 60))
        #expect(hook.status.isEmpty)
    }

    @Test func `a hook that is attached at a commit beyond 44 bits aborts its run`() {
        let hook = hook(at: 1 << 44)
        #expect(hook.abortReason != nil)
        #expect(hook.open(from: KeyBytes(), to: nil) != nil, "no step that follows may trap")
    }

    @Test func `more changes than a commit's ordinals can tell apart abort the run`() throws {
        let hook = try opened(at: 5)
        var deltas = DeltaBatch()
        for number in 0...SequenceNumber.maximumOrdinal + 1 {
            var key = KeyBytes()
            key.append(UInt32(number))
            deltas.remove(IndexSlot(0), primary: key.span, key: key.span)
        }
        hook.committed(6, by: .writer, deltas: deltas)
        #expect(hook.abortReason?.description.contains("1048577 changes") == true)
    }

    @Test(arguments: [(9, 0), (6, -1), (6, 1 << 20), (1 << 44, 0)])
    func `logged changes with numbers that can't be abort the run`(
        commit: UInt64, ordinal: Int
    ) throws {
        let hook = try opened(at: 8)
        hook.replay(commit, from: ordinal, change())
        #expect(hook.abortReason != nil)
    }

    @Test func `an entry without a key, or with one beyond its bound, aborts the run`() throws {
        for key in [[], [UInt8](repeating: 1, count: KeyBytes.capacity + 1)] {
            let hook = try opened(at: 5)
            hook.committed(6, by: .writer, deltas: change(key))
            #expect(hook.abortReason != nil)
        }
    }

    @Test func `changes of an index that the run does not know are left alone`() throws {
        let hook = try opened(at: 5)
        var deltas = DeltaBatch()
        deltas.remove(IndexSlot(9), primary: [1].span.bytes, key: [1].span.bytes)
        hook.committed(6, by: .writer, deltas: deltas)
        #expect(hook.abortReason == nil && hook.status.isEmpty)
    }

    @Test func `a range to be read again that ends before it begins aborts the run`() throws {
        let hook = try opened(at: 5)
        var deltas = DeltaBatch()
        deltas.void(KeyRange(lower: KeyBytes([5]), upper: KeyBytes([2])))
        hook.committed(6, by: .writer, deltas: deltas)
        #expect(hook.abortReason != nil)
    }
}

// MARK: What an owner derives

/// A catalogue that derives an entry beyond all bounds from each window that is read, once.
private final class Overstating: UnlockedOwner {
    enum Lie: CaseIterable {
        case longKey, emptyKey, longValue, noIndex
    }

    private let inner: UnlockedCatalogue
    private let lie: Lie

    init(_ inner: UnlockedCatalogue, _ lie: Lie) {
        self.inner = inner
        self.lie = lie
    }

    var label: String { inner.label }
    var indexes: [any SecondaryIndex] { inner.indexes }
    func now() -> SequenceNumber { inner.now() }

    func windowEnd(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? { try inner.windowEnd(after: key, records: records, wants: wants) }

    func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
        let long = [UInt8](repeating: 7, count: 1 << 16), short: [UInt8] = [7]
        let key = lie == .longKey ? long : lie == .emptyKey ? [] : short
        let value = lie == .longValue ? long : short
        sink.emit(
            IndexSlot(lie == .noIndex ? 2 : 0), key: key.span.bytes, value: value.span.bytes)
        return try inner.read(range, limit: limit, into: sink)
    }

    func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes? { try inner.entries(of: index, from: key, limit: limit, into: batch) }

    func lookUp(_ keys: [KeyBytes], of index: IndexSlot, into batch: EntryBatch) throws {
        try inner.lookUp(keys, of: index, into: batch)
    }

    func subscribe(_ receiver: any ChangeReceiver) throws -> any ChangeFeed {
        try inner.subscribe(receiver)
    }
}

extension OwnerPartsTests {
    @Test(arguments: Overstating.Lie.allCases)
    fileprivate func `an entry that can't be one ends the run with a reason, not the process`(
        lie: Overstating.Lie
    ) {
        let catalogue = UnlockedCatalogue(buffers: 1, capacity: 64)
        catalogue.change([(Tagging(item: 1, tag: [1]), 1)], buffer: 0)
        let run = Run(
            owner: Overstating(catalogue, lie), indexes: slots, store: MemoryStore(),
            options: RunOptions(), clock: .system)
        let report = RunDriver(run).drive()
        #expect(report.outcome == .aborted)
        #expect(report.reason?.contains("which no entry can be") == true, "\(report.reason ?? "")")
        #expect(catalogue.subscriptions == 0)
    }
}
