// Deliberate mistakes of an owner, one at a time, to show that the scenarios would catch them.
// They exist in debug builds alone: in a release build every question is answered no at
// compile time.

internal import Catalogue

enum OwnerMutant: String, CaseIterable, Sendable {
    case reportedBeforeCommit = "hooks are told of a commit before it is visible"
    case reportedOnAbort = "the deltas of an aborted transaction are reported"
    case exchangeReportedHalf = "of an exchange only the first half is reported"
    case loadNotMaintained = "what is loaded is not maintained by transactions"
    case previousNotMaintained = "the previous generation is not maintained by transactions"
    case reapBeforeFlip = "the old generation is deleted before the new one is active"
    case forgetsReapingInCrash = "a generation that waits to be deleted is forgotten in a crash"
    case replacedNameNotReported = "the entry that a rename replaces is not reported as removed"
    case logBeginsWithResume = "deltas between a crash and the resume are not logged"
    case trimsTooEarly = "the hook log is trimmed before the checkpoint is saved"
    case crashNotNoticed = "runs that were at work in a crash are found at work"
    case linksNotReported = "a name that goes is reported, and what it says of links is not"
    case usageNotLoaded = "increments below the load cursor are not made in the new generation"
    case usageSet = "a correction of a counter is stored in its place instead of being added"
    case truncateNotReported = "what a truncation takes away is not reported"
    case readsWithoutLock = "records and indexes are read without the lock of their object"
    case tellsLossesAtTheirEnd = "a mark overtakes a loss that has begun and not ended"

    /// The mistake of a store that nobody can lock, where it is one.
    var unlocked: UnlockedCatalogue.Mistake? {
        switch self {
        case .readsWithoutLock: .readsWithoutLock
        case .tellsLossesAtTheirEnd: .tellsLossesAtTheirEnd
        default: nil
        }
    }
}

/// The mistake that an owner is to make, if any.
struct OwnerMutants {
    #if TIDEMARK_MUTANTS
    var mistake: OwnerMutant?

    @inline(__always)
    func have(_ mutant: OwnerMutant) -> Bool { mistake == mutant }
    #else
    @inline(__always)
    func have(_ mutant: OwnerMutant) -> Bool { false }
    #endif
}
