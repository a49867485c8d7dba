// The threaded driver: calls a run's steps from threads of its own.
//
//     scanner threads      step, step, …          until the scan has ended
//     merger thread        next batch, …        while a generation is loaded
//     comparing threads    one for each part      while a comparison lasts
//     coordinator          everything else: the assistant's steps, cut, load, commit, reap
//
// Only the driver waits. All its threads yield to others (niceness), and where writers are at
// work it leaves the commit lock alone for several times as long as it held it.
//
// It waits in two ways. Rests, limits and what is done every so often go by the run's clock, which
// a test may turn. A wait for another thread ends with what that thread does; its time is only
// how soon it is looked again where nobody gives a signal, and always the system's.

internal import Shadow
internal import Bytes
internal import Contract
public import Engine
internal import Feed
internal import Synchronization
internal import Threads

public struct DriverOptions: Sendable {
    public var scanners = 1
    /// Of all threads of the run, 0 to 19 (setpriority(2)).
    public var niceness: Int32 = 10
    /// After a hold of the commit lock, and while writers are at work, the lock is left
    /// alone for this many times as long.
    public var restFactor = 9.0
    /// About how many primary records there are, for progress.
    public var expectedRecords = 0
    /// What the numbers that primary keys begin with don't reach; nil: not known. For progress.
    public var positionLimit: UInt64?
    /// Told of the progress ten times a second, by a thread of the driver's.
    public var onProgress: (@Sendable (RunProgress) -> Void)?

    public init() {}
}

public final class RunDriver: @unchecked Sendable {
    let run: Run
    let coordinator: Coordinator
    let options: DriverOptions
    let controls: RunControls
    let pace: Pace
    let board: ProgressBoard
    private let isEnded = Monitor(false)
    private let peak = Atomic<Int>(0)
    private var start: UInt64 = 0
    /// The thread that merges ahead of the load.
    private var scanners: [Scanner] = []
    /// Fetches changes, where the owner is one that nobody can lock.
    private var feeder: DedicatedThread?
    private var ahead: (merger: LoadMerger, prefetcher: Prefetcher)?
    /// Entries of the index under work.
    private var expected = 0
    private let checkpointer: Checkpointer
    /// Others' commits when the coordinator last let go of the lock.
    private var seenCommits: UInt64 = 0
    /// Of the coordinator's thread.
    private var cycle = DutyCycle()
    private var work = WorkMeter()

    /// - Parameter controls: several runs may share them, one after the other.
    public init(
        _ run: Run, options: DriverOptions = DriverOptions(), controls: RunControls? = nil
    ) {
        self.run = run
        coordinator = Coordinator(run)
        checkpointer = Checkpointer(run)
        self.options = options
        self.controls = controls ?? RunControls(run.options.limits, clock: run.clock)
        pace = Pace(self.controls, run.hook, run.clock)
        board = ProgressBoard(
            run, self.controls, run.clock, positionLimit: options.positionLimit)
        run.assistant.checkAborted = { [hook = run.hook] in
            if let reason = hook.abortReason { throw reason }
        }
    }

    /// Runs to the end, on threads of its own, and waits for it.
    public func drive() -> RunReport {
        let observer = controls.observe { self.follow() }
        defer { controls.endObserving(observer) }
        let watcher = DedicatedThread(name: "run-watcher") { self.watch() }
        let coordinator = DedicatedThread(name: "run-coordinator", niceness: options.niceness) {
            self.coordinate()
        }
        coordinator.join()
        checkpointer.stop()
        isEnded.withLock(notify: true) { $0 = true }
        watcher.join()
        run.report.peakAnonymousBytes = peak.load(ordering: .relaxed)
        return run.report
    }

    /// Asks the run to end at its next step; its position is kept, where its owner keeps runs.
    public func stop(_ reason: String) { controls.stop(reason) }

    /// How far the run has come. May be asked at any time, by anybody.
    public var progress: RunProgress { board.snapshot }

    /// Does what the controls say, on the thread of whoever moved them: what threads of the run
    /// look at before each step they find there.
    private func follow() {
        let limits = controls.limits
        run.hook.limitQueue(bytes: limits.queueBytes)
        run.tally.stop(after: limits.stopAfter)
        run.storedRecord?.note(limits)
        if let stop = controls.stop { run.hook.abort(stop) }
    }

