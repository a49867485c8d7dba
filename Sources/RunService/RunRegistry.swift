// The runs that this process has at work on a store: who steers them, and what is told of them.
//
// A command that works on a store registers and gets a handle. Its runs follow one another and
// share the handle's controls: what is asked of the run of a stress holds for its next run too, and
// a stop ends the command. A process that serves a mount has one handle for each command that it
// was sent.
//
// Lock order: nothing is called with the registry's lock held.

public import Meters
internal import Reports
internal import Synchronization
internal import Threads
public import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

/// A mount through which programs use the store, as far as a report needs it.
public protocol MountedStore: AnyObject, Sendable {
    var mountPoint: String { get }
    /// The kernel's requests, by kind, always in the same order.
    var requests: [ActivityCount] { get }
}

public final class RunRegistry: Sendable {
    struct Work {
        let number: Int
        let indexes: [String]
        let handle: RunHandle
        let progress: @Sendable () -> RunProgress
    }

    struct State {
        var handles: [RunHandle] = []
        var work: [Work] = []
        var begun = 0
        /// Runs that somebody resumes.
        var resumed: Set<UInt64> = []
        /// Why nobody is registered any more.
        var closing: String?
    }

    public let store: any RunStore
    private let command: String
    /// Whether runs give way to programs unless they are told not to.
    private let servesPrograms: Bool
    let state = Monitor(State())
    private let began = monotonicNanoseconds()
    /// What goes on in this process beside its runs.
    private let meter: ActivityMeter
    private let mount = MountReference()
    private let dashboard = Mutex<String?>(nil)

    /// Runs of the past that are told; the store itself remembers more.
    private static let recorded = 20

    /// - Parameters:
    ///   - command: what this process does, in a word.
    ///   - servesPrograms: whether programs use the store through this process: runs are in the
    ///     background then, unless they are told otherwise.
    public init(_ store: any RunStore, command: String, servesPrograms: Bool = false) {
        self.store = store
        self.command = command
        self.servesPrograms = servesPrograms
        meter = ActivityMeter { [mount] in
            let none = ActivityCount("writers", operations: 0, Latencies())
            return [store.writerActivity ?? none] + (mount.store?.requests ?? [])
        }
    }

    deinit { meter.end() }

    /// From now on the requests of this mount are told of too, as long as it lives.
    public func add(_ mounted: any MountedStore) { mount.set(mounted) }

    /// From now on it is told where the page is.
    public func add(dashboard: String) { self.dashboard.withLock { $0 = dashboard } }

    /// The limits of a run that is asked for none, or had `limits` before.
    public func defaultLimits(from limits: RunLimits = RunLimits()) -> RunLimits {
        var limits = limits
        if servesPrograms { limits.isBackground = true }
        return limits
    }

    /// Registers while `body` works with the handle.
    /// - Throws: `RunServiceError.closed` where the registry is closed; what `body` throws.
    public func withHandle<R>(
        _ limits: RunLimits, _ body: (RunHandle) throws -> R
    ) throws -> R {
        let handle = RunHandle(self, limits)
        let closing = state.withLock { state in
            if state.closing == nil { state.handles.append(handle) }
            return state.closing
        }
        if let closing { throw RunServiceError.closed(store.path, why: closing) }
        defer { state.withLock(notify: true) { $0.handles.removeAll { $0 === handle } } }
        return try body(handle)
    }

    /// Keeps others from resuming the run while `body` does.
    func resuming<R>(_ run: UInt64, _ body: () throws -> R) throws -> R {
        guard state.withLock({ $0.resumed.insert(run).inserted }) else {
            throw RunServiceError.isResumed(run)
        }
        defer { state.withLock { _ = $0.resumed.remove(run) } }
        return try body()
    }

    /// Waits until no run is at work on one of the indexes, or the registry is closed.
    func waitUntilFree(_ indexes: [String]) {
        state.wait { state in
            let isBusy = state.work.contains { !Set($0.indexes).isDisjoint(with: indexes) }
            return !isBusy || state.closing != nil ? () : nil
        }
    }

    /// Ends the pause of the run, or of all.
    /// - Returns: nil where none of those that are meant is paused.
    public func endPause(_ run: Int?) -> LiveStatus? {
        let paused = state.withLock { state in
            state.work.filter { run == nil || $0.number == run }.map(\.handle)
        }.filter { $0.controls.limits.isPaused }
        guard !paused.isEmpty else { return nil }
        for handle in paused { handle.controls.pause(false) }
        return live
    }

    /// Whether nobody is registered any more.
    public var isClosing: Bool { state.withLock { $0.closing != nil } }

    /// Registers nobody any more, suspends all runs where they are, and waits until all have
    /// ended: whoever opens the store next resumes them.
    public func close(_ reason: String) {
        let handles = state.withLock { state in
            state.closing = reason
            return state.handles
        }
        for handle in handles { handle.controls.suspend(reason) }
        state.wait { $0.handles.isEmpty ? () : nil }
    }

    public var live: LiveStatus {
        let (work, handles) = state.withLock { ($0.work, $0.handles) }
        var live = LiveStatus(
            process: getpid(), command: command,
            limits: handles.first?.controls.limits ?? RunLimits(),
            stopReason: handles.first?.controls.stopReason, runs: work.map { status(of: $0) },
            recorded: (try? store.runs())?.suffix(RunRegistry.recorded))
        live.seconds = Double(monotonicNanoseconds() - began) / 1e9
        let activities = meter.activities
        live.writers = store.isReadOnly || store.writerActivity == nil ? nil : activities.first
        live.mount = mount.store.map {
            LiveMount(mountPoint: $0.mountPoint, requests: Array(activities.dropFirst()))
        }
        live.dashboard = dashboard.withLock { $0 }
        return live
    }

    private func status(of work: Work) -> LiveRun {
        var progress = work.progress()
        let first = progress.firstDiscrepancy.map {
            DiscrepancyReport($0, of: store.indexes[$0.index.rawValue])
        }
        // Told in words; its bytes mean nothing to who asks.
        progress.firstDiscrepancy = nil
        return LiveRun(
            number: work.number, indexes: work.indexes, progress: progress,
            firstDiscrepancy: first)
    }
}

private final class MountReference: Sendable {
    private struct Reference {
        weak var store: (any MountedStore)?
    }

    private let reference = Mutex(Reference())

    func set(_ mounted: any MountedStore) { reference.withLock { $0.store = mounted } }
    var store: (any MountedStore)? { reference.withLock { $0.store } }
}

/// One command's registration: what its runs are steered by.
public final class RunHandle: Sendable {
    public let controls: RunControls
    public let registry: RunRegistry

    fileprivate init(_ registry: RunRegistry, _ limits: RunLimits) {
        self.registry = registry
        controls = RunControls(limits)
    }

    /// A run is at work from here on.
    /// - Parameter known: its number, where the store has given it one.
    /// - Returns: its number.
    func begin(
        _ known: Int?, _ indexes: [String], _ progress: @escaping @Sendable () -> RunProgress
    ) -> Int {
        registry.state.withLock { state in
            state.begun += 1
            let number = known ?? state.begun
            state.work.append(
                .init(number: number, indexes: indexes, handle: self, progress: progress))
            return number
        }
    }

    func end(_ number: Int) {
        registry.state.withLock(notify: true) {
            $0.work.removeAll { $0.number == number && $0.handle === self }
        }
    }
}
