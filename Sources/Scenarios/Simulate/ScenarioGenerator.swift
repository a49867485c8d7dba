// A scenario that a seed chooses: a tree, damage, options, writers. Everything small, so that
// things meet; now and then everything a little larger.

internal import Bytes
internal import Tidemark
internal import Volume
internal import VolumeFormat

struct ScenarioGenerator {
    private var random: SplitMix64
    private var names: [String] = []
    private let indexes = StoreDescription.Kind.tree.indexes

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    mutating func number(_ range: ClosedRange<Int>) -> Int {
        Int.random(in: range, using: &random)
    }

    mutating func chance(_ percent: Int) -> Bool { number(1...100) <= percent }

    mutating func pick<T>(_ list: [T]) -> T { list[number(0...(list.count - 1))] }

    /// A scenario whose setup is possible. Its writers' transactions may be refused.
    mutating func generate() throws -> Scenario {
        var scenario = Scenario()
        scenario.title = ["Chosen by a seed."]
        scenario.store.blocks = pick([24, 64, 256])
        if chance(20) { scenario.store.voidEvery = number(2...5) }
        if chance(15) { scenario.store.log = number(1...200) }
        names = (0..<number(2...6)).map { String(UnicodeScalar(UInt8(97 + $0))) }
        let tree = try MemoryTree(scenario.store)
        scenario.setup = setup(tree)
        scenario.runs = [run("run")]
        if chance(15) {
            var second = run("second")
            second.indexes = [pick(indexes)]
            if chance(70) { scenario.runs[0].indexes = [pick(indexes)] }
            scenario.runs.append(second)
        }
        for place in scenario.runs.indices { limit(&scenario.runs[place]) }
        scenario.damage = damage(tree)
        scenario.writers = (1...number(1...3)).map { Writer(name: "w\($0)", transactions: []) }
        for _ in 0..<number(1...24) {
            let writer = number(0...(scenario.writers.count - 1))
            scenario.writers[writer].transactions.append(transaction(tree))
        }
        scenario.writers.removeAll { $0.transactions.isEmpty }
        return scenario
    }

    /// Operations that are possible one after the other.
    private mutating func setup(_ tree: MemoryTree) -> [Operation] {
        (0..<number(0...14)).compactMap { _ in
            let transaction = transaction(tree, isSetup: true)
            return transaction.isSync ? nil : transaction.operations[0]
        }
    }

    /// Some of the names and extents that are there, damaged, and some that are not.
    private mutating func damage(_ tree: MemoryTree) -> [Damage] {
        guard chance(60) else { return [] }
        var damage: [Damage] = []
        for record in tree.current.state.records where chance(15) {
            let kind = pick([Discrepancy.Kind.missing, .wrong])
            if let extent = record.extent, extent.inode > 0 {
                let place = Place(
                    path: Path(base: extent.inode, names: []), part: .extent(extent.offset))
                damage.append(Damage(kind: kind, index: "rmap", place: place))
            } else if record.target != nil {
                let name = String(decoding: record.key[PrimaryKey.prefixSize...], as: UTF8.self)
                let place = Place(path: Path(base: record.inode, names: []), part: .entry(name))
                damage.append(Damage(kind: kind, index: "parents", place: place))
            }
        }
        if chance(40) {
            let place = Place(path: Path(names: []), part: .entry("ghost"))
            damage.append(Damage(kind: .stray, index: "parents", place: place))
        }
        if chance(30) { damage += damagedCounters() }
        return damage
    }

    /// Each counter once. Link counts are left alone: where a writer takes the last name away
    /// before the count is right again the inode is orphaned, and no run ends well.
    private mutating func damagedCounters() -> [Damage] {
        var damage: [Damage] = []
        // Whose the root is has a counter; nobody has the number 9.
        for type in ["user", "group", "project"] where chance(40) {
            let isStray = chance(40)
            let place = Place(path: Path(names: [type]), part: .entry(isStray ? "9" : "0"))
            let kind: Discrepancy.Kind = isStray ? .stray : pick([.missing, .wrong])
            damage.append(Damage(kind: kind, index: "quota", place: place))
        }
        if chance(20) {
            let place = Place(path: Path(names: ["volume"]), part: .entry("0"))
            damage.append(Damage(kind: .wrong, index: "quota", place: place))
        }
        return damage
    }

