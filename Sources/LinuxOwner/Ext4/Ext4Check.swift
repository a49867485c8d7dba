// A check of a mounted ext4.
//
// ext4 says of a block that it is in use, not by whom: there are no entries to compare, only sets.
// So the check keeps a bit for each cluster instead of a shadow in a side file. The rules are those
// of every owner that nobody can lock (Docs/protocol.md), for sets:
//
// - A *pass* reads all inodes, then the block bitmaps. It begins when every event so far has been
//   fetched, and ends when every event up to its end has.
// - A cluster with an event in between is *touched*: the pass says nothing of it. After a loss it
//   says nothing of any.
// - The first pass finds candidates: in use and not owned, owned and not in use, owned twice. One
//   that the next pass finds again, untouched, is a finding. Others are looked at in further
//   passes; what is left behind the last is *unsettled*.
//
// Between the bits of the bitmap, the event and the entry in the file's map some time passes, with
// the inode's lock held. A pass rests at both its ends until that is over; and a candidate has to
// be found by two passes, and to be untouched from some seconds before the second on.
//
// Blocks of attributes are shared: an inode that is given the block of another changes a count in
// it, and no event tells of it. A pass that reads the one before it has the block, and the other
// when it has it no more, finds the block without an owner. So of a block that says that it is one
// of attributes some more passes have to say so.
//
// Names have no events of use. A link count is wrong where two passes count the same names, and the
// inode has not changed since before the first of them: its time of change tells every new and
// every removed name. Small inodes keep whole seconds; there the second has to be over.

internal import Bytes
internal import LinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

public struct Ext4CheckReport: Sendable {
    public var findings: [MountFinding] = []
    /// Clusters and inodes that never stood still.
    public var unsettledClusters = 0
    public var unsettledInodes: [UInt32] = []
    /// What could not be read.
    public var damaged: [(object: String, problem: String)] = []
    /// Why the check ended before its end.
    public var stopped: String?
    public var inodes = 0
    public var clusters: UInt64 = 0
    public var clusterSize = 0
    public var passes = 0
    public var events: UInt64 = 0
    public var losses = 0
    /// Blocks of metadata at fixed places, by what they are: where they lie is covered, what
    /// stands in them is not.
    public var metadata: [String: UInt64] = [:]
    /// Inodes that hold values of attributes: who refers to them is not counted.
    public var attributeValues = 0
    public var seconds: Double = 0

    public var unsettled: Int { unsettledClusters + unsettledInodes.count }

    public enum Verdict: String, Sendable { case clean, corrupt, unsettled, incomplete, stopped }
    public var verdict: Verdict {
        stopped != nil
            ? .stopped
            : !findings.isEmpty
                ? .corrupt : !damaged.isEmpty ? .incomplete : unsettled > 0 ? .unsettled : .clean
    }
}

public final class Ext4Check {
    private let path: String
    private let mount: MountedFilesystem
    private let volume: Ext4Volume
    private let feed: Ext4Feed
    private let passes: Int
    private var lastPoll: UInt64 = 0

    /// How long a pass rests at its ends, in nanoseconds.
    private static let rest: Int64 = 60_000_000

    /// - Parameter passes: after so many what is left is unsettled.
    /// - Throws: `LinuxOwnerError`.
    public init(path: String, passes: Int = 8, bufferKilobytes: Int = 16384) throws {
        self.path = path
        self.passes = max(2, passes)
        do {
            mount = try MountedFilesystem(path: path)
            guard mount.kind == .ext4 else {
                throw LinuxOwnerError(path, .wrongFilesystem("no ext4"))
            }
            volume = try Ext4Volume(mount)
        } catch let error as LinuxCallError {
            throw LinuxOwnerError(ext4: path, error)
        } catch let error as Ext4Damage {
            throw LinuxOwnerError(path, .unreadable("\(error)", tool: "e2fsck -fn"))
        }
        feed = try Ext4Feed(
            mount, volume.superblock, bufferKilobytes: bufferKilobytes, label: path)
        volume.onRead = { [weak self] in try self?.fetch() }
    }

    /// Fetches events, a hundred times a second at the most.
    private func fetch() throws {
        let now = time(CLOCK_MONOTONIC)
        guard UInt64(now) > lastPoll + 10_000_000 else { return }
        lastPoll = UInt64(now)
        try feed.poll()
    }

