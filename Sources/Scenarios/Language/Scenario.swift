// A scenario: a store, a run, what others do meanwhile, and what must come of it. These are
// its parts as values; ScenarioReader makes them of a YAML file, ScenarioWriter a file of
// them. Docs/scenarios.md describes the language.
//
// A lane is a sequence of steps that one thread would take: a writer's transactions, a
// scanner, the assistant, the coordinator. `order` says how the lanes interleave; the
// explorer disregards it and tries them all.

public import Tidemark

public struct Scenario: Hashable, Sendable {
    /// The lines of the comment with which the file opens: why the race is hard.
    public var title: [String] = []
    public var store = StoreDescription()
    /// Operations that make the store's first contents, one transaction each.
    public var setup: [Operation] = []
    public var damage: [Damage] = []
    /// One run, named `run`, or several, each with a name of its own.
    public var runs: [RunDescription] = [RunDescription()]
    public var writers: [Writer] = []
    public var faults: [Fault] = []
    public var order: [Turn] = []
    public var expect = Expectations()

    public init() {}
}

public struct StoreDescription: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// A filesystem: names, inodes, extents; indexes `rmap`, `parents`, `quota`, `links`.
        case tree
        /// The store of Docs/adopting.md: items and tags; indexes `tags` and `weights`.
        case catalogue
        /// The same store as one that nobody can lock.
        case unlocked
    }

    public var kind = Kind.tree
    /// Blocks of a tree's data area.
    public var blocks = 1024
    /// Every nth transaction says "read these records again" instead of what it changed; 0:
    /// none. Only in memory: a volume always knows.
    public var voidEvery = 0
    /// Bytes that a tree's hook log may grow to; nil: no bound that a scenario could meet.
    public var log: Int?
    /// Of a store that nobody can lock: buffers of events, writers using them in turn; events that
    /// one has room for; whether the store says after a loss what has changed.
    public var buffers = 2
    public var room = 64
    public var knowsChanges = false
    /// Whether the store says which records an entry can be derived from.
    public var knowsRecords = false
    /// An item that nobody may read as long as it has a record: a file that is removed and not yet
    /// freed. Writers may change it.
    public var withheld: UInt64?
    /// An item whose stray entries are found by reading an index in order, and not when they are
    /// looked up: the index is damaged in how it is searched.
    public var hidden: UInt64?

    public init() {}
}

// MARK: Writers

/// A path from the root, or from an inode by its number: `a/b`, `#17`, `#17/b`; `/` is the
/// root.
public struct Path: Hashable, Sendable {
    /// nil: the root.
    public var base: UInt64?
    public var names: [String]

    public init(base: UInt64? = nil, names: [String]) {
        self.base = base
        self.names = names
    }
}

public enum Operation: Hashable, Sendable {
    public enum Making: String, Hashable, Sendable, CaseIterable {
        case create, mkdir, symlink, fifo
    }
    public enum Renaming: String, Hashable, Sendable, CaseIterable {
        /// An entry of the new name is replaced.
        case rename
        /// It must not exist.
        case move
        /// It must exist, and gets the old name.
        case exchange
    }
    public enum Mapping: String, Hashable, Sendable, CaseIterable {
        /// Written blocks where there are none.
        case write
        /// Unwritten blocks where there are none.
        case allocate
        /// The blocks are given back.
        case punch
        /// The blocks become unwritten; where there are none they are allocated.
        case zero
    }

    case make(Making, Path)
    case link(Path, Path)
    case unlink(Path)
    case rmdir(Path)
    case rename(Renaming, Path, Path)
    /// Offset and length in blocks.
    case map(Mapping, Path, offset: UInt64, length: UInt64)
    /// To a length in blocks.
    case truncate(Path, UInt64)
    /// Keeps an inode, with or without names, until `close` of the same path.
    case open(Path)
    case close(Path)
    /// What no index is derived from: permissions.
    case chmod(Path, UInt16)
    /// The inode belongs to another user, group and project.
    case chown(Path, uid: UInt32, gid: UInt32, project: UInt32)
    /// Catalogue: the item carries the tag, with this weight.
    case set(item: UInt64, tag: String, weight: UInt32)
    case remove(item: UInt64, tag: String)
}

public struct Transaction: Hashable, Sendable {
    public var operations: [Operation]
    /// It is taken back instead of committed.
    public var isAborted = false
    /// Makes everything committed so far durable, instead of changing something.
    public var isSync = false
    /// Makes the previous generations of these indexes active again, instead of changing something:
    /// by name; one that can't be is refused, and the writer goes on.
    public var rolledBack: [String] = []

