// What a process tells, through the control socket, of the runs that it has at work: the verbs,
// and what they carry.

public import Control
public import Meters
package import Reports
public import Tidemark

/// A run that is at work.
public struct LiveRun: Codable, Sendable {
    /// The store's own number, or, where the store does not remember the run, counted from 1.
    public let number: Int
    public let indexes: [String]
    public let progress: RunProgress
    /// The first discrepancy that it has found.
    package let firstDiscrepancy: DiscrepancyReport?

    package init(
        number: Int, indexes: [String], progress: RunProgress,
        firstDiscrepancy: DiscrepancyReport? = nil
    ) {
        self.number = number
        self.indexes = indexes
        self.progress = progress
        self.firstDiscrepancy = firstDiscrepancy
    }
}

/// What the process that serves a store does.
public struct LiveStatus: Codable, Sendable {
    public let process: Int32
    public let command: String
    /// Of the runs to come, where none is at work.
    public let limits: RunLimits
    /// Why the command is about to end, where somebody has asked for that.
    public let stopReason: String?
    public let runs: [LiveRun]
    /// The last runs that the store remembers, ascending.
    public let recorded: [RunRecord]?
    /// How long the process has served the store.
    public var seconds: Double?
    /// What its writers do.
    public var writers: Activity?
    public var mount: LiveMount?
    /// Where its page is served, as a URL.
    public var dashboard: String?

    package init(
        process: Int32, command: String, limits: RunLimits, stopReason: String?, runs: [LiveRun],
        recorded: [RunRecord]?
    ) {
        self.process = process
        self.command = command
        self.limits = limits
        self.stopReason = stopReason
        self.runs = runs
        self.recorded = recorded
    }
}

/// A store that is mounted.
public struct LiveMount: Codable, Sendable {
    public let mountPoint: String
    /// By kind.
    public let requests: [Activity]

    package init(mountPoint: String, requests: [Activity]) {
        self.mountPoint = mountPoint
        self.requests = requests
    }
}

/// What is asked of a run; of all where no number is given.
public struct SteerRequest: Codable, Sendable {
    public var run: Int?
    public var change: LimitChange?

    public init(run: Int? = nil, change: LimitChange? = nil) {
        self.run = run
        self.change = change
    }
}

/// What a process that serves a store is asked about runs.
public enum RunVerbs {
    public static let status = ControlVerb<Nothing, LiveStatus>("status")
    public static let stop = ControlVerb<SteerRequest, LiveStatus>("stop")
    public static let pause = ControlVerb<SteerRequest, LiveStatus>("pause")
    public static let resume = ControlVerb<SteerRequest, LiveStatus>("resume")
    public static let set = ControlVerb<SteerRequest, LiveStatus>("set")
}
