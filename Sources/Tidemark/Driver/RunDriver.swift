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
    public var phase = RunPhase.prepared
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
    private let options: DriverOptions
    private let progress = Mutex(RunProgress())
    private let isEnded = Atomic<Bool>(false)
    private let isStopped = Atomic<Bool>(false)
    private let peak = Atomic<Int>(0)
    private var start: UInt64 = 0
    /// The owner's last commit when the coordinator last let go of the lock.
    private var lastSeenCommit: UInt64 = 0

    public init(_ run: Run, options: DriverOptions = DriverOptions()) {
        self.run = run
        self.options = options
    }

    /// Runs to the end, on threads of its own, and waits for it.
    public func drive() -> RunReport {
        let watcher = DedicatedThread(name: "run-watcher") { self.watch() }
        let coordinator = DedicatedThread(name: "run-coordinator", niceness: options.niceness) {
            self.coordinate()
        }
        coordinator.join()
        isEnded.store(true, ordering: .releasing)
        watcher.join()
        run.report.peakAnonymousBytes = peak.load(ordering: .relaxed)
        return run.report
    }

    /// Asks the run to end at its next step, without a change to the live index.
    public func stop(_ reason: String) {
        isStopped.store(true, ordering: .releasing)
        run.hook.abort(AbortReason(reason))
    }

    // MARK: The coordinator

    private func coordinate() {
        start = run.clock.now()
        do {
            try work()
            run.finish(nil)
        } catch {
            run.finish(error)
            run.report.outcome = .aborted
            run.report.reason = "\(error)" + alreadyChanged
        }
        run.report.seconds.total = seconds(since: start)
    }

    /// What a run that is about several indexes had done before it was aborted.
    private var alreadyChanged: String {
        let changed = run.report.indexes.filter { $0.generation != nil || $0.patched > 0 }
        guard !changed.isEmpty else { return "" }
        let names = changed.map(\.name).joined(separator: ", ")
        return "; \(names) had been repaired before that, check again"
    }

    private func work() throws {
        try run.prepare()
        var cut = try scanAndCut()
        guard run.assistant.damageCount == 0 else {
            run.report.outcome = .incomplete
            run.report.reason =
                "\(run.assistant.damageCount) primary records could not be read; "
                + "nothing was compared or changed"
            return
        }
        let comparisons = try timed(\.compare) { try compareAll(cut, isRecheck: false) }
        cut = nil
        let found = run.report.indexes.reduce(0) { $0 + $1.found.total }
        let changed = try comparisons.filter { try mend($0) }.map(\.slot)
        guard !changed.isEmpty else {
            run.report.outcome = found == 0 ? .clean : .corrupt
            return
        }
        try recheck(changed)
        let left = run.report.indexes.reduce(0) { $0 + ($1.recheck ?? $1.found).total }
        run.report.outcome = left > 0 ? .corrupt : found > 0 ? .repaired : .clean
        do {
            try timed(\.reap) { try reap() }
        } catch {
            run.report.reason = "the old generation is left to the next repair: \(error)"
        }
    }

    private func recheck(_ changed: [IndexSlot]) throws {
        try timed(\.recheck) {
            // The hooks have kept the shadow up all the while: no second scan is needed.
            guard let cut = try run.cut() else {
                throw AbortReason("the owner reported records to be read again after the commit")
            }
            _ = try compareAll(cut, only: changed, isRecheck: true)
        }
    }

    // MARK: Scan

    private func scanAndCut() throws -> Run.Cut? {
        while true {
            try timed(\.scan) { try scan() }
            if let cut = try timed(\.settle, { try run.cut() }) { return cut }
        }
    }

    private func scan() throws {
        let threads = (0..<max(1, options.scanners)).map { number in
            let scanner = ScannerBox(run.makeScanner())
            return DedicatedThread(name: "run-scanner-\(number)", niceness: options.niceness) {
                self.scan(scanner.scanner)
            }
        }
        defer { for thread in threads { thread.join() } }
        try abortingOnFailure {
            while !run.isScanned {
                try run.checkAborted()
                if try !run.handleItem() {
                    run.hook.wait(seconds: 0.1) { !$0.isEmpty || $0.isScanned }
                }
                let done = run.assistant.primaryRecords
                report(.scanning, nil, done, max(done, options.expectedRecords))
            }
        }
    }

    /// Marks the run as aborted at once where `body` fails: other threads are at work, and
    /// stop at that mark.
    private func abortingOnFailure(_ body: () throws -> Void) throws {
        do {
            try body()
        } catch {
            run.hook.abort(AbortReason("\(error)"))
            throw error
        }
    }

    private func scan(_ scanner: Scanner) {
        do {
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
        } catch {
            run.hook.abort(AbortReason("\(error)"))
        }
    }

    // MARK: Compare

    private func compareAll(
        _ cut: Run.Cut?, only: [IndexSlot]? = nil, isRecheck: Bool
    ) throws -> [Comparison] {
        guard let cut else { return [] }
        return try run.slots.filter { only?.contains($0) ?? true }.map { slot in
            let comparison = try run.compare(slot, at: cut, isRecheck: isRecheck)
            try compare(comparison)
            try run.finish(comparison, isRecheck: isRecheck)
            return comparison
        }
    }

    /// Steps the parts side by side, and the assistant meanwhile.
    private func compare(_ comparison: Comparison) throws {
        let left = Countdown(comparison.parts.count)
        let name = run.owner.indexes[comparison.slot.rawValue].name
        let threads = comparison.parts.enumerated().map { number, part in
            DedicatedThread(name: "run-compare-\(number)", niceness: options.niceness) {
                do {
                    while try self.run.hook.abortReason == nil && part.step() {}
                } catch {
                    self.run.hook.abort(AbortReason("\(error)"))
                }
                left.count.subtract(1, ordering: .releasing)
            }
        }
        defer { for thread in threads { thread.join() } }
        try abortingOnFailure {
            while left.count.load(ordering: .acquiring) > 0 {
                if try !run.handleItem() { run.hook.wait(seconds: 0.002) { !$0.isEmpty } }
                report(run.phase, name, 0, 0)
            }
        }
        try run.checkAborted()
    }

    // MARK: Mend

    /// Does what the plan says. Returns whether the live index was changed.
    private func mend(_ comparison: Comparison) throws -> Bool {
        let action = run.plan(comparison)
        guard !run.options.isDryRun else { return false }
        switch action {
        case .none: return false
        case .patch:
            try timed(\.commit) {
                var next: Int? = 0
                while let start = next { next = try run.patch(comparison, from: start) }
            }
        case .rebuild:
            try timed(\.load) { try load(comparison) }
            try timed(\.commit) { try run.commit() }
        }
        return true
    }

    private func load(_ comparison: Comparison) throws {
        var ahead = Prefetcher(try run.beginLoad(comparison), niceness: options.niceness)
        defer { ahead.stop() }
        let name = run.owner.indexes[comparison.slot.rawValue].name
        var loaded = 0
        while let stretch = try ahead.next(entries: run.stretchEntries) {
            loaded += stretch.count
            let step = try run.load(stretch)
            report(.loading, name, loaded, comparison.entries)
            if !step.more { break }
            try rest(after: step.held)
            if let merger = try run.refreeze() {
                ahead.stop()
                ahead = Prefetcher(merger, niceness: options.niceness)
            }
        }
    }

    private func reap() throws {
        var limit = run.options.reapEntries, deleted = 0
        while true {
            while try run.handleItem() {}
            let step = try run.reap(limit: limit)
            deleted += limit
            report(.reaping, nil, deleted, 0)
            if !step.more { return }
            if step.held > run.options.holdTarget { limit = max(64, limit / 2) }
            if step.held < run.options.holdTarget / 2 { limit = min(1 << 16, limit + limit / 4) }
            try rest(after: step.held)
        }
    }

    /// Leaves the commit lock alone for a while where writers are at work.
    private func rest(after held: UInt64) throws {
        let commit = run.hook.status.lastCommit
        defer { lastSeenCommit = run.hook.status.lastCommit }
        guard commit > lastSeenCommit + 1 else { return }
        run.hook.wait(seconds: Double(held) * options.restFactor / 1e9) { $0.isFull }
    }

    // MARK: Time and progress

    private func timed<R>(
        _ path: WritableKeyPath<RunReport.Seconds, Double>, _ body: () throws -> R
    ) rethrows -> R {
        let start = run.clock.now()
        defer { run.report.seconds[keyPath: path] += seconds(since: start) }
        return try body()
    }

    private func seconds(since start: UInt64) -> Double { Double(run.clock.now() - start) / 1e9 }

    private func report(_ phase: RunPhase, _ index: String?, _ done: Int, _ total: Int) {
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
