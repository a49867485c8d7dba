// One run from start to end, as `check`, `repair` and `stress` do it: side file, driver, levers,
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
    /// Where the run is steered from.
    let desk: RunDesk
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
        driving.onProgress = { now in progress.draw(now.line) }
        // What is recorded is as long as it is by its scenario, and has levers of its own.
        let driver = RunDriver(
            run, options: driving, controls: owner == nil ? desk.controls : nil)
        let number = desk.begin(run.slots.map { volume.indexes[$0.rawValue].name }) {
            driver.progress
        }
        defer { desk.end(number) }
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
        let rmap = IndexName.all.firstIndex(of: "rmap").map { IndexSlot($0) }
        var records = 0
        for table in statistics.tables {
            if table.name == "extents", slots.contains(where: { $0 == rmap }) {
                records += table.records
            }
            if table.name == "dirents", slots.contains(where: { $0 != rmap }) {
                records += table.records
            }
        }
        return records
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
