// A check of a mounted XFS from start to end: the run, then link counts, then what is found in a
// user's words.

internal import Bytes
internal import LinuxFilesystem
internal import Synchronization
public import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

/// What a check of a mounted XFS tells.
public struct XFSCheckReport: Sendable {
    public var run: RunReport
    public var findings: [MountFinding] = []
    public var links = LinkOutcome()
    public var notCovered = NotCovered()
    /// Discrepancies beyond those that are remembered: findings are not complete.
    public var isTruncated = false

    /// Keys and inodes that never stood still.
    public var unsettled: Int {
        run.indexes.map(\.unsettled).reduce(0, +) + links.unsettled.count
    }

    /// Whether the comparison came to its end.
    public var isWhole: Bool {
        switch run.outcome {
        case .clean, .corrupt, .unsettled, .repaired: !links.isIncomplete
        case .incomplete, .aborted, .stopped: false
        }
    }

    public enum Verdict: String, Sendable {
        case clean, corrupt, unsettled, incomplete, aborted, stopped
    }

    public var verdict: Verdict {
        switch run.outcome {
        case .aborted: .aborted
        case .stopped: .stopped
        case .incomplete: .incomplete
        case .clean, .corrupt, .unsettled, .repaired:
            !findings.isEmpty
                ? .corrupt : !isWhole ? .incomplete : unsettled > 0 ? .unsettled : .clean
        }
    }
}

/// A check of a mounted XFS.
public final class XFSCheck: Sendable {
    public let owner: XFSOwner
    /// Indexes that are compared; link counts are judged with `parents`.
    public let indexes: [IndexSlot]
    public let controls: RunControls
    private let device: String

    /// Discrepancies that are remembered to be made into findings.
    static let limit = 100_000

    /// - Parameters:
    ///   - names: of indexes; empty: all that the filesystem has.
    ///   - limits: of the run.
    /// - Throws: `LinuxOwnerError` where the filesystem can't be checked.
    public init(
        path: String, names: [String] = [], limits: RunLimits = RunLimits(),
        bufferKilobytes: Int = 16384
    ) throws {
        let owner = try XFSOwner(path: path, bufferKilobytes: bufferKilobytes)
        self.owner = owner
        let all = owner.indexes.indices.map { IndexSlot($0) }
        for name in names where !owner.indexes.contains(where: { $0.name == name }) {
            throw LinuxOwnerError(path, .noIndex(name))
        }
        indexes =
            names.isEmpty
            ? all : all.filter { names.contains(owner.indexes[$0.rawValue].name) }
        controls = RunControls(limits)
        device = (try? owner.xfs.mount.mount())?.source ?? "DEVICE"
    }

    /// Runs to the end, and waits for it.
    /// - Parameters:
    ///   - store: an empty side file, best not on the filesystem that is checked.
    ///   - onDiscrepancy: told of each discrepancy once it is confirmed.
    ///   - onProgress: told ten times a second.
    public func perform(
        store: any SideStore, options: RunOptions = RunOptions(),
        onDiscrepancy: @escaping @Sendable (Discrepancy) -> Void = { _ in },
        onProgress: (@Sendable (RunProgress) -> Void)? = nil
    ) throws -> XFSCheckReport {
        let found = Mutex<[Discrepancy]>([])
        let total = Atomic<Int>(0)
        let run = Run(
            owner: owner, indexes: indexes, store: store, options: options, clock: .system,
            onDiscrepancy: { [owner = self.owner] discrepancy in
                guard !owner.isUnread(discrepancy) else { return }
                total.add(1, ordering: .relaxed)
                found.withLock { if $0.count < XFSCheck.limit { $0.append(discrepancy) } }
                onDiscrepancy(discrepancy)
            })
        var driving = DriverOptions()
        driving.onProgress = onProgress
        let driven = RunDriver(run, options: driving, controls: controls).drive()
        var report = XFSCheckReport(run: driven)
        switch driven.outcome {
        case .aborted, .stopped: return report
        case .clean, .corrupt, .unsettled, .repaired, .incomplete: break
        }
        let discrepancies = found.withLock { $0 }.filter { !owner.isUnread($0) }
        report.isTruncated = total.load(ordering: .relaxed) > XFSCheck.limit
        if owner.parents.map(indexes.contains) ?? true {
            let doubted = doubted(driven, isTruncated: report.isTruncated)
            report.links = try owner.judgeLinks(
                surplus: owner.surplusParents(discrepancies),
                isDoubted: { doubted?.contains($0) ?? true })
        }
        report.findings = try owner.findings(
            discrepancies, report.links.findings, device: device)
        report.notCovered = try owner.countUncovered()
        let known = Set(report.run.damagedPrimaries.map(\.object))
        let unread = owner.unreadObjects.filter { !known.contains($0.object) }
        if !unread.isEmpty {
            report.run.damagedPrimaries += unread
            report.run.outcome = .incomplete
        }
        return report
    }

    /// Files of whose parent pointers it is not known which are right; nil: not even that is known.
    private func doubted(_ run: RunReport, isTruncated: Bool) -> Set<UInt64>? {
        guard let parents = owner.parents else { return [] }
        guard !isTruncated else { return nil }
        var files: Set<UInt64> = []
        for index in run.indexes where index.slot == parents {
            guard index.unsettled == index.firstUnsettled.count else { return nil }
            for difference in index.firstUnsettled {
                guard let file = ParentKey.child(difference.key.rawSpan) else { return nil }
                files.insert(file)
            }
        }
        return files
    }
}

/// Whether an XFS or an ext4 is mounted on the directory `path`.
public func isMountOfKernelFilesystem(_ path: String) -> Bool {
    var here = stat(), above = stat()
    guard unsafe stat(path, &here) == 0, unsafe stat(path + "/..", &above) == 0,
        here.st_dev != above.st_dev || here.st_ino == above.st_ino
    else { return false }
    return (try? MountedFilesystem(path: path)).map { $0.kind != .other } ?? false
}

/// A directory for a side file: the first of `places` that is not on the filesystem of `path`.
public func placeForSideFile(besides path: String, of places: [String]) -> String? {
    var checked = stat()
    guard unsafe stat(path, &checked) == 0 else { return nil }
    return places.first { place in
        var status = stat()
        return unsafe stat(place, &status) == 0 && status.st_dev != checked.st_dev
            && access(place, W_OK) == 0
    }
}
