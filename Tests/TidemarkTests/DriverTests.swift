// Whole runs by the threaded driver, with writers on threads of their own, and with whatever
// can go wrong on the repair's side going wrong.

import Bytes
import Catalogue
import Foundation
import LMDB
import Synchronization
import TestSupport
import Testing
import Threads

@testable import Driver
import Tidemark

/// A side file that fails at a chosen write.
final class FailingStore: SideStore {
    private let inner = MemoryStore()
    private let left: Atomic<Int>

    init(writes: Int) { left = Atomic(writes) }

    func append(_ chunks: borrowing ChunkList, to number: UInt32) throws {
        if left.subtract(1, ordering: .relaxed).newValue < 0 {
            throw LMDBError(code: .system(ENOSPC), operation: "commit", object: "side file")
        }
        try inner.append(chunks, to: number)
    }
    func readers(of numbers: [UInt32]) throws -> [any RunReader] {
        try inner.readers(of: numbers)
    }
    func drop(_ numbers: [UInt32]) throws { try inner.drop(numbers) }
    func stage(_ checkpoint: Checkpoint) throws { try inner.stage(checkpoint) }
    func makeDurable() throws { try inner.makeDurable() }
    func remove() { inner.remove() }
}

private func filled(_ seed: Int, transactions: Int = 1500, capacity: Int = .max) -> Catalogue {
    var random = SplitMix64(seed: seed)
    let catalogue = Catalogue(capacity: capacity)
    for _ in 0..<transactions { catalogue.randomTransaction(&random, items: 40, tags: 10) }
    return catalogue
}

private func smallOptions(_ strategy: Strategy) -> RunOptions {
    var options = RunOptions()
    options.strategy = strategy
    options.limits.window = 64
    options.limits.sortBytes = 4000
    options.chunkBytes = 300
    options.batchEntries = 300
    // Writers wait rather than end the run: the machine may be slow.
    options.patience = patience
    return options
}

