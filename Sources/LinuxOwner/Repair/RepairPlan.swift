// What the kernel will be asked to rebuild, in which order, and what is held back.
//
// - Reverse maps come first: what is rebuilt next takes and frees blocks, and a block whose mapping
//   is wrong shuts the filesystem down when it is freed. Each group's is rebuilt by force: the
//   kernel's own check does not see a mapping that agrees with nothing but itself.
// - Then parent pointers, inode by inode, from the directories; then link counts, from both.
// - Never directories or extent maps: the kernel would rebuild them from the records that lie.
// - A rebuild is of a whole object. It is held back where one of the verdicts on the object is not
//   that the primary records are right, because the rebuild throws the other record away.

/// One request to the kernel.
public struct RepairStep: Hashable, Sendable {
    public let item: RepairItem
    /// Rebuilt even where the kernel sees nothing wrong.
    public let isForced: Bool
    /// Positions of the verdicts that it follows from.
    public let verdicts: [Int]
    /// What is lost if a verdict is wrong.
    public let risk: String
    /// Why it is not done; nil: it is.
    public let held: String?
    /// Whether asking for it (`--believe files`) is all that it waits for.
    public let waitsForUser: Bool
}

public struct RepairPlan: Hashable, Sendable {
    public let verdicts: [RepairVerdict]
    /// In the order in which they are done.
    public let steps: [RepairStep]

    /// Steps that are done.
    public var due: [RepairStep] { steps.filter { $0.held == nil } }

    /// - Parameter believesFiles: the user has asked that primary records are believed where
    ///   nobody can tell.
    public init(_ verdicts: [RepairVerdict], believesFiles: Bool = false) {
        self.verdicts = verdicts
        var steps: [RepairStep] = []
        // Whose blocks somebody else claims too, or the free space, and no rebuild mends it: to
        // write or free one of them is what has to be avoided.
        var heldInodes = Set(
            verdicts.filter { $0.index == "rmap" && $0.belief != .primary && $0.remedy == nil }
                .flatMap(\.inodes))
        let items = Set(verdicts.compactMap(\.remedy)).sorted { $0.isBefore($1) }
        var isReverseMapAsked = false
        for item in items {
            let own = verdicts.indices.filter { verdicts[$0].remedy == item }
            var (held, waits) = RepairPlan.obstacle(item, verdicts, own)
            if held != nil, waits, believesFiles { (held, waits) = (nil, false) }
            if held == nil, case .parents(let inode, _) = item,
                heldInodes.contains(inode)
                    || own.contains(where: { !heldInodes.isDisjoint(with: verdicts[$0].inodes) })
            {
                held = "blocks of it or of its directory wait for a reverse map"
            }
            if held != nil, case .reverseMap = item {
                heldInodes.formUnion(own.flatMap { verdicts[$0].inodes })
            }
            if case .reverseMap = item, held == nil,
                own.contains(where: { verdicts[$0].belief != .primary })
            {
                isReverseMapAsked = true
            }
            steps.append(
                RepairStep(
                    item: item, isForced: item.isForced, verdicts: own,
                    risk: RepairPlan.risk(item, own.map { verdicts[$0] }), held: held,
                    waitsForUser: waits))
        }
        if isReverseMapAsked {
            // Blocks that nobody owns become free: the counters have to follow.
            steps.append(
                RepairStep(
                    item: .counters, isForced: false, verdicts: [], risk: "nothing", held: nil,
                    waitsForUser: false))
        }
        self.steps = steps
    }

    /// Why `item` is not rebuilt without being asked; and whether asking is all that lacks.
    private static func obstacle(
        _ item: RepairItem, _ verdicts: [RepairVerdict], _ own: [Int]
    ) -> (String?, Bool) {
        func concerns(_ verdict: RepairVerdict) -> Bool {
            switch item {
            case .reverseMap: return verdict.index == "rmap" && sharesGroup(verdict, own, verdicts)
            case .parents: return verdict.remedy == item
            // Of all inodes at once.
            case .linkCounts: return verdict.index != "rmap"
            case .counters: return false
            }
        }
        let doubtful = verdicts.filter { $0.belief != .primary && concerns($0) }
        guard let first = doubtful.first else { return (nil, false) }
        let canBeAsked = doubtful.allSatisfy { verdict in
            verdict.belief != .unsettled && verdict.loss != nil && verdict.remedy != nil
        }
        let what =
            canBeAsked
            ? "it would throw away \(first.loss ?? "a record")"
            : first.belief == .unsettled
                ? "\(first.object) did not stand still" : "no rebuild mends \(first.object)"
        return ("\(first.object) is not proven: \(what)", canBeAsked)
    }

    /// Whether a verdict, with a remedy or without, is about the group of those at `own`.
    private static func sharesGroup(
        _ verdict: RepairVerdict, _ own: [Int], _ verdicts: [RepairVerdict]
    ) -> Bool {
        own.contains { verdicts[$0].group == verdict.group }
    }

    private static func risk(_ item: RepairItem, _ verdicts: [RepairVerdict]) -> String {
        let losses = verdicts.compactMap(\.loss)
        if !losses.isEmpty { return losses.joined(separator: "; ") }
        switch item {
        case .reverseMap:
            return "what the old reverse map alone knows: nothing, if the verdicts are right"
        case .parents:
            return "what the old parent pointers alone know: nothing, if the verdict is right"
        case .linkCounts:
            return "nothing but counts; an inode without any name is put into lost+found"
        case .counters: return "nothing"
        }
    }
}

extension RepairItem {
    fileprivate var isForced: Bool {
        switch self {
        case .reverseMap, .parents: true
        case .linkCounts, .counters: false
        }
    }

    fileprivate func isBefore(_ other: RepairItem) -> Bool {
        switch (self, other) {
        case (.reverseMap(let a), .reverseMap(let b)): a < b
        case (.parents(let a, let x), .parents(let b, let y)): (a, x) < (b, y)
        default: rank < other.rank
        }
    }
}