    private func time(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        unsafe clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    private struct Stop: Error { let reason: String }

    /// How long a pass waits before it reads, in tenths of a second, where candidates may have been
    /// touched before it. Between marking blocks and giving them to a file a writer may sleep until
    /// a transaction of the log has committed, every five seconds where nothing else is asked for
    /// (ext4(5), commit=).
    private static let settling = 60

    private func settle(_ look: () throws -> Void) throws {
        for _ in 0..<Ext4Check.settling {
            try look()
            try fetch()
            XFSOwner.sleep(100_000_000)
        }
    }

    /// - Parameters:
    ///   - stopReason: asked often; what it returns ends the check.
    ///   - onProgress: pass, and the part of it that is done.
    public func perform(
        stopReason: () -> String? = { nil }, onProgress: (Int, Double) -> Void = { _, _ in }
    ) throws -> Ext4CheckReport {
        defer { feed.close() }
        let begun = time(CLOCK_MONOTONIC)
        var report = Ext4CheckReport()
        report.clusters = volume.superblock.clusters
        report.clusterSize = volume.superblock.blockSize * Int(volume.superblock.clusterBlocks)
        do {
            try judge(&report) { pass, part in
                if let reason = stopReason() { throw Stop(reason: reason) }
                onProgress(pass, part)
            }
        } catch let stop as Stop {
            report.stopped = stop.reason
        } catch let error as LinuxCallError {
            throw LinuxOwnerError(ext4: path, error)
        } catch let error as Ext4Damage {
            throw LinuxOwnerError(path, .unreadable("\(error)", tool: "e2fsck -fn"))
        }
        report.events = feed.events
        report.losses = feed.losses
        report.seconds = Double(time(CLOCK_MONOTONIC) - begun) / 1e9
        return report
    }

    /// - Parameter settles: waits before it reads; what is touched meanwhile counts as touched.
    private func pass(
        _ focus: Ext4Focus?, settles: Bool, _ progress: (Double) throws -> Void
    ) throws -> (census: Ext4Census, begun: Int64) {
        try feed.begin()
        if settles { try settle { try progress(0) } }
        // What times of change are taken from.
        let begun = time(CLOCK_REALTIME_COARSE)
        XFSOwner.sleep(Ext4Check.rest)
        let census = try Ext4Census(volume, focus: focus)
        try census.run(progress: progress)
        XFSOwner.sleep(Ext4Check.rest)
        try feed.settle()
        do {
            guard try volume.readSuperblock().blocks == volume.superblock.blocks else {
                throw LinuxOwnerError(path, .grown)
            }
        } catch let damage as Ext4Damage {
            census.note("superblock", damage.description)
        }
        return (census, begun)
    }

    private func judge(
        _ report: inout Ext4CheckReport, _ progress: (Int, Double) throws -> Void
    ) throws {
        report.passes = 1
        let (first, firstBegun) = try pass(nil, settles: false) { try progress(1, $0) }
        // When the pass before this one began.
        var before = firstBegun
        report.inodes = first.inodes
        report.damaged = first.damaged
        report.metadata = first.metadata
        report.attributeValues = first.attributeValues
        var suspects = first.areNamesComplete ? first.unbalanced() : []
        // Names are judged once a pass has read them all; a directory that is changed while it is
        // read can keep one from it.
        var areNamesKnown = first.areNamesComplete
        var damage = first.damaged.map(\.object), isDamaged = false
        if volume.superblock.sharesBlocks { first.forgetDoubled() }
        var left = Ext4Focus(
            leaked: first.leaked, lost: first.lost, doubled: first.doubled, inodes: suspects)
        var states: [UInt32: LinkState] = [:]
        var found = Found()
        // Whether a candidate was touched in the last pass, or may have been.
        var isTouched = true
        while report.passes < passes, !left.isEmpty || !areNamesKnown {
            // What no pass can read makes no other pass worthwhile.
            if isDamaged, left.lost.isEmpty, left.doubled.isEmpty { break }
            report.passes += 1
            let number = report.passes
            let (census, begun) = try pass(left, settles: isTouched) { try progress(number, $0) }
            defer { before = begun }
            // What cannot be read twice is damaged; it may also have been changing.
            report.damaged = census.damaged
            let objects = census.damaged.map(\.object)
            isDamaged = !objects.isEmpty && objects == damage
            damage = objects
            judge(census, &left, &found)
            isTouched =
                !left.hasNoClusters && feed.isLossy || left.leaked.meets(feed.touched)
                || left.lost.meets(feed.touched) || left.doubled.meets(feed.touched)
            if !areNamesKnown, census.areNamesComplete {
                areNamesKnown = true
                suspects = census.unbalanced()
            }
            let named = Dictionary(grouping: census.names, by: \.inode)
            for inode in left.inodes where !census.unread.contains(inode) {
                let state = census.states[inode] ?? LinkState()
                defer { states[inode] = state }
                let isRight =
                    state.isUsed && !(state.isInBitmap == false && state.names > 0)
                    ? Int(state.links) == state.names || state.isDirectory && state.links == 1
                    : state.names == 0
                if !census.areNamesComplete {
                    // Some of its names may not have been read.
                    continue
                } else if isRight {
                    suspects.remove(inode)
                } else if states[inode] == state, isStill(state, named[inode] ?? [], before) {
                    suspects.remove(inode)
                    found.links.append((inode, state, named[inode] ?? []))
                }
            }
            left.inodes = suspects
        }
        for cluster in 0..<Int(volume.superblock.clusters) where left.has(cluster) {
            report.unsettledClusters += 1
        }
        report.unsettledInodes = left.inodes.sorted()
        if !areNamesKnown, report.damaged.isEmpty {
            report.damaged.append(
                ("directories", "they were changed whenever they were read; names are not judged"))
        }
        report.findings = try findings(found)
    }

    /// Whether neither the inode nor, where it is free, the directories that name it have changed
    /// since `begun`, by the clock that they are stamped with.
    private func isStill(
        _ state: LinkState, _ names: [NamedInode], _ begun: Int64
    ) -> Bool {
        if state.isUsed { return state.changed < begun - 30_000_000 }
        return names.allSatisfy { entry in
            let directory = try? volume.readInode(entry.directory)
            return (directory?.changedUntil ?? .max) < begun - 30_000_000
        }
    }

    struct Found {
        var leaked: [Int] = []
        var lost: [Int] = []
        var doubled: [Int] = []
        var claims: [Int: [ClusterClaim]] = [:]
        /// Passes that have found a leaked cluster that may be one of attributes, untouched.
        var agreements: [Int: Int] = [:]
        var links: [(inode: UInt32, state: LinkState, names: [NamedInode])] = []
    }

    /// Passes that have to find a block of attributes without an owner, besides the first; and how
    /// many blocks are looked at, whether they are such: of more, all have to be found that often.
    private static let agreeing = 3, mostRead = 20_000

    /// Whether a block of the cluster is one of attributes, or can't be read.
    private func mayBeAttributes(_ cluster: Int) -> Bool {
        let superblock = volume.superblock
        let first = superblock.firstBlock(of: UInt64(cluster))
        let end = min(first + superblock.clusterBlocks, superblock.blocks)
        return (first..<end).contains { ((try? volume.attributeReferences(of: $0)) ?? 1) > 0 }
    }

    private func judge(_ census: Ext4Census, _ left: inout Ext4Focus, _ found: inout Found) {
        var confirmed: Set<Int> = []
        var looks = 0
        func agree(_ cluster: Int) -> Bool {
            looks += 1
            guard looks > Ext4Check.mostRead || mayBeAttributes(cluster) else { return true }
            found.agreements[cluster, default: 0] += 1
            return found.agreements[cluster] == Ext4Check.agreeing
        }
        func sift(_ set: BitSet, _ now: BitSet, _ isAgreed: (Int) -> Bool) -> [Int] {
            var list: [Int] = []
            set.forEach { cluster in
                if !now[cluster] {
                    if !census.isUnread(cluster) { set[cluster] = false }
                } else if !feed.isLossy, !feed.touched[cluster], isAgreed(cluster) {
                    set[cluster] = false
                    list.append(cluster)
                    confirmed.insert(cluster)
                }
            }
            return list
        }
        // Where an inode was not read, what has no file may be its.
        if census.areMapsComplete {
            let leaked = sift(left.leaked, census.leaked, agree)
            found.leaked += leaked
        }
        found.lost += sift(left.lost, census.lost) { _ in true }
        if volume.superblock.sharesBlocks { census.forgetDoubled() }
        found.doubled += sift(left.doubled, census.doubled) { _ in true }
        for claim in census.claims where confirmed.contains(claim.cluster) {
            if found.claims[claim.cluster]?.contains(claim) != true {
                found.claims[claim.cluster, default: []].append(claim)
            }
        }
    }
}

extension Ext4Focus {
    var isEmpty: Bool { inodes.isEmpty && hasNoClusters }
    var hasNoClusters: Bool { leaked.isEmpty && lost.isEmpty && doubled.isEmpty }
}

extension Ext4Census {
    /// Files may share blocks in this filesystem.
    func forgetDoubled() { doubled.forEach { doubled[$0] = false } }
}

// MARK: In a user's words

extension Ext4Check {
    private func findings(_ found: Found) throws -> [MountFinding] {
        let device = volume.device
        // e2fsck reads all metadata: some 100 MB/s of inode tables from a disk.
        let size = volume.superblock
        let tables = UInt64(size.groups) * size.tableBlocks * UInt64(size.blockSize)
        let seconds = max(1, tables / 100_000_000)
        let mend =
            "Unmount it and run `e2fsck -f \(shellWord(device))` (about \(seconds) s or more: "
            + "\(tables >> 20) MiB of inode tables have to be read)."
        var findings: [MountFinding] = []
        for (range, _) in runs(found.leaked, [:]) {
            findings.append(
                MountFinding(
                    index: "blocks", object: words(range),
                    problem: "in use by the block bitmap, and no file has it", inodes: [],
                    consequence: "The space is lost; no data is in danger.",
                    avoid: "Nothing has to be avoided.", mend: mend))
        }
        for (range, claims) in runs(found.lost, found.claims) {
            findings.append(
                MountFinding(
                    index: "blocks", object: words(range),
                    problem: "free by the block bitmap, and owned by \(text(claims))",
                    inodes: inodes(claims),
                    consequence: "The next write of any file may be given these blocks and "
                        + "overwrite this one; when it is removed, ext4 reports an error and may "
                        + "turn read-only.",
                    avoid: "Don't write to this filesystem: remount it read-only, and copy the "
                        + "file elsewhere first.", mend: mend))
        }
        for (range, claims) in runs(found.doubled, found.claims) {
            findings.append(
                MountFinding(
                    index: "blocks", object: words(range),
                    problem: "owned by \(text(claims))", inodes: inodes(claims),
                    consequence: "A write to one changes the other; when one is removed or "
                        + "truncated, the blocks are freed under the other.",
                    avoid: "Don't write to, truncate or remove any of them; copy them elsewhere.",
                    mend: mend))
        }
        for (inode, state, names) in found.links {
            findings.append(try finding(inode, state, names, mend))
        }
        addPaths(&findings)
        return findings
    }

