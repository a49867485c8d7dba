// How long one caller waits in all, however many waits that takes.

/// A moment on a clock that is passed in, so that tests turn it by hand.
package struct Deadline: Sendable {
    private let now: @Sendable () -> Double
    private let end: Double

    /// - Parameter now: seconds on a clock that never goes back.
    package init(after seconds: Double, _ now: @escaping @Sendable () -> Double) {
        self.now = now
        end = now() + seconds
    }

    /// Seconds until then; 0 afterwards.
    package var remaining: Double { max(0, end - now()) }
}

extension Monitor {
    /// Seconds after which the clock of a deadline, which need not be the system's, is read again.
    private static var tick: Double { 0.01 }

    /// Waits until `body` returns a value, or the deadline has passed: then `body` has been called
    /// once more.
    package func wait<R>(until deadline: Deadline, _ body: (inout State) -> R?) -> R? {
        while true {
            let remaining = deadline.remaining
            let result = wait(seconds: min(remaining, Monitor.tick), body)
            if result != nil || remaining == 0 { return result }
        }
    }
}
