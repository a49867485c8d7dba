// Link counts: of a directory against its entries, and, where there are parent pointers, of every
// other inode against those.
//
// A scan counts in passing and remembers whose count did not agree; most of them were changing.
// Each is looked at again until it stands still: status, names, status. The kernel changes count,
// names and time of change of an inode in one transaction under the inode's lock. So where both
// statuses agree, and the time of change lies before the clock that it is taken from (a coarse one,
// which a machine without time to tick leaves behind), nothing has changed in between, and a count
// that differs from the names is wrong.
//
// A file whose parent pointers are wrong themselves is counted with those that it should have. If
// it is open which of them it should have, so is its count.

internal import LinuxFilesystem
internal import Synchronization
internal import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

/// An inode whose link count is not the number of its names.
public struct LinkFinding: Hashable, Sendable {
    public let inode: UInt64
    public let isDirectory: Bool
    public let found: UInt32
    public let expected: UInt64
}

public struct LinkOutcome: Hashable, Sendable {
    public var findings: [LinkFinding] = []
    /// Inodes that never stood still.
    public var unsettled: [UInt64] = []
    /// There were more suspects than are remembered.
    public var isIncomplete = false
}

extension XFSOwner {
    /// How often an inode is looked at, and how far back its last change must lie: a few ticks of
    /// the clock that files are stamped with. Nanoseconds.
    private static let looks = 40, stillness: Int64 = 30_000_000

    /// Judges the inodes whose count did not agree.
    /// - Parameters:
    ///   - surplus: by inode, parent pointers that it should not have, less those that it lacks.
    ///   - isDoubted: whether nothing can be said of the parent pointers of a file.
    ///   - wait: waits so many nanoseconds.
    public func judgeLinks(
        surplus: [UInt64: Int] = [:], isDoubted: (UInt64) -> Bool = { _ in false },
        wait: (Int64) -> Void = XFSOwner.sleep
    ) throws -> LinkOutcome {
        let suspects = self.suspects.withLock { $0 }
        var outcome = LinkOutcome(isIncomplete: suspects.isOverflowing)
        var left = suspects.inodes.sorted()
        for round in 0..<XFSOwner.looks where !left.isEmpty {
            if round > 0 { wait(XFSOwner.stillness) }
            var again: [UInt64] = []
            for inode in left {
                switch try reading({ try look(at: inode, surplus[inode] ?? 0, $0) }) {
                case .right, .unread: break
                case .moving: again.append(inode)
                case .wrong(let finding) where !finding.isDirectory && isDoubted(inode):
                    outcome.unsettled.append(inode)
                case .wrong(let finding): outcome.findings.append(finding)
                }
            }
            left = again
        }
        outcome.unsettled = (outcome.unsettled + left).sorted()
        outcome.findings.sort { $0.inode < $1.inode }
        return outcome
    }

    /// Looks at one count until it stands still.
    /// - Returns: nil where it is right, can't be read, or never stood still.
    func wrongLinks(of inode: UInt64, _ wait: (Int64) -> Void) throws -> LinkFinding? {
        for round in 0..<XFSOwner.looks {
            if round > 0 { wait(XFSOwner.stillness) }
            switch try reading({ try look(at: inode, 0, $0) }) {
            case .right, .unread: return nil
            case .moving: continue
            case .wrong(let finding): return finding
            }
        }
        return nil
    }

    /// What can't be read is noted as that.
    private enum Look { case right, moving, unread, wrong(LinkFinding) }

    private func look(at inode: UInt64, _ surplus: Int, _ readers: XFSReaders) throws -> Look {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME_COARSE, &time)
        let now = Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
        guard let before = try xfs.status(of: inode, using: readers.one) else { return .right }
        if before.isDamaged {
            try noteUnread(inode: inode, "the kernel can't read it")
            return .unread
        }
        let counted: Int?
        do {
            counted = try countNames(of: before, readers)
        } catch let error as LinuxCallError where error.isDamaged || error.isBusy {
            try noteUnread(inode: inode, "\(error)")
            return .unread
        }
        guard let names = counted else {
            return unread.withLock { $0.inodes.contains(inode) } ? .unread : .moving
        }
        let expected = max(0, names - surplus)
        if before.links == expected { return .right }
        guard let after = try xfs.status(of: inode, using: readers.one) else { return .right }
        let isStill =
            before.generation == after.generation && before.links == after.links
            && before.changed == after.changed && before.changed < now - XFSOwner.stillness
        guard isStill else { return .moving }
        return .wrong(
            LinkFinding(
                inode: inode, isDirectory: before.kind == .directory, found: before.links,
                expected: UInt64(expected)))
    }

    /// What the link count should be; nil where the inode is gone, or can't be read.
    private func countNames(of inode: InodeStatus, _ readers: XFSReaders) throws -> Int? {
        guard inode.kind == .directory else {
            guard parents != nil else { return Int(inode.links) }
            return try readParents(inode, readers) ? readers.names.distinct : nil
        }
        // One that is removed and still open has neither `.` nor a name.
        if inode.links == 0 { return 0 }
        guard let file = try xfs.open(inode.inode, generation: inode.generation) else { return nil }
        var directories = 0
        while try readers.directory.read(file, object: "inode \(inode.inode)") {
            readers.directory.forEach { _, type, name in
                if type == directoryType, !isDots(name) { directories += 1 }
            }
        }
        return directories + 2
    }

    public static func sleep(_ nanoseconds: Int64) {
        var time = timespec(
            tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
        var left = timespec()
        while unsafe nanosleep(&time, &left) != 0, Glibc.errno == EINTR { time = left }
    }
}
