// Which record is believed.
//
// Two records disagree, and the kernel can't know which is right. A third that depends on neither
// can tell, and a scan has read them all:
//
//   of a block    the extent maps of *all* files, the reverse map, the index of free space, the
//                 reference counts, the size of the file
//   of a name     the directory, its hash index, the parent pointer, the link count, `..`
//
// The rule is that of a single lie: that record is wrong which all the others contradict. Where
// what stands against each other is one against one, or a primary record is the one that stands
// alone, nothing is done without being asked. A repair throws the record away that it does not
// believe: where that is the last that knows of lost contents, a verdict says so.

/// What one object has become of a judgement.
public struct RepairVerdict: Hashable, Sendable {
    public enum Belief: String, Sendable {
        /// The primary records are right, the index or summary is wrong.
        case primary
        /// The primary record is wrong: no rebuild of an index mends that.
        case secondary
        /// Nobody can tell.
        case open
        /// It did not stand still, or the file is just being removed.
        case unsettled
    }

    /// `rmap`, `parents`, `links`.
    public let index: String
    /// As findings name it: `block 72`.
    public internal(set) var object: String
    public internal(set) var belief: Belief
    /// Which record is believed, or why none is.
    public internal(set) var reason: String
    /// Records that say the same.
    public internal(set) var witnesses: [String]
    /// What could still be otherwise.
    public internal(set) var unsure: [String] = []
    /// The inodes involved.
    public let inodes: [UInt64]
    /// What would mend it, now or once a user has asked for it; nil: nothing that is rebuilt from
    /// primary records.
    public internal(set) var remedy: RepairItem?
    /// What a rebuild would throw away, where `remedy` waits to be asked for.
    public internal(set) var loss: String?
    /// Of `rmap`.
    package internal(set) var block: UInt64?
    package internal(set) var blocks: UInt64 = 1
    /// The group of `block`.
    package internal(set) var group: UInt32?
    package internal(set) var claimed: ForkPlace?
    package internal(set) var strayed: [ForkPlace] = []
    /// Of `parents`: what directories have.
    package internal(set) var names: [NameEvidence.Name] = []
    /// Of `links`: what it should be.
    package internal(set) var links: UInt64 = 0

    init(
        _ index: String, _ object: String, _ belief: Belief, _ reason: String,
        witnesses: [String] = [], inodes: [UInt64], remedy: RepairItem? = nil, loss: String? = nil
    ) {
        self.index = index
        self.object = object
        self.belief = belief
        self.reason = reason
        self.witnesses = witnesses
        self.inodes = inodes
        self.remedy = remedy
        self.loss = loss
    }
}

/// What the kernel is asked to rebuild.
public enum RepairItem: Hashable, Sendable {
    case reverseMap(group: UInt32)
    case parents(inode: UInt64, generation: UInt32)
    case linkCounts
    case counters

    /// What must be right before: lower ones first.
    var rank: Int {
        switch self {
        case .reverseMap: 0
        case .parents: 1
        case .linkCounts: 2
        case .counters: 3
        }
    }

    /// `reverse map of group 0`.
    public var label: String {
        switch self {
        case .reverseMap(let group): "reverse map of group \(group)"
        case .parents(let inode, _): "parent pointers of inode \(inode)"
        case .linkCounts: "link counts"
        case .counters: "counters of free blocks and inodes"
        }
    }
}

// MARK: Blocks

