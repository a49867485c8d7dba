// One run from start to end, as `check`, `repair` and `stress` do it: side file, driver,
// progress, and the signal that ends it early.

internal import HostFiles
internal import LMDB
internal import Synchronization
internal import Tidemark
internal import Threads
internal import Volume

struct RunExecution {
    let volume: Volume
    let slots: [IndexSlot]
    /// What the run is given as the owner; nil: the volume itself.
    var owner: (any Tidemark.Owner)?
    var clock = RunClock(now: monotonicNanoseconds)
    var options = RunOptions()
    var output: Output
    /// Whether progress is shown.
    var showsProgress = true
    /// Told of each discrepancy, by several threads.
    var onDiscrepancy: @Sendable (Discrepancy) -> Void = { _ in }

    /// Runs to the end. What goes wrong inside the run is in the report.
    func perform() throws -> RunReport {
        let store = try SideFile(path: sideFilePath())
        let run = Run(
            owner: owner ?? volume, indexes: slots, store: store, options: options, clock: clock,
            onDiscrepancy: onDiscrepancy)
        var driving = DriverOptions()
        driving.expectedRecords = (try? expectedRecords()) ?? 0
        let progress = Progress(isQuiet: output.isQuiet || !showsProgress)
        driving.onProgress = { now in
            progress.show(
                now.words, UInt64(now.done), of: UInt64(max(now.total, 0)), now.phase.unit)
        }
        let driver = RunDriver(run, options: driving)
        let ended = Monitor(false)
        let signals = DedicatedThread(name: "signals") {
            while ended.wait(seconds: 0.05, { $0 ? true : nil }) == nil {
                guard let signal = Signals.stopRequest else { continue }
                driver.stop("\(signal); start it again")
                return
            }
        }
        let report = driver.drive()
        ended.withLock(notify: true) { $0 = true }
        signals.join()
        progress.finish()
        return report
    }

    /// Names of side files are never used twice at one time: the volume is locked by this
    /// process, and a process counts its runs.
    private static let count = Atomic<Int>(0)

    private func sideFilePath() -> String {
        let number = RunExecution.count.add(1, ordering: .relaxed).newValue
        return "\(volume.runsDirectory)/run-\(processNumber)-\(number).mdb"
    }

    private func expectedRecords() throws -> Int {
        let statistics = try volume.statistics()
        let wanted = Set(slots.map { IndexName.all[$0.rawValue] })
        let derived = [
            "inodes": ["quota"], "dirents": ["parents", "links"], "extents": ["rmap"],
        ]
        return statistics.tables.reduce(0) { records, table in
            let isRead = !wanted.isDisjoint(with: derived[table.name] ?? [])
            return records + (isRead ? table.records : 0)
        }
    }
}

extension RunProgress {
    var words: String {
        index.map { "\(phase.words) \($0)" } ?? phase.words
    }
}

extension RunPhase {
    var words: String {
        switch self {
        case .prepared: "preparing"
        case .scanning: "scanning"
        case .settling: "settling"
        case .comparing: "comparing"
        case .loading: "loading"
        case .committing: "committing"
        case .rechecking: "checking again"
        case .reaping: "reaping"
        case .ended: "ending"
        }
    }

    var unit: String {
        switch self {
        case .scanning: "records"
        default: "entries"
        }
    }
}