    // MARK: The coordinator

    private func coordinate() {
        start = run.clock.now()
        while !coordinator.isEnded {
            waitWhilePaused()
            let began = run.clock.now()
            let step = coordinator.next, isRecheck = coordinator.isRecheck
            abortingOnFailure { try provide(coordinator.need) }
            if step == .settle, !isRecheck { run.report.seconds.scan += seconds(since: began) }
            abortingOnFailure { try checkpointer.beginIfDue() }
            let provided = run.clock.now(), ran = run.clock.processorTime
            coordinator.step()
            if step == .prepare, run.hasFeed { startFeed() }
            let path = step.secondsPath(isRecheck)
            let since = step == .settle ? provided : began
            run.report.seconds[keyPath: path] += seconds(since: since)
            work.note(step, seconds(since: since), coordinator, run)
            report(run.state, indexName, coordinator.loaded, expected)
            rest(after: coordinator.held)
            // What it waited for others' commits is no work; what it did between them is.
            let worked = Double(run.clock.processorTime - ran + coordinator.held) / 1e9
            pace.rest(&cycle, after: worked) { self.keepQueueLow() }
        }
        feeder?.join()
        stopPrefetcher()
        if !pace.hasRested { work.add(to: &run.costs) }
        run.report.costs = run.costs
        run.report.seconds.total = seconds(since: start)
        if run.report.outcome == .stopped, let asked = controls.stopTime, run.endTime >= asked {
            run.report.seconds.stop = Double(run.endTime - asked) / 1e9
        }
    }

    /// What the coordinator's next step needs.
    private func provide(_ need: Coordinator.Need) throws {
        switch need {
        case .nothing, .ended: break
        case .scan: try scan()
        case .comparison(let comparison):
            expected = comparison.expected
            try compare(comparison)
            expected = comparison.expected
        case .watermark: try awaitFeed()
        case .loadBatch(let merger): try merge(merger)
        }
    }

    /// Marks the run as aborted where `body` fails: other threads, and the coordinator, stop at
    /// that mark.
    func abortingOnFailure(_ body: () throws -> Void) {
        do { try body() } catch { run.hook.abort(AbortReason(error)) }
    }

    // MARK: Resting

    /// Paused, nothing is done but that the queue is kept empty.
    private func waitWhilePaused() {
        while controls.limits.isPaused, coordinator.mayRest, run.hook.abortReason == nil {
            abortingOnFailure {
                while try handleItem() {}
                try checkpointer.beginIfDue()
                run.hook.wait(seconds: 0.02, on: run.clock.manual, "pause") {
                    !$0.isEmpty || !controls.limits.isPaused
                }
            }
        }
    }

    /// Handles what is queued where little room is left in the queue: writers go first.
    /// - Returns: false: the rest goes on afterwards.
    private func keepQueueLow() -> Bool {
        abortingOnFailure { while try run.hook.status.isNearlyFull && handleItem() {} }
        return false
    }

    private func handleItem() throws -> Bool {
        run.assistant.budget = controls.limits.sortBytes
        return try run.handleItem()
    }

    /// Handles an item where there is one, or else waits for one, or for `condition`.
    private func handleItem(
        orWait seconds: Double, for condition: (HookPoint.Status) -> Bool = { _ in false }
    ) throws {
        let began = pace.begin()
        try checkpointer.beginIfDue()
        guard try handleItem() else {
            return run.hook.wait(seconds: seconds) { !$0.isEmpty || condition($0) }
        }
        let hook = run.hook
        pace.rest(&cycle, since: began) { hook.status.isNearlyFull }
    }

    // MARK: Scan

    private func scan() throws {
        let left = Countdown(max(1, options.scanners))
        // The same ones each time that something is to be read again.
        while scanners.count < max(1, options.scanners) { scanners.append(run.makeScanner()) }
        let threads = scanners.enumerated().map { number, scanner in
            let scanner = ScannerBox(scanner)
            return DedicatedThread(name: "run-scanner-\(number)", niceness: options.niceness) {
                self.scan(scanner.scanner)
                left.count.subtract(1, ordering: .releasing)
            }
        }
        defer { for thread in threads { thread.join() } }
        abortingOnFailure {
            // What is to be read again once the scanners have left is for those of the next scan.
            while !run.isScanned, left.count.load(ordering: .acquiring) > 0 {
                try run.checkAborted()
                try handleItem(orWait: 0.1) { $0.isScanned }
                let done = run.assistant.primaryRecords
                board.note(primaryRecords: done)
                report(.scanning, nil, done, max(done, options.expectedRecords))
            }
        }
    }