    private func finding(
        _ inode: UInt32, _ state: LinkState, _ names: [NamedInode], _ mend: String
    ) throws -> MountFinding {
        guard state.isUsed, state.isInBitmap else {
            let list = Set(names.map(\.directory)).sorted().map(UInt64.init)
            let words = names.prefix(8).map {
                "'\(escapedName($0.name))' in directory \($0.directory)"
            }
            let leading = words.isEmpty
                ? ", without a name"
                : ", and \(words.joined(separator: ", ")) "
                    + "\(names.count == 1 ? "leads" : "lead") to it"
            return MountFinding(
                index: "names", object: "inode \(inode)",
                problem: (state.isUsed
                    ? "free by the inode bitmap and in use" : "free") + leading,
                inodes: list,
                consequence: "A look at the name gives an error, and ext4 may turn read-only; a "
                    + "new file may be given the inode, and then has this name too.",
                avoid: "Don't use or remove the name, and don't list the directory with `ls -l`.",
                mend: mend)
        }
        let isMore = Int(state.links) > state.names
        return MountFinding(
            index: "links", object: "inode \(inode)",
            problem: "its link count is \(state.links), and it has \(state.names) "
                + (state.names == 1 ? "name" : "names")
                + (state.isDirectory ? " ('.' and '..' among them)" : ""),
            inodes: [UInt64(inode)],
            consequence: isMore
                ? "Removed under its last name it stays, with its space, and nobody can reach it."
                : "Removing one of its names frees the file under the others.",
            avoid: isMore ? "Nothing has to be avoided." : "Don't remove names of it.", mend: mend)
    }

