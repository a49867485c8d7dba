// A hang is a finding: the process ends, and says what it was at.

import Threads

/// Ends the process unless it is ended itself in time.
final class Watchdog: Sendable {
    private let isEnded = Monitor(false)
    private let thread: DedicatedThread

    init(seconds: Double, _ work: String) {
        let isEnded = isEnded
        thread = DedicatedThread(name: "watchdog") {
            guard isEnded.wait(seconds: seconds, { $0 ? true : nil }) == nil else { return }
            fatalError("hangs for \(seconds) s: \(work)")
        }
    }

    func end() {
        isEnded.withLock(notify: true) { $0 = true }
        thread.join()
    }
}
