// What the tests of the tree in memory share: random transactions, a hook that writes down what
// it is told, and a side of a comparison.

import Bytes
import Tidemark

@testable import Scenarios
import Tidemark

extension SplitMix64 {
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
    mutating func isOne(in number: Int) -> Bool { below(number) == 0 }
    mutating func pick<T>(_ list: [T]) -> T { list[below(list.count)] }
}

/// Random operations on few names and few blocks, so that they meet. Most are possible.
struct RandomTransactions {
    var random: SplitMix64
    /// Paths that were opened and not yet closed.
    private var opened: [Path] = []
    private var directories: [Path] = []
    private var files: [Path] = []
    private var others: [Path] = []

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    /// Takes note of what there is.
    mutating func learn(_ contents: TreeContents) {
        directories = []
        files = []
        others = []
        for item in contents.items {
            let names = String(decoding: item.path, as: UTF8.self).split(separator: "/")
            let path = Path(names: names.map(String.init))
            switch item.word {
            case "directory": directories.append(path)
            case "file": files.append(path)
            default: others.append(path)
            }
        }
    }

    /// Anything, by its number perhaps, that may not exist.
    private mutating func any() -> Path {
        let depth = random.pick([0, 1, 1, 2, 2, 3])
        let names = (0..<depth).map { _ in random.pick(["a", "b", "c", "d"]) }
        return Path(base: random.isOne(in: 3) ? UInt64(1 + random.below(12)) : nil, names: names)
    }

    private mutating func pick(_ known: [Path]) -> Path {
        known.isEmpty || random.isOne(in: 10) ? any() : random.pick(known)
    }

    /// A name in a directory, perhaps one that is there.
    private mutating func place() -> Path {
        let directory = pick(directories)
        guard directory.names.count < 4 else { return any() }
        let name = random.pick(["a", "b", "c", "d", "e", "f"])
        return Path(base: directory.base, names: directory.names + [name])
    }

    mutating func operation() -> Scenarios.Operation {
        switch random.below(21) {
        case 0, 1, 2: .make(.create, place())
        case 3, 4: .make(.mkdir, place())
        case 5: .make(random.pick([.symlink, .fifo]), place())
        case 6, 7: .link(pick(files + others), place())
        case 8: .unlink(pick(files + others))
        case 9: .rmdir(pick(directories))
        case 10: .rename(random.pick([.rename, .move, .exchange]), place(), place())
        case 11: .rename(.rename, pick(files + directories), place())
        case 12: .rename(.exchange, pick(files + directories), pick(files + directories))
        case 13: .truncate(pick(files), UInt64(random.below(10)))
        case 14: .chmod(pick(files + directories), UInt16(random.below(0o1000)))
        case 15:
            .chown(
                pick(files + directories), uid: UInt32(random.below(3)),
                gid: UInt32(random.below(3)), project: UInt32(random.below(2)))
        default:
            .map(
                random.pick([.write, .write, .allocate, .punch, .zero]), pick(files),
                offset: UInt64(random.below(10)), length: UInt64(random.below(8)))
        }
    }

    mutating func transaction() -> Transaction {
        if random.isOne(in: 20) { return Transaction([], isSync: true) }
        if random.isOne(in: 12) {
            let path = pick(files + directories)
            opened.append(path)
            return Transaction([.open(path)])
        }
        if random.isOne(in: 12), !opened.isEmpty {
            return Transaction([.close(opened.remove(at: random.below(opened.count)))])
        }
        let operations = (0..<random.pick([1, 1, 1, 2, 3])).map { _ in operation() }
        return Transaction(operations, isAborted: random.isOne(in: 8))
    }

    /// What was open is not any more.
    mutating func forgetOpened() { opened = [] }
}

/// Writes down what it is told.
final class RecordingHook: CommitHook, @unchecked Sendable {
    struct Change: Hashable, CustomStringConvertible {
        var kind: UInt8
        var slot: Int
        var primary, key, value: [UInt8]

        var description: String { "\(kind) \(slot) \(primary) \(key) \(value)" }
    }

    struct Commit: Hashable {
        var number: UInt64
        var changes: [Change]
    }

    private(set) var commits: [Commit] = []
    private let slots: Set<Int>

    init(_ slots: Set<Int> = [0, 1]) { self.slots = slots }

    func wants(_ index: IndexSlot) -> Bool { slots.contains(index.rawValue) }

    func committed(
        _ commit: UInt64, by origin: CommitOrigin, deltas: borrowing DeltaBatch
    ) {
        var changes: [Change] = []
        var position = 0
        for _ in 0..<deltas.count {
            let delta = deltas.delta(at: position)
            changes.append(
                Change(
                    kind: delta.kind.rawValue, slot: delta.slot, primary: delta.primary.array,
                    key: delta.key.array, value: delta.value.array))
            position = delta.end
        }
        commits.append(Commit(number: commit, changes: changes))
    }

    func admit(within seconds: Double) -> Bool { true }

    /// The changes of the commits that had any.
    var changes: [[Change]] { commits.map(\.changes).filter { !$0.isEmpty } }

    /// Those of names and extents.
    var entries: [[Change]] {
        changes.map { $0.filter { $0.slot != quota.rawValue } }.filter { !$0.isEmpty }
    }

    /// What is told of inodes, the last of each commit: how often a transaction stores an inode
    /// on its way is nobody's concern.
    var shares: [[[UInt8]: Change]] {
        changes.map { commit in
            var last: [[UInt8]: Change] = [:]
            for change in commit where change.slot == quota.rawValue { last[change.key] = change }
            return last
        }.filter { !$0.isEmpty }
    }
}

extension Stage {
    /// One transaction from beginning to end.
    /// - Returns: false where it was refused.
    func run(_ transaction: Transaction) throws -> Bool {
        do {
            try begin(transaction)
            try commit()
            try report()
            return true
        } catch is StageError {
            return false
        }
    }

    func attach(_ hook: any CommitHook) throws {
        try owner.atCommitBoundary { $0.attach(hook) }
    }

    func plainLive(_ slot: IndexSlot) throws -> [Entry] {
        try live(slot).map { Entry(key: $0.key, value: $0.value ?? []) }
    }
}

func scenario(blocks: Int = 1024, voidEvery: Int = 0, setup: [Scenarios.Operation] = []) -> Scenario
{
    var scenario = Scenario()
    scenario.store.blocks = blocks
    scenario.store.voidEvery = voidEvery
    scenario.setup = setup
    return scenario
}

func path(_ text: String) -> Path { Path(names: text.split(separator: "/").map(String.init)) }

let rmap = IndexSlot(0), parents = IndexSlot(1), quota = IndexSlot(2), links = IndexSlot(3)
