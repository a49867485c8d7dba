// What all parts of an open volume share: the environment with its tables, the geometry,
// the data area, and small state with its own locks. What changes with commits is not
// here but in `GroupState`, which the writer has to itself.

internal import LMDB
internal import Logging
internal import Meters
internal import Synchronization
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes
#if canImport(Glibc)
internal import Glibc
#endif

final class VolumeCore: Sendable {
    let path: String
    let environment: Environment
    let tables: Tables
    let geometry: Geometry
    let data: DataFile
    let isReadOnly: Bool
    let metadataLimit: Int
    let clock: @Sendable () -> Timestamp
    /// Seconds, for deadlines.
    let monotonicClock: @Sendable () -> Double
    let logger: Logger
    let opens = OpenInodes()
    let blockGuard = BlockGuard()
    let writes = OpenWrites()
    let maps = FileMapCache()
    /// See `durableCommit`. Written when a durable point has been made.
    let lastDurable = Atomic<UInt64>(0)
    let generations = GenerationTables()
    /// What of records of generations was damaged and set right when the volume was opened, in
    /// words; nothing once a run has judged all and mended it.
    let settledIndexes = Mutex<[String]>([])
    let snapshots = LiveSnapshots()
    /// How densely inodes are filled where the scan is.
    let density = ScanDensity()
    let inbox: Inbox
    /// Reclaims that wait or are under way (ReclaimJob.swift).
    let reclaims = Atomic<Int>(0)
    /// Makes the durable points, from opening to closing.
    let keeper = Mutex<DurableKeeper?>(nil)
    /// Bytes of metadata that commits have replaced, or used for the first time.
    let metadataWritten = Atomic<UInt64>(0)
    /// What that was at the last durable point. Pages replaced since then are not used again
    /// before the next.
    let writtenAtPoint = Atomic<UInt64>(0)
    /// Whether the writer has asked for a durable point that is not made yet.
    let hasAskedForPoint = Atomic<Bool>(false)
    let groupCommitSeconds: Double
    /// What the open group has changed.
    let touched = TouchedInodes()
    /// Whether the group has changes that were acknowledged.
    let hasAcknowledged = Atomic<Bool>(false)
    /// Whether such changes could not be committed.
    let hasLost = Atomic<Bool>(false)
    let durableBytes: UInt64
    let passesOverUnsettled: Bool
    let hookLogBytes: Int
    let mendJournalBytes: Int
    /// Blocks that are free, by the last job that has ended: for who need not know exactly.
    let freeBlocks = Atomic<UInt64>(.max)
    /// Operations that were begun, and how long those who asked for them waited.
    let operations = Atomic<UInt64>(0)
    let latencies = LatencyRecorder()
    let watchers = Mutex(Watchers())
    /// Additions and removals of index entries that did not find what they should have.
    let indexAnomalies = Atomic<UInt64>(0)
    /// Why no change is possible any more. Set once.
    let stopped = Mutex<String?>(nil)

    /// An `IndexSlot` is a position in this list.
    static let indexes = VolumeSlots.all

    init(
        path: String, environment: Environment, tables: Tables, geometry: Geometry,
        data: DataFile, options: OpenOptions
    ) {
        self.path = path
        self.environment = environment
        self.tables = tables
        self.geometry = geometry
        self.data = data
        isReadOnly = options.mode == .readOnly
        metadataLimit = options.metadataLimit
        groupCommitSeconds = isReadOnly ? 0 : options.groupCommitSeconds
        durableBytes = options.durableBytes
        passesOverUnsettled = options.passesOverUnsettled
        hookLogBytes = options.hookLogBytes
        mendJournalBytes = options.mendJournalBytes
        clock = options.clock
        monotonicClock = options.monotonicClock
        inbox = Inbox(options.monotonicClock)
        logger = options.logger
    }

    /// Whether changes are acknowledged before they are committed.
    var acknowledgesEarly: Bool { groupCommitSeconds > 0 }

