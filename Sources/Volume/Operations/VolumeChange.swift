// What operations change, in the terms of the calls that ask for it: for whoever records what
// happens to a volume. Told in the writer's turn, after the commit, in the order in which it
// was done; nothing is collected where nobody watches.

internal import Synchronization
public import VolumeFormat

/// A name in a directory.
public struct VolumeName: Hashable, Sendable {
    public let directory: InodeNumber
    public let name: [UInt8]
}

public enum VolumeChange: Hashable, Sendable {
    /// A new inode, without a name where that is nil (`O_TMPFILE`).
    case made(Inode, VolumeName?)
    case linked(InodeNumber, VolumeName)
    /// - isLast: whether the inode has lost its last name.
    case unlinked(InodeNumber, VolumeName, isLast: Bool)
    case removedDirectory(InodeNumber, VolumeName)
    /// - lost: what had the new name, and has none any more.
    case renamed(VolumeName, VolumeName, RenameMode, lost: InodeNumber?)
    /// Blocks of a file have been written.
    case wrote(InodeNumber, Range<UInt64>)
    /// Bytes from an offset on.
    case allocated(InodeNumber, offset: UInt64, count: UInt64, AllocationMode)
    /// - Parameter inode: as it has become.
    case changed(Inode, AttributeChanges)
    /// The inode is gone, and its number may be used again.
    case freed(InodeNumber)
}

/// Who is told of what is committed. A structure: a closure that is itself what a lock guards is
/// wrapped once more by each look at it.
struct Watchers: Sendable {
    var changes: (@Sendable ([VolumeChange], UInt64) -> Void)?
    var corrections: (@Sendable ([InodeNumber], [VolumeName]) -> Void)?
}

extension Volume {
    /// Has `body` called after each commit from here on with what has changed in it; nil ends it,
    /// after all that was acknowledged before.
    public func watchChanges(
        _ body: (@Sendable ([VolumeChange], UInt64) -> Void)?
    ) throws {
        guard !core.isReadOnly else { return }
        try core.atBoundary { $0.core.watchers.withLock { $0.changes = body } }
    }
}

extension Operations {
    /// Collects a change for who watches.
    mutating func note(_ change: @autoclosure () -> VolumeChange) {
        if changes != nil { changes?.append(change()) }
    }

    /// Begins to collect, where somebody watches.
    mutating func beginChanges() {
        changes = core.watchers.withLock { $0.changes == nil } ? nil : []
    }

    /// Tells of what was collected, after the commit.
    mutating func tellChanges(_ commit: UInt64) {
        guard let all = changes, !all.isEmpty else { return }
        changes = []
        core.watchers.withLock { $0 }.changes?(all, commit)
    }
}
