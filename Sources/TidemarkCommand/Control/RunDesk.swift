// Where runs of this process are steered from: their levers, and what is at work.
//
// The runs of one command follow one another and share their levers: what is asked of the run
// of a stress holds for its next run too, and a stop ends the command.

internal import Control
internal import HostFiles
internal import Synchronization
internal import Tidemark
internal import Volume

final class RunDesk: Sendable {
    private struct Work {
        let number: Int
        let indexes: [String]
        let progress: @Sendable () -> RunProgress
    }

    private struct State {
        var work: [Work] = []
        var begun = 0
    }

    let controls: RunControls
    private let command: String
    private let volume: Volume
    private let state = Mutex(State())

    /// Runs of the past that are told; the volume itself remembers more.
    private static let told = 20

    init(_ volume: Volume, command: String, limits: RunLimits) {
        self.volume = volume
        self.command = command
        controls = RunControls(limits)
    }

    /// A run is at work from here on.
    /// - Parameter known: its number, where the volume has given it one.
    /// - Returns: its number.
    func begin(
        _ known: Int?, _ indexes: [String], _ progress: @escaping @Sendable () -> RunProgress
    ) -> Int {
        state.withLock { state in
            state.begun += 1
            let number = known ?? state.begun
            state.work.append(Work(number: number, indexes: indexes, progress: progress))
            return number
        }
    }

    func end(_ number: Int) {
        state.withLock { $0.work.removeAll { $0.number == number } }
    }

    var live: LiveStatus {
        let runs = state.withLock { $0.work }.map {
            LiveRun(number: $0.number, indexes: $0.indexes, progress: $0.progress())
        }
        return LiveStatus(
            process: processNumber, command: command, limits: controls.limits,
            stopReason: controls.stopReason, runs: runs,
            recorded: (try? volume.runs())?.suffix(RunDesk.told))
    }

    // MARK: Requests

    /// What this process does on request.
    var table: ControlTable {
        var table = ControlTable()
        table.add(RunVerbs.status) { _, _ in self.live }
        table.add(RunVerbs.stop) { request, peer in
            try self.check(request.run)
            self.controls.stop("stopped by user \(peer.user), process \(peer.process)")
            return self.live
        }
        table.add(RunVerbs.pause) { request, _ in
            try self.check(request.run)
            self.controls.pause(true)
            return self.live
        }
        table.add(RunVerbs.resume) { request, _ in
            try self.check(request.run)
            self.controls.pause(false)
            return self.live
        }
        table.add(RunVerbs.set) { request, _ in
            try self.check(request.run)
            do throws(LimitChange.Refusal) {
                try self.controls.change(request.change ?? LimitChange())
            } catch {
                throw ControlRefusal("badLimit", "\(error)")
            }
            return self.live
        }
        return table
    }

    /// Throws where a run is asked for that is not at work.
    private func check(_ run: Int?) throws(ControlRefusal) {
        guard let run else { return }
        let numbers = state.withLock { $0.work.map(\.number) }
        guard !numbers.contains(run) else { return }
        let known = numbers.map { "\($0)" }.joined(separator: ", ")
        throw ControlRefusal(
            "noSuchRun",
            "no run \(run) is at work; "
                + (numbers.isEmpty ? "none is" : "give \(known), or no number"))
    }
}

/// Serves the volume's control socket while `body` runs.
func withDesk<R>(
    _ volume: Volume, _ command: String, _ limits: RunLimits, _ output: Output,
    _ body: (RunDesk) throws -> R
) throws -> R {
    let desk = RunDesk(volume, command: command, limits: limits)
    var server: ControlServer?
    do {
        server = try ControlServer(folder: volume.path, table: desk.table)
    } catch ControlError.served where volume.isReadOnly {
        // Several checks may look at a volume at a time; the first one is the one that is asked.
        output.detail("\(volume.path): another check is served there; this one can't be steered")
    } catch {
        output.note("\(error); the run goes on, and can't be steered")
    }
    defer { server?.close() }
    return try body(desk)
}
