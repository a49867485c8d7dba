// Keeping the index of a filesystem whose events say which inode has changed, not how.
//
//     ┌──> poll ──> read inodes that nobody has read yet ──┐    a group at a time
//     │                                                    │
//     │    it is time: poll ──> read inodes that have changed, all of them once
//     │                                                    │
//     └── commit <── everything delivered? <── mark <──────┘
//
// An inode leaves the list of changed ones before it is read, so whatever changes while it is read
// puts it there again. What is read of an inode takes the place of all that the file had of it.
//
// The file is *as of* the time before the first event of all inodes that are still in the list when
// the mark has come through: every change up to then was read. What has changed since may be in it
// already. Of what is unread, or was read before events were lost, it is as of when it was last so.
//
// What is done at a time is bounded by a group of inodes, or by one inode.

internal import Bytes
package import LinuxOwner
internal import Tidemark

package final class InodeSession: Session {
    package let pending: PendingChanges
    private let source: any InodeSource
    private let options: KeeperOptions
    private let time: () -> UInt64
    private let changes: any InodeChanges
    private let changed = ChangedInodes()
    /// Inodes that are to be read before the next mark.
    private var pass: [UInt64] = []
    private var state = State.gathering
    private var lastCommit: UInt64
    /// How long the last pass took, with its commit: as long rests the next one.
    private var lastPass: UInt64 = 0
    private var passBegan: UInt64 = 0
    /// Whether there is something new to be committed.
    private var hasRead = false
    private var unreadable: Set<UInt64> = []

    private enum State {
        case gathering
        case passing
        case marked(UInt64)
    }

    /// Inodes of a pass that one step reads.
    private static let inodes = 64
    private static let unreadableLimit = 1000

    /// - Parameter time: of what becomes due, in nanoseconds.
    package init(
        _ source: any InodeSource, options: KeeperOptions, time: @escaping () -> UInt64
    ) throws {
        self.source = source
        self.options = options
        self.time = time
        pending = PendingChanges(
            blocks: nil, names: nil, pool: BatchPool(capacity: 256 << 10, limit: 256))
        lastCommit = time()
        changes = try source.subscribe()
    }

    package var losses: Int { changes.losses }

    package func end() { changes.end() }

    package func hasCommitted() {
        let now = time()
        lastCommit = now
        lastPass = now &- passBegan
        hasRead = false
        state = .gathering
    }

    package func step() throws -> (due: Due?, isBusy: Bool) {
        var isBusy = try changes.poll(changed)
        switch state {
        case .gathering:
            if isDue {
                passBegan = time()
                pass = changed.inodes.sorted(by: >)
                state = .passing
                return (nil, true)
            }
            if let range = changed.unread.first {
                pending.beginReading(at: source.now())
                let next = try source.read(from: range.lowerBound, into: pending)
                    .flatMap { $0 < range.upperBound ? $0 : nil }
                pending.hasRead(range.lowerBound..<(next ?? range.upperBound))
                // What of it has been read anew can be answered for.
                unreadable = unreadable.filter {
                    !(range.lowerBound..<(next ?? range.upperBound)).contains($0)
                }
                changed.hasRead(to: next)
                hasRead = true
                isBusy = true
            }
        case .passing:
            isBusy = true
            pending.beginReading(at: source.now())
            for _ in 0..<InodeSession.inodes {
                guard let inode = pass.popLast() else { break }
                changed.remove(inode)
                try source.read(inode, into: pending)
                pending.hasRead(inode..<inode + 1)
                unreadable.remove(inode)
                hasRead = true
            }
            if pass.isEmpty { state = .marked(try changes.mark()) }
        case .marked(let mark):
            if changes.delivered >= mark { return (due(mark), true) }
        }
        return (nil, isBusy)
    }

    /// Whether a commit is wanted.
    private var isDue: Bool {
        if pending.byteCount >= options.memory { return true }
        let age = time() &- lastCommit, seconds = Double(age) / 1e9
        if !changed.unread.isEmpty { return hasRead && seconds >= options.scanInterval }
        if changed.isEmpty, !hasRead { return seconds >= options.idleInterval }
        return seconds >= options.interval && age >= lastPass
    }

    private func due(_ mark: UInt64) -> Due {
        unreadable.formUnion(pending.skipped)
        if unreadable.count > InodeSession.unreadableLimit { unreadable = [.max] }
        let first = changed.first.map { $0 &- 1 } ?? .max
        return Due(
            mark: .max, asOf: min(mark, first),
            unread: changed.unread.map { KeyRange(inodes: $0) }
                + (unreadable.contains(.max)
                    ? [.all]
                    : unreadable.sorted().map { KeyRange(inodes: $0..<$0 + 1) }),
            statements: pending.count)
    }
}

extension KeyRange {
    /// All records of these inodes; up to `UInt64.max`: of all behind the first.
    init(inodes: Range<UInt64>) {
        self.init(
            lower: inodes.lowerBound == 0 ? KeyBytes() : XFSPosition(inodes.lowerBound).key,
            upper: inodes.upperBound == .max ? nil : XFSPosition(inodes.upperBound).key)
    }
}
