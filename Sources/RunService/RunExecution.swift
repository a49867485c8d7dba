// One run from start to end: side file, driver, controls, progress, and the signal that stops it.
//
// On a store that keeps runs a run is one that the store remembers: it has a number, and is
// resumed after a crash or a stop.

internal import Synchronization
internal import Threads
public import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

/// What is told of a run while it works.
public enum RunEvent: Sendable, CustomStringConvertible {
    /// The run goes on from its position, behind so many primary records.
    case resumed(run: UInt64, records: Int)
    /// The position can't be used: the run starts again.
    case restarted(run: UInt64, why: String)
    /// Nobody can ask this process about its runs.
    case notSteerable(String, why: String, isExpected: Bool)

    /// Whether only who wants to know more is told.
    public var isDetail: Bool {
        switch self {
        case .resumed: true
        case .restarted: false
        case .notSteerable(_, _, let isExpected): isExpected
        }
    }

    public var description: String {
        switch self {
        case .resumed(let run, let records):
            "run \(run): resumed behind \(records) primary records"
        case .restarted(let run, let why): "run \(run): \(why); it is restarted"
        case .notSteerable(let path, let why, _): "\(path): \(why); this run can't be steered"
        }
    }
}

/// Who is told of a run while it works. Everything is called on threads of the run.
public struct RunObserver: Sendable {
    /// Told of each discrepancy, by several threads.
    public var onDiscrepancy: @Sendable (Discrepancy) -> Void = { _ in }
    /// Told ten times a second how far the run has come.
    public var onProgress: (@Sendable (RunProgress) -> Void)?
    /// Told once that the run has ended.
    public var onEnd: @Sendable () -> Void = {}
    public var onEvent: @Sendable (RunEvent) -> Void = { _ in }
    /// Asked twenty times a second whether the run is to stop, and why.
    public var stopRequest: (@Sendable () -> String?)?

    public init() {}
}

public struct RunExecution {
    private let handle: RunHandle
    private var store: any RunStore { handle.registry.store }
    public let indexes: [IndexSlot]
    public var options = RunOptions()
    /// What the run is limited to, in the store's words; nil: nothing.
    public var scope: String?
    public var observer = RunObserver()
    /// What the run is given as the owner; nil: the store itself.
    package var owner: (any ExactOwner)?
    package var clock = RunClock.system

    /// A run that is about `indexes`.
    public init(_ handle: RunHandle, _ indexes: [IndexSlot]) {
        self.handle = handle
        self.indexes = indexes
    }

    /// What resumes `record`, or starts it again.
    public init(_ handle: RunHandle, of record: RunRecord) {
        let names = handle.registry.store.indexes.map(\.name)
        self.init(
            handle, names.indices.filter { record.indexes.contains(names[$0]) }.map { .init($0) })
        options.strategy = record.strategy
        options.isDryRun = record.isDryRun
        options.keepsOld = record.keepsOld
        scope = record.scope
    }

    /// A new run, to its end. What goes wrong inside the run is in the report.
    public func perform() throws -> RunReport {
        // A run that only watches the store for somebody else is not the store's own.
        guard owner == nil,
            let number = try store.atCommitBoundary({ try $0.journal?.newRunNumber() })
        else {
            let path = temporarySideFile
            return drive(try SideFile(path: path), nil, try scope.map { try store.scope($0) })
        }
        return try begin(
            RunRecord(
                number: number, indexes: indexes.map { store.indexes[$0.rawValue].name },
                strategy: options.strategy, isDryRun: options.isDryRun,
                keepsOld: options.keepsOld, scope: scope))
    }

    /// Resumes a run that was interrupted; where its position can't be used, starts it again, and
    /// says why.
    public func resume(_ record: RunRecord) throws -> RunReport {
        guard !indexes.isEmpty else {
            throw RunServiceError.noIndexes(record.number, record.indexes)
        }
        return try handle.registry.resuming(record.number) {
            guard let report = try resumed(record) else { return try begin(record) }
            return report
        }
    }

    /// - Returns: nil where it is to be started again.
    private func resumed(_ record: RunRecord) throws -> RunReport? {
        func restart(_ why: String) -> RunReport? {
            observer.onEvent(.restarted(run: record.number, why: why))
            return nil
        }
        do {
            let (file, checkpoint) = try SideFile.open(
                path: store.sideFilePath(run: record.number), identity: identity(record))
            let lastCommit = try store.lastCommit()
            if let why = Keeping.refusal(
                record, checkpoint, lastCommit: lastCommit, indexes: store.indexes) {
                return restart(why)
            }
            observer.onEvent(.resumed(run: record.number, records: checkpoint.recordsRead))
            let report = drive(file, Keeping(record, from: checkpoint), nil)
            guard report.mustStartAgain else { return report }
            return restart(report.reason ?? "its position can't be used")
        } catch let error as SideFileError {
            return restart("\(error)")
        }
    }

    private func begin(_ record: RunRecord) throws -> RunReport {
        let part = try scope.map { try store.scope($0) }
        let file = try SideFile(
            path: store.sideFilePath(run: record.number), identity: identity(record))
        return drive(file, Keeping(new: record), part)
    }

    private func identity(_ record: RunRecord) -> SideFile.Identity {
        SideFile.Identity(owner: store.identity, run: record.number)
    }

    private func drive(_ file: SideFile, _ keeping: Keeping?, _ scope: Scope?) -> RunReport {
        var options = options
        options.scope = scope
        // What work costs on this machine, and in this store, the last run has measured.
        if let costs = (try? store.runs())?.compactMap(\.costs).last { options.costs = costs }
        let run = Run(
            owner: owner ?? store, indexes: indexes, store: file, options: options, clock: clock,
            keeping: keeping, onDiscrepancy: observer.onDiscrepancy)
        var driving = DriverOptions()
        driving.expectedRecords =
            self.scope == nil ? (try? store.expectedRecords(of: indexes)) ?? 0 : 0
        driving.positionLimit = try? store.positionLimit()
        driving.onProgress = observer.onProgress
        // What is recorded is as long as it is by its scenario, and has controls of its own.
        let driver = RunDriver(
            run, options: driving, controls: owner == nil ? handle.controls : nil)
        let number = handle.begin(
            run.record.map { Int(clamping: $0.number) },
            run.slots.map { store.indexes[$0.rawValue].name }
        ) { driver.progress }
        defer {
            handle.end(number)
            observer.onEnd()
        }
        return stoppable(driver) { driver.drive() }
    }

    /// Stops the driver where somebody asks for that meanwhile.
    private func stoppable(_ driver: RunDriver, _ body: () -> RunReport) -> RunReport {
        guard let stopRequest = observer.stopRequest else { return body() }
        let isEnded = Monitor(false)
        let thread = DedicatedThread(name: "signals") {
            while isEnded.wait(seconds: 0.05, { $0 ? true : nil }) == nil {
                guard let reason = stopRequest() else { continue }
                driver.stop(reason)
                return
            }
        }
        let report = body()
        isEnded.withLock(notify: true) { $0 = true }
        thread.join()
        return report
    }

    /// Names of side files that nobody resumes are never used twice at one time: a process counts
    /// its runs.
    private static let count = Atomic<Int>(0)

    private var temporarySideFile: String {
        let number = RunExecution.count.add(1, ordering: .relaxed).newValue
        return "\(store.temporaryDirectory)/run-\(getpid())-\(number).mdb"
    }
}
