// Checks of an owner that nobody can lock: on threads, and with owners that don't keep their
// promises.

import Bytes
import Catalogue
import Synchronization
import Testing
import Threads

@testable import Feed
@testable import Tidemark


private func tagging(_ item: Int, _ tag: String = "a") -> Tagging {
    Tagging(item: UInt64(item), tag: Array(tag.utf8))
}

private func key(_ item: Int, _ tag: String = "a") -> KeyBytes { tagging(item, tag).primaryKey }

private func filled(
    _ count: Int, buffers: Int = 2, capacity: Int = 1 << 16, knowsChanges: Bool = false
) -> UnlockedCatalogue {
    let catalogue = UnlockedCatalogue(
        buffers: buffers, capacity: capacity, knowsChanges: knowsChanges)
    for item in 0..<count { catalogue.change([(tagging(item), UInt32(item))], buffer: 0) }
    return catalogue
}

private func options(_ change: (inout RunOptions) -> Void = { _ in }) -> RunOptions {
    var options = RunOptions()
    options.limits.window = 64
    options.compareEntries = 64
    change(&options)
    return options
}

@Suite struct UnlockedDriverTests {
    @Test(arguments: [(1 << 16, false), (4, false), (4, true)])
    func `a check under load on threads finds the damage and nothing else`(
        capacity: Int, knowsChanges: Bool
    ) throws {
        let catalogue = filled(80, capacity: capacity, knowsChanges: knowsChanges)
        // Items from 60 on are left alone by the writers.
        let missing = TagIndex.entry(tagging(70), 70), stray = TagIndex.entry(tagging(9000), 1)
        catalogue.damage(slots[0]) { entries in
            entries[missing.key] = nil
            entries[stray.key] = stray.value
        }
        // A bounded number of changes: where much is lost, a check ends once less is changed.
        let writers = (0..<2).map { number in
            DedicatedThread(name: "writer-\(number)") {
                var random = SplitMix64(seed: number)
                for _ in 0..<200 {
                    let item = Int.random(in: 0..<60, using: &random)
                    let weight = UInt32.random(in: 0..<9, using: &random)
                    let change = random.chance(0.7) ? weight : nil
                    catalogue.change([(tagging(item), change)], buffer: number)
                    yieldProcessor()
                }
            }
        }
        let findings = Mutex<[Discrepancy]>([])
        let run = Run(
            owner: catalogue, indexes: slots, store: MemoryStore(),
            options: options { $0.looks = 64 }, clock: .system,
            onDiscrepancy: { finding in findings.withLock { $0.append(finding) } })
        var driver = DriverOptions()
        driver.scanners = 2
        let report = RunDriver(run, options: driver).drive()
        for writer in writers { writer.join() }
        #expect(report.outcome == .corrupt, "\(report.reason ?? "")")
        let keys = findings.withLock { $0.map(\.key) }
        #expect(Set(keys) == [missing.key, stray.key])
        #expect(report.indexes[0].found.total == 2)
        #expect(report.indexes[1].found.total == 0)
        #expect(report.applied + report.elided + report.olderThanRead > 0 || report.losses > 0)
    }

    @Test func `a run that is to stop after one discrepancy stops`() {
        let catalogue = filled(10)
        catalogue.damage(slots[0]) { $0.removeAll() }
        let run = Run(
            owner: catalogue, indexes: [slots[0]], store: MemoryStore(),
            options: options { $0.limits.stopAfter = 3 }, clock: .system)
        let report = RunDriver(run).drive()
        #expect(report.outcome == .stopped)
        #expect(report.indexes[0].found.total == 3)
        #expect(catalogue.subscriptions == 0)
    }

    @Test func `a check of a part finds what is wrong there and nowhere else`() {
        let catalogue = filled(100)
        let inside = TagIndex.entry(tagging(42), 42), outside = TagIndex.entry(tagging(7), 7)
        catalogue.damage(slots[0]) { entries in
            entries[inside.key] = nil
            entries[outside.key] = nil
        }
        let records = RecordRanges(KeyRange(lower: key(40), upper: key(50)))
        let run = Run(
            owner: catalogue, indexes: slots, store: MemoryStore(),
            options: options { $0.scope = Scope(label: "items 40 to 49", records: records) },
            clock: .system)
        let report = RunDriver(run).drive()
        #expect(report.outcome == .corrupt)
        #expect(report.indexes[0].found.total == 1)
        #expect(report.indexes[1].found.total == 0)
        #expect(report.primaryRecords == 10)
    }

