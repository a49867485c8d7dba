// What a run tells at its end.

public import Contract

/// What a run tells of one index: what its owner keeps of that (`RunRecord.IndexResult`), and what
/// is only told.
@dynamicMemberLookup
public struct IndexReport: Sendable {
    public typealias Action = MendAction

    public let slot: IndexSlot
    /// Read and changed as if its members were the report's own.
    package var result: RunRecord.IndexResult
    /// How long what was done was to take, by the plan.
    public var estimatedSeconds: Double?
    /// Keys that differed and never stood still long enough to be judged, and the first of them as
    /// they were seen last. Only with an owner that nobody can lock.
    public var unsettled = 0
    public private(set) var firstUnsettled: [Discrepancy] = []

    /// Unsettled keys that are remembered.
    public static let rememberedUnsettled = 1000

    init(slot: IndexSlot, name: String) {
        self.slot = slot
        result = RunRecord.IndexResult(name: name)
    }

    public subscript<Member>(
        dynamicMember member: WritableKeyPath<RunRecord.IndexResult, Member>
    ) -> Member {
        get { result[keyPath: member] }
        set { result[keyPath: member] = newValue }
    }

    mutating func noteUnsettled(_ difference: Discrepancy) {
        unsettled += 1
        if firstUnsettled.count < IndexReport.rememberedUnsettled {
            firstUnsettled.append(difference)
        }
    }
}

public struct RunReport: Sendable {
    public typealias Outcome = RunOutcome

    public struct Seconds: Sendable {
        public var scan = 0.0, settle = 0.0, compare = 0.0, load = 0.0, commit = 0.0
        public var recheck = 0.0, judge = 0.0, reap = 0.0, total = 0.0
        /// From the wish that the run stop until nothing was left of it in the owner.
        public var stop: Double?
    }

    public struct LockHolds: Hashable, Sendable, Codable {
        /// Nanoseconds.
        public var maximum: UInt64 = 0, percentile999: UInt64 = 0, percentile99: UInt64 = 0
        /// Of all of them together.
        public var total: UInt64 = 0
        public var count = 0

        public init() {}
    }

    public var outcome = Outcome.clean
    public var reason: String?
    /// What the run was limited to, in its owner's words; nil: nothing.
    public var scope: String?
    /// The run went on from what can't be used after all: it is to be started again.
    public var mustStartAgain = false
    public var indexes: [IndexReport] = []
    public var primaryRecords = 0
    public var damagedPrimaries: [PrimaryDamage] = []
    /// What the comparisons found wrong with primary records. A run changes none of it.
    public var primaryDefects = PrimaryDefects()
    public var windows = 0
    public var applied = 0
    public var elided = 0
    /// Losses that an owner has told that nobody can lock, and events that a read had seen already.
    public var losses = 0
    public var olderThanRead = 0
    public var sortedRuns = 0
    public var seconds = Seconds()
    public var lockHolds = LockHolds()
    public var peakAnonymousBytes = 0
    /// What the work has cost, where it was measured: for the plan of the next run.
    public var costs = PlanCosts()
}
