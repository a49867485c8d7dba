// The stage that is a tree in memory, with a side file in memory.

internal import Bytes
internal import Inspection
internal import Tidemark
internal import Volume
internal import VolumeFormat
internal import VolumeIndexes

final class MemoryStage: ExplorableStage {
    let scenario: Scenario
    let tree: MemoryTree
    /// The tree after the setup.
    private let prepared: MemorySnapshot
    let faults: Faults
    private var steered: SteeredOwner
    /// What the scenario's faults make unreadable, after the setup.
    private var unreadable: [SteeredOwner.Unreadable] = []

    /// By the number of their run; and those that can't be opened any more.
    private var sideStores: [UInt64: MemoryStore] = [:]
    private var damagedStores: Set<UInt64> = []

    /// - Throws: `StageError.refused` where the setup is impossible, or a fault names records
    ///   that can't be found.
    init(_ scenario: Scenario) throws {
        self.scenario = scenario
        tree = try MemoryTree(scenario.store, setup: scenario.setup)
        prepared = tree.current
        faults = Faults(scenario.faults)
        steered = MemoryStage.steer(tree, faults, [])
        unreadable = MemoryStage.inOrder(
            try scenario.faults.compactMap(\.unreadable).map { try unreadable(at: $0) })
        steered.unreadable = unreadable
    }

    var indexed: any Owner { steered }
    var owner: any ExactOwner { steered }
    /// Blocks of the data area.
    var blocks: UInt64 { UInt64(scenario.store.blocks) }

    func makeSideStore(_ run: UInt64) throws -> any SideStore {
        let store = MemoryStore()
        sideStores[run] = store
        damagedStores.remove(run)
        return FaultyStore(store, faults)
    }

    func openSideStore(_ run: UInt64) throws -> (store: any SideStore, checkpoint: Checkpoint) {
        let path = "of run \(run)"
        guard !damagedStores.contains(run) else { throw SideFileError.damaged(path: path) }
        guard let (store, checkpoint) = sideStores[run]?.survivor() else {
            throw SideFileError.lost(path: path)
        }
        sideStores[run] = store
        return (FaultyStore(store, faults), checkpoint)
    }

    func harmSideStore(_ run: UInt64, isLost: Bool) {
        if isLost { sideStores[run] = nil } else { damagedStores.insert(run) }
    }

    func describeRuns(into digest: inout StateDigest) {
        tree.describeRuns(into: &digest)
        describeStores(staged: true, into: &digest)
    }

    func describeRunsAfterCrash(isMachine: Bool, into digest: inout StateDigest) {
        tree.describeRunsAfterCrash(isMachine: isMachine, into: &digest)
        describeStores(staged: false, into: &digest)
    }

    private func describeStores(staged: Bool, into digest: inout StateDigest) {
        for (run, store) in sideStores.sorted(by: { $0.key < $1.key }) {
            digest.add(Int(run) << 1 | (damagedStores.contains(run) ? 1 : 0))
            store.describeCheckpoints(staged: staged, into: &digest)
        }
    }

    private static func steer(
        _ tree: MemoryTree, _ faults: Faults, _ unreadable: [SteeredOwner.Unreadable]
    ) -> SteeredOwner {
        var options = SteeredOwner.Options()
        options.measuresHolds = false
        let steered = SteeredOwner(tree, faults: faults, options: options)
        steered.unreadable = unreadable
        return steered
    }

    // MARK: Starting again

    /// As after the setup: without damage, with the scenario's faults, none of them struck.
    func rewind() {
        tree.reset(to: prepared)
        sideStores = [:]
        damagedStores = []
        faults.begin(scenario.faults)
        steered = MemoryStage.steer(tree, faults, unreadable)
    }

    var fingerprint: UInt64 { tree.fingerprint }

    func crashFingerprint(isMachine: Bool) -> UInt64 {
        tree.crashFingerprint(isMachine: isMachine)
    }

    var reusedInodes: [UInt64] { tree.reusedInodes }

    func fingerprint(of snapshot: any OwnerSnapshot) -> UInt64 {
        let inner = (snapshot as? SteeredSnapshot)?.inner ?? snapshot
        guard let version = inner as? MemorySnapshot else {
            preconditionFailure("a snapshot of another owner")
        }
        return version.fingerprint
    }

    // MARK: Transactions

    func begin(_ transaction: Transaction) throws { try tree.begin(transaction) }
    func commit() throws { try tree.commit() }
    func report() throws { tree.report() }

