// A server's work: it reads all records of a mounted filesystem into an index file, and keeps that
// current from events, for as long as it runs.
//
// Where events say what changes it is a run's scan without an end: cursor, stamps, losses, marks
// and the set of ranges to be read again are the framework's (HookPoint, Scanner, UnlockedAccess).
// Where a run collects a shadow to be compared, the changes are put into the file, mark by mark:
//
//     ┌─> poll, take ──> read a window ──┐        while something is unread
//     │                                  │
//     └── commit <── delivered? <── mark <┘        when no window is open
//
// Where they only say which inode changes, inodes are read again (InodeSession.swift).
//
// At a mark every event up to it has been taken, of all that was read. What is still unread stands
// in the file with the time as of which it was last true. A start begins with everything unread:
// whatever has changed while nobody listened is found by reading it again, and nothing that was not
// read is believed. (Inode times would not do: the kernel gives data its blocks long after the
// write that changed the time.)
//
// One thread does all of it. What it does at a time is bounded: a window of records, a page of
// events, a commit of what has arrived.

internal import Bytes
internal import LMDB
internal import LinuxFilesystem
internal import LinuxOwner
internal import Threads
package import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

package struct KeeperOptions: Sendable {
    /// Of events, for each processor.
    package var bufferKilobytes = 32768
    /// Seconds from one commit to the next.
    package var interval = 1.0
    /// Seconds after which what nothing has changed is committed again, for its time.
    package var idleInterval = 5.0
    /// Seconds after which what was read is committed while there is more to be read.
    package var scanInterval = 20.0
    /// Bytes of changes from which on they are committed.
    package var memory = 192 << 20
    package var windowRecords = 16384

    package init() {}
}

/// How far a server has come.
package struct KeeperProgress: Sendable {
    package var header: IndexHeader
    /// Whether all is settled as of the header's time.
    package var isSettled: Bool
    /// Ranges that are to be read again, the unread rest among them.
    package var unsettled: Int
    /// Statements that the commit has put into the file.
    package var statements: Int
    package var count: CommitCount
    /// Since the server was started.
    package var losses: Int
    /// Inodes that could not be read since the server was started.
    package var damage: [PrimaryDamage]
    package var seconds: Double
}

package final class IndexKeeper {
    private let target: String
    private let file: IndexFile
    /// Whether questions of the mount point find the index.
    package private(set) var isAnnounced = false
    private let options: KeeperOptions
    private var header: IndexHeader
    private var unsettled: UnsettledRanges
    private var damage: [PrimaryDamage] = []
    private var losses = 0

    /// Opens the index, or makes it, and sees that it is of what is mounted there.
    package init(
        _ target: String, index path: String, options: KeeperOptions = KeeperOptions()
    ) throws {
        self.target = target
        self.options = options
        let kept = try KeptFilesystem(target, options)
        try IndexKeeper.refuse(kept, path)
        file = try IndexFile.openForServer(path)
        let snapshot = try file.snapshot()
        var header = try kept.header()
        if let before = snapshot.header {
            guard before.identity == header.identity, before.blockSize == header.blockSize else {
                throw IndexFileError(
                    path, .foreign(of: before.identityText, mounted: header.identityText))
            }
            header.epoch = before.epoch &+ 1
            header.asOf = before.asOf
        }
        self.header = header
        // What was settled was so until the last commit.
        unsettled = snapshot.unsettled.next([.all], settledUntil: header.asOf)
        // Whoever asks while this server begins is to hear so.
        guard snapshot.header != nil else { return }
        _ = try file.commit(
            PendingChanges(
                blocks: nil, names: nil, pool: BatchPool(capacity: 4096, limit: 1)),
            upTo: 0, header: header, unsettled: unsettled)
    }

    private static func refuse(_ kept: KeptFilesystem, _ path: String) throws {
        if kept.hasRealtime { throw IndexFileError(path, .realtime) }
        // The file lies where its folder does, unless something is mounted on it.
        let mount = kept.mount, place = try IndexFile.place(of: path)
        let folder = place.lastIndex(of: "/").map { String(place[...$0]) } ?? "/"
        for one in [folder, place] {
            var status = stat()
            guard unsafe stat(one.hostPath, &status) == 0 else {
                if errno == ENOENT, one == place { continue }
                throw IndexFileError(path, .failed(systemText(errno)))
            }
            if deviceNumber(status.st_dev) == (mount.major, mount.minor) {
                throw IndexFileError(path, .onServedFilesystem)
            }
        }
    }

    // MARK: Keeping

    /// Reads all of a filesystem into an index for one question. Its file lies in `folder`, and has
    /// no name any more.
    /// - Returns: nil where `isStopped` has said so before everything was read.
    package static func read(
        _ target: String, in folder: String, until isStopped: () -> Bool
    ) throws -> IndexFile? {
        var options = KeeperOptions()
        options.interval = 0.05
        // There is nobody who asks meanwhile.
        options.scanInterval = 0
        let path = "\(folder)/tidemark-\(getpid())-\(monotonicNanoseconds()).index"
        let keeper = try IndexKeeper(target, index: path, options: options)
        unsafe unlink(path.hostPath)
        unsafe unlink((path + "-lock").hostPath)
        var isSettled = false
        try keeper.run(until: { isSettled || isStopped() }) { isSettled = $0.isSettled }
        return isSettled ? keeper.file : nil
    }

    /// Keeps the index until `isStopped` says so.
    /// - Parameters:
    ///   - onCommit: told of each commit; the first one of them makes the file.
    ///   - isPublic: whether questions of the mount point are to find the index.
    package func run(
        isPublic: Bool = false, until isStopped: () -> Bool, onCommit: (KeeperProgress) -> Void
    ) throws {
        let place = try IndexFile.place(of: file.path)
        while !isStopped() {
            let kept = try KeptFilesystem(target, options)
            isAnnounced = isPublic && IndexRegistry.announce(place, of: kept.mount)
            defer { if isAnnounced { IndexRegistry.withdraw(place, of: kept.mount) } }
            header.blocks = kept.blocks
            let session = try kept.session(options)
            defer { session.end() }
            do {
                while !isStopped() {
                    let step = try session.step()
                    if let due = step.due { try commit(session, due, onCommit) }
                    if !step.isBusy { rest() }
                }
            } catch let error as LinuxOwnerError {
                // It has been resized: all is read again, with what it is now.
                guard case .grown = error.reason else { throw error }
                unsettled = unsettled.next([.all], settledUntil: header.asOf)
            }
            losses += session.losses
        }
    }

    private func rest() {
        var time = timespec(tv_sec: 0, tv_nsec: 20_000_000)
        _ = unsafe nanosleep(&time, nil)
    }

    private func commit(
        _ session: any Session, _ due: Due, _ onCommit: (KeeperProgress) -> Void
    ) throws {
        let start = monotonicNanoseconds()
        damage += session.pending.damage
        if damage.count > 1000 { damage.removeFirst(damage.count - 1000) }
        let next = unsettled.next(due.unread, settledUntil: header.asOf)
        var head = header
        head.asOf = wallClock(of: due.asOf)
        let count = try file.commit(
            session.pending, upTo: due.mark, header: head, unsettled: next)
        header = head
        unsettled = next
        let progress = KeeperProgress(
            header: head, isSettled: next.isEmpty, unsettled: next.count,
            statements: due.statements, count: count, losses: losses + session.losses,
            damage: damage, seconds: Double(monotonicNanoseconds() - start) / 1e9)
        session.hasCommitted()
        onCommit(progress)
    }
}