@Suite(.temporaryDirectory) struct DriverTests {
    @Test(arguments: 0..<6)
    func `a live repair with writers at full speed ends exact`(seed: Int) throws {
        let folder = try temporaryDirectory()
        let catalogue = filled(seed)
        var random = SplitMix64(seed: seed)
        let planted = slots.map { catalogue.randomDamage(&random, $0) }
        let end = Gate()
        let writers = (0..<2).map { number in
            ThreadTask("writer-\(number)") {
                var random = SplitMix64(seed: seed * 10 + number)
                // So many at the most: then the run has them alone to catch up with.
                for _ in 0..<50_000 where !end.isOpen {
                    catalogue.randomTransaction(&random, items: 40, tags: 10)
                    yieldProcessor()
                }
            }
        }
        let store: any SideStore =
            seed.isMultiple(of: 2) ? MemoryStore() : try SideFile(path: folder + "/side")
        let run = Run(
            owner: catalogue, indexes: slots, store: store,
            options: smallOptions(seed % 3 == 0 ? .patch : .rebuild), clock: .system)
        var options = DriverOptions()
        options.scanners = 2
        options.restFactor = 0.1
        options.niceness = 0
        let report = RunDriver(run, options: options).drive()
        end.open()
        for writer in writers { try writer.value() }
        #expect(report.outcome == .repaired, "SEED=\(seed) \(report.reason ?? "")")
        for slot in slots {
            // Writers may have mended a damaged entry by changing it before the cut.
            #expect(report.indexes[slot.rawValue].found.total <= planted[slot.rawValue].total)
            #expect(report.indexes[slot.rawValue].recheck?.total == 0, "SEED=\(seed)")
            #expect(
                catalogue.entries(of: slot) == catalogue.expected(slot), "SEED=\(seed)")
            #expect(catalogue.generations(of: slot).count == 1, "SEED=\(seed)")
        }
        #expect(report.lockHolds.count > 0)
    }

    @Test(arguments: 1...2)
    func `the last window may fill the queue`(scanners: Int) throws {
        let catalogue = filled(7, transactions: 100)
        for _ in 0..<10 {
            var limits = RunLimits()
            limits.queueBytes = 1
            var options = DriverOptions()
            options.scanners = scanners
            let run = Run(
                owner: catalogue, indexes: slots, store: MemoryStore(),
                options: smallOptions(.check), clock: .system)
            let driver = RunDriver(run, options: options, controls: RunControls(limits))
            let report = try ThreadTask("driven") { driver.drive() }.value()
            #expect(report.outcome == .clean)
        }
    }

    @Test func `a check changes nothing and counts what was planted`() throws {
        let catalogue = filled(1)
        var random = SplitMix64(seed: 1)
        let planted = slots.map { catalogue.randomDamage(&random, $0) }
        let before = slots.map { catalogue.entries(of: $0) }
        let found = Mutex<[Discrepancy]>([])
        let run = Run(
            owner: catalogue, indexes: slots, store: MemoryStore(),
            options: smallOptions(.check), clock: .system
        ) { discrepancy in found.withLock { $0.append(discrepancy) } }
        let report = RunDriver(run).drive()
        #expect(report.outcome == .corrupt)
        #expect(report.indexes.map(\.found) == planted)
        #expect(found.withLock { $0.count } == planted.reduce(0) { $0 + $1.total })
        #expect(slots.map { catalogue.entries(of: $0) } == before)
    }

    @Test func `a dry run decides and changes nothing`() throws {
        let catalogue = filled(2)
        var random = SplitMix64(seed: 2)
        _ = catalogue.randomDamage(&random, slots[0])
        let before = catalogue.entries(of: slots[0])
        var options = smallOptions(.rebuild)
        options.isDryRun = true
        let run = Run(
            owner: catalogue, indexes: [slots[0]], store: MemoryStore(), options: options,
            clock: .system)
        let report = RunDriver(run).drive()
        #expect(report.outcome == .corrupt)
        #expect(report.indexes[0].action == .rebuild)
        #expect(catalogue.entries(of: slots[0]) == before)
        #expect(catalogue.generations(of: slots[0]) == [1])
    }

    @Test func `the plan is a patch for few discrepancies and a rebuild for many`() throws {
        for (count, action) in [(1, IndexReport.Action.patch), (300, .rebuild)] {
            let catalogue = filled(3)
            catalogue.damage(slots[0]) { entries in
                for key in entries.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }).prefix(
                    count)
                {
                    entries[key] = nil
                }
            }
            let run = Run(
                owner: catalogue, indexes: [slots[0]], store: MemoryStore(),
                options: smallOptions(.auto), clock: .system)
            let report = RunDriver(run).drive()
            #expect(report.indexes[0].action == action)
            #expect(report.outcome == .repaired)
        }
    }

    @Test(arguments: [0, 1, 3])
    func `a side file that fails aborts the run and nothing else`(writes: Int) throws {
        let catalogue = filled(4)
        var random = SplitMix64(seed: 4)
        _ = catalogue.randomDamage(&random, slots[0])
        let before = catalogue.entries(of: slots[0])
        let run = Run(
            owner: catalogue, indexes: slots, store: FailingStore(writes: writes),
            options: smallOptions(.rebuild), clock: .system)
        let report = RunDriver(run).drive()
        #expect(report.outcome == .aborted)
        #expect(report.reason?.contains("side file") == true)
        #expect(catalogue.entries(of: slots[0]) == before)
        catalogue.randomTransaction(&random)
        try catalogue.atCommitBoundary { #expect($0.hooks.isEmpty) }
    }

    @Test func `a side file that fails stops scanners that have much to read`() throws {
        let catalogue = filled(4, transactions: 4000)
        var options = smallOptions(.rebuild)
        options.limits.window = 2
        options.limits.sortBytes = 100
        options.limits.queueBytes = 200
        let run = Run(
            owner: catalogue, indexes: slots, store: FailingStore(writes: 0), options: options,
            clock: .system)
        let report = RunDriver(run).drive()
        #expect(report.outcome == .aborted)
        #expect(report.windows < 50)
    }

    @Test func `a full side file is a clear error`() throws {
        let folder = try temporaryDirectory()
        let catalogue = filled(5)
        let run = Run(
            owner: catalogue, indexes: slots,
            store: try SideFile(path: folder + "/side", limit: 64 << 10),
            options: smallOptions(.check), clock: .system)
        let report = RunDriver(run).drive()
        #expect(report.outcome == .aborted)
        #expect(report.reason?.contains("MDB_MAP_FULL") == true, "\(report.reason ?? "")")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
    }

    @Test func `no room for the new generation is found before the load`() throws {
        let catalogue = filled(6, capacity: 10)
        let run = Run(
            owner: catalogue, indexes: [slots[0]], store: MemoryStore(),
            options: smallOptions(.rebuild), clock: .system)
        let report = RunDriver(run).drive()
        #expect(report.outcome == .aborted)
        #expect(report.reason?.contains("no space for a new generation of tags") == true)
        #expect(catalogue.generations(of: slots[0]) == [1])
    }

    @Test func `a second run on the same index is refused, on another it is not`() throws {
        let catalogue = filled(7)
        let first = Run(
            owner: catalogue, indexes: [slots[0]], store: MemoryStore(),
            options: smallOptions(.check), clock: .system)
        try first.prepare()
        let same = Run(
            owner: catalogue, indexes: slots, store: MemoryStore(),
            options: smallOptions(.check), clock: .system)
        #expect(throws: AbortReason.self) { try same.prepare() }
        let other = Run(
            owner: catalogue, indexes: [slots[1]], store: MemoryStore(),
            options: smallOptions(.check), clock: .system)
        #expect(RunDriver(other).drive().outcome == .clean)
        first.finish(AbortReason("the test is over", .stop))
    }

    @Test func `an empty store is clean, and so is its rebuilt index`() throws {
        let catalogue = Catalogue()
        let run = Run(
            owner: catalogue, indexes: slots, store: MemoryStore(),
            options: smallOptions(.rebuild), clock: .system)
        let report = RunDriver(run).drive()
        #expect(report.outcome == .clean)
        #expect(catalogue.generations(of: slots[0]) == [2])
    }

    @Test(arguments: [Strategy.rebuild, .patch])
    func `voids that come while an index is compared are read again`(strategy: Strategy) throws {
        let catalogue = Catalogue(voidEvery: 1)
        var random = SplitMix64(seed: 9)
        for _ in 0..<50 { catalogue.randomTransaction(&random) }
        _ = catalogue.randomDamage(&random, slots[0])
        let run = Run(
            owner: catalogue, indexes: [slots[0]], store: MemoryStore(),
            options: smallOptions(strategy), clock: .system)
        try run.prepare()
        let scanner = run.makeScanner()
        while !run.isScanned { _ = try scanner.step() }
        try run.settle()
        let cut = try #require(try run.cut())
        let comparison = try run.compare(slots[0], at: cut)
        for part in comparison.parts { while try part.step() {} }
        for _ in 0..<9 { catalogue.randomTransaction(&random) }
        while try run.handleItem() {}
        try run.finish(comparison)
        let live = catalogue.entries(of: slots[0])
        #expect(throws: RereadFirst.self) {
            if strategy == .patch {
                try run.apply(try #require(try run.beginPatch(comparison, from: 0)))
            } else {
                _ = try run.beginLoad(comparison)
            }
        }
        run.finish(AbortReason("as it must"))
        #expect(catalogue.entries(of: slots[0]) == live)
    }

    @Test func `voids that come while an index is written abort the run`() throws {
        let catalogue = Catalogue(voidEvery: 1)
        var random = SplitMix64(seed: 8)
        for _ in 0..<50 { catalogue.randomTransaction(&random) }
        let run = Run(
            owner: catalogue, indexes: [slots[0]], store: MemoryStore(),
            options: smallOptions(.rebuild), clock: .system)
        try run.prepare()
        let scanner = run.makeScanner()
        while !run.isScanned { _ = try scanner.step() }
        try run.settle()
        let cut = try #require(try run.cut())
        let comparison = try run.compare(slots[0], at: cut)
        for part in comparison.parts { while try part.step() {} }
        try run.finish(comparison)
        let merger = try run.beginLoad(comparison)
        let loadBatch = try #require(try merger.next(entries: 5))
        for _ in 0..<9 { catalogue.randomTransaction(&random) }
        #expect(throws: AbortReason.self) { _ = try run.load(loadBatch) }
        run.finish(AbortReason("as it must"))
        #expect(catalogue.generations(of: slots[0]).contains(1))
    }
}

