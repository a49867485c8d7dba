// What a user, or a test, can set.

public import Contract
package import Mutation
internal import Shadow
package import Threads

public struct RunOptions: Sendable {
    public var strategy = Strategy.check
    /// Decide and report what would be done, and change nothing.
    public var isDryRun = false
    /// Whether the generation that a rebuild replaces is kept, to be made active again.
    public var keepsOld = false
    /// What the run is limited to, where it is new; nil: nothing. It patches, then, and does not
    /// rebuild; it can't be about a summary, whose counters come from everywhere.
    public var scope: Scope?
    /// What it begins with, where nothing else steers it.
    public var limits = RunLimits()
    /// Bytes of a chunk of a run in the side file, at the most.
    public var chunkBytes = ChunkList.chunkSize
    /// Bytes of one batch of entries on its way from the owner to the side file.
    public var batchBytes = 256 << 10
    /// Seconds that writers wait for a full queue before the run is aborted.
    public var patience = 2.0
    /// Entries of a batch at first; adapted to `holdTarget`.
    public var batchEntries = 4096
    /// Bytes of changes that go over the batches of a load, from which on the runs are
    /// frozen again.
    public var overlayBytes = 8 << 20
    /// Nanoseconds for which a step wants to hold the commit lock.
    public var holdTarget: UInt64 = 1_500_000
    /// Entries that one step of reaping deletes, at first; adapted to `holdTarget`.
    public var reapEntries = 2048
    /// Discrepancies that are remembered for a patch; where there are more, it is a rebuild.
    public var rememberedDiscrepancies = 1 << 16
    /// Entries that one transaction of a patch mends.
    public var patchEntries = 1024
    /// Of an owner that nobody can lock: differences that are judged together at the most, and
    /// looks after which a key that is changed all the time is unsettled.
    public var candidates = 4096
    public var looks = 16
    /// Marks in a row behind which records are still to be read again, at which the run gives way.
    public var settleAttempts = 1000
    /// Entries of one step of comparing.
    public var compareEntries = 8192
    /// Seconds from one checkpoint to the beginning of the next.
    public var checkpointSeconds = 2.5
    /// Deltas of the hook log that are read in one step when a run goes on.
    public var replayDeltas = 4096
    /// Parts of the key space that are compared side by side.
    public var compareParts = 2
    /// What earlier runs have measured, for the plan.
    public var costs = PlanCosts()
    /// Deliberate mistakes, for tests.
    package var mutants = Mutants()
    /// The owner makes a deliberate mistake that breaks what it promises.
    package var isOwnerMutant = false

    public init() {}
}

/// Time, given in from outside: no step reads a clock of its own, and neither does the driver.
public struct RunClock: Sendable {
    /// Nanoseconds since some moment, never going back.
    public var now: @Sendable () -> UInt64
    /// What the driver's rests wait on; nil: the system's time.
    package var manual: ManualClock?

    public init(now: @escaping @Sendable () -> UInt64) { self.now = now }

    /// A clock that a test turns.
    package init(_ manual: ManualClock) {
        now = { manual.now() }
        self.manual = manual
    }
}
