// Deliberate mistakes of the protocol, one at a time, to show that the scenarios would catch
// them. They exist in debug builds alone: in a release build `Mutants` is empty and every
// question is answered no at compile time.

package enum Mutant: String, CaseIterable, Sendable {
    case hooksAfterFirstWindow = "hooks are attached after the first window"
    case snapshotBeforeCursor = "a window's snapshot is taken before the cursor moves"
    case cursorOffByOne = "the inode in which the cursor stands counts as unread"
    case windowStampedLate = "a window's entries are stamped one commit too new"
    case windowRestLost = "what is left of a window after its first part is lost"
    case openWindowsIgnored = "the scan ends while windows are open"
    case rereadLost = "the second of two ranges to be read again is lost"
    case voidForgotten = "a void hides nothing"
    case elidedCountsAsApplied = "an elided delta is counted as applied"
    case elidedIsApplied = "deltas above the cursor are applied"
    case removalsDropped = "removals are not applied"
    case fullQueueDrops = "a full queue drops deltas instead of making writers wait"
    case oldestWins = "of one key the oldest item wins"
    case cutWithoutDrain = "the queue is not drained at the cut"
    case cutWithoutSpill = "the cut forgets what lies in memory"
    case secondRunAdmitted = "two runs work on one index"
    case loadWithoutDrain = "the queue is not drained before a load batch is appended"
    case overlayMissesDeltas = "what the assistant handles during a load does not reach it"
    case overlayMissesRemovals = "a removal does not reach the load batch that holds its entry"
    case batchLosesEntry = "the entry between two load batches is lost"
    case refreezeWithoutSpill = "freezing again during a load forgets what lies in memory"
    case patchIsStale = "a patch disregards what has changed since its look at the shadow"
    case abortIgnored = "a run that was aborted commits"
    case incompleteCommits = "a run that could not read everything goes on"
    case hookLeftAttached = "the hook of a run that has ended stays attached"
    case checkpointBeforeDurable = "a checkpoint is saved before the owner's commit is durable"
    case checkpointForgetsWindows = "a checkpoint forgets the windows that are open"
    case checkpointForgetsRereads = "a checkpoint forgets what is to be read again"
    case checkpointWithoutDrain = "the queue is not drained at a checkpoint"
    case checkpointOfAborted = "a run that was aborted begins a checkpoint"
    case holeInLogIgnored = "a run reads on in a log of which its part was discarded"
    case logNotReplayed = "what was logged before a run went on is not replayed"
    case replayStampedLate = "what is replayed is stamped with the commit of the resume"
    case resumedLoadWithoutDrain = "a resumed load forgets what was read again and is queued"
    case resumedLoadWithoutOverlay = "a resumed load forgets what goes over it"
    case stoppingIsDeaf = "a run that is being stopped takes note of no delta"
    case othersGoOn = "an interrupted run whose place was taken is not told"
    case discardForgotten = "the half-loaded generation of an aborted run is kept"
    // Of owners that nobody can lock.
    case stampedAfterRead = "a window is stamped after it was read"
    case lastToArriveWins = "of one key the last item to arrive wins"
    case tombstonesDropped = "a sorted run does not hold removals"
    case olderThanReadApplied = "an event older than the read of its key is applied"
    case lossIgnored = "a loss is ignored"
    case lossVoidsUpToItsBeginning = "a loss voids what was read up to its beginning"
    case voidEndsWithLoss = "what a loss has voided is void up to the end of the loss"
    case comparedBeforeReread = "the index is compared before what is void is read again"
    case comparedNarrowed = "the next comparison takes what was not judged for settled"
    case noWatermark = "the shadow is not settled behind the look at the index"
    case candidatesAreFindings = "each difference is a finding"
    case withheldIsGone = "a stray entry of a withheld record is a finding"
    case withheldAskedLate = "what is withheld is asked for when a look is judged"
    case lookUpIsBelieved = "a difference that is gone when it is looked up is none"
    case rereadIsNoNews = "that a record was read again is no news"
}

/// The mistake that a run is to make, if any.
package struct Mutants: Sendable {
    #if TIDEMARK_MUTANTS
    package var mistake: Mutant?

    package init(_ mistake: Mutant? = nil) { self.mistake = mistake }

    @inlinable @inline(__always)
    package func have(_ mutant: Mutant) -> Bool { mistake == mutant }
    #else
    package init() {}

    @inlinable @inline(__always)
    package func have(_ mutant: Mutant) -> Bool { false }
    #endif
}