@Suite struct HookTests {
    private func hook(bytes: Int, patience: Double) -> HookPoint {
        let hook = HookPoint(
            wanted: [true, true], limits: .init(bytes: bytes, patience: patience),
            pool: BatchPool(capacity: 1024, limit: 4))
        hook.attached(at: 0)
        _ = hook.open(from: KeyBytes(), to: nil)
        return hook
    }

    private func deltas(_ count: Int) -> DeltaBatch {
        var batch = DeltaBatch()
        for number in 0..<count {
            var key = KeyBytes()
            key.append(UInt64(number))
            batch.add(slots[0], primary: key.span, key: key.span, value: key.span)
        }
        return batch
    }

    @Test func `a full queue makes a writer wait until the assistant has taken some`() throws {
        let hook = hook(bytes: 100, patience: 2 * patience)
        hook.committed(1, by: .writer, deltas: deltas(100))
        #expect(!hook.admit(within: 0.01))
        let writer = ThreadTask("writer") { hook.admit(within: patience) }
        _ = hook.take()
        #expect(try writer.value())
        #expect(hook.abortReason == nil)
        #expect(hook.status.isEmpty)
    }

    @Test func `a queue that stays full aborts the run and lets the writer go`() throws {
        let hook = hook(bytes: 100, patience: 0.05)
        hook.committed(1, by: .writer, deltas: deltas(100))
        try until("writer that is let go") { hook.admit(within: 0.01) }
        #expect(hook.abortReason != nil)
        hook.committed(2, by: .writer, deltas: deltas(100))
        #expect(hook.admit(within: 0))
    }

