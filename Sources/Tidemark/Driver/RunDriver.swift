// The threaded driver: calls a run's steps from threads of its own.
//
//     scanner threads      step, step, …          until the scan has ended
//     merger thread        next stretch, …        while a generation is loaded
//     comparing threads    one for each part      while a comparison lasts
//     coordinator          everything else: the assistant's steps, cut, load, commit, reap
//
// Only the driver waits and sleeps. All its threads yield to others (niceness), and where
// writers are at work it leaves the commit lock alone for several times as long as it held
// it.

internal import Bytes
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
    /// Told of the progress ten times a second, by a thread of the driver's.
    public var onProgress: (@Sendable (RunProgress) -> Void)?

    public init() {}
}

public struct RunProgress: Sendable {
    public var phase = RunState.prepared
    /// The index that is worked on, in phases that are about one.
    public var index: String?
    /// What has been done of the phase, and what there is to do; in records or entries.
    public var done = 0
    public var total = 0
    /// Since the start of the run.
    public var seconds = 0.0
}

public final class RunDriver: @unchecked Sendable {
    private let run: Run
    private let coordinator: Coordinator
    private let options: DriverOptions
    private let progress = Mutex(RunProgress())
    private let isEnded = Atomic<Bool>(false)
    private let peak = Atomic<Int>(0)
    private var start: UInt64 = 0
    /// The thread that merges ahead of the load.
    private var ahead: (merger: StretchMerger, prefetcher: Prefetcher)?
    /// Entries of the index under work.
    private var expected = 0
    private let checkpointer: Checkpointer
    /// The owner's last commit when the coordinator last let go of the lock.
    private var lastSeenCommit: UInt64 = 0

    public init(_ run: Run, options: DriverOptions = DriverOptions()) {
        self.run = run
        coordinator = Coordinator(run)
        checkpointer = Checkpointer(run)
        self.options = options
    }

    /// Runs to the end, on threads of its own, and waits for it.
    public func drive() -> RunReport {
        let watcher = DedicatedThread(name: "run-watcher") { self.watch() }
        let coordinator = DedicatedThread(name: "run-coordinator", niceness: options.niceness) {
            self.coordinate()
        }
        coordinator.join()
        checkpointer.stop()
        isEnded.store(true, ordering: .releasing)
        watcher.join()
        run.report.peakAnonymousBytes = peak.load(ordering: .relaxed)
        return run.report
    }

    /// Asks the run to end at its next step; its position is kept, where its owner keeps runs.
    public func stop(_ reason: String, isPause: Bool = false) {
        run.hook.abort(AbortReason(reason, isPause ? .pause : .stop))
    }

    // MARK: The coordinator

    private func coordinate() {
        start = run.clock.now()
        while !coordinator.isEnded {
            let began = run.clock.now()
            let step = coordinator.next, isRecheck = coordinator.isRecheck
            abortingOnFailure { try provide(coordinator.need) }
            if step == .settle, !isRecheck { run.report.seconds.scan += seconds(since: began) }
            let provided = run.clock.now()
            abortingOnFailure { try checkpointer.beginIfDue() }
            coordinator.step()
            let path = step.secondsPath(isRecheck)
            let since = step == .settle ? provided : began
            run.report.seconds[keyPath: path] += seconds(since: since)
            report(run.state, indexName, coordinator.loaded, expected)
            rest(after: coordinator.held)
        }
        stopPrefetcher()
        run.report.seconds.total = seconds(since: start)
    }

    /// What the coordinator's next step needs.
    private func provide(_ need: Coordinator.Need) throws {
        switch need {
        case .nothing, .ended: break
        case .scan: try scan()
        case .comparison(let comparison):
            expected = comparison.entries
            try compare(comparison)
        case .stretch(let merger): try merge(merger)
        }
    }

    /// Marks the run as aborted where `body` fails: other threads, and the coordinator, stop at
    /// that mark.
    private func abortingOnFailure(_ body: () throws -> Void) {
        do { try body() } catch { run.hook.abort(AbortReason(error)) }
    }