    func crash(isMachine: Bool) throws {
        tree.crash(isMachine: isMachine)
        crashed()
    }

    func loadingGeneration(_ slot: IndexSlot) -> UInt32? {
        tree.current.state[slot].load?.generation.number
    }

    func beginStep() { tree.beginStep() }
    var commitsInStep: Int { tree.committedInStep.count }

    func crash(afterCommits commits: Int) throws {
        try crash(at: tree.committedInStep[commits - 1])
    }

    /// The process comes down in the middle of a step, behind one of the commits that the step
    /// has made: see `MemoryTree.committedInStep`.
    func crash(at version: MemorySnapshot) throws {
        tree.crash(isMachine: false, at: version)
        crashed()
    }

    private func crashed() {
        // A place that is gone has no records that could be unreadable.
        let places = faults.planned.compactMap(\.unreadable)
        steered = MemoryStage.steer(
            tree, faults, MemoryStage.inOrder(places.compactMap { try? unreadable(at: $0) }))
    }

    // MARK: Places

    private func unreadable(at place: Place) throws -> SteeredOwner.Unreadable {
        SteeredOwner.Unreadable(try range(of: place), object: try words(place))
    }

    private static func inOrder(
        _ list: [SteeredOwner.Unreadable]
    ) -> [SteeredOwner.Unreadable] { list.sorted { $0.range.lower < $1.range.lower } }

    func end(of place: Place) throws -> KeyBytes {
        guard let end = try range(of: place).upper else {
            preconditionFailure("the records of a place end somewhere")
        }
        return end
    }

    /// The primary keys of the records of `place`.
    private func range(of place: Place) throws -> KeyRange {
        let inode = try inode(of: place)
        var lower = KeyBytes()
        switch place.part {
        case .all:
            lower.append(inode)
            var upper = KeyBytes()
            upper.append(inode == .max ? inode : inode + 1)
            return KeyRange(lower: lower, upper: upper)
        case .inode: lower = KeyBytes(PrimaryKey.inode(inode).span)
        case .entry(let name):
            lower = PrimaryKey.dirent(inode, Array(name.utf8).rawSpan)
        case .extent(let block):
            let extent = extent(of: inode, at: block) ?? TreeLayout.probe(inode, block)
            lower = KeyBytes(PrimaryKey.extent(extent).span)
        case .tagging: throw StageError.refused("items and tags are of a catalogue, not of a tree")
        }
        var upper = lower
        upper.append(0 as UInt8)
        return KeyRange(lower: lower, upper: upper)
    }

    /// Resolved by plain search, which sees no transaction under way.
    func inode(of place: Place) throws -> InodeNumber {
        var inode = place.path.base ?? .root
        for name in place.path.names {
            guard let target = target(inode, Array(name.utf8)) else {
                throw StageError.refused("\(name) in inode \(inode) does not exist")
            }
            inode = target.child
        }
        return inode
    }

    func target(_ directory: InodeNumber, _ name: [UInt8]) -> DirentTarget? {
        let key = PrimaryKey.dirent(directory, name.rawSpan)
        return tree.current.state.records.find(key.span)?.target
    }

    /// The extent that covers a block of a file.
    func extent(of inode: InodeNumber, at block: UInt64) -> ExtentRecord? {
        tree.current.state.records.lazy.compactMap(\.extent).first {
            $0.inode == inode && $0.offset <= block && block < $0.offsetEnd
        }
    }

    /// The records of a place, in words.
    private func words(_ place: Place) throws -> String {
        let inode = try inode(of: place)
        switch place.part {
        case .all: return "records of inode \(inode)"
        case .inode: return "inode \(inode)"
        case .entry(let name): return "name \"\(name)\" in directory \(inode)"
        case .extent(let block): return "extent of inode \(inode), block \(block)"
        case .tagging(let item, let tag): return "tag \(tag) of item \(item)"
        }
    }

    // MARK: Indexes

    func expected(_ slot: IndexSlot, below cursor: KeyBytes?) throws -> [Entry] {
        guard !VolumeSlots.isSummary(slot) else {
            return view.summaries.contributions(slot, below: cursor)
        }
        let index = view.indexes[slot.rawValue]
        guard let cursor else { return index.expected }
        var entries: [Entry] = []
        for (record, entry) in zip(index.records, index.expected)
        where record.compare(cursor.span) < 0 {
            entries.append(entry)
        }
        return entries
    }

