// One run from start to end, as `check`, `repair`, `resume` and `stress` do it: side file,
// driver, levers, progress, and the signal that stops it.
//
// On a volume that is open for writing a run is one that the volume remembers: it has a number,
// and goes on after a crash or a stop.

internal import HostFiles
internal import LMDB
internal import Synchronization
internal import Threads
internal import Tidemark
internal import Volume
internal import VolumeFormat

struct RunExecution {
    let volume: Volume
    let slots: [IndexSlot]
    /// Where the run is steered from.
    let seat: RunSeat
    /// What the run is given as the owner; nil: the volume itself.
    var owner: (any Tidemark.Owner)?
    var clock = RunClock(now: monotonicNanoseconds)
    var options = RunOptions()
    /// What the run is limited to; nil: nothing.
    var scope: VolumeScope?
    var output: Output
    /// Whether progress is shown.
    var showsProgress = true
    /// Told of each discrepancy, by several threads.
    var onDiscrepancy: @Sendable (Discrepancy) -> Void = { _ in }

    /// A new run, to its end. What goes wrong inside the run is in the report.
    func perform() throws -> RunReport {
        // A run that only watches the volume for somebody else is not the volume's own.
        guard volume.keepsRuns, owner == nil else {
            return drive(try SideFile(path: passingPath()), nil, try resolvedScope())
        }
        let number = try volume.atCommitBoundary { try $0.newRunNumber() }
        return try begin(
            RunRecord(
                number: number, indexes: slots.map { volume.indexes[$0.rawValue].name },
                strategy: options.strategy, isDryRun: options.isDryRun,
                keepsOld: options.keepsOld, scope: scope?.description))
    }

    /// Goes on with a run that was interrupted; where that can't be, starts it again, and says
    /// why.
    func resume(_ record: RunRecord) throws -> RunReport {
        try seat.desk.claiming(record.number) { try goOn(record) }
    }

    private func goOn(_ record: RunRecord) throws -> RunReport {
        let report: RunReport
        do {
            let (store, checkpoint) = try SideFile.open(
                path: volume.sideFilePath(run: record.number), identity: identity(record))
            if let why = Keeping.refusal(
                record, checkpoint, lastCommit: try volume.read().commit)
            {
                return try startAgain(record, why)
            }
            let read = counted(checkpoint.recordsRead, "primary record")
            output.detail("run \(record.number): going on behind \(read)")
            report = drive(store, Keeping(record, from: checkpoint))
        } catch let error as SideFileError {
            return try startAgain(record, "\(error)")
        }
        guard report.mustStartAgain else { return report }
        return try startAgain(record, report.reason ?? "its position can't be used")
    }

    private func startAgain(_ record: RunRecord, _ why: String) throws -> RunReport {
        output.note("run \(record.number): \(why); it is started again")
        return try begin(record)
    }

    private func begin(_ record: RunRecord) throws -> RunReport {
        let scope = try resolvedScope()
        let store = try SideFile(
            path: volume.sideFilePath(run: record.number), identity: identity(record))
        return drive(store, Keeping(new: record), scope)
    }

    /// What the scope comes to when the run begins. One that goes on has that in its position.
    private func resolvedScope() throws -> Scope? {
        try scope.map { try volume.read().scope($0) }
    }

    private func identity(_ record: RunRecord) -> SideFile.Identity {
        SideFile.Identity(owner: volume.geometry.identity, run: record.number)
    }

    private func drive(
        _ store: SideFile, _ keeping: Keeping?, _ scope: Scope? = nil
    ) -> RunReport {
        var options = options
        options.scope = scope
        // What work costs on this machine, and in this volume, the last run has measured.
        if let costs = (try? volume.runs())?.compactMap(\.costs).last { options.costs = costs }
        let run = Run(
            owner: owner ?? volume, indexes: slots, store: store, options: options, clock: clock,
            keeping: keeping, onDiscrepancy: onDiscrepancy)
        var driving = DriverOptions()
        driving.expectedRecords = (try? expectedRecords()) ?? 0
        driving.positionLimit = (try? volume.statistics())?.counters.nextInode
        let progress = Progress(output, isOn: showsProgress)
        driving.onProgress = { now in progress.draw(now.line) }
        // What is recorded is as long as it is by its scenario, and has levers of its own.
        let driver = RunDriver(
            run, options: driving, controls: owner == nil ? seat.controls : nil)
        let number = seat.begin(
            run.record.map { Int(clamping: $0.number) },
            run.slots.map { volume.indexes[$0.rawValue].name }
        ) { driver.progress }
        defer { seat.end(number) }
        let ended = Monitor(false)
        // The signals of a process that serves a mount are not the run's.
        let signals =
            output.served != nil
            ? nil
            : DedicatedThread(name: "signals") {
                while ended.wait(seconds: 0.05, { $0 ? true : nil }) == nil {
                    guard let signal = Signals.stopRequest else { continue }
                    driver.stop(signal)
                    return
                }
            }
        let report = driver.drive()
        ended.withLock(notify: true) { $0 = true }
        signals?.join()
        progress.finish()
        return report
    }

    /// Names of side files that nobody goes on from are never used twice at one time: a process
    /// counts its runs.
    private static let count = Atomic<Int>(0)

    private func passingPath() -> String {
        let number = RunExecution.count.add(1, ordering: .relaxed).newValue
        return "\(volume.runsDirectory)/run-\(processNumber)-\(number).mdb"
    }

    private func expectedRecords() throws -> Int {
        guard scope == nil else { return 0 }
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

extension RunState {
    var words: String {
        switch self {
        case .prepared: "preparing"
        case .rechecking: "checking again"
        default: rawValue
        }
    }

    var unit: String {
        switch self {
        case .scanning: "records"
        default: "entries"
        }
    }
}
