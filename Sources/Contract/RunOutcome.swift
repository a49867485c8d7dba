// What a run was asked to do, what it did, and what that cost: as far as a run record tells it.

/// What a run is to do about discrepancies.
public enum Strategy: String, Sendable, CaseIterable, Codable {
    /// Compare only.
    case check
    /// Patch or rebuild, whichever costs less.
    case auto
    case rebuild
    case patch
}

/// What is done about the discrepancies of one index.
public enum MendAction: String, Sendable, Codable { case none, patch, rebuild }

/// How a run ended.
public enum RunOutcome: String, Sendable, Codable {
    case clean, repaired, corrupt, incomplete, aborted
    /// Nothing wrong was found, but some keys of a live index never stood still while they were
    /// looked at: whether they are right is not known.
    case unsettled
    /// Stopped by somebody or by a limit. What was found so far is in the report.
    case stopped
}

/// What the work of earlier runs has cost: from it a run plans whether to patch or to rebuild.
public struct PlanCosts: Hashable, Sendable, Codable {
    /// Seconds of work for one entry: compared; loaded, with the old one reaped; patched.
    /// Nil: not measured.
    public var compare, load, patch: Double?

    public init() {}
}
