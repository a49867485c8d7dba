// What an owner keeps of a run: enough to go on with it after a crash or a stop, and, once it
// has ended, its result. One record for each run, those that have ended included.

/// A run as its owner remembers it.
public struct RunRecord: Sendable, Hashable, Codable {
    /// Counts up within the owner.
    public let number: UInt64
    public var state: RunState
    /// The names of the indexes that it is about.
    public var indexes: [String]
    public var strategy: Strategy
    public var isDryRun: Bool
    public var keepsOld: Bool
    /// What it is limited to, in its owner's words; nil: nothing. What that came to when the run
    /// began stands in its checkpoints.
    public var scope: String?
    /// What its operator allowed it when the record was stored; nil: nobody could steer it.
    public var limits: RunLimits?
    /// Seconds since 1970. The owner fills them in when the record is stored.
    public var started = 0.0, updated = 0.0, ended: Double?
    /// How often it went on after a crash or a stop.
    public var resumes = 0
    /// The owner's last commit when the record was stored, or when the owner found that its process
    /// had ended: no position of the run is newer, or it is of another history of the owner. Nil: a
    /// record of a version that did not note it.
    public var ownerCommit: UInt64?
    /// The hook log is kept for it from the commit after this one on; nil: its position is
    /// discarded, and it can only be started again.
    public var logFrom: UInt64?
    /// The generation that it was loading.
    public var loading: Loading?
    /// Why it is in this state, where that needs words.
    public var reason: String?
    /// What became of it.
    public var outcome: RunOutcome?
    /// What it found and did, by index.
    public var results: [IndexResult] = []
    public var progress = Progress()
    /// What the work has cost, for the plan of the next run.
    public var costs: PlanCosts?

    public struct Loading: Sendable, Hashable, Codable {
        public var index: String
        public var generation: UInt32

        public init(index: String, generation: UInt32) {
            self.index = index
            self.generation = generation
        }
    }

    public struct IndexResult: Sendable, Hashable, Codable {
        public var name: String
        /// Entries of the shadow at the cut.
        public var entries = 0
        public var found = DiscrepancyCounts()
        /// What was done, or in a dry run what would be, and why that.
        public var action = MendAction.none
        public var reason = ""
        /// The new generation, where there is one.
        public var generation: UInt32?
        /// The generation that it replaced, where that is kept, and one that was discarded.
        public var previous: UInt32?
        public var forgotten: UInt32?
        /// Entries that a patch changed.
        public var patched = 0
        public var recheck: DiscrepancyCounts?
        /// Whether all that was to be done about it has been done.
        public var isMended = false

        public init(name: String) { self.name = name }

        /// Names in stored records. `kept` is that of the first version.
        private enum CodingKeys: String, CodingKey {
            case name, entries, found, action, reason, generation, previous = "kept", forgotten
            case patched, recheck, isMended
        }
    }

    /// As of the last checkpoint, or of the end.
    public struct Progress: Sendable, Hashable, Codable {
        public var primaryRecords = 0
        public var windows = 0
        public var applied = 0
        public var elided = 0
        public var seconds = 0.0

        public init() {}
    }

    /// Whether its numbers are such as a run counts, and can go on counting: what comes from a disk
    /// is asked first.
    public var isWithinBounds: Bool {
        func are(_ counts: Int?...) -> Bool {
            counts.allSatisfy { (0...(1 << 56)).contains($0 ?? 0) }
        }
        func are(seconds: Double?...) -> Bool {
            seconds.allSatisfy { (0...1e12).contains($0 ?? 0) }
        }
        func are(_ counts: DiscrepancyCounts) -> Bool {
            are(counts.missing, counts.stray, counts.wrong)
        }
        return are(resumes, progress.primaryRecords, progress.windows)
            && are(progress.applied, progress.elided)
            && are(seconds: started, updated, ended, progress.seconds)
            && are(seconds: costs?.compare, costs?.load, costs?.patch)
            && results.allSatisfy {
                are($0.entries, $0.patched) && are($0.found)
                    && are($0.recheck ?? DiscrepancyCounts())
            } && limits?.isWithinBounds ?? true
    }

    public init(
        number: UInt64, indexes: [String], strategy: Strategy, isDryRun: Bool = false,
        keepsOld: Bool = false, scope: String? = nil
    ) {
        self.scope = scope
        self.number = number
        state = .prepared
        self.indexes = indexes
        self.strategy = strategy
        self.isDryRun = isDryRun
        self.keepsOld = keepsOld
    }
}