    // MARK: Scan

    private func scan() throws {
        let threads = (0..<max(1, options.scanners)).map { number in
            let scanner = ScannerBox(run.makeScanner())
            return DedicatedThread(name: "run-scanner-\(number)", niceness: options.niceness) {
                self.scan(scanner.scanner)
            }
        }
        defer { for thread in threads { thread.join() } }
        abortingOnFailure {
            while !run.isScanned {
                try run.checkAborted()
                if try !run.handleItem() {
                    run.hook.wait(seconds: 0.1) { !$0.isEmpty || $0.isScanned }
                }
                try checkpointer.beginIfDue()
                let done = run.assistant.primaryRecords
                report(.scanning, nil, done, max(done, options.expectedRecords))
            }
        }
    }

    private func scan(_ scanner: Scanner) {
        abortingOnFailure {
            while run.hook.abortReason == nil {
                guard !run.hook.status.isFull else {
                    run.hook.wait(seconds: 0.1) { !$0.isFull }
                    continue
                }
                if try scanner.step() == .nothing {
                    if run.isScanned { return }
                    run.hook.wait(seconds: 0.01) { $0.isScanned }
                }
            }
        }
    }

    // MARK: Compare

    /// Steps the parts side by side, and the assistant meanwhile.
    private func compare(_ comparison: Comparison) throws {
        let left = Countdown(comparison.parts.count)
        let threads = comparison.parts.enumerated().map { number, part in
            DedicatedThread(name: "run-compare-\(number)", niceness: options.niceness) {
                self.abortingOnFailure {
                    while try self.run.hook.abortReason == nil && part.step() {}
                }
                left.count.subtract(1, ordering: .releasing)
            }
        }
        defer { for thread in threads { thread.join() } }
        abortingOnFailure {
            while left.count.load(ordering: .acquiring) > 0 {
                if try !run.handleItem() { run.hook.wait(seconds: 0.002) { !$0.isEmpty } }
                try checkpointer.beginIfDue()
                report(run.state, indexName, 0, 0)
            }
        }
    }

    // MARK: Load

    /// Hands over the next stretch, merged ahead of time by a thread.
    private func merge(_ merger: StretchMerger) throws {
        guard coordinator.stretch == nil else { return }
        if ahead?.merger !== merger {
            stopPrefetcher()
            ahead = (merger, Prefetcher(merger, niceness: options.niceness))
        }
        coordinator.stretch = try ahead?.prefetcher.next(entries: run.stretchEntries)
    }

    private func stopPrefetcher() {
        ahead?.prefetcher.stop()
        ahead = nil
    }

    /// Leaves the commit lock alone for a while where writers are at work.
    private func rest(after held: UInt64) {
        guard held > 0 else { return }
        let commit = run.hook.status.lastCommit
        defer { lastSeenCommit = run.hook.status.lastCommit }
        guard commit > lastSeenCommit + 1 else { return }
        run.hook.wait(seconds: Double(held) * options.restFactor / 1e9) { $0.isFull }
    }

    // MARK: Time and progress

    private func seconds(since start: UInt64) -> Double { Double(run.clock.now() - start) / 1e9 }

    private var indexName: String? {
        coordinator.slot.map { run.owner.indexes[$0.rawValue].name }
    }

    private func report(_ phase: RunState, _ index: String?, _ done: Int, _ total: Int) {
        progress.withLock {
            $0.phase = phase
            $0.index = index
            $0.done = done
            $0.total = total
        }
    }

    /// Samples the memory, and tells of the progress.
    private func watch() {
        let began = run.clock.now()
        var ticks = 0
        while !isEnded.load(ordering: .acquiring) {
            peak.store(max(peak.load(ordering: .relaxed), anonymousBytes()), ordering: .relaxed)
            if ticks % 5 == 0, let tell = options.onProgress {
                var now = progress.withLock { $0 }
                now.seconds = seconds(since: began)
                tell(now)
            }
            ticks += 1
            sleepMilliseconds(20)
        }
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
    init(_ count: Int) { self.count = Atomic(count) }
}