    public init(_ operations: [Operation], isAborted: Bool = false, isSync: Bool = false) {
        self.operations = operations
        self.isAborted = isAborted
        self.isSync = isSync
    }

    public init(rollBack indexes: [String]) {
        operations = []
        rolledBack = indexes
    }

    var isRollback: Bool { !rolledBack.isEmpty }
}

public struct Writer: Hashable, Sendable {
    public var name: String
    public var transactions: [Transaction]

    public init(name: String, transactions: [Transaction]) {
        self.name = name
        self.transactions = transactions
    }
}

// MARK: Places, damage, faults

/// Some primary records: `PATH`: all of an inode; `PATH:.`: the inode alone; `PATH:NAME`: an
/// entry of a directory; `PATH@BLOCK`: the extent at an offset; `ITEM:TAG` for a catalogue. Of
/// damage to quota usage `user:17`, which names a counter.
public struct Place: Hashable, Sendable {
    public enum Part: Hashable, Sendable {
        case all
        case inode
        case entry(String)
        case extent(UInt64)
        case tagging(item: UInt64, tag: String)
    }

    public var path: Path
    public var part: Part

    public init(path: Path, part: Part = .all) {
        self.path = path
        self.part = part
    }
}

/// A discrepancy made on purpose in the live index, before the run: at the entry that the
/// record at `place` derives, or would derive.
public struct Damage: Hashable, Sendable {
    public var kind: Discrepancy.Kind
    /// The index by name.
    public var index: String
    public var place: Place

    public init(kind: Discrepancy.Kind, index: String, place: Place) {
        self.kind = kind
        self.index = index
        self.place = place
    }
}

/// Something that fails when it is called for the `call`th time.
public struct Fault: Hashable, Sendable {
    /// What fails, by the call that fails.
    public enum Point: String, Hashable, Sendable, CaseIterable {
        case sideFileAppend = "side file append"
        case sideFileRead = "side file read"
        case snapshot, lookahead
        case windowRead = "window read"
        case entriesRead = "entries read"
        case room
        case createGeneration = "create generation"
        case appendBatch = "append batch"
        case validate, activate, amend, discard, reap
        case rollBack = "roll back"
        case forgetPrevious = "forget previous"
        case makeDurable = "make durable"
        case storeRun = "store run"
        case saveCheckpoint = "save checkpoint"
        case logRead = "log read"
        case subscribe, poll, mark
    }

    public enum Cause: String, Hashable, Sendable, CaseIterable {
        case noSpace = "no space"
        case noMemory = "no memory"
        case ioError = "i/o error"
        case damaged
    }

    public var point: Point
    /// Counted from 1; 0: every call.
    public var call: Int
    public var cause: Cause
    /// For `window read`: instead of failing, these records can't be read and are skipped.
    public var unreadable: Place?

    public init(_ point: Point, call: Int = 1, cause: Cause, unreadable: Place? = nil) {
        self.point = point
        self.call = call
        self.cause = cause
        self.unreadable = unreadable
    }
}

// MARK: Runs

/// What a run is limited to.
public enum ScopeDescription: Hashable, Sendable {
    /// The records of an inode.
    case inode(Path)
    /// Those of a directory and of all that is below it when the run begins.
    case subtree(Path)
    /// The mappings of these blocks.
    case blocks(start: UInt64, count: UInt64)
}

public struct RunDescription: Hashable, Sendable {
    public var name = "run"
    /// By name; empty: all that the store has, but for summaries.
    public var indexes: [String] = []
    /// nil: everything.
    public var scope: ScopeDescription?
    public var strategy = Strategy.rebuild
    /// Scanners, each a lane.
    public var scanners = 1
    /// Primary records of a window.
    public var window = 1
    /// Bytes that the assistant collects before it writes a sorted run.
    public var spill = 1 << 20
    /// Entries of a batch of a load.
    public var loadBatch = 1
    /// Bytes of changes over a load from which on the shadow is frozen again.
    public var overlay = 1 << 20
    /// Parts of a comparison, each a lane, and the entries of one step of it.
    public var parts = 1
    public var compare = 64
    /// Entries that one transaction of a patch mends.
    public var patch = 64
    /// Entries that one step of reaping deletes.
    public var reap = 2
    /// Differences that are judged together, and looks before a key is unsettled.
    public var candidates = 64
    public var looks = 4
    /// Bytes in the queue from which on writers wait.
    public var queue = 1 << 20
    /// Whether the generation that a rebuild replaces is kept.
    public var keepsOld = false
    /// Whether a writer that meets a full queue waits for good, or makes the run give way.
    public var isPatient = true
    /// Whether the run outlives its process: its owner keeps a record of it, and a hook log.
    public var isResumable = false
    /// Checkpoints that its lane makes, at the most.
    public var checkpoints = 1
    /// Deltas of the hook log that are read in one step when the run goes on.
    public var replay = 1
    public var expect: RunExpectations?

