// Waiting for what other threads and processes do: always for a condition, never for a time, and
// always with a bound. A bound is no expectation: it is there so that a test that hangs says
// where, and is far beyond what any machine under load needs.

internal import Foundation
package import Threads

/// Seconds after which a wait in a test has failed.
package let patience = 120.0

/// What a test waited for has not come.
package struct WaitedTooLong: Error, CustomStringConvertible {
    package let description: String

    package init(_ what: String, _ seconds: Double, _ file: StaticString, _ line: UInt) {
        description = "\(file):\(line): no \(what) within \(seconds) s"
    }
}

/// Waits until `condition` holds, and fails the test where it does not within `seconds`.
///
/// It looks often at first and more rarely later: what is looked at may be expensive.
/// - Parameter isPausing: false: it looks again at once, each time.
package func until(
    _ what: String = "such state", within seconds: Double = patience,
    pausing isPausing: Bool = true, file: StaticString = #fileID, line: UInt = #line,
    _ condition: () throws -> Bool
) throws {
    let end = monotonicTime() + seconds
    var pause: UInt32 = 200
    while try !condition() {
        guard monotonicTime() < end else { throw WaitedTooLong(what, seconds, file, line) }
        guard isPausing else { continue }
        usleep(pause)
        pause = min(pause * 2, 50_000)
    }
}

/// Waits until `look` finds something, and returns it.
package func eventually<R>(
    _ what: String = "such value", file: StaticString = #fileID, line: UInt = #line,
    _ look: () throws -> R?
) throws -> R {
    var found: R?
    try until(what, file: file, line: line) {
        found = try look()
        return found != nil
    }
    guard let found else { throw WaitedTooLong(what, patience, file, line) }
    return found
}

private func monotonicTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Closed until it is opened, once and for all: orders the steps of several threads.
package final class Gate: Sendable {
    private let state = Monitor(false)

    package init() {}

    package var isOpen: Bool { state.withLock { $0 } }

    package func open() { state.withLock(notify: true) { $0 = true } }

    /// Waits until it is open.
    package func wait(file: StaticString = #fileID, line: UInt = #line) throws {
        guard state.wait(seconds: patience, { $0 ? true : nil }) != nil else {
            throw WaitedTooLong("open gate", patience, file, line)
        }
    }
}

/// Work on a thread of its own. Not one of a pool: that has no thread left where tests that run
/// beside this one hold them all.
package final class ThreadTask<Value: Sendable>: Sendable {
    private let result: Monitor<Result<Value, any Error>?>

    package init(_ name: String = "test", _ body: @escaping @Sendable () throws -> Value) {
        let result = Monitor<Result<Value, any Error>?>(nil)
        self.result = result
        _ = DedicatedThread(name: name) {
            let value = Result { try body() }
            result.withLock(notify: true) { $0 = value }
        }
    }

    package var isEnded: Bool { result.withLock { $0 != nil } }

    /// Waits for the end; throws what `body` has thrown.
    @discardableResult
    package func value(file: StaticString = #fileID, line: UInt = #line) throws -> Value {
        guard let value = result.wait(seconds: patience, { $0 }) else {
            throw WaitedTooLong("end of a thread", patience, file, line)
        }
        return try value.get()
    }
}

extension DedicatedThread {
    /// How many threads run `body` side by side; returns when all have ended.
    package static func concurrently(
        _ count: Int, file: StaticString = #fileID, line: UInt = #line,
        _ body: @escaping @Sendable (Int) throws -> Void
    ) throws {
        let tasks = (0..<count).map { number in ThreadTask("test-\(number)") { try body(number) } }
        for task in tasks { try task.value(file: file, line: line) }
    }
}
