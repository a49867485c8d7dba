// Where the threads of a transaction wait for the player, and the player for them.
//
//     player            stage's thread        writer thread
//     begin ──────────→ volume.perform ─────→ the job
//           ←───────────────────────────────── begun
//     commit ────────────────────────────────→ operations, LMDB commit, gate
//            ←──────────────────────────────── visible
//     report ────────────────────────────────→ hooks are told
//            ←───────── ended ←──────────────── the job is over
//
// Nobody waits for good: after `patience` whoever waits goes on, the writer thread as if the
// transaction had been abandoned, the player with an error.

internal import Threads

/// A thread of the volume did not come to where it should have.
struct StageTimeout: Error, CustomStringConvertible {
    let what: String
    let seconds: Double
    var description: String {
        "the volume did not come to `\(what)` within \(seconds) s; a lane waits for another, "
            + "or the machine is overloaded"
    }
}

final class Baton: Sendable {
    /// How far the transaction has come, in this order.
    enum Phase: Int, Comparable {
        case idle, called, begun, committing, visible, reporting, ended

        static func < (a: Phase, b: Phase) -> Bool { a.rawValue < b.rawValue }
    }

    private struct State {
        var phase = Phase.idle
        var isAbandoned = false
        /// Why the transaction has not done what it should.
        var failure: (any Error)?
        /// The inodes that it makes.
        var made: [UInt64] = []
    }

    private let state = Monitor(State())
    /// Seconds, of the clock; nil: the system's.
    private let patience: Double
    private let clock: ManualClock?

    init(patience: Double, clock: ManualClock? = nil) {
        self.patience = patience
        self.clock = clock
    }

    // MARK: The player

    func begin() {
        state.withLock {
            precondition($0.phase == .idle || $0.phase == .ended, "one transaction at a time")
            $0 = State(phase: .called)
        }
    }

    func letCommit() { state.withLock(notify: true) { $0.phase = max($0.phase, .committing) } }
    func letReport() { state.withLock(notify: true) { $0.phase = max($0.phase, .reporting) } }

    /// Waits until the transaction has come to `phase`.
    /// - Returns: whether it has come to its end.
    func wait(for phase: Phase) throws(StageTimeout) -> Bool {
        let isOver: Bool? = state.wait(seconds: patience, on: clock, "player") {
            $0.phase >= phase ? $0.phase == .ended : nil
        }
        guard let isOver else { throw StageTimeout(what: "\(phase)", seconds: patience) }
        return isOver
    }

    /// Nobody waits for the player any more.
    func abandon() { state.withLock(notify: true) { $0.isAbandoned = true } }

    /// The inodes that the transaction has made.
    var made: [UInt64] { state.withLock { $0.made } }

    func takeFailure() -> (any Error)? { state.withLock { $0.failure.take() } }

    // MARK: The volume's threads

    /// In the transaction, before its first operation.
    /// - Returns: whether it may go on; else it has to be taken back.
    func waitForCommit() -> Bool {
        state.withLock(notify: true) { $0.phase = max($0.phase, .begun) }
        let mayCommit: Bool? = state.wait(seconds: patience, on: clock, "volume") {
            if $0.isAbandoned { return false }
            return $0.phase >= .committing ? true : nil
        }
        return mayCommit ?? false
    }

    /// The operations of the transaction are done.
    func note(made: [UInt64]) { state.withLock { $0.made = made } }

    /// Before a hook is told of a commit. Only a transaction's waits here, and before the
    /// first hook: what a run does at a boundary passes, and so does what a second hook is told.
    func passGate() {
        let isMine = state.withLock(notify: true) {
            guard $0.phase == .committing else { return false }
            $0.phase = .visible
            return true
        }
        guard isMine else { return }
        let _: Void? = state.wait(seconds: patience, on: clock, "volume") {
            $0.isAbandoned || $0.phase >= .reporting ? () : nil
        }
    }

    func end(_ failure: (any Error)?) {
        state.withLock(notify: true) {
            $0.failure = failure
            $0.phase = .ended
        }
    }
}
