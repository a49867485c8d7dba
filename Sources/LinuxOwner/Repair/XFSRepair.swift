// A repair of a mounted XFS: check, look again at what was found, judge, plan, have the kernel
// carry it out, look at each, check again.

public import LinuxFilesystem
internal import Bytes
internal import Synchronization
public import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

/// What nobody but the administrator can do, because the filesystem has to be unmounted for it.
public struct RepairAdvice: Hashable, Sendable {
    /// Why the kernel does not do it.
    public let reason: String
    /// Shell commands, in order.
    public let commands: [String]
    /// How long the filesystem is not there.
    public let seconds: Double
    /// Inodes in use, from which `seconds` is estimated.
    public let inodes: UInt64
    /// What to keep away from until then.
    public let paths: [String]

    /// Inodes that xfs_repair 6.1 went through in a second: 101,001 in 1.29 s, in 1,000
    /// directories, with nothing of them in memory, on a disk without moving parts.
    static let rate: Double = 78_000
}

public struct XFSRepairReport: Sendable {
    public var check: XFSCheckReport
    public var plan: RepairPlan
    /// Findings of the check that were right when they were looked at again.
    public var withdrawn: [String] = []
    public var ability = OnlineScrub.none
    public var isDryRun = false
    public var results: [RepairResult] = []
    public var recheck: XFSCheckReport?
    public var advice: RepairAdvice?

    public enum Outcome: String, Sendable {
        case clean, repaired, planned, advice
        /// Something is left that waits for the user, or that no rebuild mends.
        case left
        /// A surprise ended it.
        case stopped
        case unsettled, incomplete
    }

    public var outcome: Outcome {
        guard check.isWhole, !check.isTruncated, recheck?.isWhole ?? true else {
            return .incomplete
        }
        if plan.verdicts.isEmpty { return check.unsettled > 0 ? .unsettled : .clean }
        if advice != nil { return .advice }
        if isDryRun { return .planned }
        if surprise != nil { return .stopped }
        guard let recheck else { return .left }
        if !recheck.findings.isEmpty { return .left }
        return recheck.unsettled > 0 ? .unsettled : .repaired
    }

    /// What ended the repair before its end, or was found behind it and not before.
    public var surprise: String? {
        if let failed = results.first(where: { $0.state == .failed }) {
            return "\(failed.step.item.label): \(failed.reason ?? "failed")"
        }
        if let stopped = results.first(where: { $0.state == .notReached }) {
            return "\(stopped.step.item.label): \(stopped.reason ?? "not reached")"
        }
        let known = Set(plan.verdicts.map(\.object)).union(check.findings.map(\.object))
        // Of neighbouring blocks with one mistake some may be left, and are called otherwise then.
        var blocks = Set(check.findings.compactMap(\.blocks).joined())
        for verdict in plan.verdicts {
            if let first = verdict.block { blocks.formUnion(first..<first + verdict.blocks) }
        }
        if let new = XFSRepairReport.firstNew(recheck?.findings ?? [], known, blocks) {
            return "\(new.index): \(new.object): \(new.problem): this was not found before"
        }
        return nil
    }
}

extension XFSRepairReport {
    /// The first of `findings` that is of none of `objects`, and not of `blocks` alone.
    static func firstNew(
        _ findings: [MountFinding], _ objects: Set<String>, _ blocks: Set<UInt64>
    ) -> MountFinding? {
        findings.first { finding in
            !objects.contains(finding.object)
                && !(finding.blocks?.allSatisfy { blocks.contains($0) } ?? false)
        }
    }
}

public struct XFSRepair {
    let path: String
    let names: [String]
    let limits: RunLimits
    let makeStore: () throws -> any SideStore
    /// nil: the kernel.
    let kernel: (any RepairKernel)?

    /// - Parameters:
    ///   - names: of indexes; empty: all.
    ///   - makeStore: an empty side file for each check, best not on the filesystem.
    ///   - kernel: who carries out the repair instead of the kernel.
    public init(
        path: String, names: [String] = [], limits: RunLimits = RunLimits(),
        kernel: (any RepairKernel)? = nil, makeStore: @escaping () throws -> any SideStore
    ) {
        self.path = path
        self.names = names
        self.limits = limits
        self.kernel = kernel
        self.makeStore = makeStore
    }

