// Runs that are steered while threads drive them: limits, pauses, stops.

import Bytes
import Catalogue
import Foundation
import Synchronization
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

/// A run on a thread of its own.
private final class Driven {
    let controls: RunControls
    let driver: RunDriver
    let hook: HookPoint
    private let thread: DedicatedThread
    private let result: Monitor<(report: RunReport, end: UInt64)?>

    init(
        _ catalogue: Catalogue, _ strategy: Strategy, _ limits: LimitChange = LimitChange(),
        options: RunOptions = RunOptions(),
        onDiscrepancy: @escaping @Sendable (Discrepancy) -> Void = { _ in }
    ) throws {
        var options = options
        options.strategy = strategy
        let controls = RunControls(try limits.applied(to: RunLimits(options)))
        let run = Run(
            owner: catalogue, indexes: slots, store: MemoryStore(), options: options,
            clock: .system, onDiscrepancy: onDiscrepancy)
        let driver = RunDriver(run, controls: controls)
        let result = Monitor<(report: RunReport, end: UInt64)?>(nil)
        hook = run.hook
        self.controls = controls
        self.driver = driver
        self.result = result
        thread = DedicatedThread(name: "driven") {
            let report = driver.drive()
            result.withLock(notify: true) { $0 = (report, RunClock.system.now()) }
        }
    }

    deinit {
        controls.stop("nobody waits for it")
        thread.join()
    }

    /// Waits for the end.
    func report(within seconds: Double = 30) throws -> RunReport {
        try #require(result.wait(seconds: seconds) { $0 }).report
    }

    /// Stops it, and says how many seconds that took.
    func stop(_ reason: String = "the test stops it") throws -> (RunReport, Double) {
        let start = RunClock.system.now()
        controls.stop(reason)
        let (report, end) = try #require(result.wait(seconds: 30) { $0 })
        return (report, end > start ? Double(end - start) / 1e9 : 0)
    }

    /// Waits until the scan has read some.
    func untilReading() throws {
        let deadline = RunClock.system.now() + 10_000_000_000
        while driver.progress.done == 0 {
            try #require(RunClock.system.now() < deadline)
            sleepMilliseconds(1)
        }
    }
}

// One after the other: they measure time.
@Suite(.serialized) struct ControlsTests {
    @Test(arguments: [100, 300])
    func `a speed limit is kept`(limit: Int) throws {
        let driven = try Driven(
            try catalogue(limit * 3 / 2), .check, change { $0.speedLimit = limit })
        let report = try driven.report()
        #expect(report.outcome == .clean)
        #expect(report.primaryRecords == limit * 3 / 2)
        // The bucket lets the first tenth of a second be caught up on; the machine may be slow.
        #expect((1.3...3).contains(report.seconds.scan), "\(report.seconds.scan)")
        #expect(report.windows >= 25)
    }

    @Test func `a changed limit takes effect at once, in both directions`() throws {
        let driven = try Driven(try catalogue(600), .check, change { $0.speedLimit = 20 })
        try driven.untilReading()
        let slow = driven.driver.progress.done
        try driven.controls.change(change { $0.speedLimit = 400 })
        sleepMilliseconds(500)
        let faster = driven.driver.progress.done
        #expect(faster - slow > 60, "\(slow) \(faster)")
        try driven.controls.change(change { $0.speedLimit = 20 })
        sleepMilliseconds(100)
        let before = driven.driver.progress.done
        sleepMilliseconds(500)
        #expect(driven.driver.progress.done - before <= 30)
        try driven.controls.change(change { $0.speedLimit = 0 })
        #expect(try driven.report(within: 5).outcome == .clean)
    }

