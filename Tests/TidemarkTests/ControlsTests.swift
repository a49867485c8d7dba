// Runs that are steered while threads drive them: limits, pauses, stops.

import Bytes
import Catalogue
import Foundation
import Synchronization
import TestSupport
import Testing
import Threads

@testable import Driver
import Tidemark

/// A catalogue of so many records.
private func catalogue(_ records: Int, tagBytes: Int = 1) throws -> Catalogue {
    let catalogue = Catalogue()
    try catalogue.transaction { transaction in
        for number in 0..<records {
            let letter = UInt8(ascii: "a") + UInt8(number % 10)
            let tag = [UInt8](repeating: letter, count: tagBytes)
            transaction.set(Tagging(item: UInt64(number / 10), tag: tag), weight: 7)
        }
    }
    return catalogue
}

private func change(_ body: (inout LimitChange) -> Void) -> LimitChange {
    var change = LimitChange()
    body(&change)
    return change
}

/// Purposes of the rests that a run's limits ask for.
private let rests = ["speed limit", "share", "lock", "pause"]

/// A run on a thread of its own, by a clock that the test turns, or by the system's.
private final class Driven {
    let controls: RunControls
    let driver: RunDriver
    let hook: HookPoint
    private let clock: ManualClock?
    private let task: ThreadTask<RunReport>

    init(
        _ catalogue: Catalogue, _ strategy: Strategy, _ limits: LimitChange = LimitChange(),
        options: RunOptions = RunOptions(), clock: ManualClock? = nil, isPaused: Bool = false,
        store: any SideStore = MemoryStore(),
        onDiscrepancy: @escaping @Sendable (Discrepancy) -> Void = { _ in }
    ) throws {
        var options = options
        options.strategy = strategy
        let time = clock.map { RunClock($0) } ?? .system
        let controls = RunControls(try limits.applied(to: options.limits), clock: time)
        if isPaused { controls.pause(true) }
        let run = Run(
            owner: catalogue, indexes: slots, store: store, options: options, clock: time,
            onDiscrepancy: onDiscrepancy)
        let driver = RunDriver(run, controls: controls)
        hook = run.hook
        self.clock = clock
        self.controls = controls
        self.driver = driver
        task = ThreadTask("driven") { driver.drive() }
    }

    deinit {
        controls.stop("nobody waits for it")
        _ = try? task.value()
    }

    var isEnded: Bool { task.isEnded }

    /// Waits for the end, and lets the time pass where the run rests.
    func report() throws -> RunReport {
        guard clock != nil else { return try task.value() }
        try until("end of the run") {
            while !task.isEnded, step(rests) {}
            return task.isEnded
        }
        return try task.value()
    }

    /// Stops it, and waits for the end without letting any time pass.
    func stop(_ reason: String = "the test stops it") throws -> RunReport {
        controls.stop(reason)
        return try task.value()
    }

    /// Waits until the scan has read some.
    func untilReading() throws {
        try until("record that was read") { driver.progress.done > 0 }
    }

    // MARK: Time

    /// Turns the clock on to where the next rest ends.
    /// - Returns: false where nobody rests for the moment.
    @discardableResult
    func step(_ purposes: [String], upTo limit: UInt64 = .max) -> Bool {
        guard let clock, let next = clock.untilWaiting(purposes, within: 0.001) else {
            return false
        }
        clock.advance(to: min(next, limit))
        return true
    }

    /// Waits until the queue is empty.
    func untilHandled() throws {
        try until("empty queue") { driver.progress.queuedBytes == 0 }
    }

    /// Lets `seconds` pass while the scan rests as its speed limit asks for.
    func turn(seconds: Double) throws {
        let clock = try #require(clock), end = clock.now() + UInt64(seconds * 1e9)
        try until("rest of the scan") {
            while clock.now() < end, step(["speed limit"], upTo: end) { try untilHandled() }
            return clock.now() >= end
        }
        try until("rest of the scan") { clock.nextDeadline(["speed limit"]) != nil }
        try untilHandled()
    }

