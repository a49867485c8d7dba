// The scanner: opens windows and reads them. Any number of scanners may serve one run, each
// on a thread of its own; windows are independent of each other, and of the order in which
// they are read.

internal import Bytes

public final class Scanner {
    private let owner: any Owner
    private let hook: HookPoint
    private let options: RunOptions
    private let clock: RunClock
    private let holds: LockHoldRecorder
    /// The window that is being read, with what is left of it as its range.
    private var window: Window?
    /// A snapshot that may be older than the next window's opening: good for looking ahead,
    /// never for reading.
    private var lookahead: (any OwnerSnapshot)?
    public private(set) var windows = 0

    init(
        owner: any Owner, hook: HookPoint, options: RunOptions, clock: RunClock,
        holds: LockHoldRecorder
    ) {
        self.owner = owner
        self.hook = hook
        self.options = options
        self.clock = clock
        self.holds = holds
    }

    /// What a step has left to do.
    public enum Progress: Sendable { case opened, read, nothing }

    /// One step: opens a window, or reads a part of the open one.
    public func step() throws -> Progress {
        if let window { return try read(window) }
        return try open() ? .opened : .nothing
    }

    /// Lets go of its snapshot; no step follows.
    func close() { lookahead = nil }

    /// Opens a window at a commit boundary: the next range to be read again, or the one at
    /// the cursor.
    private func open() throws -> Bool {
        switch hook.nextWindow() {
        case .end:
            // The run keeps its scanners: a snapshot kept here would keep the owner from using
            // any page again until the run has ended.
            lookahead = nil
            return false
        case .again(let window): self.window = window
        case .at(let key):
            let snapshot = try lookahead ?? owner.snapshot()
            let end = try snapshot.boundary(after: key, records: options.windowRecords)
            let start = clock.now()
            window = hook.open(from: key, to: end)
            holds.record(clock.now() - start)
        }
        lookahead = nil
        if window != nil { windows += 1 }
        return true
    }

    /// Reads up to a window's worth of records, from a snapshot that is taken now: after the
    /// cursor has moved.
    private func read(_ window: Window) throws -> Progress {
        let snapshot = try owner.snapshot()
        precondition(
            snapshot.commit >= window.sequence.commit, "a snapshot older than its window")
        let batches = owner.indexes.indices.map {
            hook.wants(IndexSlot($0)) ? hook.pool.take() : nil
        }
        let sink = WindowSink(batches: batches, sequence: window.sequence)
        let rest = try snapshot.read(window.range, limit: options.windowRecords, into: sink)
        if let rest {
            precondition(window.range.lower < rest, "a read window moves on")
            self.window?.range.lower = rest
        } else {
            self.window = nil
        }
        lookahead = snapshot
        hook.enqueue(sink, isLast: rest == nil)
        return .read
    }
}
