// A mounted XFS as an owner that nobody can lock. Docs/linux.md says which events mean what.
//
// - *Records* are read in inode order: bulkstat, then each inode by handle. Never by path: a
//   directory that is renamed would hide what is below it.
// - *Blocks* of files and directories, both forks, are the records of `rmap`; entries of
//   directories, but for `.` and `..`, those of `parents`.
// - *The live index* is what the kernel serves: GETFSMAP and GETPARENTS.
// - What the kernel does not let anybody derive is left out on both sides, and counted: metadata,
//   blocks of extent maps, and blocks of links, devices, pipes and sockets, which can't be opened.
// - Data on a realtime device is left out and counted too: the reverse map that is compared is that
//   of the data device.

package import LinuxFilesystem
internal import Synchronization
public import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

/// A mounted XFS.
public final class XFSOwner: UnlockedOwner {
    public let label: String
    public let indexes: [any SecondaryIndex]
    package let xfs: XFSFilesystem
    /// Position of each index; nil where the filesystem does not have it.
    package let rmap: IndexSlot?
    package let parents: IndexSlot?
    /// For each processor.
    package let bufferKilobytes: Int

    let readers = ReaderPool()
    let notCovered = Mutex(NotCovered())
    let suspects = Mutex(LinkSuspects())
    let unread = Mutex(Unread())
    /// Inodes of the files that the kernel keeps quotas in.
    let quotaFiles: Set<UInt64>
    let names = NameBook()
    /// Directories to be read again, with the stamps that they were read with: events that came
    /// before their reading was done say of what was read that it is not true any more.
    private let raced = Mutex<[UInt64: UInt64]>([:])
    private let hasRaced = Atomic<Bool>(false)
    /// Generations of directories, as they were when they were last asked for.
    let generations = Mutex<[UInt64: UInt32]>([:])

    /// What it is for.
    package enum Purpose: Sendable {
        /// To compare the indexes that the filesystem has with its records.
        case check
        /// To derive them, whether the filesystem has them or not: nothing is looked up in it.
        case index
    }

    /// - Parameter bufferKilobytes: of events, for each processor, until they are fetched.
    public convenience init(path: String, bufferKilobytes: Int = 16384) throws {
        try self.init(path: path, for: .check, bufferKilobytes: bufferKilobytes)
    }

    package init(path: String, for purpose: Purpose, bufferKilobytes: Int) throws {
        do throws(LinuxCallError) {
            let mount = try MountedFilesystem(path: path)
            guard mount.kind == .xfs else {
                throw LinuxCallError("check", path, .malformed("no XFS"))
            }
            xfs = try XFSFilesystem(mount)
        } catch {
            if case .malformed = error.reason {
                throw LinuxOwnerError(path, .wrongFilesystem("no XFS"))
            }
            throw LinuxOwnerError(path, error)
        }
        // Where they can't be asked for, their blocks are withheld.
        quotaFiles = Set((try? xfs.quotaFiles()) ?? [])
        label = path
        self.bufferKilobytes = bufferKilobytes
        var indexes: [any SecondaryIndex] = []
        if xfs.geometry.hasReverseMap {
            rmap = IndexSlot(indexes.count)
            indexes.append(XFSReverseMap())
        } else {
            rmap = nil
        }
        if xfs.geometry.hasParentPointers || purpose == .index {
            parents = IndexSlot(indexes.count)
            indexes.append(XFSParentPointers())
        } else {
            parents = nil
        }
        self.indexes = indexes
        guard !indexes.isEmpty else { throw LinuxOwnerError(path, .noReverseMap) }
        // What a run would only meet later: privileges, and a filesystem that is shut down.
        try checkAlive()
    }

