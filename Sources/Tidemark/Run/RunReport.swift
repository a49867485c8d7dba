// What a run tells at its end.

/// How the live index differs from the shadow at one key.
public struct Discrepancy: Hashable, Sendable, Codable {
    public enum Kind: String, Sendable, CaseIterable, Codable {
        /// The live index lacks the entry.
        case missing
        /// The live index has an entry that no primary record derives.
        case stray
        /// The live entry has another value, or can't be decoded.
        case wrong
    }

    public let index: IndexSlot
    public let kind: Kind
    public let key: [UInt8]
    /// The live index's value; nil where it has none or it can't be decoded.
    public let found: [UInt8]?
    /// The shadow's value; nil where it has none.
    public let expected: [UInt8]?
}

public struct DiscrepancyCounts: Hashable, Sendable, Codable {
    public var missing = 0
    public var stray = 0
    public var wrong = 0

    public init() {}
    public var total: Int { missing + stray + wrong }

    package mutating func add(_ kind: Discrepancy.Kind) {
        switch kind {
        case .missing: missing += 1
        case .stray: stray += 1
        case .wrong: wrong += 1
        }
    }

    mutating func add(_ other: DiscrepancyCounts) {
        missing += other.missing
        stray += other.stray
        wrong += other.wrong
    }
}

public struct IndexReport: Sendable {
    public enum Action: String, Sendable, Codable { case none, patch, rebuild }

    public let slot: IndexSlot
    public let name: String
    /// Entries of the shadow at the cut.
    public var entries = 0
    public var found = DiscrepancyCounts()
    /// What was done, or in a dry run what would be.
    public var action = Action.none
    /// Why that.
    public var reason = ""
    /// How long that was to take, by the plan.
    public var estimatedSeconds: Double?
    /// The new generation, where there is one.
    public var generation: UInt32?
    /// The generation that it replaced, where that is kept.
    public var kept: UInt32?
    /// The generation that was kept before, and is given up.
    public var forgotten: UInt32?
    /// Entries that a patch changed.
    public var patched = 0
    public var recheck: DiscrepancyCounts?
}

public struct RunReport: Sendable {
    public enum Outcome: String, Sendable, Codable {
        case clean, repaired, corrupt, incomplete, aborted
        /// Stopped by somebody or by a limit. What was found so far is in the report.
        case stopped
    }

    public struct Seconds: Sendable {
        public var scan = 0.0, settle = 0.0, compare = 0.0, load = 0.0, commit = 0.0
        public var recheck = 0.0, reap = 0.0, total = 0.0
        /// From the wish that the run stop until nothing was left of it in the owner.
        public var stop: Double?
    }

    public struct LockHolds: Hashable, Sendable, Codable {
        /// Nanoseconds.
        public var maximum: UInt64 = 0, percentile999: UInt64 = 0, percentile99: UInt64 = 0
        /// Of all of them together.
        public var total: UInt64 = 0
        public var count = 0
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
    public var sortedRuns = 0
    public var seconds = Seconds()
    public var lockHolds = LockHolds()
    public var peakAnonymousBytes = 0
    /// What the work has cost, where it was measured: for the plan of the next run.
    public var costs = PlanCosts()
}
