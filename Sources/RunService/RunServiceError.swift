// Why no run is started or resumed.

public import Tidemark

public enum RunServiceError: Error, Hashable, Sendable {
    /// The process that serves the store takes no more runs.
    case closed(String, why: String)
    /// The run is being resumed already.
    case isResumed(UInt64)
    case nothingToResume(String)
    case unknownRun(UInt64, String)
    case atWork(UInt64)
    case hasEnded(UInt64, RunState)
    /// The run is about indexes that the store does not have.
    case noIndexes(UInt64, [String])
}

extension RunServiceError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .closed(let path, let why): "\(path): \(why)"
        case .isResumed(let run):
            "run \(run) is being resumed already; `tidemark status` shows it"
        case .nothingToResume(let path):
            "\(path): no run was interrupted; `tidemark repair` begins one"
        case .unknownRun(let run, let path):
            "\(path) knows of no run \(run); `tidemark status` lists those it knows"
        case .noIndexes(let run, let names):
            "run \(run) is about \(names.joined(separator: ", ")), which this store does not have; "
                + "`tidemark repair` begins another"
        case .atWork(let run): "run \(run) is at work and is not paused"
        case .hasEnded(let run, let state):
            "run \(run) has ended (\(state.rawValue)); `tidemark repair` begins another"
        }
    }
}