    @Test func `a repair is refused, and the feed is not left behind`() {
        let catalogue = filled(10)
        let run = Run(
            owner: catalogue, indexes: [slots[0]], store: MemoryStore(),
            options: options { $0.strategy = .auto }, clock: .system)
        let report = RunDriver(run).drive()
        #expect(report.outcome == .aborted)
        #expect(report.reason?.contains("it can only be checked") == true)
        #expect(catalogue.subscriptions == 0)
    }

    @Test func `a second run is refused while the events are read by a first`() throws {
        let catalogue = filled(10)
        func run() -> Run {
            Run(
                owner: catalogue, indexes: slots, store: MemoryStore(), options: options(),
                clock: .system)
        }
        let first = run()
        try first.prepare()
        let report = RunDriver(run()).drive()
        #expect(report.outcome == .aborted || report.reason != nil)
        #expect(report.reason?.contains("read by somebody else") == true)
        first.finish(AbortReason("the test has seen enough", .stop))
        #expect(RunDriver(run()).drive().outcome == .clean)
    }
}

// MARK: The hook

/// A time that moves when the test says so.
private final class TestClock: Sendable {
    let time = Atomic<UInt64>(100)
}

/// A hook with a clock of the test's.
private final class Bench: Sendable {
    let clock = TestClock()
    let hook: HookPoint
    let receiver: StampedReceiver

    init(buffers: Int = 2, from owner: UnlockedCatalogue = UnlockedCatalogue()) throws {
        hook = HookPoint(
            wanted: [true, true], limits: .init(), pool: BatchPool(capacity: 64, limit: 4),
            clock: { [clock] in SequenceNumber(raw: clock.time.load(ordering: .relaxed)) })
        receiver = StampedReceiver(hook, owner)
        try hook.subscribed(buffers: buffers)
    }

    func tick(_ to: UInt64) { clock.time.store(to, ordering: .relaxed) }

    /// Opens the next window up to `upper`, and says that it was read.
    func read(to upper: KeyBytes?) -> SequenceNumber? {
        guard let unread = hook.unread else { return nil }
        let end = unread.range.upper ?? upper
        let range = KeyRange(lower: unread.range.lower, upper: end)
        guard let window = hook.openStamped(range, again: unread.isAgain).window else { return nil }
        let sink = WindowSink(batches: [nil, nil], sequence: window.sequence)
        hook.enqueue(sink, of: window, rest: nil)
        return window.sequence
    }

    func deliver(_ item: Int, at stamp: UInt64, from buffer: Int = 0) {
        var deltas = StampedDeltas()
        let primary = key(item), entry = TagIndex.entry(tagging(item), 7)
        let bytes = KeyBytes(entry.key), value = KeyBytes(entry.value)
        deltas.add(
            slots[0], primary: primary.span, key: bytes.span, value: value.span,
            at: SequenceNumber(raw: stamp))
        receiver.deliver(deltas, from: buffer)
    }
}

@Suite struct StampTests {
    @Test func `an event is elided, older, or a delta, by the stamp of its key`() throws {
        let bench = try Bench()
        bench.deliver(1, at: 90)
        #expect(bench.hook.status.elided == 1)
        #expect(bench.read(to: key(5)) == SequenceNumber(raw: 99))
        bench.tick(200)
        bench.deliver(1, at: 95)
        #expect(bench.hook.stampCounts.older == 1)
        // The very stamp of the window: it may have come after the read.
        bench.deliver(1, at: 100)
        bench.deliver(1, at: 150)
        #expect(bench.hook.status.applied == 2)
        bench.deliver(7, at: 160)
        #expect(bench.hook.status.elided == 2)
        #expect(bench.hook.abortReason == nil)
    }

    @Test func `what is read again is newer than what is void`() throws {
        let bench = try Bench()
        _ = bench.read(to: key(5))
        bench.tick(200)
        bench.receiver.lost(from: .init(raw: 120), to: .init(raw: 150), in: 0)
        #expect(bench.hook.rereadCount == 1)
        // The clock stands still: a window now would be as old as the void.
        #expect(bench.read(to: nil) == nil)
        bench.tick(202)
        let sequence = try #require(bench.read(to: nil))
        let items = bench.hook.takeAll()
        let voids = items.compactMap { item -> SequenceNumber? in
            if case .void(let void) = item { void.sequence } else { nil }
        }
        #expect(voids == [SequenceNumber(raw: 200)])
        #expect(sequence > voids[0])
    }