    /// - Parameters:
    ///   - believesFiles: primary records are believed where nobody can tell.
    ///   - onResult: told of each step.
    ///   - stopReason: asked again and again; a reason ends the repair before its next step.
    public func perform(
        isDryRun: Bool, believesFiles: Bool = false, options: RunOptions = RunOptions(),
        stopReason: @escaping @Sendable () -> String? = { nil },
        onProgress: (@Sendable (RunProgress) -> Void)? = nil,
        onResult: (RepairResult) -> Void = { _ in }
    ) throws -> XFSRepairReport {
        let found = Mutex<[Discrepancy]>([])
        let (first, owner) = try check(options, stopReason, onProgress) { discrepancy in
            found.withLock { if $0.count <= XFSCheck.limit { $0.append(discrepancy) } }
        }
        var report = XFSRepairReport(check: first, plan: RepairPlan([]), isDryRun: isDryRun)
        guard first.isWhole, !first.isTruncated else { return report }
        let judged = try owner.judge(found.withLock { $0 }, first.links.findings)
        report.withdrawn = judged.withdrawn
        report.plan = RepairPlan(judged.verdicts, believesFiles: believesFiles)
        guard !judged.verdicts.isEmpty else { return report }
        report.ability = try kernel != nil ? .repairs : owner.xfs.onlineScrub()
        guard report.ability == .repairs else {
            report.advice = try owner.advice(report)
            return report
        }
        if isDryRun || report.plan.steps.isEmpty { return report }
        let execution = RepairExecution(
            kernel: kernel ?? owner.xfs, isStopped: { stopReason() != nil }
        ) { step in
            try owner.remains(of: step.verdicts.map { judged.verdicts[$0] })
        }
        report.results = try execution.run(report.plan, onResult: onResult)
        if report.results.contains(where: { $0.refusal == .notSupported }) {
            report.advice = try owner.advice(report)
        }
        if report.results.contains(where: { $0.state == .mended || $0.state == .needless }) {
            report.recheck = try check(options, stopReason, onProgress) { _ in }.report
        }
        return report
    }

    private func check(
        _ options: RunOptions, _ stopReason: @escaping @Sendable () -> String?,
        _ onProgress: (@Sendable (RunProgress) -> Void)?,
        _ onDiscrepancy: @escaping @Sendable (Discrepancy) -> Void
    ) throws -> (report: XFSCheckReport, owner: XFSOwner) {
        let check = try XFSCheck(path: path, names: names, limits: limits)
        let controls = check.controls
        let report = try check.perform(
            store: try makeStore(), options: options, onDiscrepancy: onDiscrepancy,
            onProgress: { step in
                if let reason = stopReason() { controls.stop(reason) }
                onProgress?(step)
            })
        return (report, check.owner)
    }
}

extension XFSOwner {
    /// How often what does not stand still is looked at, and how long one waits between, in
    /// nanoseconds: the kernel frees a removed file within a second, most often.
    private static let rounds = 4, between: Int64 = 700_000_000

    /// Looks again at all that was found, and judges it.
    package func judge(
        _ discrepancies: [Discrepancy], _ links: [LinkFinding],
        wait: (Int64) -> Void = XFSOwner.sleep
    ) throws -> (verdicts: [RepairVerdict], withdrawn: [String]) {
        var blocks = Set<UInt64>(), inodes = Set<UInt64>()
        for discrepancy in discrepancies {
            let key = discrepancy.key.rawSpan
            if discrepancy.index == rmap, let mapping = MappingKey(key) {
                if try !isUnreadable(mapping.owner) { blocks.insert(mapping.block) }
            } else if discrepancy.index == parents, ParentKey.isWellFormed(key) {
                inodes.insert(key.integer(at: 0))
            }
        }
        let named = inodes
        for link in links where !link.isDirectory { inodes.insert(link.inode) }
        let (evidence, restless) = try gather(blocks: blocks, inodes: inodes, wait)
        return verdicts(evidence, restless.blocks, restless.inodes, blocks, named, links)
    }

    /// Gathers evidence until it stands still, and tells what never did.
    private func gather(
        blocks: Set<UInt64>, inodes: Set<UInt64>, _ wait: (Int64) -> Void
    ) throws -> (Evidence, restless: (blocks: Set<UInt64>, inodes: Set<UInt64>)) {
        var evidence = Evidence()
        var restless = (blocks: blocks, inodes: inodes)
        for round in 0..<XFSOwner.rounds where !restless.blocks.isEmpty || !restless.inodes.isEmpty
        {
            if round > 0 { wait(XFSOwner.between) }
            let found = try gather(blocks: restless.blocks, inodes: restless.inodes)
            evidence.blocks.merge(found.blocks) { $1 }
            evidence.names.merge(found.names) { $1 }
            restless.blocks = found.restlessBlocks
            restless.inodes = found.restlessInodes
            for (block, known) in found.blocks where known.holders.values.contains(.withheld) {
                restless.blocks.insert(block)
            }
            for (inode, known) in found.names where known.isWithheld {
                restless.inodes.insert(inode)
            }
        }
        return (evidence, restless)
    }

