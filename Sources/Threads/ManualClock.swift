// Time that a test turns by hand: it stands still until the test moves it, and whoever waits for
// it waits for the test. A test can wait for that too: until somebody waits, and until when.

internal import Synchronization

package final class ManualClock: Sendable {
    private struct Waiter {
        let purpose: String
        let deadline: UInt64
        /// Makes it look at the time again.
        let wake: @Sendable () -> Void
    }

    private struct State {
        var now: UInt64
        var waiters: [Int: Waiter] = [:]
        var nextNumber = 0

        func nextDeadline(_ purposes: [String]) -> UInt64? {
            waiters.values.filter { purposes.contains($0.purpose) && $0.deadline > now }
                .map(\.deadline).min()
        }
    }

    private let state: Monitor<State>
    /// Nanoseconds by which each reading moves the time: work takes so much, then.
    private let tick: UInt64

    package init(now: UInt64 = 1_000_000_000, tick: UInt64 = 0) {
        state = Monitor(State(now: now))
        self.tick = tick
    }

    /// Nanoseconds since some moment.
    package func now() -> UInt64 {
        guard tick > 0 else { return state.withLock { $0.now } }
        return move { $0.now + tick }
    }

    /// Moves the time on by `seconds`, and wakes those whose time has come.
    package func advance(by seconds: Double) {
        _ = move { $0.now + UInt64(seconds * 1e9) }
    }

    /// Moves the time on to `moment`; never back.
    package func advance(to moment: UInt64) {
        _ = move { max($0.now, moment) }
    }

    private func move(_ target: (State) -> UInt64) -> UInt64 {
        let (now, due) = state.withLock { state in
            state.now = target(state)
            return (state.now, state.waiters.values.filter { $0.deadline <= state.now })
        }
        // With the lock free: each takes that of the monitor on which it waits.
        for waiter in due { waiter.wake() }
        return now
    }

    /// The earliest moment that somebody waits for who gives one of these purposes; nil: nobody
    /// does. Whoever's time has come does not count: it is about to go on.
    package func nextDeadline(_ purposes: [String]) -> UInt64? {
        state.withLock { $0.nextDeadline(purposes) }
    }

    /// Waits, in the system's time, until somebody waits who gives one of these purposes.
    /// - Returns: the moment that is waited for; nil: nobody came within `seconds`.
    package func untilWaiting(_ purposes: [String], within seconds: Double) -> UInt64? {
        state.wait(seconds: seconds) { $0.nextDeadline(purposes) }
    }

    fileprivate func register(
        _ purpose: String, seconds: Double, _ wake: @escaping @Sendable () -> Void
    ) -> (number: Int, deadline: UInt64) {
        state.withLock(notify: true) { state in
            let deadline = state.now + UInt64((seconds * 1e9).rounded(.up))
            state.nextNumber += 1
            state.waiters[state.nextNumber] = Waiter(
                purpose: purpose, deadline: deadline, wake: wake)
            return (state.nextNumber, deadline)
        }
    }

    /// Not a reading: that may wake whoever waits, and the caller holds a lock.
    fileprivate func hasCome(_ moment: UInt64) -> Bool { state.withLock { $0.now >= moment } }

    fileprivate func unregister(_ number: Int) {
        state.withLock(notify: true) { $0.waiters[number] = nil }
    }
}

extension Monitor {
    /// Waits until `body` returns a value, for `seconds` of `clock` at the most; nil: the
    /// system's.
    /// - Parameter purpose: by which a test knows what is waited for.
    package func wait<R, E: Error>(
        seconds: Double, on clock: ManualClock?, _ purpose: String,
        _ body: (inout State) throws(E) -> R?
    ) throws(E) -> R? {
        guard let clock else { return try wait(seconds: seconds, body) }
        // With the lock: the signal might come between our look at the time and our wait.
        let (number, deadline) = clock.register(purpose, seconds: seconds) {
            self.withLock(notify: true) { _ in }
        }
        defer { clock.unregister(number) }
        return try wait { state throws(E) -> R?? in
            if let result = try body(&state) { return .some(result) }
            return clock.hasCome(deadline) ? .some(nil) : nil
        }
    }
}