    @Test func `deltas at or above the cursor are elided, those below are applied`() {
        let hook = HookPoint(
            wanted: [true, false], limits: .init(), pool: BatchPool(capacity: 1024, limit: 4))
        hook.attached(at: 0)
        var end = KeyBytes()
        end.append(UInt64(5))
        _ = hook.open(from: KeyBytes(), to: end)
        hook.committed(1, by: .writer, deltas: deltas(9))
        #expect(hook.status.applied == 5)
        #expect(hook.status.elided == 4)
    }

    @Test func `what a run commits counts as nobody's work, for itself and for other runs`() {
        let hooks = (0..<2).map { _ in
            HookPoint(wanted: [true], limits: .init(), pool: BatchPool(capacity: 1024, limit: 4))
        }
        func commit(_ number: UInt64, by origin: CommitOrigin) {
            for hook in hooks { hook.committed(number, by: origin, deltas: deltas(1)) }
        }
        for hook in hooks { hook.attached(at: 7) }
        #expect(hooks.map(\.status.othersCommits) == [0, 0])
        commit(8, by: .boundary)
        #expect(hooks.map(\.status.othersCommits) == [0, 0])
        commit(9, by: .writer)
        #expect(hooks.map(\.status.othersCommits) == [1, 1])
        commit(10, by: .writer)
        #expect(hooks.map(\.status.othersCommits) == [2, 2])
    }

    @Test func `a window before the hooks are in force is a mistake of the driver`() async {
        await #expect(processExitsWith: .failure) {
            let hook = HookPoint(
                wanted: [true], limits: .init(), pool: BatchPool(capacity: 1024, limit: 4))
            _ = hook.nextWindow()
        }
    }
}