    @Test(arguments: 0..<20)
    func `a stop at any moment ends the run at once and leaves no trace`(seed: Int) throws {
        var random = SplitMix64(seed: seed)
        let catalogue = try catalogue(1000)
        _ = catalogue.randomDamage(&random, slots[0])
        let before = catalogue.entries(of: slots[0])
        let limits: LimitChange = [
            change { $0.speedLimit = 50 }, change { $0.share = 2 }, LimitChange(),
            change { $0.background = true },
        ][seed % 4]
        let driven = try Driven(catalogue, .rebuild, limits)
        if seed % 5 == 0 { driven.controls.pause(true) }
        sleepMilliseconds(Int.random(in: 0..<60, using: &random))
        let (report, seconds) = try driven.stop()
        #expect(seconds < 0.5, "SEED=\(seed)")
        if report.outcome == .stopped {
            #expect(report.reason?.contains("the test stops it") == true)
            #expect(try #require(report.seconds.stop) <= seconds)
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
        let driven = try Driven(catalogue, .rebuild, change { $0.speedLimit = 3000 })
        try driven.untilReading()
        driven.controls.pause(true)
        sleepMilliseconds(100)
        let paused = driven.driver.progress
        #expect(paused.limits.isPaused && paused.phase == .scanning)
        for _ in 0..<500 { catalogue.randomTransaction(&random, items: 300, tags: 10) }
        sleepMilliseconds(100)
        let later = driven.driver.progress
        #expect(later.primaryRecords == paused.primaryRecords)
        #expect(later.applied > paused.applied)
        #expect(later.queuedBytes == 0, "the queue is kept empty")
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
        options.stretchEntries = 64
        options.overlayBytes = 2000
        let driven = try Driven(
            catalogue, seed % 2 == 0 ? .rebuild : .patch, change { $0.share = 30 }, options: options
        )
        for _ in 0..<6 {
            driven.controls.pause(true)
            for _ in 0..<30 { catalogue.randomTransaction(&random, items: 100, tags: 10) }
            sleepMilliseconds(Int.random(in: 0..<30, using: &random))
            driven.controls.pause(false)
            for _ in 0..<10 { catalogue.randomTransaction(&random, items: 100, tags: 10) }
            sleepMilliseconds(Int.random(in: 0..<10, using: &random))
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
            return try Driven(catalogue, .rebuild, limits).report()
        }
        let rested = try rebuilt(change { $0.share = 20 })
        #expect(rested.outcome == .repaired)
        #expect(rested.costs.load == nil)
        // Nobody else was at work.
        let alone = try rebuilt(change { $0.background = true })
        #expect(alone.outcome == .repaired)
        #expect(try #require(alone.costs.load) > 0)
    }

    @Test func `a run that is paused before it begins does nothing until it is let go`() throws {
        let catalogue = try catalogue(10)
        let controls = RunControls()
        controls.pause(true)
        let run = Run(
            owner: catalogue, indexes: slots, store: MemoryStore(), options: RunOptions(),
            clock: .system)
        let driver = RunDriver(run, controls: controls)
        let thread = DedicatedThread(name: "driven") { _ = driver.drive() }
        sleepMilliseconds(60)
        #expect(driver.progress.phase == .prepared)
        controls.pause(false)
        thread.join()
        #expect(run.report.outcome == .clean)
    }

    @Test func `a share of the time makes a run so much longer`() throws {
        let catalogue = try catalogue(800)
        let freely = change { $0.window = 50 }
        let sharing = change {
            $0.window = 50
            $0.share = 10
        }
        // The least of several, in turns: what others take of the machine makes any of them
        // longer, and none shorter.
        var free: [Double] = [], shared: [Double] = []
        for _ in 0..<6 {
            free.append(try Driven(catalogue, .check, freely).report().seconds.scan)
            shared.append(try Driven(catalogue, .check, sharing).report().seconds.scan)
        }
        #expect((shared.min() ?? 0) > 4 * (free.min() ?? 0), "\(shared) \(free)")
    }

    @Test func `a run ends when its time is over`() throws {
        let driven = try Driven(
            try catalogue(2000), .check,
            change {
                $0.speedLimit = 100
                $0.maximumSeconds = 0.3
            })
        let report = try driven.report(within: 10)
        #expect(report.outcome == .stopped)
        #expect(report.reason?.contains("0.3 seconds") == true)
        #expect((0.3..<1.5).contains(report.seconds.total))
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
            $0.memory = 1 << 20
            $0.window = 200
        }
        let small = try Driven(catalogue, .check, less).report()
        #expect(large.sortedRuns == slots.count)
        #expect(small.sortedRuns >= 3 * slots.count)
        let driven = try Driven(catalogue, .check, change { $0.speedLimit = 20 })
        less.speedLimit = 0
        try driven.controls.change(less)
        #expect(try driven.report().sortedRuns >= 2 * slots.count)
        #expect(driven.driver.progress.limits.memoryBytes == 1 << 20)
    }

    @Test func `the queue's bound can be changed while writers wait for it`() throws {
        let hook = HookPoint(
            wanted: [true], limits: .init(bytes: 10, patience: 60),
            pool: BatchPool(capacity: 1024, limit: 4))
        hook.attached(at: 0)
        _ = hook.open(from: KeyBytes(), to: nil)
        var deltas = DeltaBatch()
        deltas.add(slots[0], primary: KeyBytes([1]).span, key: KeyBytes([1]).span, value: RawSpan())
        hook.committed(1, deltas: deltas)
        #expect(!hook.admit(within: 0.01))
        let isAdmitted = Flag()
        let writer = DedicatedThread(name: "writer") {
            if hook.admit(within: 20) { isAdmitted.set() }
        }
        hook.limitQueue(bytes: 1 << 20)
        writer.join()
        #expect(isAdmitted.isSet)
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
            case .stretch(let merger): coordinator.stretch = try merger.next(entries: 5000)
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
        let isDone = Flag()
        let looking = (0..<2).map { _ in
            DedicatedThread(name: "looking") {
                while !isDone.isSet { _ = board.snapshot }
            }
        }
        for number in 0..<100_000 {
            board.note(number % 2 == 0 ? .comparing : .loading, nil, number, 100_000)
        }
        isDone.set()
        for thread in looking { thread.join() }
        let last = board.snapshot
        #expect(last.phase == .loading && last.done == 99_999)
        #expect(last.phaseSeconds <= last.seconds)
    }

    @Test func `progress tells where the run stands and how long it will take`() throws {
        let driven = try Driven(try catalogue(800), .check, change { $0.speedLimit = 400 })
        try driven.untilReading()
        sleepMilliseconds(400)
        let first = driven.driver.progress
        sleepMilliseconds(200)
        let second = driven.driver.progress
        #expect(first.phase == .scanning)
        #expect(second.done > first.done && second.primaryRecords == second.done)
        #expect(try #require(second.position) > (try #require(first.position)))
        #expect(second.rate > 50 && second.rate < 800, "\(second.rate)")
        #expect(second.limits.recordsPerSecond == 400)
        let data = try JSONEncoder().encode(second)
        #expect(try JSONDecoder().decode(RunProgress.self, from: data) == second)
    }
}
