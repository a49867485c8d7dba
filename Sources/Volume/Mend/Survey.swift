// One look at all records of a volume at one commit, and what has been changed since.
//
// What a survey has found is true of its commit. Mends come later, in transactions of their own,
// and look again. What they can see for themselves in a record or two they look up. What only all
// records together tell (that no name leads to an inode, that nobody has a block) is true as long
// as nothing about that inode, or that block, was changed since the commit: `News` notes what was,
// from the same boundary on. What was changed is left to the next survey.

internal import Bytes
internal import Contract
internal import LMDB
internal import Synchronization
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes
public import VolumeVerify

public final class Survey: Sendable {
    /// The commit that was looked at.
    public let commit: UInt64
    /// The first defects, in the order in which they were found; `counts` has all.
    public let findings: [Finding]
    /// All defects, by kind.
    public let counts: [VolumeVerify.PrimaryDefect: UInt64]
    public let indexes: [VolumeVerify.IndexReport]
    public let records: UInt64
    let news: News

    init(_ report: VerifyReport, _ findings: [Finding], _ news: News) {
        commit = report.commit
        counts = report.primaries.filter { $0.value > 0 }
        indexes = report.indexes
        records = report.primaryRecords
        self.findings = findings
        self.news = news
    }

    /// Nothing contradicts anything.
    public var isClean: Bool { counts.isEmpty && indexes.allSatisfy(\.isClean) }
}

extension Volume {
    /// Looks at all records, from a snapshot. Until `end` is called, what is changed is noted.
    /// - Parameters:
    ///   - limit: defects that are remembered; the others are counted.
    ///   - goOn: called now and then; what it throws ends the survey.
    public func survey(
        limit: Int = 1 << 17, _ goOn: (_ phase: String, _ done: UInt64, _ total: UInt64) throws
            -> Void
    ) throws -> Survey {
        try checkNotClosed()
        let (snapshot, news) = try begin()
        do {
            return try survey(snapshot, news, limit, goOn)
        } catch {
            end(news)
            throw error
        }
    }

    /// What is changed from here on is no longer noted.
    public func end(_ survey: Survey) { end(survey.news) }

    private func end(_ news: News) {
        guard !isReadOnly else { return }
        // Refused where the volume has been closed: nobody is told of anything any more.
        try? core.atBoundary { operations in
            operations.hooks.removeAll { $0 === news }
            operations.noteHooks()
        }
    }

    private func begin() throws -> (VolumeSnapshot, News) {
        guard !isReadOnly else {
            let snapshot = try VolumeSnapshot(core)
            return (snapshot, News(since: snapshot.commit))
        }
        return try core.atBoundary { operations in
            let snapshot = try VolumeSnapshot(core)
            let news = News(since: snapshot.commit)
            operations.hooks.append(news)
            operations.noteHooks()
            return (snapshot, news)
        }
    }

    private func survey(
        _ snapshot: VolumeSnapshot, _ news: News, _ limit: Int,
        _ goOn: (String, UInt64, UInt64) throws -> Void
    ) throws -> Survey {
        let tables = try core.tables.all + VolumeSlots.withGenerations.map { index in
            try snapshot.activeTable(of: index.slot)
        }
        var findings: [Finding] = []
        let report = try withoutActuallyEscaping(goOn) { goOn in
            try Verifier.verify(
                snapshot.transaction, of: core.environment, tables: tables,
                data: core.path + "/data",
                list: { finding in
                    guard case .defect = finding.kind, findings.count < limit else { return }
                    findings.append(finding)
                },
                progress: { try goOn($0.phase, $0.done, $0.total) })
        }
        return Survey(report, findings, news)
    }
}

/// What was changed since a survey's commit: inodes by their names, and blocks. Bounded: when it
/// is too much to be noted, all counts as changed.
final class News: CommitHook {
    private struct State {
        var inodes: Set<InodeNumber> = []
        var blocks = BlockSet()
        var isTooMuch = false
    }

    /// Inodes, and ranges of blocks, that are noted: some 64 MiB.
    static let limit = 1 << 20

    /// The commit of the survey.
    let commit: UInt64
    private let state = Mutex(State())

    init(since commit: UInt64) { self.commit = commit }

    func wants(_ index: IndexSlot) -> Bool {
        index == GroupState.rmapSlot || index == GroupState.parentsSlot
    }

    /// It works on no index.
    func isAbout(_ index: IndexSlot) -> Bool { false }

    func admit(within seconds: Double) -> Bool { true }

    func committed(_ commit: UInt64, by origin: CommitOrigin, deltas: borrowing DeltaBatch) {
        state.withLock { state in
            guard !state.isTooMuch else { return }
            var position = 0
            for _ in 0..<deltas.count {
                let delta = deltas.delta(at: position)
                position = delta.end
                guard delta.kind == .added || delta.kind == .removed, delta.key.byteCount >= 8
                else { continue }
                let number: UInt64 = delta.key.integer(at: 0)
                switch delta.slot {
                case GroupState.parentsSlot.rawValue: state.inodes.insert(number)
                case GroupState.rmapSlot.rawValue:
                    // A removal does not say how long it was: what began before and reaches
                    // here has been found by its own beginning.
                    let length: UInt32 =
                        delta.value.byteCount == ReverseMap.valueSize
                        ? delta.value.integer(at: 0) : 1
                    state.blocks.insert(number, number &+ UInt64(length))
                default: break
                }
            }
            state.isTooMuch =
                state.inodes.count > News.limit || state.blocks.count > News.limit
        }
    }

    /// Whether a name of the inode was made or taken away.
    func concernsNames(of inode: InodeNumber) -> Bool {
        state.withLock { $0.isTooMuch || $0.inodes.contains(inode) }
    }

    /// Whether an extent of these blocks was made or taken away.
    func concerns(_ start: UInt64, _ end: UInt64) -> Bool {
        state.withLock { $0.isTooMuch || $0.blocks.overlaps(start, end) }
    }
}

/// Ranges of blocks, in the order of their beginnings, some of them one inside another.
private struct BlockSet {
    private var ranges: [(start: UInt64, end: UInt64)] = []
    private var isSorted = true
    private var longest: UInt64 = 0
    var count: Int { ranges.count }

    mutating func insert(_ start: UInt64, _ end: UInt64) {
        if let last = ranges.last, last == (start, end) { return }
        isSorted = isSorted && (ranges.last?.start ?? 0) <= start
        longest = max(longest, end &- start)
        ranges.append((start, end))
    }

    mutating func overlaps(_ start: UInt64, _ end: UInt64) -> Bool {
        if !isSorted {
            ranges.sort { $0.start < $1.start }
            isSorted = true
        }
        let first = start > longest ? start - longest : 0
        var low = 0, high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].start < first { low = middle + 1 } else { high = middle }
        }
        while low < ranges.count, ranges[low].start < end {
            if ranges[low].end > start { return true }
            low += 1
        }
        return false
    }
}