    /// Lets the time pass until the scan rests since the run is paused.
    func untilPaused() throws {
        let clock = try #require(clock)
        try until("rest of the scan") {
            if clock.nextDeadline(["pause"]) != nil { return true }
            step(["speed limit"])
            return false
        }
        try untilHandled()
    }
}

/// A side file to which writing takes time.
private final class SlowStore: SideStore {
    private let inner = MemoryStore()
    private let clock: ManualClock
    let appends = Atomic(0)

    /// Seconds that it takes to append to a sorted run.
    static let seconds = 0.01

    init(_ clock: ManualClock) { self.clock = clock }

    func append(_ chunks: borrowing ChunkList, to number: UInt32) throws {
        clock.advance(by: Self.seconds)
        appends.add(1, ordering: .relaxed)
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

@Suite struct ControlsTests {
    @Test(arguments: [100, 300])
    func `a speed limit is kept`(limit: Int) throws {
        let driven = try Driven(
            try catalogue(limit * 3 / 2), .check, change { $0.speedLimit = limit },
            clock: ManualClock())
        let report = try driven.report()
        #expect(report.outcome == .clean)
        #expect(report.primaryRecords == limit * 3 / 2)
        // Reading itself takes no time of this clock.
        #expect((1.4...1.6).contains(report.seconds.scan), "\(report.seconds.scan)")
        #expect(report.windows >= 25)
    }

    @Test func `a changed limit takes effect at once, in both directions`() throws {
        let driven = try Driven(
            try catalogue(600), .check, change { $0.speedLimit = 20 }, clock: ManualClock())
        try driven.untilReading()
        try driven.turn(seconds: 0.1)
        let slow = driven.driver.progress.done
        #expect((1...5).contains(slow))
        try driven.controls.change(change { $0.speedLimit = 400 })
        try driven.turn(seconds: 0.5)
        try until { driven.driver.progress.done - slow > 150 }
        #expect(driven.driver.progress.done - slow <= 260)
        try driven.controls.change(change { $0.speedLimit = 20 })
        try driven.turn(seconds: 0.6)
        // Half a second of the one limit and half a second of the other, with what may be saved up.
        #expect(driven.driver.progress.done - slow <= 280)
        #expect(!driven.isEnded)
        try driven.controls.change(change { $0.speedLimit = 0 })
        #expect(try driven.report().outcome == .clean)
    }

    @Test(arguments: 0..<20)
    func `a stop at any moment ends the run at once and leaves no trace`(seed: Int) throws {
        var random = SplitMix64(seed: seed)
        let catalogue = try catalogue(1000)
        _ = catalogue.randomDamage(&random, slots[0])
        let before = catalogue.entries(of: slots[0])
        let limits: LimitChange = [
            change { $0.speedLimit = 50 }, change { $0.share = 2 }, LimitChange(),
            change { $0.isBackground = true },
        ][seed % 4]
        // Where rests are a share of the work, work takes time.
        let tick: UInt64 = seed % 4 == 1 ? 20_000 : 0
        let driven = try Driven(
            catalogue, .rebuild, limits, clock: ManualClock(tick: tick), isPaused: seed % 5 == 0)
        for _ in 0..<Int.random(in: 0..<60, using: &random) { driven.step(rests) }
        let report = try driven.stop()
        if report.outcome == .stopped {
            #expect(report.reason?.contains("the test stops it") == true)
            // No rest was waited for.
            if tick == 0 { #expect(report.seconds.stop == 0, "SEED=\(seed)") }
            // Both indexes are rebuilt one after the other: the first may have been committed.
            if report.indexes[0].generation == nil {
                #expect(catalogue.entries(of: slots[0]) == before, "SEED=\(seed)")
            }
        } else {
            #expect(report.outcome == .repaired, "SEED=\(seed) \(report.reason ?? "")")
        }
        try catalogue.atCommitBoundary { #expect($0.hooks.isEmpty) }
        let again = try Driven(catalogue, .rebuild).report()
        #expect([.clean, .repaired].contains(again.outcome), "SEED=\(seed)")
        #expect(catalogue.entries(of: slots[0]) == catalogue.expected(slots[0]))
    }

    @Test func `a paused run rests while writers go on, and loses nothing`() throws {
        let catalogue = try catalogue(3000)
        var random = SplitMix64(seed: 1)
        _ = catalogue.randomDamage(&random, slots[0])
        let clock = ManualClock()
        let driven = try Driven(
            catalogue, .rebuild, change { $0.speedLimit = 3000 }, clock: clock)
        try driven.untilReading()
        driven.controls.pause(true)
        try driven.untilPaused()
        let paused = driven.driver.progress
        #expect(paused.limits.isPaused && paused.phase == .scanning)
        /// What progress tells when changes of writers are handled, some time later.
        func later(than before: RunProgress) throws -> RunProgress {
            for _ in 0..<500 { catalogue.randomTransaction(&random, items: 300, tags: 10) }
            clock.advance(by: 60)
            try until("applied deltas, and an empty queue") {
                let progress = driven.driver.progress
                return progress.applied > before.applied && progress.queuedBytes == 0
            }
            return driven.driver.progress
        }
        let once = try later(than: paused)
        let twice = try later(than: once)
        // What the first look finds was read before the pause, and is handled by then.
        #expect(twice.primaryRecords == once.primaryRecords)
        #expect(twice.position == paused.position && paused.position != nil)
        driven.controls.pause(false)
        #expect(try driven.report().outcome == .repaired)
        for slot in slots { #expect(catalogue.entries(of: slot) == catalogue.expected(slot)) }
    }

    @Test(arguments: 0..<12)
    func `pauses at any moment, with writers at work, change nothing in the end`(seed: Int) throws {
        var random = SplitMix64(seed: seed)
        let catalogue = try catalogue(1000)
        _ = catalogue.randomDamage(&random, slots[1])
        var options = RunOptions()
        options.batchEntries = 64
        options.overlayBytes = 2000
        options.patience = patience
        let driven = try Driven(
            catalogue, seed % 2 == 0 ? .rebuild : .patch, change { $0.share = 30 },
            options: options, clock: ManualClock(tick: 20_000))
        for _ in 0..<6 {
            driven.controls.pause(true)
            for _ in 0..<30 { catalogue.randomTransaction(&random, items: 100, tags: 10) }
            for _ in 0..<Int.random(in: 0..<8, using: &random) { driven.step(rests) }
            driven.controls.pause(false)
            for _ in 0..<10 { catalogue.randomTransaction(&random, items: 100, tags: 10) }
            for _ in 0..<Int.random(in: 0..<20, using: &random) { driven.step(rests) }
        }
        let report = try driven.report()
        #expect(
            [.clean, .repaired].contains(report.outcome), "SEED=\(seed) \(report.reason ?? "")")
        for slot in slots {
            #expect(catalogue.entries(of: slot) == catalogue.expected(slot), "SEED=\(seed)")
        }
    }

    @Test func `a run that had to rest measures no costs, one that only might have does`() throws {
        func rebuilt(_ limits: LimitChange) throws -> RunReport {
            var random = SplitMix64(seed: 1)
            let catalogue = try catalogue(3000)
            _ = catalogue.randomDamage(&random, slots[0])
            return try Driven(catalogue, .rebuild, limits, clock: ManualClock(tick: 100_000))
                .report()
        }
        let rested = try rebuilt(change { $0.share = 20 })
        #expect(rested.outcome == .repaired)
        #expect(rested.costs.load == nil)
        // Nobody else was at work.
        let alone = try rebuilt(change { $0.isBackground = true })
        #expect(alone.outcome == .repaired)
        #expect(try #require(alone.costs.load) > 0)
    }

    @Test func `a run that is paused before it begins does nothing until it is let go`() throws {
        let clock = ManualClock()
        let driven = try Driven(try catalogue(10), .check, clock: clock, isPaused: true)
        for _ in 0..<5 {
            _ = try #require(clock.untilWaiting(["pause"], within: patience))
            #expect(driven.driver.progress.phase == .prepared)
            clock.advance(by: 3600)
        }
        driven.controls.pause(false)
        #expect(try driven.report().outcome == .clean)
    }

    @Test func `a share of the time makes a run so much longer`() throws {
        let catalogue = try catalogue(800)
        var options = RunOptions()
        options.limits.sortBytes = 4000
        func seconds(share: Int) throws -> (run: Double, work: Double) {
            let clock = ManualClock(), store = SlowStore(clock)
            let change = change {
                $0.window = 50
                $0.share = share
            }
            let report = try Driven(
                catalogue, .check, change, options: options, clock: clock, store: store
            ).report()
            #expect(report.outcome == .clean)
            let appends = store.appends.load(ordering: .relaxed)
            #expect(appends >= 10)
            return (report.seconds.total, Double(appends) * SlowStore.seconds)
        }
        let free = try seconds(share: 100), shared = try seconds(share: 10)
        #expect(abs(free.run - free.work) < 1e-6, "\(free)")
        // At least: who works while another thread's work moves the clock rests for that too.
        #expect(shared.run >= 8 * shared.work, "\(shared)")
    }

    @Test func `a run ends when its time is over`() throws {
        let driven = try Driven(
            try catalogue(2000), .check,
            change {
                $0.speedLimit = 100
                $0.maximumSeconds = 0.3
            }, clock: ManualClock())
        let report = try driven.report()
        #expect(report.outcome == .stopped)
        #expect(report.reason?.contains("0.3 seconds") == true)
        #expect(report.seconds.total >= 0.3)
    }

    @Test(arguments: [1, 7])
    func `a run stops after so many discrepancies and reports exactly those`(limit: Int) throws {
        let catalogue = try catalogue(3000)
        var random = SplitMix64(seed: 3)
        _ = catalogue.randomDamage(&random, slots[0])
        let before = catalogue.entries(of: slots[0])
        let told = Mutex<[Discrepancy]>([])
        let driven = try Driven(catalogue, .rebuild, change { $0.stopAfter = limit }) { found in
            told.withLock { $0.append(found) }
        }
        let report = try driven.report()
        #expect(report.outcome == .stopped)
        #expect(report.indexes.reduce(0) { $0 + $1.found.total } == limit)
        #expect(told.withLock { $0.count } == limit)
        #expect(driven.driver.progress.discrepancies == limit)
        #expect(driven.driver.progress.firstDiscrepancy == told.withLock { $0.first })
        #expect(catalogue.entries(of: slots[0]) == before)
        #expect(report.reason?.contains("stop after \(limit) discrepanc") == true)
    }

    @Test func `as many discrepancies as are allowed do not stop a run that finds fewer`() throws {
        let catalogue = try catalogue(300)
        catalogue.damage(slots[0]) { entries in
            for key in Array(entries.keys.prefix(3)) { entries[key] = nil }
        }
        let report = try Driven(catalogue, .auto, change { $0.stopAfter = 4 }).report()
        #expect(report.outcome == .repaired)
        #expect(report.indexes[0].found.missing == 3)
    }

    @Test func `less memory makes more sorted runs, also of a run that is at work`() throws {
        let catalogue = try catalogue(3000, tagBytes: 200)
        let large = try Driven(catalogue, .check, change { $0.window = 200 }).report()
        var less = change {
            $0.memoryBytes = 1 << 20
            $0.window = 200
        }
        let small = try Driven(catalogue, .check, less).report()
        #expect(large.sortedRuns == slots.count)
        #expect(small.sortedRuns >= 3 * slots.count)
        let driven = try Driven(
            catalogue, .check, change { $0.speedLimit = 20 }, clock: ManualClock())
        less.speedLimit = 0
        try driven.controls.change(less)
        #expect(try driven.report().sortedRuns >= 2 * slots.count)
        #expect(driven.driver.progress.limits.memoryBytes == 1 << 20)
    }

    @Test func `the queue's bound can be changed while writers wait for it`() throws {
        let hook = HookPoint(
            wanted: [true], limits: .init(bytes: 10, patience: 2 * patience),
            pool: BatchPool(capacity: 1024, limit: 4))
        hook.attached(at: 0)
        _ = hook.open(from: KeyBytes(), to: nil)
        var deltas = DeltaBatch()
        deltas.add(slots[0], primary: KeyBytes([1]).span, key: KeyBytes([1]).span, value: RawSpan())
        hook.committed(1, by: .writer, deltas: deltas)
        #expect(!hook.admit(within: 0.01))
        let writer = ThreadTask("writer") { hook.admit(within: patience) }
        hook.limitQueue(bytes: 1 << 20)
        #expect(try writer.value())
    }

    @Test func `a stop while storage is returned leaves that to the next run`() throws {
        let catalogue = try catalogue(3000)
        catalogue.damage(slots[0]) { $0.removeAll() }
        var options = RunOptions()
        options.strategy = .rebuild
        options.reapEntries = 1
        let run = Run(
            owner: catalogue, indexes: [slots[0]], store: MemoryStore(), options: options,
            clock: countingClock())
        let coordinator = Coordinator(run)
        while coordinator.next != .reap {
            switch coordinator.need {
            case .nothing, .ended, .watermark: break
            case .scan:
                let scanner = run.makeScanner()
                while !run.isScanned { if try scanner.step() == .read { _ = try run.handleItem() } }
            case .comparison(let comparison):
                for part in comparison.parts { while try part.step() {} }
            case .loadBatch(let merger): coordinator.loadBatch = try merger.next(entries: 5000)
            }
            coordinator.step()
        }
        run.hook.abort(AbortReason("the test stops it", .stop))
        while !coordinator.isEnded { coordinator.step() }
        #expect(run.report.outcome == .repaired)
        #expect(run.report.reason?.contains("left to the next repair") == true)
        #expect(catalogue.entries(of: slots[0]) == catalogue.expected(slots[0]))
    }

    @Test func `progress may be looked at in the very moment in which a phase begins`() throws {
        let run = Run(
            owner: Catalogue(), indexes: slots, store: MemoryStore(), options: RunOptions(),
            clock: .system)
        let board = ProgressBoard(run, RunControls(), .system)
        let end = Gate()
        let looking = (0..<2).map { _ in
            ThreadTask("looking") { while !end.isOpen { _ = board.snapshot } }
        }
        for number in 0..<100_000 {
            board.note(number % 2 == 0 ? .comparing : .loading, nil, number, 100_000)
        }
        end.open()
        for thread in looking { try thread.value() }
        let last = board.snapshot
        #expect(last.phase == .loading && last.done == 99_999)
        #expect(last.phaseSeconds <= last.seconds)
    }

    @Test func `progress tells where the run stands and how long it will take`() throws {
        let driven = try Driven(
            try catalogue(800), .check, change { $0.speedLimit = 400 }, clock: ManualClock())
        try driven.untilReading()
        try driven.turn(seconds: 0.4)
        let first = driven.driver.progress
        try driven.turn(seconds: 0.4)
        try until { driven.driver.progress.done > first.done }
        let second = driven.driver.progress
        #expect(first.phase == .scanning)
        #expect(second.primaryRecords == second.done)
        #expect(try #require(second.position) > (try #require(first.position)))
        #expect(second.rate > 200 && second.rate < 800, "\(second.rate)")
        #expect(try #require(second.phaseSecondsLeft) >= 0)
        #expect(second.limits.speedLimit == 400)
        let data = try JSONEncoder().encode(second)
        #expect(try JSONDecoder().decode(RunProgress.self, from: data) == second)
    }
}
