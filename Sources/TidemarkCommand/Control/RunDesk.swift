// Where runs of this process are steered from: who works here, their levers, and what is at work.
//
// A command that works on a volume takes a seat. Its runs follow one another and share the seat's
// levers: what is asked of the run of a stress holds for its next run too, and a stop ends the
// command. A process that serves a mount has one seat for each command that it was sent.

internal import Control
internal import HostFiles
internal import Meters
internal import Synchronization
internal import Threads
internal import Tidemark
internal import Volume
internal import VolumeMount

final class RunDesk: Sendable {
    fileprivate struct Work {
        let number: Int
        let indexes: [String]
        let seat: RunSeat
        let progress: @Sendable () -> RunProgress
    }

    fileprivate struct State {
        var seats: [RunSeat] = []
        var work: [Work] = []
        var begun = 0
        /// Runs that somebody goes on with.
        var claimed: Set<UInt64> = []
        /// Why nobody is seated any more.
        var closing: String?
    }

    private let command: String
    private let volume: Volume
    fileprivate let state = Monitor(State())
    private let began = monotonicNanoseconds()
    /// What goes on in this process beside its runs.
    private let meter: ActivityMeter
    private let mounted = MountedHere()
    private let dashboard = Mutex<String?>(nil)

    /// Runs of the past that are told; the volume itself remembers more.
    private static let told = 20

    /// - Parameter command: what this process is, in a word.
    init(_ volume: Volume, command: String) {
        self.volume = volume
        self.command = command
        meter = ActivityMeter { [mounted] in
            [volume.writing] + (mounted.volume?.requests ?? [])
        }
    }

    deinit { meter.end() }

    /// From now on the requests of this mount are told of too.
    func add(_ mounted: MountedVolume) { self.mounted.set(mounted) }

    /// From now on it is told where the page is.
    func add(dashboard: String) { self.dashboard.withLock { $0 = dashboard } }

    /// Has a seat taken while `body` runs.
    func seated<R>(_ limits: RunLimits, _ body: (RunSeat) throws -> R) throws -> R {
        let seat = RunSeat(self, limits)
        let closing = state.withLock { state in
            if state.closing == nil { state.seats.append(seat) }
            return state.closing
        }
        if let closing { throw CommandFailure("\(volume.path): \(closing)") }
        defer { state.withLock(notify: true) { $0.seats.removeAll { $0 === seat } } }
        return try body(seat)
    }

    /// Has nobody else go on with the run while `body` runs.
    func claiming<R>(_ run: UInt64, _ body: () throws -> R) throws -> R {
        guard state.withLock({ $0.claimed.insert(run).inserted }) else {
            throw CommandFailure("run \(run) goes on already; `tidemark status` shows it")
        }
        defer { state.withLock { _ = $0.claimed.remove(run) } }
        return try body()
    }

    /// Waits until no run is at work on one of the indexes, or the desk is closed.
    func waitUntilFree(_ indexes: [String]) {
        state.wait { state in
            let busy = state.work.contains { !Set($0.indexes).isDisjoint(with: indexes) }
            return !busy || state.closing != nil ? () : nil
        }
    }

    /// Ends the pause of the run, or of all.
    /// - Returns: nil where none of those that are meant rests.
    func endPause(_ run: Int?) -> LiveStatus? {
        let paused = state.withLock { state in
            state.work.filter { run == nil || $0.number == run }.map(\.seat)
        }.filter { $0.controls.limits.isPaused }
        guard !paused.isEmpty else { return nil }
        for seat in paused { seat.controls.pause(false) }
        return live
    }

    /// Whether nobody is seated any more.
    var isClosing: Bool { state.withLock { $0.closing != nil } }

    /// Seats nobody any more, lets all runs rest where they are, and waits until all have left.
    func close(_ reason: String) {
        let seats = state.withLock { state in
            state.closing = reason
            return state.seats
        }
        for seat in seats { seat.controls.suspend(reason) }
        state.wait { $0.seats.isEmpty ? () : nil }
    }