    private func scan(_ scanner: Scanner) {
        // A snapshot that is kept keeps the owner from using any page again.
        defer { scanner.letGo() }
        var cycle = DutyCycle()
        abortingOnFailure {
            // The queue may be full when all is read, and nobody empties it before this ends.
            while run.hook.abortReason == nil, !run.isScanned {
                pace.waitWhilePaused { scanner.letGo() }
                let isPaced = pace.isPaced
                guard !run.hook.status.isFull, !isPaced || !run.hook.status.isHalfFull else {
                    run.hook.wait(seconds: 0.1) {
                        $0.isScanned || (isPaced ? !$0.isHalfFull : !$0.isFull)
                    }
                    continue
                }
                scanner.windowRecords = controls.limits.recordsAtOnce(indexes: run.slots.count)
                let began = pace.begin()
                let progress = try scanner.step()
                if progress == .nothing {
                    run.hook.wait(seconds: 0.01) { $0.isScanned }
                    continue
                }
                pace.rest(&cycle, since: began, idling: { scanner.letGo() })
                if progress == .read {
                    pace.wait(afterReading: scanner.lastRecords) { scanner.letGo() }
                }
            }
        }
    }

    // MARK: Feed

    /// Fetches changes from here to the end of the run, on a thread of their own.
    private func startFeed() {
        feeder = DedicatedThread(name: "run-feed", niceness: options.niceness) {
            self.abortingOnFailure { while try self.fetch() {} }
        }
    }

    /// - Returns: false once the run is over. One that is marked as aborted is left alone: its
    ///   queue takes nothing any more.
    private func fetch() throws -> Bool {
        guard run.hasFeed, run.hook.abortReason == nil else { return false }
        // What the owner's buffers can't hold meanwhile is lost, and read again.
        guard !run.hook.status.isFull else {
            run.hook.wait(seconds: 0.1) { !$0.isFull }
            return true
        }
        if try !run.pollFeed() {
            run.hook.wait(seconds: RunDriver.idle) { _ in false }
        }
        return true
    }

    /// Seconds between two looks at a feed that has nothing.
    private static let idle = 0.001

    /// Handles what comes in until the feed is delivered up to its mark.
    private func awaitFeed() throws {
        while run.hook.abortReason == nil, !run.isDelivered {
            try handleItem(orWait: RunDriver.idle)
        }
    }

    // MARK: Compare

    /// Steps the parts side by side, and the assistant meanwhile.
    private func compare(_ comparison: Comparison) throws {
        let left = Countdown(comparison.parts.count)
        let threads = comparison.parts.enumerated().map { number, part in
            DedicatedThread(name: "run-compare-\(number)", niceness: options.niceness) {
                self.compare(part, left)
                left.count.subtract(1, ordering: .releasing)
            }
        }
        defer { for thread in threads { thread.join() } }
        abortingOnFailure {
            while left.count.load(ordering: .acquiring) > 0 {
                try handleItem(orWait: 0.002)
                let done = left.entries.load(ordering: .relaxed)
                report(run.state, indexName, done, max(done, comparison.expected))
            }
        }
    }

    private func compare(_ part: any ComparePart, _ left: Countdown) {
        var cycle = DutyCycle()
        abortingOnFailure {
            var isLeft = true
            while isLeft, run.hook.abortReason == nil {
                pace.waitWhilePaused {}
                let began = pace.begin(), worked = run.clock.now(), before = part.entries
                isLeft = try part.step()
                part.seconds += seconds(since: worked)
                left.entries.add(part.entries - before, ordering: .relaxed)
                pace.rest(&cycle, since: began, holdingSnapshot: true)
            }
        }
    }

    // MARK: Load

    /// Hands over the next batch, merged ahead of time by a thread.
    private func merge(_ merger: LoadMerger) throws {
        guard coordinator.loadBatch == nil else { return }
        if ahead?.merger !== merger {
            stopPrefetcher()
            ahead = (merger, Prefetcher(merger, niceness: options.niceness, pace))
        }
        guard let prefetcher = ahead?.prefetcher else { return }
        while run.hook.abortReason == nil {
            let merged = try prefetcher.next(entries: run.batchEntries, within: 0.01)
            switch merged {
            case .loadBatch(let loadBatch):
                coordinator.loadBatch = loadBatch
                return
            case .end: return
            case .notYet: _ = keepQueueLow()
            }
        }
    }