    /// Now and then a run is about some indexes only, or about a part of the tree.
    private mutating func limit(_ run: inout RunDescription) {
        if run.indexes.isEmpty, chance(50) {
            let some = indexes.filter { _ in chance(50) }
            run.indexes = some.isEmpty ? [pick(indexes)] : some
        }
        let isWhole = run.indexes.contains { ["quota", "links"].contains($0) }
        guard run.strategy != .rebuild, !isWhole, chance(40) else { return }
        switch number(0...2) {
        case 0: run.scope = .inode(Path(base: UInt64(number(1...8)), names: []))
        // A directory may be gone when the run begins again.
        case 1: run.scope = .subtree(Path(names: []))
        default:
            run.indexes = ["rmap"]
            run.scope = .blocks(start: UInt64(number(0...12)), count: UInt64(number(1...10)))
        }
    }

    private mutating func run(_ name: String) -> RunDescription {
        var run = RunDescription()
        run.name = name
        run.strategy = pick([.rebuild, .rebuild, .patch, .auto, .check])
        run.scanners = number(1...3)
        run.window = number(1...4)
        run.spill = pick([1, 64, 300, 1 << 20])
        run.loadBatch = number(1...4)
        run.overlay = pick([1, 100, 1 << 20])
        run.parts = number(1...3)
        run.compare = number(1...5)
        run.patch = number(1...3)
        run.reap = number(1...4)
        run.queue = pick([1, 200, 1 << 20, 1 << 20])
        run.isPatient = chance(80)
        run.keepsOld = chance(50)
        run.isResumable = chance(60)
        run.checkpoints = number(0...4)
        run.replay = number(1...3)
        return run
    }

    /// A transaction that is possible after those before it, after a few tries; where writers
    /// come in another order it may be refused.
    private mutating func transaction(_ tree: MemoryTree, isSetup: Bool = false) -> Transaction {
        for _ in 0..<12 {
            let chosen = isSetup ? Transaction([operation()]) : transaction()
            if isSetup, chosen.operations[0].isOpenOrClose { continue }
            if (try? tree.run(chosen)) != nil { return chosen }
        }
        return Transaction([], isSync: true)
    }

    private mutating func transaction() -> Transaction {
        if chance(4) { return Transaction([], isSync: true) }
        if chance(6) {
            let sets = [["rmap"], ["parents"], ["quota"], ["rmap", "parents"], ["links"]]
            return Transaction(rollBack: pick(sets))
        }
        var operations = (0..<(chance(70) ? 1 : number(2...4))).map { _ in operation() }
        if operations.count > 1 { operations.removeAll(where: \.isOpenOrClose) }
        if operations.isEmpty { operations = [.make(.create, path())] }
        let isAborted = chance(12) && !operations.contains(where: \.isOpenOrClose)
        return Transaction(operations, isAborted: isAborted)
    }

    private mutating func path() -> Path {
        Path(names: (0..<(chance(60) ? 1 : 2)).map { _ in pick(names) })
    }

    private mutating func operation() -> Operation {
        switch number(1...100) {
        case ...22:
            return .make(
                pick([.create, .create, .create, .mkdir, .mkdir, .symlink, .fifo]), path())
        case ...30: return .link(path(), path())
        case ...38: return .unlink(path())
        case ...42: return .rmdir(path())
        case ...60: return .rename(pick([.rename, .rename, .move, .exchange]), path(), path())
        case ...82:
            return .map(
                pick([.write, .write, .allocate, .punch, .zero]), path(),
                offset: UInt64(number(0...9)), length: UInt64(number(1...6)))
        case ...90: return .truncate(path(), UInt64(number(0...8)))
        case ...93: return .open(path())
        case ...96: return .close(path())
        case 97: return .chmod(path(), 0o600)
        default:
            let ids = (0..<3).map { _ in UInt32(number(0...2)) }
            return .chown(path(), uid: ids[0], gid: ids[1], project: ids[2])
        }
    }
}
