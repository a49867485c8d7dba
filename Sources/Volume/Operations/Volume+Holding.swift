// Inodes that somebody outside knows by number, as a kernel does: each is held, with or without
// a name, until it is forgotten as often as it was held.
//
// A name is looked up in a snapshot, and what it leads to is counted after that. In between the
// inode may go: who looks up keeps the directory from changing meanwhile (the kernel locks it), or
// takes what it gets for what was there a moment ago.

internal import Bytes
internal import LMDB
internal import Synchronization
public import VolumeFormat

extension Volume {
    /// What a name leads to, held; nil where the directory has no such name.
    public func lookUp(_ dir: InodeNumber, _ name: RawSpan) throws -> Inode? {
        guard let inode = try find(dir, name) else { return nil }
        core.opens.add(inode.number)
        return inode
    }

    /// Holds an inode once more.
    public func hold(_ n: InodeNumber) { core.opens.add(n) }

    /// Ends `count` holds. An inode without a name goes with the last one, in the background.
    public func forget(_ n: InodeNumber, _ count: UInt64 = 1) {
        guard core.opens.remove(n, count) else { return }
        reclaimSoon(n)
    }

    /// Ends all holds and all opens.
    public func forgetAll() {
        for n in core.opens.removeAll() { reclaimSoon(n) }
    }

    private func reclaimSoon(_ n: InodeNumber) {
        guard !core.isReadOnly else { return }
        // Refused where the volume is being closed: the next opening goes on.
        _ = core.inbox.add(deferred: ReclaimJob(core, after: n - 1, through: n))
    }

    /// Has `body` called with the inodes that a run or a mend has corrected, and the names that a
    /// mend has made or taken away, after each commit of such, in the writer's turn; nil ends it.
    /// Nothing else changes what a mount knows without a request of the mount.
    public func watchCorrections(_ body: (@Sendable ([InodeNumber], [VolumeName]) -> Void)?) {
        core.watchers.withLock { $0.corrections = body }
    }

    /// A regular file without a name, held.
    public func makeTemporary(in dir: InodeNumber, _ new: NewInode) throws -> Inode {
        var opened: InodeNumber?
        do {
            return try perform { operations in
                try operations.makeTemporary(in: dir, new) { n in
                    // Before the reclaim, which goes by this count, can see the inode.
                    core.opens.add(n)
                    _ = core.opens.markOrphan(n)
                    opened = n
                }
            }
        } catch {
            if let opened { _ = core.opens.remove(opened) }
            throw error
        }
    }

    /// Has the time of access of an inode set, soon, and waits for nothing.
    public func noteAccess(_ n: InodeNumber, at time: Timestamp) {
        guard !core.isReadOnly else { return }
        _ = core.inbox.add(AccessJob(n, time))
    }
}

/// A time of access, for which nobody waits.
private final class AccessJob: Job {
    private let inode: InodeNumber
    private let time: Timestamp
    private(set) var mustAbort: LMDBError?

    init(_ inode: InodeNumber, _ time: Timestamp) {
        self.inode = inode
        self.time = time
    }

    func run(_ operations: inout Operations) {
        do {
            try operations.noteAccess(inode, at: time)
        } catch let error as LMDBError {
            mustAbort = error
        } catch {
            // A damaged inode keeps the time that it has: reading it said so.
        }
    }

    /// A group that failed has lost a time of access, and nobody was told of it.
    func end(_ failure: LMDBError?) {}
}

extension VolumeSnapshot {
    /// The inode that an entry leads to: an entry that leads nowhere, or to an inode that has
    /// been reused since, is damage.
    func inode(
        at target: DirentTarget, _ dir: InodeNumber, _ name: RawSpan
    ) throws -> InodeRecord {
        let inode = try inode(target.child)
        guard let inode, inode.generation == target.generation, inode.type == target.type else {
            let field =
                inode == nil ? "child" : inode?.type == target.type ? "generation" : "type"
            throw VolumeError.damaged(
                table: TableName.dirents, object: entryText(dir, name.array), .field(field))
        }
        return inode
    }

    /// Calls `body` for the entries of a directory in the order of their bytes, from the one
    /// after `name` on, until it returns false. Neither `.` nor `..` is among them. A damaged
    /// entry has no target.
    public func walk(
        _ dir: InodeNumber, after name: RawSpan,
        _ body: (_ name: RawSpan, _ target: DirentTarget?) throws -> Bool
    ) throws {
        var cursor = try transaction.cursor(core.tables.dirents)
        let start = DirentRecord.key(dir, name)
        var isThere = try cursor.seek(start.span)
        if isThere, compareBytes(cursor.key, start.span) == 0 { isThere = try cursor.next() }
        while isThere, cursor.key.byteCount > DirentRecord.keyPrefixSize,
            cursor.key.integer(at: 0, as: UInt64.self) == dir
        {
            guard
                try body(
                    cursor.key.extracting(droppingFirst: DirentRecord.keyPrefixSize),
                    DirentTarget(checkedKey: cursor.key, cursor.value))
            else { return }
            isThere = try cursor.next()
        }
    }
}

extension DirentTarget {
    /// nil where the entry is damaged.
    fileprivate init?(checkedKey key: RawSpan, _ value: RawSpan) {
        do throws(RecordDamage) {
            try DirentRecord.check(key: key)
            self = try DirentTarget(key: key, value: value)
        } catch {
            return nil
        }
    }
}
