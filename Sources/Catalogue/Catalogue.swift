// A store that is not a filesystem, and an owner all the same: the example of
// Docs/adopting.md, and the store on which the framework's own tests run.
//
// A catalogue holds tags of items, each with a weight: the primary record is
// (item, tag) → weight. Two indexes are derived from it: `tags` finds the items of a tag,
// `weights` finds tags by weight. Everything lies in memory; a transaction copies what it
// changes, so that a snapshot is just a value.
//
// What an adopter has to give stands in three files: the indexes in CatalogueIndexes.swift,
// the hook point here in `transaction`, and scan and generations in Catalogue+Owner.swift.

public import Bytes
internal import GenerationLife
public import Tidemark
internal import Synchronization
internal import Threads

/// A tag that some item carries: the key of a primary record.
public struct Tagging: Hashable, Comparable, Sendable {
    public var item: UInt64
    public var tag: [UInt8]

    public init(item: UInt64, tag: [UInt8]) {
        self.item = item
        self.tag = tag
    }

    public static func < (a: Tagging, b: Tagging) -> Bool {
        a.item != b.item ? a.item < b.item : a.tag.lexicographicallyPrecedes(b.tag)
    }

    /// The primary key: item u64, tag. One item with many tags can be split between windows.
    public var primaryKey: KeyBytes {
        var key = KeyBytes()
        key.append(item)
        for byte in tag { key.append(byte) }
        return key
    }
}

public final class Catalogue: Sendable {
    /// One complete copy of an index: key → value, and what is wrong with it, if anything.
    struct Generation: IndexGeneration {
        let number: UInt32
        var entries: [[UInt8]: [UInt8]] = [:]
        /// nil: not being loaded. Else the keys below it are maintained.
        var loadCursor: LoadCursor?
        var invalidity: String?
        /// What it must hold by the changes that were made.
        var expectedCount = 0
    }

    enum LoadCursor {
        case at(KeyBytes), end

        func covers(_ key: RawSpan) -> Bool {
            switch self {
            case .at(let cursor): compareBytes(key, cursor.span) < 0
            case .end: true
            }
        }
    }

    /// The generations of an index: their life is `IndexGenerations`, their tables are here.
    struct IndexState: IndexGenerations {
        let name: String
        var active = Generation(number: 1)
        var load: Generation?
        var previous: Generation?
        var reaping: [Generation] = []

        /// All that take up storage.
        var all: [Generation] {
            [active] + (load.map { [$0] } ?? []) + (previous.map { [$0] } ?? []) + reaping
        }
    }

    struct State {
        var commit: UInt64 = 1
        var records: [Tagging: UInt32] = [:]
        var indexes: [IndexState]
        var hooks: [any CommitHook] = []
        var deltas = DeltaSwitch()
    }

    /// How changes are reported.
    struct DeltaSwitch {
        /// Every nth transaction says "read these again" instead of what it changed; 0: none.
        var voidEvery = 0
        var count = 0
    }

    /// The commit lock. Whoever holds it may call the framework's hooks, never the reverse.
    let state: Monitor<State>
    let boundariesWaiting = Atomic<Int>(0)
    public let indexes: [any SecondaryIndex] = [TagIndex(), WeightIndex()]
    public let label: String
    /// Entries of one generation at the most; reached, there is no room for another.
    let capacity: Int

