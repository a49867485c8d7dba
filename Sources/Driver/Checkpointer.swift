// Checkpoints, every few seconds: begun by the coordinator's thread between two steps, saved by
// a thread of its own as soon as the owner's durable commit has come that far. Nobody waits
// for the disk but that thread.

internal import Engine
internal import Feed
internal import Threads

final class Checkpointer: Sendable {
    private struct State {
        /// When the next one is due, in nanoseconds of the run's clock; nil before the first look
        /// at it.
        var due: UInt64?
        var isStopped = false
    }

    private let run: Run
    private let state = Monitor(State())
    private let thread: DedicatedThread?

    /// The first one comes early: until then a crash means to start again.
    private static let first = 0.5
    /// How long it takes at the most to notice that a checkpoint can be saved.
    private static let look = 0.02

    init(_ run: Run) {
        self.run = run
        guard run.record != nil else {
            thread = nil
            return
        }
        let state = state
        thread = DedicatedThread(name: "run-checkpoint") { Self.save(run, state) }
    }

    /// Begins a checkpoint where one is due. Called by the coordinator's thread, between two
    /// steps.
    func beginIfDue() throws {
        guard thread != nil else { return }
        let now = run.clock.now()
        let isDue = state.withLock { state -> Bool in
            let due = state.due ?? now + UInt64(Self.first * 1e9)
            state.due = due
            return now >= due
        }
        guard isDue, run.mayBeginCheckpoint else { return }
        try run.beginCheckpoint()
        state.withLock { $0.due = now + UInt64(run.options.checkpointSeconds * 1e9) }
    }

    private static func save(_ run: Run, _ state: Monitor<State>) {
        while state.wait(seconds: look, { $0.isStopped ? true : nil }) == nil {
            guard run.maySaveCheckpoint else { continue }
            do {
                try run.saveCheckpoint()
            } catch {
                run.hook.abort(AbortReason(error))
                return
            }
        }
    }

    func stop() {
        state.withLock(notify: true) { $0.isStopped = true }
        thread?.join()
    }
}
