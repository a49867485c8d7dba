// Reading beside a group whose changes are acknowledged and not committed yet
// (Operations+OpenGroup.swift).
//
// Attributes, and what a name leads to, are asked for all the time: they are looked up in the group
// where the group has changed the inode; everything else waits for the commit. Whether an inode is
// touched is asked before a snapshot is begun: what is committed in between the snapshot sees.

internal import Bytes
internal import LMDB
internal import Synchronization
public import VolumeFormat

extension VolumeCore {
    /// Whether a file is as a snapshot of `commit` had it, when asked with its blocks locked: no
    /// group has changed it since, open or committed.
    func isUnchanged(_ n: InodeNumber, since commit: UInt64) -> Bool {
        !touched.contains(n) && environment.lastCommit == commit
    }

    /// Waits until all that was acknowledged is committed, or lost, which later changes are told.
    /// Not in the writer's turn.
    func commitAcknowledged() {
        let ended = inbox.groupsEnded
        if hasAcknowledged.load(ordering: .sequentiallyConsistent) { inbox.endGroup(after: ended) }
    }
}

extension Volume {
    /// The volume with all that was acknowledged about an inode.
    public func read(about n: InodeNumber) throws -> VolumeSnapshot {
        try checkNotClosed()
        if core.touched.contains(n) { core.commitAcknowledged() }
        return try VolumeSnapshot(core)
    }

    /// stat(2).
    public func attributes(_ n: InodeNumber) throws -> Inode {
        try look(n) { try $0.attributes(n) }
            ?? VolumeSnapshot(core).attributes(n)
    }

    /// Runs `body`, which changes nothing, in the open group, if that has changed `n`.
    /// - Returns: nil where it has not.
    func look<R>(_ n: InodeNumber, _ body: (inout Operations) throws -> R) throws -> R? {
        try checkNotClosed()
        guard let writer else { return nil }
        guard core.touched.contains(n) else { return nil }
        let ended = core.inbox.groupsEnded
        // A group that ended before has taken the mark with it.
        guard core.touched.contains(n) else { return nil }
        return try writer.look(after: ended, body)
    }

    /// What a name leads to; nil where the directory has no such name.
    func find(_ dir: InodeNumber, _ name: RawSpan) throws -> Inode? {
        try checkNotClosed()
        while true {
            if let found = try findInGroup(dir, dir, name) { return found.inode }
            let snapshot = try VolumeSnapshot(core)
            guard let target = try snapshot.entry(dir, name) else { return nil }
            if let found = try findInGroup(target.child, dir, name) { return found.inode }
            // What it leads to was not known before the snapshot was begun.
            guard
                !core.acknowledgesEarly || core.isUnchanged(target.child, since: snapshot.commit)
            else { continue }
            let record = try snapshot.inode(at: target, dir, name)
            return Inode(number: target.child, record: record)
        }
    }

    /// What the open group says, if that has changed `n`.
    private func findInGroup(
        _ n: InodeNumber, _ dir: InodeNumber, _ name: RawSpan
    ) throws -> (inode: Inode?, Void)? {
        guard core.touched.contains(n) else { return nil }
        let name = name.array
        return try look(n) { operations in
            guard let target = try operations.entry(dir, name) else { return (nil, ()) }
            let record = try operations.inode(at: target, dir, name)
            return (Inode(number: target.child, record: record), ())
        }
    }
}