extension RepairVerdict {
    /// The verdict on a block; nil where the records agree.
    package static func judge(_ evidence: BlockEvidence, groupBlocks: UInt64) -> RepairVerdict? {
        let missing = evidence.missing, stray = evidence.stray
        guard !missing.isEmpty || !stray.isEmpty else { return nil }
        let group = UInt32(truncatingIfNeeded: evidence.block / groupBlocks)
        let item = RepairItem.reverseMap(group: group)
        var inodes: [UInt64] = []
        for inode in evidence.claims.map(\.place.inode) + stray.map(\.place.inode)
        where !inodes.contains(inode) {
            inodes.append(inode)
        }
        func verdict(
            _ belief: Belief, _ reason: String, _ witnesses: [String] = [],
            remedy: RepairItem? = nil, loss: String? = nil
        ) -> RepairVerdict {
            var verdict = RepairVerdict(
                "rmap", "block \(evidence.block)", belief, reason, witnesses: witnesses,
                inodes: inodes, remedy: remedy, loss: loss)
            verdict.block = evidence.block
            verdict.group = group
            verdict.claimed = evidence.claims.first?.place
            verdict.strayed = stray.map(\.place)
            return verdict
        }
        if inodes.contains(where: { evidence.holders[$0] == .withheld }) {
            return verdict(
                .unsettled, "an inode that it belongs to is being removed, or removed and open")
        }
        let metadata = evidence.mappings.compactMap {
            if case .metadata(let usage) = $0 { usage } else { nil }
        }
        if evidence.claims.isEmpty {
            return judgeUnclaimed(evidence, stray.map(\.place), metadata, item, verdict)
        }
        let files = evidence.claims.map(\.place.label).joined(separator: " and ")
        if evidence.claims.count > 1, !evidence.claims.allSatisfy(\.isShared) {
            return verdict(
                .secondary,
                "\(files) both claim it, and the reference counts do not say that it is shared: "
                    + "an extent of one of them is wrong")
        }
        if evidence.isFree == true {
            return verdict(
                .secondary,
                "\(files) claims it, and it is free: the extent is wrong, or the free space is")
        }
        if let usage = metadata.first {
            return verdict(
                .open, "\(files) claims it, the reverse map says \(usage), and nobody can ask that")
        }
        let closed = evidence.mappings.contains {
            guard case .file(let place, _) = $0,
                case .present(_, isReadable: false)? = evidence.holders[place.inode]
            else { return false }
            return true
        }
        if closed {
            return verdict(
                .open, "\(files) claims it, and so does a file that can't be opened, by the map")
        }
        if evidence.isFree == nil {
            return verdict(
                .open, "\(files) claims it, and the free space can't be asked", remedy: item,
                loss: "what the reverse map says of it")
        }
        if evidence.claims.count == 1, evidence.claims[0].isShared {
            return verdict(
                .open,
                "\(files) claims it, and the reference counts say that another file does, too",
                remedy: item, loss: "what the reverse map knows of that other file")
        }
        return judgeClaimed(evidence, stray, item, verdict)
    }

    private typealias Making = (
        Belief, String, [String], RepairItem?, String?
    ) -> RepairVerdict

    /// A block that files claim without contradiction of their own, and the reverse map otherwise.
    private static func judgeClaimed(
        _ evidence: BlockEvidence, _ stray: [(place: ForkPlace, isUnwritten: Bool)],
        _ item: RepairItem, _ verdict: Making
    ) -> RepairVerdict {
        let claim = evidence.claims[0]
        let files = evidence.claims.map(\.place.label).joined(separator: " and ")
        for (place, _) in stray where place.inode == claim.place.inode {
            if place == claim.place {
                return verdict(
                    .open,
                    "\(files) claims it; whether it is unwritten only the file and the reverse "
                        + "map say, and each says something else", [], item,
                    "what the reverse map says of its contents")
            }
            if place.fork == 0, claim.place.fork == 0,
                case .present(let blocks, _)? = evidence.holders[place.inode], place.offset < blocks
            {
                return verdict(
                    .open,
                    "\(files) claims it, the reverse map says offset \(place.offset), and both "
                        + "lie within the file", [], item, "where the reverse map says it belongs")
            }
        }
        var witnesses = ["no extent of another file has it", "the free space does not have it"]
        if evidence.claims.count > 1 {
            witnesses[0] = "the reference counts say that it is shared"
        }
        for (place, _) in stray {
            switch evidence.holders[place.inode] {
            case .absent, nil: witnesses.append("there is no inode \(place.inode)")
            case .present(let blocks, _):
                witnesses.append(
                    place.fork == 0 && place.offset >= blocks
                        ? "offset \(place.offset) lies behind the end of inode \(place.inode)"
                        : "inode \(place.inode) has no such extent")
            case .withheld: break
            }
        }
        var judged = verdict(
            .primary, "\(files) is right, the reverse map is wrong", witnesses, item, nil)
        for (place, _) in stray where place.inode != claim.place.inode {
            guard case .present = evidence.holders[place.inode] else { continue }
            judged.unsure.append(
                "two wrong extents at the same time, of inodes \(claim.place.inode) and "
                    + "\(place.inode), would look alike")
        }
        return judged
    }