    private func verdicts(
        _ evidence: Evidence, _ restlessBlocks: Set<UInt64>, _ restlessInodes: Set<UInt64>,
        _ blocks: Set<UInt64>, _ named: Set<UInt64>, _ links: [LinkFinding]
    ) -> (verdicts: [RepairVerdict], withdrawn: [String]) {
        var withdrawn: [String] = []
        var ofBlocks: [RepairVerdict] = []
        for block in blocks.sorted() {
            guard let known = evidence.blocks[block],
                var verdict = RepairVerdict.judge(
                    known, groupBlocks: UInt64(xfs.geometry.groupBlocks))
            else {
                withdrawn.append("block \(block)")
                continue
            }
            if restlessBlocks.contains(block) { verdict.becomeUnsettled() }
            ofBlocks.append(verdict)
        }
        var verdicts = RepairVerdict.join(ofBlocks)
        for inode in named.sorted() {
            guard let known = evidence.names[inode], var verdict = RepairVerdict.judge(known) else {
                withdrawn.append("inode \(inode)")
                continue
            }
            verdict.names = known.entries
            if restlessInodes.contains(inode) { verdict.becomeUnsettled() }
            verdicts.append(verdict)
        }
        for link in links {
            var verdict = RepairVerdict.judge(link, evidence.names[link.inode])
            verdict.links = link.expected
            if restlessInodes.contains(link.inode) { verdict.becomeUnsettled() }
            verdicts.append(verdict)
        }
        return (verdicts, withdrawn)
    }

    // MARK: Behind a step

    /// What of the verdicts' objects is wrong. A record that is another than the verdict has it may
    /// be what the kernel has left, or what a program has changed since: so where one is, the
    /// records are all read again, and what they say now is judged. What does not stand still is
    /// left to the check at the end.
    package func remains(
        of verdicts: [RepairVerdict], wait: (Int64) -> Void = XFSOwner.sleep
    ) throws -> [String] {
        let doubted = try verdicts.filter { try !changes(of: $0).isEmpty }
        var blocks = Set<UInt64>(), inodes = Set<UInt64>(), left: [String] = []
        for verdict in doubted {
            if let first = verdict.block {
                blocks.formUnion(first..<first + verdict.blocks)
            } else if let inode = verdict.inodes.first, verdict.index == "parents" {
                inodes.insert(inode)
            } else if let inode = verdict.inodes.first, verdict.index == "links",
                let finding = try wrongLinks(of: inode, wait)
            {
                left.append(
                    "the link count of inode \(inode) is \(finding.found), and it has "
                        + "\(finding.expected) names")
            }
        }
        guard !blocks.isEmpty || !inodes.isEmpty else { return left }
        let (evidence, restless) = try gather(blocks: blocks, inodes: inodes, wait)
        var found: [RepairVerdict] = []
        for block in blocks.sorted() where !restless.blocks.contains(block) {
            guard let known = evidence.blocks[block],
                let verdict = RepairVerdict.judge(
                    known, groupBlocks: UInt64(xfs.geometry.groupBlocks))
            else { continue }
            found.append(verdict)
        }
        for inode in inodes.sorted() where !restless.inodes.contains(inode) {
            guard let known = evidence.names[inode], let verdict = RepairVerdict.judge(known)
            else { continue }
            found.append(verdict)
        }
        return left
            + found.filter { $0.belief != .unsettled }.map { "\($0.object): \($0.reason)" }
    }

    /// What of a verdict's object is not as the verdict has it; one look at each record.
    private func changes(of verdict: RepairVerdict) throws -> [String] {
        try reading { readers in
            var left: [String] = []
            if let first = verdict.block {
                for place in 0..<verdict.blocks {
                    left += try changes(of: verdict, block: first + place, place, readers)
                }
            } else if verdict.index == "parents", let inode = verdict.inodes.first {
                left += try changes(ofNames: verdict.names, inode, readers)
            } else if verdict.index == "links", let inode = verdict.inodes.first,
                let status = try xfs.status(of: inode, using: readers.one),
                UInt64(status.links) != verdict.links
            {
                left.append("the link count of inode \(inode) is \(status.links)")
            }
            return left
        }
    }