    /// Neighbouring clusters with the same owners, at offsets that go on.
    private func runs(
        _ clusters: [Int], _ claims: [Int: [ClusterClaim]]
    ) -> [(Range<Int>, [ClusterClaim])] {
        var result: [(Range<Int>, [ClusterClaim])] = []
        for cluster in clusters.sorted() {
            let mine = (claims[cluster] ?? []).sorted {
                ($0.inode, $0.logical) < ($1.inode, $1.logical)
            }
            if let last = result.last, last.0.upperBound == cluster,
                last.1.map(\.inode) == mine.map(\.inode), last.1.map(\.what) == mine.map(\.what)
            {
                result[result.count - 1].0 = last.0.lowerBound..<cluster + 1
            } else {
                result.append((cluster..<cluster + 1, mine))
            }
        }
        return result
    }

    private func words(_ range: Range<Int>) -> String {
        let first = volume.superblock.firstBlock(of: UInt64(range.lowerBound))
        let end = min(
            volume.superblock.firstBlock(of: UInt64(range.upperBound)), volume.superblock.blocks)
        return end - first == 1 ? "block \(first)" : "blocks \(first)–\(end - 1)"
    }

    private func inodes(_ claims: [ClusterClaim]) -> [UInt64] {
        var list: [UInt64] = []
        for claim in claims where claim.inode != 0 && !list.contains(UInt64(claim.inode)) {
            list.append(UInt64(claim.inode))
        }
        return list
    }