    /// What of the contract a catalogue offers, so that tests can have one that offers less.
    public struct Parts: OptionSet, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        public static let generations = Parts(rawValue: 1), amending = Parts(rawValue: 2)
        public static let all: Parts = [.generations, .amending]
    }

    let parts: Parts

    /// - Parameters:
    ///   - parts: what it offers beside its commit lock.
    ///   - capacity: bytes that a new generation may take.
    ///   - voidEvery: see `DeltaSwitch`.
    public init(
        label: String = "catalogue", parts: Parts = .all, capacity: Int = .max, voidEvery: Int = 0
    ) {
        self.parts = parts
        self.label = label
        self.capacity = capacity
        var state = State(indexes: indexes.map { IndexState(name: $0.name) })
        state.deltas.voidEvery = voidEvery
        self.state = Monitor(state)
    }

    /// Runs `body` as one transaction: a return commits, a throw leaves everything as it was.
    public func transaction<R>(_ body: (inout Transaction) throws -> R) throws -> R {
        for hook in state.withLock({ $0.hooks }) { while !hook.admit(within: 0.01) {} }
        // A boundary goes first: writers in a loop would never let it in.
        while boundariesWaiting.load(ordering: .acquiring) > 0 { yieldProcessor() }
        return try state.withLock { state in
            var transaction = Transaction(state)
            let result = try body(&transaction)
            let deltas = transaction.commit(&state, indexes)
            state.report(deltas)
            return result
        }
    }

    /// All records, for comparing.
    public var records: [Tagging: UInt32] { state.withLock { $0.records } }

    /// The entries of the active generation, for comparing.
    public func entries(of index: IndexSlot) -> [[UInt8]: [UInt8]] {
        state.withLock { $0.indexes[index.rawValue].active.entries }
    }

    /// The numbers of all generations that take up storage.
    public func generations(of index: IndexSlot) -> [UInt32] {
        state.withLock { $0.indexes[index.rawValue].all.map(\.number).sorted() }
    }

    /// Changes the active generation behind the catalogue's back: damage.
    public func damage(_ index: IndexSlot, _ body: (inout [[UInt8]: [UInt8]]) -> Void) {
        state.withLock { body(&$0.indexes[index.rawValue].active.entries) }
    }
}

extension Catalogue.Generation: GenerationLoad {
    var generation: Catalogue.Generation { self }
    var isWhole: Bool {
        if case .end = loadCursor { return true }
        return false
    }
}

extension Catalogue.IndexState {
    /// Takes note of what generations have become.
    mutating func note(_ moves: [GenerationMove<Catalogue.Generation>]) {
        active.loadCursor = nil
        for move in moves where move.role == .retired { retire(move.generation) }
    }

    mutating func retire(_ generation: Catalogue.Generation) {
        var generation = generation
        generation.loadCursor = nil
        reaping.append(generation)
    }
}

extension Catalogue {
    /// The changes of one transaction.
    public struct Transaction {
        private var before: [Tagging: UInt32]
        private var changes: [(Tagging, UInt32?)] = []
        private var after: [Tagging: UInt32?] = [:]

        init(_ state: State) { before = state.records }

        public func weight(_ tagging: Tagging) -> UInt32? { after[tagging] ?? before[tagging] }

        public mutating func set(_ tagging: Tagging, weight: UInt32) { change(tagging, weight) }

        public mutating func remove(_ tagging: Tagging) { change(tagging, nil) }

        private mutating func change(_ tagging: Tagging, _ weight: UInt32?) {
            after.updateValue(weight, forKey: tagging)
            changes.append((tagging, weight))
        }

        /// Makes the changes, in the indexes too: they are visible.
        /// - Returns: what the hooks are to be told.
        mutating func commit(
            _ state: inout State, _ indexes: [any SecondaryIndex]
        ) -> DeltaBatch {
            before = [:]
            state.commit += 1
            state.deltas.count += 1
            let isVoid =
                state.deltas.voidEvery > 0
                && state.deltas.count.isMultiple(of: state.deltas.voidEvery)
            var deltas = DeltaBatch()
            for (tagging, weight) in changes {
                let old = state.records[tagging]
                state.records[tagging] = weight
                for slot in indexes.indices {
                    let change = EntryChange(slot: slot, tagging, old: old, new: weight)
                    state.apply(change)
                    if !isVoid { change.report(to: &deltas) }
                }
                if isVoid { deltas.void(tagging.range) }
            }
            return deltas
        }
    }
}

extension Catalogue.State {
    /// Tells the hooks of the last commit, which is visible.
    func report(_ deltas: borrowing DeltaBatch, by origin: CommitOrigin = .writer) {
        for hook in hooks { hook.committed(commit, by: origin, deltas: deltas) }
    }
}

extension Tagging {
    /// The range that holds this primary key alone.
    var range: KeyRange {
        var end = primaryKey
        end.append(0 as UInt8)
        return KeyRange(lower: primaryKey, upper: end)
    }
}
