// The changes of one group. Jobs run in the writer's turn, one after the other, with the
// one `Operations` value; all that they change is in one LMDB transaction, which the writer
// commits when no job waits any more, or when it has grown large (group commit).
//
// What every operation keeps to:
// - It begins with `begin(growing:)`.
// - It validates before it changes anything. A VolumeError that it throws says that it has
//   changed nothing, and the group goes on.
// - An LMDBError may come in the middle of changes: it aborts the group, and every job of
//   the group is told so.

internal import Bytes
internal import LMDB
internal import Synchronization
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

public struct Operations: ~Copyable {
    let core: VolumeCore
    var transaction: WriteTransaction
    /// What the transaction has made of the in-memory state.
    var state: GroupState
    /// The state of the last commit, to which an abort goes back.
    var committed: GroupState
    /// The time of the operation under way.
    var now = Timestamp(seconds: 0, nanoseconds: 0)

    /// The changes for the hooks. Cleared when a transaction ends (I2).
    var deltas = DeltaBatch()
    /// Who is told of commits. Changed at commit boundaries only.
    var hooks: [any CommitHook] = []
    /// Whether any hook wants the deltas of each index.
    var wantsReverseMap = false
    var wantsParents = false
    var wantsQuota = false
    var wantsLinks = false

    /// Operations in the transaction.
    var groupSize = 0
    /// Whether the operation under way has changed anything.
    var hasChanged = false
    /// Pages of the map that were free when the transaction began; .max: plenty.
    var freePages = Int.max
    /// Those of them that lie one behind the other, at the end of the map.
    var newPages = Int.max
    /// Pages that the commit before the transaction freed.
    var freedPages = 0
    var truncations = TruncationCounts()
    /// Bytes of the map up to the last page in use, as of the last commit.
    var lastUsedBytes = 0
    /// What `freePages` was after the last durable point that was made for lack of pages;
    /// very many: there was no lack since.
    var settledPages = Int.max - GroupLimits.settledPages
    /// Why the transaction can't be committed, once that is so.
    var failure: LMDBError?
    /// Inodes that a run or a mend has corrected in this transaction.
    var corrected: [InodeNumber] = []
    /// Names that a mend has made or taken away in this transaction.
    var correctedNames: [VolumeName] = []
    /// Blocks that a mend copies, until it is committed.
    var mendLock: BlockLock?
    /// The last number that a run was given.
    var lastRunNumber: UInt64 = 0
    /// What operations of this transaction have changed; nil: nobody watches.
    var changes: [VolumeChange]?
    /// Jobs that have ended in this transaction, and wait for its commit.
    var ended: [any Job] = []
    /// What jobs have made of the transaction, where it stays open.
    var openGroup: OpenGroup

    var counters: Counters {
        get { state.counters }
        set { state.counters = newValue }
    }

    init(_ core: VolumeCore, state: GroupState) {
        self.core = core
        self.state = state
        committed = state
        transaction = core.environment.endedTransaction()
        openGroup = OpenGroup(state)
        lastUsedBytes = core.environment.statistics.usedBytes
        // The log of a run that was interrupted goes on with the first operation.
        noteHooks()
    }

    /// The start of every operation. Ends the group here, and begins another, where it has
    /// grown large: a single job may so run any number of operations.
    /// - Parameter growing: whether the operation needs room for new records. Where little
    ///   is left, only those that don't are let through, so that room can be made.
    public mutating func begin(growing: Bool = true) throws {
        if let failure { throw VolumeError(failure) }
        try rollOverIfLarge()
        if growing, freePages < GroupLimits.reservedPages {
            throw VolumeError.noSpace("metadata of \(core.path)")
        }
        groupSize += 1
        core.operations.add(1, ordering: .relaxed)
        hasChanged = false
        now = core.clock()
    }

    /// The operation changes what belongs to an inode.
    mutating func isChanging(_ n: InodeNumber) {
        hasChanged = true
        if openGroup.isOpen { core.touched.insert(n) }
    }

    /// Damage that an operation has met. Met in the middle of changes it would leave half
    /// an operation behind: then the group is not committed.
    mutating func damaged(
        _ table: String, _ object: String, _ damage: RecordDamage
    ) -> VolumeError {
        if hasChanged, failure == nil {
            failure = LMDBError(code: .corrupted, operation: "read \(object) of", object: table)
        }
        return .damaged(table: table, object: object, damage)
    }
}

/// What a group may grow to.
enum GroupLimits {
    static let operations = 1024
    static let deltas = 1 << 16
    /// Pages of the map that are kept for operations that make room.
    static let reservedPages = 128
    /// A durable point is due every so many bytes. So many of these may be missing.
    static let pointsBehind: UInt64 = 16
    /// Fewer than these beside what a group may take, and nothing is logged.
    static let logReservePages = 2 * shortPages
    /// Fewer than these while something is logged, and pages are to be set free.
    static let logShortPages = 2 * logReservePages
    /// With so many new ones free, pages are not counted.
    static let plentyOfPages = 4 * operations
    /// Fewer than these, and pages that the last durable point holds are to be set free.
    static let shortPages = 2 * reservedPages
    /// So many pages fewer since that was last done, and it is done again.
    static let settledPages = 48
    /// New pages for all that a group may take and then some: with as many, changes are
    /// acknowledged before they are committed.
    static let openGroupPages = operations * pagesPerOperation + logShortPages
    /// After an open group of so many operations the next is begun at once.
    static let busyOperations = 8
    /// Pages that one operation may dirty, generously: a path in each of six tables, of which
    /// two are generations that are loaded or kept beside the active one.
    static let pagesPerOperation = 24
}

/// The in-memory state that goes with a commit. Only the writer has it.
struct GroupState: Sendable {
    var counters: Counters
    /// What is stored, to see whether a commit has to store it again.
    var storedCounters: Counters
    var rmap: LiveIndex
    var parents: LiveIndex
    var quota: LiveIndex
    /// What the transaction has changed of quota usage; stored at its end.
    var usage = UsageChanges()
    /// Counts that were set right by a difference.
    var settled = SettledCounts()
    /// Generations that are to be deleted, of any index.
    var reaping: [Retired]
    /// Runs that can go on, or are going on, ascending.
    var runs: [RunRecord] = []
    var log = HookLog()

    static let rmapSlot = VolumeSlots.rmap
    static let parentsSlot = VolumeSlots.parents
    static let quotaSlot = VolumeSlots.quota
    static let linksSlot = VolumeSlots.links

    /// A generation that is to be deleted.
    struct Retired: Sendable {
        let index: String
        let generation: Generation
        /// The commit from which on no snapshot uses it.
        let since: UInt64
    }

    /// An index that has generations.
    subscript(slot: IndexSlot) -> LiveIndex {
        get {
            switch slot {
            case GroupState.rmapSlot: rmap
            case GroupState.parentsSlot: parents
            case GroupState.quotaSlot: quota
            default: preconditionFailure("an index without generations")
            }
        }
        set {
            switch slot {
            case GroupState.rmapSlot: rmap = newValue
            case GroupState.parentsSlot: parents = newValue
            case GroupState.quotaSlot: quota = newValue
            default: preconditionFailure("an index without generations")
            }
        }
    }
}