    public init() {}

    /// What a run is that a file says nothing of: one of a store that can't be mended checks it.
    init(of kind: StoreDescription.Kind) {
        if kind == .unlocked { strategy = .check }
    }
}

// MARK: Order

/// One turn of a lane: some steps of it, one after the other.
public struct Turn: Hashable, Sendable {
    public enum Lane: Hashable, Sendable {
        case writer(String)
        /// Of a run by name, counted from 1.
        case scanner(run: String, number: Int)
        case assistant(run: String)
        /// A part of the comparison, counted from 1.
        case compare(run: String, number: Int)
        /// Merges batches ahead of the load.
        case merger(run: String)
        case coordinator(run: String)
        /// The process, or the machine, comes down; the store is opened again, and what the
        /// runs were at is over.
        case crash(isMachine: Bool)
        /// Fetches the events of a buffer, counted from 1.
        case feed(run: String, number: Int)
        /// There are no more events, for a reason.
        case feedEnds(String)
        /// A run begins once more, from the start.
        case restart(run: String)
        /// The checkpoints of a resumable run: each is begun, then what its owner has
        /// committed becomes durable, then it is saved.
        case checkpoint(run: String)
        /// A run is asked to end, so that it can go on: by somebody, or because the store is
        /// closed.
        case stop(run: String, isPause: Bool)
        /// A run that a crash, a stop or a pause has ended goes on from its checkpoint, or begins
        /// again where it can't.
        case resume(run: String)
        /// What a run could go on from is gone, or is damaged.
        case sideFile(run: String, isLost: Bool)
    }

    public enum Until: Hashable, Sendable {
        case steps(Int)
        case end
        /// Writer: up to and with the next `begin`, `commit` or `report`, where nobody can lock the
        /// store `begin`, `event`, `change` or `report`; `part`: whatever is next. Coordinator: up
        /// to and with the next step of this name. Assistant: `spill`.
        case step(String)
        /// Scanner: until the cursor is beyond these records.
        case opened(Place)
        /// Scanner: and until what was opened has been read.
        case read(Place)
    }

    public var lane: Lane
    public var until: Until
    /// Where the file says so: for errors.
    public var line: Int

    public init(_ lane: Lane, _ until: Until, line: Int = 0) {
        self.lane = lane
        self.until = until
        self.line = line
    }
}

// MARK: Expectations

/// A number, or bounds of one.
public struct Bounds: Hashable, Sendable {
    public var lower: Int
    public var upper: Int

    public init(_ lower: Int, _ upper: Int) {
        self.lower = lower
        self.upper = upper
    }

    public func contains(_ number: Int) -> Bool { lower <= number && number <= upper }

    /// As a scenario says it.
    var text: String {
        if lower == upper { return "\(lower)" }
        return upper == .max ? "\(lower).." : "\(lower)..\(upper)"
    }
}

public struct RunExpectations: Hashable, Sendable {
    /// One of these; empty: clean or repaired.
    public var outcomes: [String] = []
    /// Words that the reason contains.
    public var reason: String?
    // What follows depends on the order, and holds for a replay only.
    public var applied: Bounds?
    public var elided: Bounds?
    public var windows: Bounds?
    public var unsettled: Bounds?
    public var losses: Bounds?
    /// By index: missing, stray, wrong.
    public var found: [String: [Discrepancy.Kind: Bounds]] = [:]
    /// By index: the number of the active generation at the end.
    public var generations: [String: UInt32] = [:]

    public init() {}
}

public struct Expectations: Hashable, Sendable {
    /// Of each run that has none of its own.
    public var run = RunExpectations()
    /// Whether at the end each index holds exactly what the primary records derive. Else each
    /// is as the damage left it, maintained by the writers.
    public var isExact = true
    /// By index: how it differs at the end: missing, stray, wrong.
    public var left: [String: [Discrepancy.Kind: Bounds]] = [:]
    /// Rollbacks that were refused.
    public var refused: Bounds?
    /// On a volume: no hold of the commit lock takes more processor time, in milliseconds.
    public var longestHold: Double?
    /// Situations that the replay of `order` must meet, by name.
    public var meets: [String] = []
    /// Of the store's contents at the end: see `Stage.digest`.
    public var digest: String?

    public init() {}
}
