// The scanner: opens windows and reads them. Any number of scanners may serve one run, each
// on a thread of its own; windows are independent of each other, and of the order in which
// they are read.

package import Bytes
package import Contract
internal import Entries
package import Feed
internal import Mutation

public final class Scanner {
    private let owner: any Owner
    package let hook: HookPoint
    private let options: RunOptions
    private let clock: RunClock
    private let holds: LockHoldRecorder
    /// Where the next window is to begin and to end.
    package private(set) var plan: (lower: KeyBytes, upper: KeyBytes?)?
    /// The window that is being read, with what is left of it as its range.
    package private(set) var window: Window?
    /// What it is read from.
    package private(set) var snapshot: (any OwnerSnapshot)?
    /// A snapshot that may be older than the next window's opening: good for looking ahead,
    /// never for reading.
    package private(set) var lookahead: (any OwnerSnapshot)?
    /// Primary records of a window, and of one reading, at the most: the driver may change it
    /// between two steps.
    package var windowRecords: Int
    /// Only for a mutant.
    private var early: (any OwnerSnapshot)?
    public private(set) var windows = 0
    /// Records of the last part that was read.
    package private(set) var lastRecords = 0

    package init(
        owner: any Owner, hook: HookPoint, options: RunOptions, clock: RunClock,
        holds: LockHoldRecorder
    ) {
        self.owner = owner
        self.hook = hook
        self.options = options
        windowRecords = options.windowRecords
        self.clock = clock
        self.holds = holds
    }

    /// What a step has done.
    public enum Progress: String, Sendable {
        /// It has seen where the next window is to end.
        case looked = "look"
        /// It has opened a window.
        case opened = "open"
        /// It has taken the snapshot that the window is read from.
        case readied = "ready"
        /// It has read a part of the window.
        case read
        /// There was nothing to do: all is opened, and its own is read.
        case nothing
    }

    /// One step. Each touches what others change, the cursor, the queue, or the owner, once:
    /// all that can come in between comes in between two steps.
    public func step() throws -> Progress {
        guard let window else { return try plan.take().map(open) ?? look() }
        guard let snapshot else { return try ready(window) }
        return try read(window, snapshot)
    }

    /// Lets go of its snapshots, before a rest or at the end: a window that is open is read
    /// from a newer one.
    package func letGo() {
        lookahead = nil
        snapshot = nil
    }

    /// Finds out where the next window is to end, or takes a range that is to be read again,
    /// which is a window at once.
    private func look() throws -> Progress {
        if options.mutants.have(.hooksAfterFirstWindow), windows == 1 {
            try owner.atCommitBoundary { [hook] boundary in
                if !boundary.hooks.contains(where: { $0 === hook }) { boundary.attach(hook) }
            }
        }
        switch hook.nextWindow() {
        case .end:
            // The run keeps its scanners: a snapshot kept here would keep the owner from using
            // any page again until the run has ended.
            lookahead = nil
            return .nothing
        case .again(let window):
            take(window)
            return .opened
        case .at(let key):
            let snapshot = try lookahead ?? owner.snapshot()
            if options.mutants.have(.snapshotBeforeCursor) { early = snapshot }
            lookahead = nil
            let end = try snapshot.boundary(
                after: key, records: windowRecords, wants: hook.wants)
            plan = (key, end)
            return .looked
        }
    }

    private func open(_ plan: (lower: KeyBytes, upper: KeyBytes?)) -> Progress {
        let start = clock.now()
        let window = hook.open(from: plan.lower, to: plan.upper)
        holds.record(clock.now() - start)
        if let window { take(window) }
        return .opened
    }

    private func take(_ window: Window) {
        self.window = window
        lookahead = nil
        windows += 1
    }

    /// Takes a snapshot: after the cursor has moved.
    private func ready(_ window: Window) throws -> Progress {
        if options.mutants.have(.snapshotBeforeCursor) {
            snapshot = early
            return .readied
        }
        let snapshot = try owner.snapshot()
        precondition(
            snapshot.commit >= window.sequence.commit || options.isOwnerMutant
                || options.mutants.have(.windowStampedLate),
            "a snapshot older than its window")
        self.snapshot = snapshot
        return .readied
    }

    /// Reads up to a window's worth of records.
    private func read(_ window: Window, _ snapshot: any OwnerSnapshot) throws -> Progress {
        let batches = owner.indexes.indices.map {
            hook.wants(IndexSlot($0)) ? hook.pool.take() : nil
        }
        let scope = hook.scope
        let sink = WindowSink(
            batches: batches, sequence: window.sequence, stretch: scope?.stretch,
            of: owner.indexes)
        let rest =
            try scope.map { try read($0, window.range, snapshot, sink) }
            ?? snapshot.read(window.range, limit: windowRecords, into: sink)
        let isCut = options.mutants.have(.windowRestLost)
        if let rest, !isCut {
            precondition(window.range.lower < rest, "a read window moves on")
            self.window?.range.lower = rest
        } else {
            self.window = nil
        }
        self.snapshot = nil
        lookahead = snapshot
        lastRecords = sink.records
        hook.enqueue(sink, of: window, rest: isCut ? nil : rest)
        return .read
    }
}

extension Scanner {
    /// Gaps that are jumped over in one step.
    private static let gaps = 1024

    /// Reads what of the scope lies in `range`, up to a window's worth of records.
    /// - Returns: the key to go on from, or nil.
    private func read(
        _ scope: Scope, _ range: KeyRange, _ snapshot: any OwnerSnapshot, _ sink: WindowSink
    ) throws -> KeyBytes? {
        if let stretch = scope.stretch, range == .all,
            let slot = owner.indexes.indices.first(where: { hook.wants(IndexSlot($0)) }),
            try snapshot.readDirectly(stretch, of: IndexSlot(slot), into: sink)
        {
            return nil
        }
        let first = scope.records.place(from: range.lower.span)
        for place in first..<scope.records.count {
            var part = scope.records[place]
            if let upper = range.upper {
                guard part.lower < upper else { return nil }
                part.upper = part.upper.map { min($0, upper) } ?? upper
            }
            part.lower = max(part.lower, range.lower)
            guard place < first + Scanner.gaps, sink.records < windowRecords else {
                return part.lower
            }
            let left = windowRecords - sink.records
            if let rest = try snapshot.read(part, limit: left, into: sink) { return rest }
        }
        return nil
    }
}