    func folded(_ slot: IndexSlot) throws -> [Entry] {
        guard VolumeSlots.isSummary(slot) else { return view.indexes[slot.rawValue].expected }
        if let known = view.folded[slot] { return known }
        let folded = view.summaries.folded(slot)
        tree.current.view?.folded[slot] = folded
        return folded
    }

    func live(_ slot: IndexSlot) throws -> [(key: [UInt8], value: [UInt8]?)] {
        guard VolumeSlots.isSummary(slot) else { return view.indexes[slot.rawValue].live }
        return tree.current.state.servedEntries(of: slot).map { ($0.key, $0.value) }
    }

    var view: MemoryView {
        let version = tree.current
        if let view = version.view { return view }
        let view = MemoryView(version.state)
        version.view = view
        return view
    }

    func entries(_ slot: IndexSlot, generation: UInt32) throws -> [Entry] {
        guard let load = tree.current.state[slot].load, load.generation.number == generation else {
            throw StageError.refused("generation \(generation) is not being loaded")
        }
        return load.generation.table.map { Entry(key: $0.key, value: $0.value) }
    }

    func activeGeneration(_ slot: IndexSlot) throws -> UInt32 {
        tree.current.state[slot].active.number
    }

    func generations(_ slot: IndexSlot) throws -> [UInt32] {
        let state = tree.current.state
        let retired = state.retired.filter { $0.slot == slot && $0.generation.table.count > 0 }
        let load = state[slot].load.map { [$0.generation.number] } ?? []
        let kept = state[slot].previous.map { [$0.number] } ?? []
        return ([state[slot].active.number] + load + kept + retired.map(\.generation.number))
            .sorted()
    }
}

/// What a version's indexes hold and what they must hold, derived from the records anew: by
/// plain code, which shares nothing with the entries that the tree keeps up.
struct MemoryView {
    struct Index {
        /// In the order of the entries that they derive.
        var records: [MemoryRecord] = []
        var expected: [Entry] = []
        var live: [(key: [UInt8], value: [UInt8]?)] = []
    }

    private(set) var indexes = [Index(), Index()]
    let summaries: PlainSummaries
    /// What summaries must hold, as far as somebody has asked.
    var folded: [IndexSlot: [Entry]] = [:]

    init(_ state: MemoryState) {
        summaries = PlainSummaries(state)
        for record in state.records {
            if record.plain == nil { record.plain = MemoryView.derive(record) }
            switch record.content {
            case .extent: indexes[0].records.append(record)
            case .dirent: indexes[1].records.append(record)
            case .inode: break
            }
        }
        for slot in indexes.indices {
            indexes[slot].records.sort { a, b in
                guard let a = a.plain, let b = b.plain else { return false }
                return compareBytes(a.key.rawSpan, b.key.rawSpan) < 0
            }
            indexes[slot].expected = indexes[slot].records.compactMap(\.plain)
            indexes[slot].live = state[IndexSlot(slot)].active.table.map { ($0.key, $0.value) }
        }
    }

    private static func derive(_ record: MemoryRecord) -> Entry? {
        switch record.content {
        case .inode: return nil
        case .extent(let extent):
            let key = ReverseMap.key(extent), value = ReverseMap.value(extent)
            return Entry(key: key.span.array, value: value.span.array)
        case .dirent(let target):
            let name = Array(record.key[PrimaryKey.prefixSize...])
            let key = ParentPointers.key(
                child: target.child, parent: record.inode, name: name.rawSpan)
            let value = ParentPointers.value(generation: target.generation)
            return Entry(key: key.span.array, value: value.span.array)
        }
    }
}

extension PlainSummaries {
    /// Blocks are added up from the extents: what the tree keeps of an inode's share is what is
    /// to be checked.
    init(_ state: MemoryState) {
        var blocks: [InodeNumber: UInt64] = [:]
        var names: [Name] = []
        for record in state.records {
            if let extent = record.extent {
                blocks[extent.inode, default: 0] += UInt64(extent.length)
            }
            guard let target = record.target else { continue }
            let name = Array(record.key[PrimaryKey.prefixSize...])
            names.append(Name(directory: record.inode, name: name, target: target))
        }
        let inodes = state.inodes.map { inode in
            let share = QuotaShare(
                uid: inode.uid, gid: inode.gid, project: inode.project,
                blocks: blocks[inode.number] ?? 0)
            return Inode(number: inode.number, share: share, stored: inode.storedLinks)
        }
        self.init(inodes: inodes, names: names)
    }
}