    private func changes(
        of verdict: RepairVerdict, block: UInt64, _ place: UInt64, _ readers: XFSReaders
    ) throws -> [String] {
        var left: [String] = []
        let mappings = try readMappings(of: block, readers)
        func isMapped(_ wanted: ForkPlace) -> Bool {
            mappings.contains {
                if case .file(let found, _) = $0 { found == wanted } else { false }
            }
        }
        for stray in verdict.strayed {
            let moved = ForkPlace(stray.inode, stray.fork, stray.offset &+ place)
            // The same place with another state is right now.
            if moved.inode != verdict.claimed?.inode || stray != verdict.claimed, isMapped(moved) {
                left.append("block \(block) is still mapped to \(moved.label)")
            }
        }
        if let claimed = verdict.claimed {
            let moved = ForkPlace(claimed.inode, claimed.fork, claimed.offset &+ place)
            if !isMapped(moved) { left.append("block \(block) is not mapped to \(moved.label)") }
            if try !claims(moved, block, readers) {
                left.append("\(moved.label) has lost block \(block)")
            }
        }
        return left
    }

    private func claims(
        _ place: ForkPlace, _ block: UInt64, _ readers: XFSReaders
    ) throws -> Bool {
        guard let status = try xfs.status(of: place.inode, using: readers.one),
            let file = try xfs.open(place.inode, generation: status.generation)
        else { return false }
        return try claims(of: status, file, on: [block], readers).contains {
            $0.claim.place == place
        }
    }

    private func changes(
        ofNames names: [NameEvidence.Name], _ inode: UInt64, _ readers: XFSReaders
    ) throws -> [String] {
        guard let status = try xfs.status(of: inode, using: readers.one) else {
            return ["inode \(inode) is gone"]
        }
        guard try readParents(status, readers) else {
            return ["the parent pointers of inode \(inode) can't be read"]
        }
        var pointers: [NameEvidence.Name] = []
        readers.names.forEach { item, name in
            pointers.append(NameEvidence.Name(item.parent, item.generation, name.array))
            return true
        }
        var left: [String] = []
        for name in names {
            if !pointers.contains(name) { left.append("no parent pointer says \(name.label)") }
            guard let directory = try xfs.open(name.directory, generation: name.generation),
                try finds(name.bytes, inode, directory)
            else {
                left.append("\(name.label) leads to inode \(inode) no more")
                continue
            }
        }
        for pointer in pointers where !names.contains(pointer) {
            left.append("a parent pointer says \(pointer.label)")
        }
        return left
    }

    // MARK: Advice

    func advice(_ report: XFSRepairReport) throws -> RepairAdvice {
        let line = try? xfs.mount.mount()
        let device = line?.source ?? "DEVICE", point = line?.point ?? label
        let inodes = xfs.mount.inodesInUse
        var paths = Set<String>()
        for finding in report.check.findings {
            for list in finding.paths.values { paths.formUnion(list) }
        }
        return RepairAdvice(
            reason: report.ability == .none
                ? "this kernel has no online repair of XFS"
                : report.ability == .checks
                    ? "this kernel checks XFS and does not repair it, or it is mounted for reading "
                        + "only" : "this kernel can't repair all of it",
            commands: [
                "umount \(shellWord(point))", "xfs_repair -n \(shellWord(device))",
                "xfs_repair \(shellWord(device))",
                "mount \(shellWord(device)) \(shellWord(point))",
            ],
            // Once to look, once to mend.
            seconds: max(1, Double(inodes) / RepairAdvice.rate * 2), inodes: inodes,
            paths: paths.sorted())
    }
}

/// `text` as one word of a shell: as it is, where nothing in it means anything to a shell.
func shellWord(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "/._-+:@%,=".utf8.contains(byte)
        }
    }
    if isPlain, !text.isEmpty { return text }
    let parts = text.split(separator: "'", omittingEmptySubsequences: false)
    return "'" + parts.joined(separator: "'\\''") + "'"
}

extension RepairVerdict {
    mutating func becomeUnsettled() {
        belief = .unsettled
        reason = "it never stood still"
        witnesses = []
        remedy = nil
        loss = nil
    }
}