    var live: LiveStatus {
        let (work, seats) = state.withLock { ($0.work, $0.seats) }
        let runs = work.map {
            LiveRun(number: $0.number, indexes: $0.indexes, progress: $0.progress())
        }
        var live = LiveStatus(
            process: processNumber, command: command,
            limits: seats.first?.controls.limits ?? RunLimits(),
            stopReason: seats.first?.controls.stopReason, runs: runs,
            recorded: (try? volume.runs())?.suffix(RunDesk.told))
        live.seconds = Double(monotonicNanoseconds() - began) / 1e9
        let activities = meter.activities
        live.writers = volume.isReadOnly ? nil : activities.first
        live.mount = mounted.volume.map {
            LiveMount(mountPoint: $0.mountPoint, requests: Array(activities.dropFirst()))
        }
        live.dashboard = dashboard.withLock { $0 }
        return live
    }

    // MARK: Requests

    /// What this process does on request.
    var table: ControlTable {
        var table = ControlTable()
        table.add(RunVerbs.status) { _, _ in self.live }
        table.add(RunVerbs.stop) { request, peer in
            for seat in try self.seats(of: request.run) {
                seat.controls.stop("stopped by user \(peer.user), process \(peer.process)")
            }
            return self.live
        }
        table.add(RunVerbs.pause) { request, _ in
            for seat in try self.seats(of: request.run) { seat.controls.pause(true) }
            return self.live
        }
        table.add(RunVerbs.resume) { request, _ in
            for seat in try self.seats(of: request.run) { seat.controls.pause(false) }
            return self.live
        }
        table.add(RunVerbs.set) { request, _ in
            for seat in try self.seats(of: request.run) {
                do throws(LimitChange.Refusal) {
                    try seat.controls.change(request.change ?? LimitChange())
                } catch {
                    throw ControlRefusal("badLimit", "\(error)")
                }
            }
            return self.live
        }
        return table
    }

    /// Where the run is at work, or, where none is meant, everybody.
    private func seats(of run: Int?) throws(ControlRefusal) -> [RunSeat] {
        let (work, seats) = state.withLock { ($0.work, $0.seats) }
        guard let run else {
            guard seats.isEmpty else { return seats }
            throw ControlRefusal("noSuchRun", "no run is at work; `tidemark repair` begins one")
        }
        if let found = work.first(where: { $0.number == run }) { return [found.seat] }
        let known = work.map { "\($0.number)" }.joined(separator: ", ")
        throw ControlRefusal(
            "noSuchRun",
            "no run \(run) is at work; "
                + (work.isEmpty ? "none is" : "give \(known), or no number"))
    }
}

/// The mount of this process, once there is one, and as long as it lasts.
private final class MountedHere: Sendable {
    private struct Reference {
        weak var volume: MountedVolume?
    }

    private let reference = Mutex(Reference())

    func set(_ mounted: MountedVolume) { reference.withLock { $0.volume = mounted } }
    var volume: MountedVolume? { reference.withLock { $0.volume } }
}

/// The place of one command at the desk.
final class RunSeat: Sendable {
    let controls: RunControls
    let desk: RunDesk

    fileprivate init(_ desk: RunDesk, _ limits: RunLimits) {
        self.desk = desk
        controls = RunControls(limits)
    }

    /// A run is at work from here on.
    /// - Parameter known: its number, where the volume has given it one.
    /// - Returns: its number.
    func begin(
        _ known: Int?, _ indexes: [String], _ progress: @escaping @Sendable () -> RunProgress
    ) -> Int {
        desk.state.withLock { state in
            state.begun += 1
            let number = known ?? state.begun
            state.work.append(
                .init(number: number, indexes: indexes, seat: self, progress: progress))
            return number
        }
    }

    func end(_ number: Int) {
        desk.state.withLock(notify: true) {
            $0.work.removeAll { $0.number == number && $0.seat === self }
        }
    }
}

/// Takes a seat while `body` runs: at the desk of the process that serves the volume, where that
/// is this one, or at one of its own, which serves the volume's control socket meanwhile.
func withSeat<R>(
    _ volume: Volume, _ command: String, _ limits: RunLimits, _ output: Output,
    _ body: (RunSeat) throws -> R
) throws -> R {
    if let served = output.served { return try served.desk.seated(limits, body) }
    let desk = RunDesk(volume, command: command)
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
    return try desk.seated(limits, body)
}
