// One line on standard error that says how far long work has come: only where that is a
// terminal, and at most ten times a second.

internal import HostFiles
internal import Reports
internal import Synchronization
internal import Threads

final class Progress: Sendable {
    private struct State {
        var last: UInt64 = 0
        /// Of the phase: its name, and when it was first seen.
        var phase = ""
        var began: UInt64 = 0
    }

    private let channel: any Channel
    /// Nil: nothing is shown.
    private let columns: Int?
    private let state = Mutex(State())

    init(_ output: Output, isOn: Bool = true) {
        channel = output.channel
        columns = isOn && !output.isQuiet ? channel.progressColumns : nil
    }

    /// - Parameters:
    ///   - total: 0 where it is not known.
    ///   - unit: what is counted, in the plural.
    func show(_ phase: String, _ done: UInt64, of total: UInt64, _ unit: String) {
        guard columns != nil else { return }
        let now = monotonicNanoseconds()
        let seconds: Double? = state.withLock {
            if $0.phase != phase {
                $0.phase = phase
                $0.began = now
            }
            guard now - $0.last > 100_000_000 else { return nil }
            $0.last = now
            return Double(now - $0.began) / 1e9
        }
        guard let seconds else { return }
        let rate = done > 0 && seconds > 0.5 ? Double(done) / seconds : 0
        let left = rate > 0 && total > done ? Double(total - done) / rate : nil
        draw(progressLine(phase, done, total, unit, rate: rate, left: left))
    }

    /// Shows a line that is known already. To be called ten times a second at the most.
    func draw(_ line: String) {
        guard let columns else { return }
        // Of a client's terminal it is any number.
        channel.draw(String(line.prefix(max(min(columns, 1000) - 1, 20))))
    }

    /// Takes the line away.
    func finish() { if columns != nil { channel.draw("") } }
}
