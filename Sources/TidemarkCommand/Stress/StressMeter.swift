// What the writers of a stress did and how long they waited, with and without a run in
// progress.

internal import Meters
internal import Synchronization
internal import Volume

/// The kinds of operations of the mix.
enum StressOperation: String, CaseIterable, Sendable {
    case create, makeDirectory, symlink, makeNode, link, unlink, removeDirectory
    case rename, renameAcross, renameDirectory, renameReplacing, exchange
    case extend, truncate, allocate, punch, zero
    case setAttribute, removeAttribute, setMode, setOwner
    case renameExisting, linkExisting, changeExisting
}

/// One side of the comparison. Latencies are of jobs: about sixteen operations that are
/// acknowledged together.
struct StressSide: Sendable {
    var operations = 0
    var seconds = 0.0
    var latencies = Latencies()

    var operationsPerSecond: Double { seconds > 0 ? Double(operations) / seconds : 0 }

    mutating func add(_ other: StressSide) {
        operations += other.operations
        latencies.add(other.latencies)
    }
}

/// What one writer counts. Its own until its thread has ended.
struct StressTally: Sendable {
    var withRun = StressSide()
    var withoutRun = StressSide()
    var kinds: [StressOperation: Int] = [:]
    /// Operations that failed as operations may, by what they answered.
    var refusals: [String: Int] = [:]
    /// Writes of contents, each with its two jobs.
    var dataWrites = 0
    var dataBytes = 0
    var dataLatencies = Latencies()

    mutating func add(_ other: StressTally) {
        withRun.add(other.withRun)
        withoutRun.add(other.withoutRun)
        kinds.merge(other.kinds, uniquingKeysWith: +)
        refusals.merge(other.refusals, uniquingKeysWith: +)
        dataWrites += other.dataWrites
        dataBytes += other.dataBytes
        dataLatencies.add(other.dataLatencies)
    }

    /// With a run in progress, as a part of what it is without one; nil where one of them was
    /// not measured.
    var ratio: Double? {
        guard withRun.operations > 0, withoutRun.operations > 0 else { return nil }
        return withRun.operationsPerSecond / withoutRun.operationsPerSecond
    }
}

/// What writers and the coordinator share.
final class StressControl: Sendable {
    /// Whether a run is in progress.
    let isRunning = Atomic<Bool>(false)
    let isStopped = Atomic<Bool>(false)
    let operations = Atomic<Int>(0)
    private let failed = Mutex<String?>(nil)

    /// The first failure ends the stress.
    func fail(_ text: String) {
        failed.withLock { if $0 == nil { $0 = text } }
        isStopped.store(true, ordering: .releasing)
    }

    var failure: String? { failed.withLock { $0 } }
}

extension VolumeError {
    /// The answer's name, where an operation of a random mix may well get it; nil for what
    /// must not happen.
    var expectedAnswer: String? {
        switch self {
        case .noEntry: "ENOENT"
        case .exists: "EEXIST"
        case .notDirectory: "ENOTDIR"
        case .isDirectory: "EISDIR"
        case .notEmpty: "ENOTEMPTY"
        case .noSpace: "ENOSPC"
        case .tooManyLinks: "EMLINK"
        case .crossesItself: "EINVAL"
        case .noAttribute: "ENODATA"
        case .notPermitted: "EPERM"
        default: nil
        }
    }
}
