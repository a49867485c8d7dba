// The controls of a run: held by those who steer it, looked at by the threads that drive it.
//
// The driver's threads wait on this monitor when they rest, so that a change, or a stop, finds
// them awake at once. One object may serve several runs, one after the other: what was
// asked of the first holds for the next.
//
// Lock order: nothing is called with this lock held.

public import Contract
internal import Engine
internal import Feed
internal import Threads

public final class RunControls: Sendable {
    private struct State {
        var limits: RunLimits
        /// The first reason stays.
        var stop: AbortReason?
        var stopTime: UInt64?
        /// Counts changes.
        var version = 0
        /// Told of every change, after it, by whoever made it.
        var observers: [Int: @Sendable () -> Void] = [:]
        var nextObserver = 0
    }

    private let monitor: Monitor<State>
    private let clock: RunClock

    public convenience init(_ limits: RunLimits = RunLimits()) {
        self.init(limits, clock: .system)
    }

    /// - Parameter clock: that of the runs.
    init(_ limits: RunLimits, clock: RunClock) {
        monitor = Monitor(State(limits: limits))
        self.clock = clock
    }

    public var limits: RunLimits { monitor.withLock { $0.limits } }

    /// Why the run is to end, where somebody has asked for it.
    public var stopReason: String? { stop?.description }

    var stop: AbortReason? { monitor.withLock { $0.stop } }
    /// When that was.
    var stopTime: UInt64? { monitor.withLock { $0.stopTime } }

    /// Changes limits of a run that may be at work.
    /// - Returns: the limits as they are from here on.
    @discardableResult
    public func change(_ change: LimitChange) throws(LimitChange.Refusal) -> RunLimits {
        try update { limits throws(LimitChange.Refusal) in
            limits = try change.applied(to: limits)
        }
    }

    /// Lets the run rest, or ends its rest.
    @discardableResult
    public func pause(_ isPaused: Bool) -> RunLimits {
        update { $0.isPaused = isPaused }
    }

    /// Asks the run to end at its next step. What it has not committed it does not commit.
    /// - Parameter reason: who asks for it, and why.
    public func stop(_ reason: String) { end(AbortReason(reason, .stop)) }

    /// The same, for an owner that is to be closed: whoever opens it next goes on with the run.
    public func suspend(_ reason: String) { end(AbortReason(reason, .pause)) }

    private func end(_ reason: AbortReason) {
        let now = clock.now()
        monitor.withLock(notify: true) {
            if $0.stop == nil {
                $0.stop = reason
                $0.stopTime = now
            }
            $0.version += 1
        }
        tell()
    }

    private func update<E: Error>(_ body: (inout RunLimits) throws(E) -> Void) throws(E)
        -> RunLimits
    {
        let limits = try monitor.withLock(notify: true) { state throws(E) in
            try body(&state.limits)
            state.version += 1
            return state.limits
        }
        tell()
        return limits
    }

    // MARK: The driver's side

    /// From now on `body` is called after every change, and once at once.
    func observe(_ body: @escaping @Sendable () -> Void) -> Int {
        let number = monitor.withLock { state in
            state.nextObserver += 1
            state.observers[state.nextObserver] = body
            return state.nextObserver
        }
        body()
        return number
    }

    func endObserving(_ number: Int) {
        monitor.withLock { $0.observers[number] = nil }
    }

    private func tell() {
        for observer in monitor.withLock({ Array($0.observers.values) }) { observer() }
    }

    /// Waits for `seconds` of the clock, or until something has changed.
    /// - Parameter purpose: why, for tests.
    /// - Returns: whether something has.
    @discardableResult
    package func rest(seconds: Double, _ purpose: String) -> Bool {
        let version = monitor.withLock { $0.version }
        return monitor.wait(seconds: seconds, on: clock.manual, purpose) {
            $0.version != version ? true : nil
        } ?? false
    }
}
