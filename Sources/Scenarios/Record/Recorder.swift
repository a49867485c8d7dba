// Recording: a live run turned into a scenario that replays to the same end.
//
// What is noted, and by whom:
// - Each operation, when it has been done, by the job that did it: on the volume's writer
//   thread, so in the one order in which they happened, with the commit they belong to.
// - Each step of a run that works at a commit boundary, by the owner that is put in front of
//   the volume (RecordingOwner.swift): on the writer thread too, and so in the same order.
// - Each window, when it has been read: its commit when it was opened stands in what is read,
//   and the commit that was read is the snapshot's. Both say where in the order it was.
//
// Paths begin at inode numbers. A volume gives them out in one order, so a replay gives out
// the same ones, and the digest of the contents at the end says whether it did.
//
// A job is recorded as a transaction of its own, though several may have shared a commit.

public import Tidemark
internal import Synchronization
public import Volume
internal import VolumeFormat

/// Why a run can't be recorded.
public enum RecordError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The volume at the start: what about it a scenario can't say.
    case unsuitable(String)
    case tooLong(Int)
    /// Operations that were noted never happened.
    case lost

    public var description: String {
        switch self {
        case .unsuitable(let why):
            "\(why), which no scenario can have; record on a volume that is fresh"
        case .tooLong(let limit):
            "more than \(limit) operations can't be recorded; record for a shorter time"
        case .lost: "a group of operations could not be committed; nothing is recorded"
        }
    }
}

public final class Recorder: Sendable {
    /// Operations that make the first contents, at the most.
    public static let maximumSetup = 20_000
    /// Operations that are recorded, at the most: some hundred megabytes of memory.
    public static let maximumOperations = 1_000_000
    /// Primary records of a window.
    static let window = 64

    /// What happened, in its order.
    struct Event {
        enum What: Equatable {
            /// A job of a writer, by their numbers.
            case transaction(writer: Int, job: Int)
            /// A step of a run's coordinator, by its number.
            case step(run: Int, String)
        }

        var what: What
        /// Of a transaction.
        var operations: [Operation] = []
        /// The one that the event belongs to, or the last one before it.
        var commit: UInt64
    }

    /// A window that was read.
    struct ReadWindow {
        let run: Int
        /// The last records of the window.
        let last: Place
        /// Of the first window, the commit that was looked at for its end. For the end of
        /// another that is the one that was read for the window before it.
        let looked: UInt64?
        /// The last commit that was reported before it was opened.
        let opened: UInt64
        /// The commit that was read.
        let read: UInt64
        /// Events that had been noted when it was read.
        let place: Int
    }

    struct State {
        var events: [Event] = []
        var windows: [ReadWindow] = []
        var runs: [RunDescription] = []
        var operations = 0
        var failure: RecordError?
    }

    let state = Mutex(State())
    let setup: [Operation]
    let blocks: Int
    let writers: Int
    private let limit: Int

    /// Begins with what the volume holds. From here on each operation must be noted.
    /// - Parameter limit: operations that are recorded, at the most.
    public init(
        _ volume: Volume, writers: Int, limit: Int = Recorder.maximumOperations
    ) throws {
        self.limit = limit
        setup = try Recorder.contents(of: volume)
        blocks = Int(volume.geometry.blocks)
        self.writers = writers
    }

    /// Why the recording has failed, where it has. Nothing more is noted then.
    public var failure: RecordError? { state.withLock { $0.failure } }

    /// A job of a writer has done an operation, in the group of `commit`.
    public func note(_ operation: Operation, writer: Int, job: Int, commit: UInt64) {
        let what = Event.What.transaction(writer: writer, job: job)
        state.withLock { state in
            guard state.failure == nil else { return }
            guard state.operations < limit else {
                state.failure = .tooLong(limit)
                return
            }
            state.operations += 1
            let last = state.events.count - 1
            if last < 0 || state.events[last].what != what || state.events[last].commit != commit {
                state.events.append(Event(what: what, commit: commit))
            }
            state.events[state.events.count - 1].operations.append(operation)
        }
    }

    /// What was noted did not happen.
    public func lose() { state.withLock { if $0.failure == nil { $0.failure = .lost } } }

    // MARK: Runs

    /// How a run must be made for it to be recorded.
    public struct RecordedRun {
        public let owner: any ExactOwner
        public let options: RunOptions
        /// Time stands still, so that nothing is fitted to the time that it takes: in a replay
        /// nothing is.
        public let clock = RunClock { 0 }
    }

    public func beginRun(_ volume: Volume, _ slots: [IndexSlot], _ strategy: Strategy)
        -> RecordedRun
    {
        var description = RunDescription()
        description.indexes = slots.map { volume.indexes[$0.rawValue].name }
        description.strategy = strategy
        description.window = Recorder.window
        description.spill = 24 << 20
        description.loadBatch = 256
        // Never frozen again, never too full: neither is part of the order.
        description.overlay = 1 << 30
        description.queue = 1 << 28
        description.compare = 8192
        description.patch = 1024
        description.reap = 1 << 20
        let number = state.withLock { state in
            state.runs.append(description)
            return state.runs.count - 1
        }
        var options = description.options
        // As they are elsewhere: no step depends on them.
        options.chunkBytes = RunOptions().chunkBytes
        options.batchBytes = RunOptions().batchBytes
        return RecordedRun(owner: RecordingOwner(volume, self, run: number), options: options)
    }

    /// A run's coordinator has done a step at a boundary.
    func note(step: String, run: Int, commit: UInt64) {
        state.withLock {
            $0.events.append(Event(what: .step(run: run, step), commit: commit))
        }
    }

    /// A window has been read.
    func note(windowOf run: Int, last: Place, looked: UInt64?, opened: UInt64, read: UInt64) {
        state.withLock { state in
            state.windows.append(
                ReadWindow(
                    run: run, last: last, looked: looked, opened: opened, read: read,
                    place: state.events.count))
        }
    }
}
