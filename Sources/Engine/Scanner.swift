// The scanner: opens windows and reads them. Any number of scanners may serve one run, each
// on a thread of its own; windows are independent of each other, and of the order in which
// they are read.

package import Bytes
package import Contract
internal import Entries
package import Feed
internal import Mutation

public final class Scanner {
    private let source: RecordSource
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
    /// Whether `plan` is about what is to be read again.
    private var isAgain = false
    /// Only for a mutant.
    private var early: (any OwnerSnapshot)?
    public private(set) var windows = 0
    /// Records of the last part that was read.
    package private(set) var lastRecords = 0

    package init(
        source: RecordSource, hook: HookPoint, options: RunOptions, clock: RunClock,
        holds: LockHoldRecorder
    ) {
        self.source = source
        self.hook = hook
        self.options = options
        windowRecords = options.limits.window
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

    /// Where records come from.
    package enum RecordSource {
        /// Snapshots of a commit.
        case exact(any ExactOwner)
        /// Objects that are stamped, and read under their own locks.
        case unlocked(any UnlockedOwner)

        fileprivate var indexes: [any SecondaryIndex] {
            switch self {
            case .exact(let owner): owner.indexes
            case .unlocked(let owner): owner.indexes
            }
        }

        fileprivate var exact: any ExactOwner {
            guard case .exact(let owner) = self else {
                preconditionFailure("an owner that nobody can lock has no snapshots")
            }
            return owner
        }
    }

    /// One step. Each touches what others change, the cursor, the queue, or the owner, once:
    /// all that can come in between comes in between two steps.
    public func step() throws -> Progress {
        if case .unlocked(let owner) = source { return try stepStamped(owner) }
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
            try source.exact.atCommitBoundary { [hook] boundary in
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
            let snapshot = try lookahead ?? source.exact.snapshot()
            if options.mutants.have(.snapshotBeforeCursor) { early = snapshot }
            lookahead = nil
            let end = try snapshot.windowEnd(
                after: key, records: windowRecords, wants: hook.wants)
            if let end, !(key < end) {
                throw AbortReason("the owner ended a window where it begins, or before")
            }
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
        let snapshot = try source.exact.snapshot()
        guard
            snapshot.commit >= window.sequence.commit || options.isOwnerMutant
                || options.mutants.have(.windowStampedLate)
        else { throw AbortReason("the owner gave a snapshot older than a commit it had reported") }
        self.snapshot = snapshot
        return .readied
    }

    /// Reads up to a window's worth of records.
    private func read(_ window: Window, _ snapshot: any OwnerSnapshot) throws -> Progress {
        let scope = hook.scope, sink = makeSink(window.sequence)
        let rest: KeyBytes?
        if let scope {
            rest =
                try readDirectly(scope, window.range, snapshot, sink)
                ? nil
                : read(scope, window.range, sink) {
                    try snapshot.read($0, limit: $1, into: sink)
                }
        } else {
            rest = try snapshot.read(window.range, limit: windowRecords, into: sink)
        }
        try check(sink)
        let isCut = options.mutants.have(.windowRestLost)
        if let rest, !isCut {
            guard window.range.lower < rest, window.range.contains(rest.span) else {
                throw AbortReason("the owner's reading of a window does not move on within it")
            }
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

    private func makeSink(_ sequence: SequenceNumber) -> WindowSink {
        let indexes = source.indexes
        return WindowSink(
            batches: indexes.indices.map { hook.wants(IndexSlot($0)) ? hook.pool.take() : nil },
            sequence: sequence, indexRange: hook.scope?.indexRange, of: indexes)
    }

    private func check(_ sink: borrowing WindowSink) throws {
        guard let violation = sink.violation else { return }
        throw AbortReason("the owner derived \(violation), which no entry can be")
    }

    /// Reads a key range of an index without a pass over all records, where that is possible.
    private func readDirectly(
        _ scope: Scope, _ range: KeyRange, _ snapshot: any OwnerSnapshot, _ sink: WindowSink
    ) throws -> Bool {
        guard let indexRange = scope.indexRange, range == .all,
            let slot = source.indexes.indices.first(where: { hook.wants(IndexSlot($0)) })
        else { return false }
        return try snapshot.readDirectly(indexRange, of: IndexSlot(slot), into: sink)
    }

    /// Reads what of the scope lies in `range`, up to a window's worth of records.
    /// - Returns: the key to go on from, or nil.
    private func read(
        _ scope: Scope, _ range: KeyRange, _ sink: WindowSink,
        _ body: (KeyRange, Int) throws -> KeyBytes?
    ) throws -> KeyBytes? {
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
            if let rest = try body(part, left) { return rest }
        }
        return nil
    }
}

// MARK: Owners that nobody can lock

extension Scanner {
    private func stepStamped(_ owner: any UnlockedOwner) throws -> Progress {
        if let window { return try readStamped(window, owner) }
        guard let plan = plan.take() else { return try lookStamped(owner) }
        let range = KeyRange(lower: plan.lower, upper: plan.upper)
        let opening = hook.openStamped(range, again: isAgain)
        if let window = opening.window { take(window) }
        return opening.isLater ? .nothing : .opened
    }

    private func lookStamped(_ owner: any UnlockedOwner) throws -> Progress {
        guard let unread = hook.unread else { return .nothing }
        let lower = unread.range.lower
        var upper = try owner.windowEnd(after: lower, records: windowRecords, wants: hook.wants)
        if let end = upper, !(lower < end) {
            throw AbortReason("a window of records does not end behind its beginning")
        }
        if let end = unread.range.upper { upper = upper.map { min($0, end) } ?? end }
        plan = (lower, upper)
        isAgain = unread.isAgain
        return .looked
    }

    /// Reads some pieces of the window, which was stamped before the first of them.
    private func readStamped(_ window: Window, _ owner: any UnlockedOwner) throws -> Progress {
        let sink = makeSink(hook.sequence(ofRead: window))
        let body = { (range: KeyRange, limit: Int) in
            try owner.read(range, limit: limit, into: sink)
        }
        let rest =
            try hook.scope.map { try read($0, window.range, sink, body) }
            ?? body(window.range, windowRecords)
        try check(sink)
        if let rest {
            guard window.range.lower < rest, window.range.contains(rest.span) else {
                throw AbortReason("reading records does not move on within its window")
            }
            self.window?.range.lower = rest
        } else {
            self.window = nil
        }
        lastRecords = sink.records
        if rest == nil { hook.stampLate(window) }
        hook.enqueue(sink, of: window, rest: rest)
        return .read
    }
}
