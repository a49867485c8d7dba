// What is said through the control socket about runs: the verbs, and what they carry.

internal import Control
internal import Meters
internal import Tidemark

/// A run that is at work.
struct LiveRun: Codable, Sendable {
    /// The volume's own, or, where the volume does not remember it, counted from 1.
    let number: Int
    let indexes: [String]
    let progress: RunProgress
}

/// What the process that serves a volume is at.
struct LiveStatus: Codable, Sendable {
    let process: Int32
    let command: String
    /// Of the runs to come, where none is at work.
    let limits: RunLimits
    /// Why the command is about to end, where somebody has asked for that.
    let stopReason: String?
    let runs: [LiveRun]
    /// The last runs that the volume remembers, ascending.
    let recorded: [RunRecord]?
    /// How long the process has been at it.
    var seconds: Double?
    /// What its writers do.
    var writers: Activity?
    var mount: LiveMount?
    /// Where its page is served, as a URL.
    var dashboard: String?
}

/// A volume that is mounted.
struct LiveMount: Codable, Sendable {
    let mountPoint: String
    /// By kind.
    let requests: [Activity]
}

/// What is asked of a run; of the only one where no number is given.
struct SteerRequest: Codable, Sendable {
    var run: Int?
    var change: LimitChange?
}

enum RunVerbs {
    static let status = ControlVerb<Nothing, LiveStatus>("status")
    static let stop = ControlVerb<SteerRequest, LiveStatus>("stop")
    static let pause = ControlVerb<SteerRequest, LiveStatus>("pause")
    static let resume = ControlVerb<SteerRequest, LiveStatus>("resume")
    static let set = ControlVerb<SteerRequest, LiveStatus>("set")
}