    private func stopPrefetcher() {
        ahead?.prefetcher.stop()
        ahead = nil
    }

    /// Leaves the commit lock alone for a while where writers are at work.
    private func rest(after held: UInt64) {
        guard held > 0 else { return }
        defer { seenCommits = run.hook.status.othersCommits }
        guard run.hook.status.othersCommits > seenCommits else { return }
        let seconds = Double(held) * options.restFactor / 1e9
        run.hook.wait(seconds: seconds, on: run.clock.manual, "lock") { $0.isFull }
    }

    // MARK: Time and progress

    private func seconds(since start: UInt64) -> Double { Double(run.clock.now() - start) / 1e9 }

    private var indexName: String? {
        coordinator.slot.map { run.owner.indexes[$0.rawValue].name }
    }

    private func report(_ phase: RunState, _ index: String?, _ done: Int, _ total: Int) {
        board.note(phase, index, done, total)
        board.note(entries: run.assistant.entriesWritten)
    }

    /// Samples the memory, ends a run whose time is over, and tells of the progress.
    private func watch() {
        var ticks = 0
        repeat {
            peak.store(max(peak.load(ordering: .relaxed), anonymousBytes()), ordering: .relaxed)
            pace.look()
            board.note(share: pace.share())
            if let most = controls.limits.maximumSeconds, board.seconds >= most {
                run.hook.abort(
                    AbortReason("it was to take \(most) seconds at the most", .stop))
            }
            if ticks % 5 == 0, let tell = options.onProgress { tell(progress) }
            ticks += 1
        } while !isEnded(within: 0.02)
    }

    private func isEnded(within seconds: Double) -> Bool {
        isEnded.wait(seconds: seconds, on: run.clock.manual, "watch") { $0 ? true : nil } ?? false
    }
}

/// What loading and patching have taken.
private struct WorkMeter {
    private var load = (seconds: 0.0, entries: 0)
    private var patch = (seconds: 0.0, entries: 0)
    private var isPatching = false

    mutating func note(
        _ step: Coordinator.Step, _ seconds: Double, _ coordinator: Coordinator, _ run: Run
    ) {
        switch step {
        case .beginLoad: isPatching = false
        case .beginPatch: isPatching = true
        case .commit: load.entries += coordinator.loaded
        default: break
        }
        switch step {
        case .beginPatch, .patch: patch.seconds += seconds
        case .beginLoad, .load, .refreeze, .commit: load.seconds += seconds
        case .reap where load.entries > 0: load.seconds += seconds
        case .drain where isPatching: patch.seconds += seconds
        case .drain: load.seconds += seconds
        default: break
        }
        patch.entries = run.report.indexes.reduce(0) { $0 + $1.patched }
    }

    func add(to costs: inout PlanCosts) {
        costs.note(
            compared: 0, 0, loaded: load.entries, load.seconds, patched: patch.entries,
            patch.seconds)
    }
}

extension Coordinator.Step {
    /// Where the time of a step counts, and of what it waits for.
    fileprivate func secondsPath(_ isRecheck: Bool) -> WritableKeyPath<RunReport.Seconds, Double> {
        switch self {
        case .prepare, .replay, .settle, .cut: isRecheck ? \.recheck : \.settle
        case .compare, .compared, .plan: isRecheck ? \.recheck : \.compare
        case .beginLoad, .resumeLoad, .drain, .load, .refreeze: \.load
        case .beginPatch, .patch, .commit: \.commit
        case .mark, .judge, .lookUp: \.compare
        case .reap, .end: \.reap
        }
    }
}

/// A scanner on its way to its thread.
private struct ScannerBox: @unchecked Sendable {
    let scanner: Scanner
    init(_ scanner: Scanner) { self.scanner = scanner }
}

/// Threads that are still at work.
private final class Countdown: Sendable {
    let count: Atomic<Int>
    /// Entries that they have done.
    let entries = Atomic<Int>(0)
    init(_ count: Int) { self.count = Atomic(count) }
}