    @Test func `a window that was stamped behind a loss is not read again`() throws {
        let bench = try Bench()
        _ = bench.read(to: key(5))
        bench.tick(200)
        _ = bench.read(to: key(9))
        bench.receiver.lost(from: .init(raw: 120), to: .init(raw: 150), in: 1)
        #expect(bench.hook.unread?.range == KeyRange(lower: KeyBytes(), upper: key(5)))
        #expect(bench.hook.rereadCount == 1)
    }

    @Test(arguments: 1...8)
    func `an owner that breaks a promise ends the run with a reason`(lie: Int) throws {
        let bench = try Bench()
        _ = bench.read(to: key(50))
        bench.tick(200)
        let hook = bench.hook, receiver = bench.receiver
        switch lie {
        case 1: bench.deliver(1, at: 0)
        case 2: bench.deliver(1, at: 201)
        case 3: bench.deliver(1, at: .max)
        case 4:
            bench.deliver(1, at: 150)
            bench.deliver(2, at: 149)
        case 5:
            receiver.delivered(upTo: .init(raw: 150), in: 0)
            bench.deliver(1, at: 150)
        case 6: receiver.lost(from: .init(raw: 160), to: .init(raw: 150), in: 0)
        case 7: receiver.delivered(upTo: .init(raw: 150), in: 2)
        default:
            bench.tick(100)
            _ = hook.time()
            bench.tick(50)
            bench.deliver(1, at: 120)
        }
        let reason = try #require(hook.abortReason)
        #expect(reason.description.contains("can't be relied on"))
        // Whoever delivers goes on as if nothing were there.
        bench.deliver(1, at: 190)
        receiver.lost(from: .init(raw: 191), to: .init(raw: 192), in: 0)
        receiver.delivered(upTo: .init(raw: 200), in: 0)
    }

    @Test func `equal stamps of one event, and of two buffers, are no lie`() throws {
        let bench = try Bench()
        _ = bench.read(to: key(50))
        bench.tick(200)
        bench.deliver(1, at: 150)
        bench.deliver(2, at: 150)
        bench.deliver(3, at: 150, from: 1)
        #expect(bench.hook.abortReason == nil)
        #expect(bench.hook.status.applied == 3)
    }

    @Test func `however much is void, little is held of it, and all is read again`() throws {
        let bench = try Bench()
        _ = bench.read(to: nil)
        var time: UInt64 = 200
        for item in 0..<5000 {
            // Every other item, so that none touches another.
            time += 10
            bench.tick(time)
            var deltas = StampedDeltas()
            let range = KeyRange(lower: key(2 * item), upper: key(2 * item + 1))
            deltas.void(range, at: SequenceNumber(raw: time))
            bench.receiver.deliver(deltas, from: 0)
        }
        #expect(bench.hook.rereadCount <= HookPoint.rangeLimit)
        let voids = bench.hook.monitor.withLock { $0.voids.count }
        #expect(voids <= HookPoint.rangeLimit)
        for item in 0..<5000 {
            let isUnread = bench.hook.monitor.withLock {
                $0.rereads.contains(key(2 * item).span)
                    && $0.stamps.ofReads[key(2 * item).span] == .none
            }
            #expect(isUnread)
        }
        #expect(bench.hook.abortReason == nil)
    }

    @Test func `stamps behind the feed are merged, and too many of them wait for it`() throws {
        let bench = try Bench(buffers: 1)
        var time: UInt64 = 200, item = 0
        while item < 10_000 {
            time += 10
            bench.tick(time)
            item += 1
            guard bench.read(to: key(item)) != nil else { break }
        }
        #expect(item < 10_000, "windows must wait")
        bench.receiver.delivered(upTo: .init(raw: time), in: 0)
        bench.tick(time + 10)
        #expect(bench.read(to: key(item)) != nil)
        let count = bench.hook.monitor.withLock { $0.stamps.ofReads.count }
        #expect(count <= 2)
    }
}