    /// A block that the reverse map gives to a file, and no file claims.
    private static func judgeUnclaimed(
        _ evidence: BlockEvidence, _ stray: [ForkPlace], _ metadata: [String], _ item: RepairItem,
        _ verdict: Making
    ) -> RepairVerdict {
        let places = stray.map(\.label).joined(separator: " and ")
        if let usage = metadata.first {
            return verdict(
                .open, "the reverse map says \(places), and \(usage), too", [], item,
                "the mapping of \(places)")
        }
        guard let isFree = evidence.isFree else {
            return verdict(
                .open, "the reverse map says \(places), no file claims it, and the free space "
                    + "can't be asked", [], item, "the mapping of \(places)")
        }
        if isFree {
            return verdict(
                .primary, "it is free, the reverse map is wrong",
                ["no extent of any file has it", "the free space has it"], item, nil)
        }
        let loss = "the only record of where contents of \(places) were"
        let isPresent = stray.contains {
            if case .present = evidence.holders[$0.inode] { true } else { false }
        }
        return isPresent
            ? verdict(
                .secondary,
                "the reverse map says \(places), and the block is in use, but the file has no such "
                    + "extent: it has lost it", ["the free space does not have it"], item, loss)
            : verdict(
                .open,
                "the reverse map says \(places), and the block is in use, but there is no such "
                    + "inode: a file has lost it, or nobody ever had it",
                ["the free space does not have it"], item, loss)
    }

    /// Verdicts on blocks together: a place of a file that the reverse map has elsewhere, in a
    /// block that is not proven to be free of it, may be a wrong extent. Neighbours become one.
    package static func join(_ verdicts: [RepairVerdict]) -> [RepairVerdict] {
        var elsewhere = Set<ForkPlace>()
        for verdict in verdicts where verdict.belief != .primary {
            elsewhere.formUnion(verdict.strayed)
        }
        var joined: [RepairVerdict] = []
        for var verdict in verdicts.sorted(by: { ($0.block ?? 0) < ($1.block ?? 0) }) {
            if verdict.belief == .primary, let place = verdict.claimed, elsewhere.contains(place) {
                verdict.belief = .open
                verdict.reason =
                    "\(place.label) is here as the file says, and in another block as the reverse "
                    + "map says; that one is in use, and nobody else claims it"
                verdict.witnesses = []
                verdict.loss = "where the reverse map has \(place.label)"
            }
            if let last = joined.last, last.isContinued(by: verdict) {
                joined[joined.count - 1].blocks += 1
                let first = last.block ?? 0
                joined[joined.count - 1].object = "blocks \(first)–\(first + last.blocks)"
            } else {
                joined.append(verdict)
            }
        }
        return joined
    }

    private func isContinued(by next: RepairVerdict) -> Bool {
        func follows(_ a: ForkPlace, _ b: ForkPlace) -> Bool {
            a.inode == b.inode && a.fork == b.fork && a.offset &+ blocks == b.offset
        }
        guard let block, let other = next.block, block + blocks == other,
            belief == next.belief, remedy == next.remedy, inodes == next.inodes,
            strayed.count == next.strayed.count, (claimed == nil) == (next.claimed == nil)
        else { return false }
        if let claimed, let following = next.claimed, !follows(claimed, following) { return false }
        return zip(strayed, next.strayed).allSatisfy { follows($0.0, $0.1) }
    }
}