    private func text(_ claims: [ClusterClaim]) -> String {
        if claims.isEmpty { return "files that are not listed, for there are too many" }
        return claims.prefix(8).map { claim in
            claim.inode == 0
                ? claim.what
                : "inode \(claim.inode) (\(claim.what)"
                    + (claim.what == "contents" ? ", from its block \(claim.logical) on)" : ")")
        }.joined(separator: " and ")
    }

    /// One pass over all directories for the names of what is found, and the way up by `..`. What
    /// can't be read gives no path: that it can't be read was told, and the finding stands.
    private func addPaths(_ findings: inout [MountFinding]) {
        let wanted = Set(findings.flatMap(\.inodes).compactMap { UInt32(exactly: $0) })
        guard !wanted.isEmpty else { return }
        var names: [UInt32: [(directory: UInt32, name: String)]] = [:]
        for group in (try? volume.readGroups { _, _ in }) ?? [] {
            try? volume.forEachInode(in: group, onDamage: { _, _ in }) { number, bytes, _ in
                let inode = Ext4Inode(number, bytes)
                guard inode.isDirectory, inode.links > 0, inode.isVerified(volume.superblock)
                else { return }
                try? volume.forEachName(in: inode) { child, name in
                    if wanted.contains(child), !isDots(name),
                        names[child, default: []].count < 64
                    {
                        names[child, default: []].append((number, escapedName(name)))
                    }
                }
            }
        }
        for place in findings.indices {
            for inode in findings[place].inodes {
                guard let number = UInt32(exactly: inode) else { continue }
                if number == 2 { findings[place].paths[inode] = ["/"] }
                for (directory, name) in names[number] ?? [] {
                    guard let above = try? path(of: directory) else { continue }
                    findings[place].paths[inode, default: []].append("\(above)/\(name)")
                }
                findings[place].paths[inode]?.sort()
            }
        }
    }

    /// "" for the root; nil where no way leads to it.
    private func path(of directory: UInt32) throws -> String? {
        var current = directory, path = ""
        for _ in 0..<4096 {
            if current == 2 { return path }
            guard let inode = try volume.readInode(current), inode.isDirectory else { return nil }
            var above: UInt32?
            var name: String?
            do {
                try volume.forEachName(in: inode) { child, name in
                    if name.byteCount == 2, isDots(name) { above = child }
                }
                guard let above, let parent = try volume.readInode(above), parent.isDirectory
                else { return nil }
                try volume.forEachName(in: parent) { child, found in
                    if child == current, !isDots(found) { name = escapedName(found) }
                }
                guard let name else { return nil }
                path = "/\(name)\(path)"
                current = above
            } catch is Ext4Damage {
                return nil
            }
        }
        return nil
    }
}
