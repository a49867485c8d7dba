// What a scrub tells at its end.

public import Tidemark
public import Volume
public import VolumeFormat
public import VolumeVerify

public enum ScrubOutcome: String, Sendable, CaseIterable {
    /// Nothing was wrong.
    case clean
    /// Something was, and nothing is any more: looked at again.
    case repaired
    /// Nothing is wrong, and something could be better.
    case optimisable
    /// Something is wrong.
    case corrupt
    /// It was ended before it had looked at everything.
    case stopped
}

/// How it stands with one item.
public struct ScrubItemReport: Sendable {
    public enum State: String, Sendable, CaseIterable {
        case clean, repaired
        /// It waits for an item that is not clean.
        case deferred
        /// Nothing decides: the choices are told.
        case undecided
        /// It was only looked at.
        case corrupt
        /// It was tried, and something is left.
        case failed
        /// It could be better, and was only looked at.
        case optimisable
    }

    public let item: ScrubItem
    public internal(set) var state = State.clean
    /// Defects, or discrepancies of the index, in the first survey in which there were any.
    public internal(set) var found: UInt64 = 0
    /// Mends that have changed something.
    public internal(set) var mended: UInt64 = 0
    /// Defects, or discrepancies of the index, in the last survey.
    public internal(set) var left: UInt64 = 0
    /// Rounds in which it was repaired.
    public internal(set) var tries = 0
    /// Why it is deferred, or what has failed.
    public internal(set) var reason: String?

    init(_ item: ScrubItem) { self.item = item }
}

/// A defect that is left, and what its mend says.
public struct ScrubRemnant: Sendable {
    public let finding: Finding
    /// nil: none was tried.
    public let mend: Mend?
}

public struct ScrubReport: Sendable {
    public internal(set) var outcome = ScrubOutcome.clean
    /// Why it was stopped.
    public internal(set) var reason: String?
    public internal(set) var items = ScrubItem.all.map { ScrubItemReport($0) }
    /// Surveys: the first, and one after each round of repairs.
    public internal(set) var surveys = 0
    /// Runs about indexes, and what they have found.
    public internal(set) var runs: [RunReport] = []
    /// Mends that have changed something, by kind of defect.
    public internal(set) var mended: [VolumeVerify.PrimaryDefect: UInt64] = [:]
    /// Those that have lost something, by kind.
    public internal(set) var losses: [VolumeVerify.PrimaryDefect: UInt64] = [:]
    /// The defects of the last survey, the first of them.
    public internal(set) var left: [ScrubRemnant] = []
    /// All defects of the last survey, by kind.
    public internal(set) var counts: [VolumeVerify.PrimaryDefect: UInt64] = [:]
    /// Records that the last survey has read.
    public internal(set) var records: UInt64 = 0
    /// What the journal has of it, to undo it by; nil: it was not to mend anything.
    public internal(set) var journal: ScrubRecord?
    /// Seconds: of surveys, of mends, of runs, and all in all.
    public internal(set) var surveying = 0.0, mending = 0.0, running = 0.0, total = 0.0

    /// Remnants that are told.
    public static let remembered = 1000

    public subscript(item: String) -> ScrubItemReport? { items.first { $0.item.name == item } }
}
