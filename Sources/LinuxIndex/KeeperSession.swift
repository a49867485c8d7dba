// The scan of a filesystem that never ends, step by step: whoever calls the steps commits what is
// due and decides when to rest.

internal import Bytes
internal import Threads
package import Tidemark

/// What the file can be brought to.
package struct Due {
    /// What is pending up to here is to be put into the file.
    package let mark: UInt64
    /// As of when the file is true then, of all that was read.
    package let asOf: UInt64
    /// What is not read as of it.
    package let unread: [KeyRange]
    package let statements: Int
}

/// One subscription to the events of a filesystem, and the reading that goes with it.
package protocol Session: AnyObject {
    var pending: PendingChanges { get }
    var losses: Int { get }
    /// One step.
    /// - Returns: where a commit can be made: it is to be made before the next step; and whether
    ///   there was anything to do.
    func step() throws -> (due: Due?, isBusy: Bool)
    func hasCommitted()
    func end()
}

/// A session with a filesystem whose events say what has changed.
package final class KeeperSession: Session {
    package let pending: PendingChanges
    private let options: KeeperOptions
    private let hook: HookPoint
    private let access: UnlockedAccess
    private let scanner: Scanner
    private let label: String
    private let time: () -> UInt64
    /// The mark that the feed is to be delivered up to.
    private var mark: SequenceNumber?
    private var lastCommit: UInt64
    /// Whether a window was read since.
    private var hasRead = false

    /// - Parameters:
    ///   - blocks: which of the owner's indexes is the reverse map.
    ///   - names: which of them is of parent pointers.
    ///   - time: of what becomes due, in nanoseconds.
    package init(
        _ owner: any UnlockedOwner, blocks: IndexSlot?, names: IndexSlot?,
        options: KeeperOptions, time: @escaping () -> UInt64 = monotonicNanoseconds
    ) throws {
        self.options = options
        self.time = time
        label = owner.label
        let pool = BatchPool(capacity: 256 << 10, limit: 256)
        pending = PendingChanges(blocks: blocks, names: names, pool: pool)
        hook = HookPoint(
            wanted: owner.indexes.map { _ in true }, limits: HookPoint.Limits(), pool: pool,
            clock: { owner.now() })
        access = UnlockedAccess(owner, hook)
        var scanning = RunOptions()
        scanning.limits.window = options.windowRecords
        scanner = Scanner(
            source: .unlocked(owner), hook: hook, options: scanning,
            clock: RunClock(now: { owner.now().raw }), holds: LockHoldRecorder())
        lastCommit = time()
        try access.subscribe()
    }

    package var losses: Int { hook.stampCounts.losses }

    package func end() { access.end() }

    /// Ranges with records that could not be read: of them the file never calls an answer settled,
    /// until a server reads them anew.
    private var unreadable: [KeyRange] = []
    private static let unreadableLimit = 1000

    package func hasCommitted() {
        lastCommit = time()
        hasRead = false
    }

    package func step() throws -> (due: Due?, isBusy: Bool) {
        var isBusy = try access.poll()
        if let reason = hook.abortReason { throw IndexFileError(label, .failed("\(reason)")) }
        while let item = hook.take() { pending.take(item) }
        if let mark, access.isDelivered {
            self.mark = nil
            return (try due(mark), true)
        }
        if mark == nil {
            if scanner.window == nil, isDue {
                mark = try access.mark()
            } else if hook.unread != nil || scanner.window != nil {
                if try scan() { isBusy = true }
            }
        }
        return (nil, isBusy)
    }

    /// Whether a commit is wanted.
    private var isDue: Bool {
        let seconds = Double(time() - lastCommit) / 1e9
        if pending.byteCount >= options.memory { return true }
        // Else where there is always something to be read nothing would be.
        if hook.unread != nil { return hasRead && seconds >= options.scanInterval }
        return seconds >= (pending.isEmpty ? options.idleInterval : options.interval)
    }

    /// A step of the scan, with a window whose range is noted as far as it was read.
    private func scan() throws -> Bool {
        let before = scanner.window, damage = pending.damage.count
        let progress = try scanner.step()
        while let item = hook.take() { pending.take(item) }
        if let before, progress == .read {
            hasRead = true
            let upper = scanner.window.map { $0.range.lower } ?? before.range.upper
            let range = KeyRange(lower: before.range.lower, upper: upper)
            pending.read(range, at: before.sequence)
            if pending.damage.count > damage { unreadable.append(range) }
            if unreadable.count > KeeperSession.unreadableLimit { unreadable = [.all] }
        }
        return progress != .nothing
    }

    /// No window is open: what has been delivered is all up to the mark, of what was read.
    private func due(_ mark: SequenceNumber) throws -> Due {
        let position = try hook.mark()
        for item in position.items { pending.take(item) }
        var unread = position.position.unread
        if let cursor = position.position.cursor {
            unread.append(KeyRange(lower: cursor, upper: nil))
        }
        return Due(
            mark: mark.raw, asOf: mark.raw, unread: unread + unreadable, statements: pending.count)
    }
}