    /// The last commit that survives a failure of the system.
    var durableCommit: UInt64 { lastDurable.load(ordering: .acquiring) }

    /// Bytes of metadata written since the last durable point.
    var writtenSincePoint: UInt64 {
        metadataWritten.load(ordering: .relaxed) - writtenAtPoint.load(ordering: .relaxed)
    }

    func checkNotStopped() throws(VolumeError) {
        if let why = stopped.withLock({ $0 }) { throw .stopped(path: path, why: why) }
    }

    /// Refuses changes from here on: what is on the disk is uncertain.
    func stop(_ why: String) {
        stopped.withLock { if $0 == nil { $0 = why } }
        logger.info(
            "no more changes to the volume", metadata: ["path": "\(path)", "why": "\(why)"])
    }
}

/// The fixed tables.
struct Tables: Sendable {
    let superblock, inodes, dirents, extents, xattrs, symlinks: Table
    let free, freeByLength, reclaim, freeInodes, runs, hookLog: Table

    static let names = [
        TableName.superblock, TableName.inodes, TableName.dirents, TableName.extents,
        TableName.xattrs, TableName.symlinks, TableName.free, TableName.freeByLength,
        TableName.reclaim, TableName.freeInodes, TableName.runs, TableName.hookLog,
    ]

    var all: [Table] {
        [
            superblock, inodes, dirents, extents, xattrs, symlinks, free, freeByLength, reclaim,
            freeInodes, runs, hookLog,
        ]
    }

    init(_ open: (String) throws -> Table) throws {
        superblock = try open(TableName.superblock)
        inodes = try open(TableName.inodes)
        dirents = try open(TableName.dirents)
        extents = try open(TableName.extents)
        xattrs = try open(TableName.xattrs)
        symlinks = try open(TableName.symlinks)
        free = try open(TableName.free)
        freeByLength = try open(TableName.freeByLength)
        reclaim = try open(TableName.reclaim)
        freeInodes = try open(TableName.freeInodes)
        runs = try open(TableName.runs)
        hookLog = try open(TableName.hookLog)
    }
}

/// The handles of tables that come and go, by name, for snapshots: of generations, and those of
/// mends.
final class GenerationTables: Sendable {
    private let tables = Mutex<[String: Table]>([:])

    func add(_ table: Table) { tables.withLock { $0[table.name] = table } }
    func remove(_ table: Table) { tables.withLock { $0[table.name] = nil } }
    subscript(name: String) -> Table? { tables.withLock { $0[name] } }
}

/// Which commits have snapshots now. A table is dropped only when none is old enough to
/// know it. Every request of a mount begins a snapshot or two: threads count theirs apart.
final class LiveSnapshots: Sendable {
    private final class Shard: Sendable {
        let counts = Mutex<[UInt64: Int]>([:])
    }

    private let shards = (0..<16).map { _ in Shard() }

    /// Where this thread counts. The stacks of threads lie megabytes apart.
    static var shard: Int { Int((UInt64(pthread_self()) &* 0x9E37_79B9_7F4A_7C15) >> 60) }

    /// Begins a snapshot, known to `oldest` from its first moment on.
    func begin(_ environment: Environment, shard: Int) throws(LMDBError) -> ReadTransaction {
        try shards[shard].counts.withLock { (counts) throws(LMDBError) in
            let transaction = try environment.beginRead()
            counts[transaction.commit, default: 0] += 1
            return transaction
        }
    }

    func end(_ commit: UInt64, shard: Int) {
        shards[shard].counts.withLock {
            guard let count = $0[commit] else { preconditionFailure("a snapshot ended twice") }
            $0[commit] = count > 1 ? count - 1 : nil
        }
    }

    /// A snapshot that begins while this looks is not older than the last commit.
    var oldest: UInt64? { shards.compactMap { $0.counts.withLock { $0.keys.min() } }.min() }
}

/// The time of day.
func systemClock() -> Timestamp {
    var time = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
}
