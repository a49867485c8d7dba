// A store of somebody else's, as small as one can be: records in memory, transactions one at a
// time, two indexes. Written against the public interface alone: this target has no access to
// what is shared within the package.

import Bytes
import Catalogue
import Tidemark

/// Items with weighted tags, and the indexes `tags` and `weights`.
final class Ledger: ExactOwner, @unchecked Sendable {
    struct State: Hashable {
        var records: [Tagging: UInt32] = [:]
        var live: [[[UInt8]: [UInt8]]] = [[:], [:]]
    }

    /// What the store does wrong on purpose.
    enum Mistake {
        /// A removal is not reported.
        case forgetsRemovals
        /// A snapshot is that of the commit before.
        case staleSnapshots
    }

    let label = "ledger"
    let indexes: [any SecondaryIndex] = [TagIndex(), WeightIndex()]
    let mistake: Mistake?
    var state = State()
    private var before = State()
    private(set) var commit: UInt64 = 1
    private(set) var hooks: [any CommitHook] = []

    init(_ mistake: Mistake?) { self.mistake = mistake }

    /// What a transaction has made visible, and has not told yet.
    final class Visible {
        var deltas = DeltaBatch()
    }

    func change(_ changes: [(Tagging, UInt32?)]) -> Visible {
        let visible = Visible()
        before = state
        for (tagging, weight) in changes {
            let primary = tagging.primaryKey, old = state.records[tagging]
            state.records[tagging] = weight
            guard old != weight else { continue }
            for slot in indexes.indices {
                let removed = old.map { derive(slot, tagging, $0) }
                let added = weight.map { derive(slot, tagging, $0) }
                if let removed, removed.key != added?.key {
                    state.live[slot][removed.key] = nil
                    if mistake != .forgetsRemovals {
                        let key = KeyBytes(removed.key)
                        visible.deltas.remove(
                            IndexSlot(slot), primary: primary.span, key: key.span)
                    }
                }
                if let added {
                    state.live[slot][added.key] = added.value
                    let key = KeyBytes(added.key), value = KeyBytes(added.value)
                    visible.deltas.add(
                        IndexSlot(slot), primary: primary.span, key: key.span, value: value.span)
                }
            }
        }
        commit += 1
        return visible
    }

    func report(_ visible: Visible) {
        for hook in hooks { hook.committed(commit, by: .writer, deltas: visible.deltas) }
    }

    /// The store is opened again with `state`: no hook is attached any more.
    func reopen(_ state: State) {
        self.state = state
        before = state
        hooks = []
        commit += 1
    }

    func atCommitBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R { try body(Boundary(ledger: self)) }

    func snapshot() throws -> any OwnerSnapshot {
        Snapshot(mistake == .staleSnapshots ? before : state, commit)
    }

    func makeDurable() throws {}

    private struct Boundary: CommitBoundary {
        let ledger: Ledger
        var lastCommit: UInt64 { ledger.commit }
        var hooks: [any CommitHook] { ledger.hooks }
        func attach(_ hook: any CommitHook) { ledger.hooks.append(hook) }
        func detach(_ hook: any CommitHook) { ledger.hooks.removeAll { $0 === hook } }
        func snapshot() throws -> any OwnerSnapshot { try ledger.snapshot() }
    }

    final class Snapshot: OwnerSnapshot {
        let state: State
        let commit: UInt64
        private let records: [(key: KeyBytes, tagging: Tagging, weight: UInt32)]

        init(_ state: State, _ commit: UInt64) {
            self.state = state
            self.commit = commit
            records = state.records
                .map { (key: $0.key.primaryKey, tagging: $0.key, weight: $0.value) }
                .sorted { $0.key < $1.key }
        }

        func windowEnd(
            after key: KeyBytes, records wanted: Int, wants: (IndexSlot) -> Bool
        ) throws -> KeyBytes? {
            records.filter { !($0.key < key) }.dropFirst(wanted).first?.key
        }

        func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
            let inside = records.filter { range.contains($0.key.span) }
            for record in inside.prefix(limit) {
                sink.count(records: 1)
                for slot in 0..<2 where sink.wants(IndexSlot(slot)) {
                    let entry = derive(slot, record.tagging, record.weight)
                    let key = KeyBytes(entry.key), value = KeyBytes(entry.value)
                    sink.emit(IndexSlot(slot), key: key.span, value: value.span)
                }
            }
            return inside.dropFirst(limit).first?.key
        }

        func entries(
            of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
        ) throws -> KeyBytes? {
            let all = state.live[index.rawValue]
                .map { (key: KeyBytes($0.key), value: KeyBytes($0.value)) }
                .filter { !($0.key < key) }.sorted { $0.key < $1.key }
            for entry in all.prefix(limit) {
                batch.append(key: entry.key.span, value: entry.value.span)
            }
            return all.dropFirst(limit).first?.key
        }
    }
}