    /// CLOCK_MONOTONIC, in nanoseconds: what trace events carry.
    public func now() -> SequenceNumber {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return SequenceNumber(raw: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }

    public func subscribe(_ receiver: any ChangeReceiver) throws -> any ChangeFeed {
        try XFSFeed(self, receiver)
    }

    func noteRaced(_ directory: UInt64, read stamp: UInt64) {
        raced.withLock {
            $0[directory] = max($0[directory] ?? 0, stamp)
            hasRaced.store(true, ordering: .releasing)
        }
    }

    /// Those that were read before `stamp`.
    func takeRaced(before stamp: UInt64) -> [UInt64] {
        guard hasRaced.load(ordering: .acquiring) else { return [] }
        return raced.withLock { raced in
            let due = raced.filter { $0.value < stamp }.map(\.key)
            for directory in due { raced[directory] = nil }
            if raced.isEmpty { hasRaced.store(false, ordering: .releasing) }
            return due
        }
    }

    /// Fails where the filesystem answers no more, or is another one than it was.
    package func checkAlive() throws {
        try reading { readers in
            _ = try xfs.readInodes(from: 0, limit: 1, into: readers.inodes)
            let geometry = try xfs.readGeometry()
            guard geometry.dataBlocks == xfs.geometry.dataBlocks,
                geometry.uuid == xfs.geometry.uuid
            else { throw LinuxOwnerError(label, .grown) }
        }
    }

    /// Runs `body` with buffers that nobody else uses meanwhile; its errors become those of the
    /// owner.
    func reading<R>(_ body: (XFSReaders) throws -> R) throws -> R {
        let readers = self.readers.take()
        defer { self.readers.give(back: readers) }
        do {
            return try body(readers)
        } catch let error as LinuxCallError {
            if error.isDamaged, answers {
                throw LinuxOwnerError(
                    label, .unreadable("\(error)", tool: "xfs_repair -n"))
            }
            throw LinuxOwnerError(label, error)
        }
    }

    /// Whether the filesystem still answers: what it can't read then is one object of it.
    private var answers: Bool {
        let first = try? xfs.readInodes(from: 0, limit: 1, into: InodeBatch(capacity: 1))
        return first != nil
    }
}

/// Buffers for what one thread reads at a time. Handed from thread to thread by `ReaderPool`.
final class XFSReaders: @unchecked Sendable {
    let inodes = InodeBatch(capacity: 512)
    let one = InodeBatch(capacity: 1)
    let extents = ExtentBatch()
    let directory = DirectoryReader()
    let parents = ParentReader()
    let space = SpaceBatch()
    /// Parent pointers of one inode, and where each begins.
    let names = NameList()
}

/// As many of them as threads read at the same time.
final class ReaderPool: Sendable {
    private let shelf = Mutex<[XFSReaders]>([])

    func take() -> XFSReaders { shelf.withLock { $0.popLast() } ?? XFSReaders() }
    func give(back readers: XFSReaders) { shelf.withLock { $0.append(readers) } }
}

/// What of a filesystem a check can't derive, and so does not judge. Blocks of the filesystem.
public struct NotCovered: Sendable, Hashable {
    /// By what the kernel says they are used for: `inode btree`.
    public var metadata: [String: UInt64] = [:]
    public var extentMaps: UInt64 = 0
    /// Inodes with blocks that nobody can ask for: symbolic links and special files.
    public var unreadable: Set<UInt64> = []
    /// Blocks of these.
    public var unreadableBlocks: UInt64 = 0
    /// Files whose data lies on the realtime device, of which nothing is compared.
    public var realtime: Set<UInt64> = []
    /// Files that the kernel keeps for itself, of quotas and of the metadata directory, as far as
    /// their blocks were met.
    public var kernelFiles: Set<UInt64> = []
    /// Blocks of these.
    public var kernelBlocks: UInt64 = 0
    /// More of them than are remembered.
    public var isOverflowing = false
    /// Whether link counts of files are judged.
    public var coversFileLinks = true

    static let limit = 1 << 20

    mutating func addUnreadable(_ inode: UInt64) {
        guard unreadable.count < NotCovered.limit else {
            isOverflowing = true
            return
        }
        unreadable.insert(inode)
    }

    mutating func addRealtime(_ inode: UInt64) {
        guard realtime.count < NotCovered.limit else {
            isOverflowing = true
            return
        }
        realtime.insert(inode)
    }
}

extension XFSOwner {
    /// What the last reading of the live index has left out.
    public var uncovered: NotCovered { notCovered.withLock { $0 } }
}
