// The catalogue as an owner: commit boundary, snapshots, generations.

internal import Bytes
internal import GenerationLife
internal import Synchronization
internal import Threads
public import Tidemark

extension Catalogue: ExactOwner {
    public func atCommitBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R {
        boundariesWaiting.add(1, ordering: .acquiring)
        defer { boundariesWaiting.subtract(1, ordering: .releasing) }
        // The state is copied out and in, so that what `body` does is one critical section.
        return try state.withLock { state in
            let boundary = Boundary(state, self)
            defer { state = boundary.state }
            return try body(boundary)
        }
    }

    /// A catalogue lives as long as its process.
    public func makeDurable() {}

    public func snapshot() throws -> any OwnerSnapshot {
        Snapshot(state.withLock { $0 }, capacity)
    }

    final class Boundary: CommitBoundary, Generations, Amending {
        var state: State
        let catalogue: Catalogue

        init(_ state: State, _ catalogue: Catalogue) {
            self.state = state
            self.catalogue = catalogue
        }

        var lastCommit: UInt64 { state.commit }
        var hooks: [any CommitHook] { state.hooks }
        func attach(_ hook: any CommitHook) { state.hooks.append(hook) }
        func detach(_ hook: any CommitHook) { state.hooks.removeAll { $0 === hook } }
        func snapshot() throws -> any OwnerSnapshot { Snapshot(state, catalogue.capacity) }

        // It has no summaries, and keeps no records of runs: those parts have defaults.
        var generations: (any Generations)? {
            catalogue.parts.contains(.generations) ? self : nil
        }
        var amending: (any Amending)? { catalogue.parts.contains(.amending) ? self : nil }

        /// Every change at a boundary is a transaction of its own.
        private func commit() {
            state.commit += 1
            state.report(DeltaBatch(), by: .boundary)
        }

        func createGeneration(of index: IndexSlot) throws -> UInt32 {
            let known = state.indexes[index.rawValue]
            let number = try known.newNumber(retired: known.reaping.map(\.number))
            state.indexes[index.rawValue].load = Generation(
                number: number, loadCursor: .at(KeyBytes()))
            commit()
            return number
        }

        func append(
            _ batch: EntryBatch, to generation: UInt32, of index: IndexSlot, end: KeyBytes?
        ) throws {
            var position = batch.startPosition
            var target = try state.indexes[index.rawValue].loading(generation)
            while position < batch.endPosition {
                let key = batch.key(at: position).array
                let old = target.entries.updateValue(batch.value(at: position).array, forKey: key)
                if old != nil { target.invalidity = "the entry \(key) was appended twice" }
                target.expectedCount += 1
                position = batch.position(after: position)
            }
            target.loadCursor = end.map { .at($0) } ?? .end
            state.indexes[index.rawValue].load = target
            commit()
        }

        func validate(generation: UInt32, of index: IndexSlot) throws -> String? {
            try state.indexes[index.rawValue].problem(of: generation) {
                ($0.entries.count, $0.expectedCount)
            }
        }

        func activate(generation: UInt32, of index: IndexSlot, keepsOld: Bool) throws {
            let moves = try state.indexes[index.rawValue].activate(generation, keepsOld: keepsOld)
            state.indexes[index.rawValue].note(moves)
            commit()
        }

        func previousGeneration(of index: IndexSlot) -> UInt32? {
            state.indexes[index.rawValue].previous?.number
        }

        func rollBack(_ indexes: [IndexSlot]) throws {
            var changed = state
            for index in indexes { _ = try changed.indexes[index.rawValue].rollBack() }
            state = changed
            commit()
        }

        func forgetPrevious(of indexes: [IndexSlot]) throws {
            let forgotten = indexes.filter { state.indexes[$0.rawValue].previous != nil }
            guard !forgotten.isEmpty else { return }
            for index in forgotten {
                let old = state.indexes[index.rawValue].forgetPrevious()
                if let old { state.indexes[index.rawValue].retire(old) }
            }
            commit()
        }

        func discard(generation: UInt32, of index: IndexSlot) throws {
            let old = try state.indexes[index.rawValue].discard(generation)
            state.indexes[index.rawValue].retire(old)
            commit()
        }

        func discardUnfinished(of index: IndexSlot) throws {
            guard let load = state.indexes[index.rawValue].load else { return }
            try discard(generation: load.number, of: index)
        }

        func amend(
            _ index: IndexSlot, _ entries: [(key: [UInt8], value: [UInt8]?)]
        ) throws -> Int {
            var changed = 0
            for (key, value) in entries
            where state.indexes[index.rawValue].active.entries[key] != value {
                state.indexes[index.rawValue].active.entries[key] = value
                changed += 1
            }
            commit()
            return changed
        }

        func loading(of index: IndexSlot) -> (generation: UInt32, cursor: KeyBytes?)? {
            guard let load = state.indexes[index.rawValue].load, load.invalidity == nil,
                let cursor = load.loadCursor
            else { return nil }
            switch cursor {
            case .at(let key): return (load.number, key)
            case .end: return (load.number, nil)
            }
        }

        func reap(limit: Int) throws -> Bool {
            for slot in state.indexes.indices where !state.indexes[slot].reaping.isEmpty {
                for key in Array(state.indexes[slot].reaping[0].entries.keys.prefix(limit)) {
                    state.indexes[slot].reaping[0].entries[key] = nil
                }
                if state.indexes[slot].reaping[0].entries.isEmpty {
                    state.indexes[slot].reaping.removeFirst()
                }
                commit()
                return state.indexes.contains { !$0.reaping.isEmpty }
            }
            return false
        }
    }

    final class Snapshot: OwnerSnapshot {
        let state: State
        private let capacity: Int
        private lazy var records = state.records.sorted { $0.key < $1.key }

        init(_ state: State, _ capacity: Int) {
            self.state = state
            self.capacity = capacity
        }

        var commit: UInt64 { state.commit }

        private func first(_ key: KeyBytes) -> Int {
            records.firstIndex { !($0.key.primaryKey < key) } ?? records.count
        }

        func windowEnd(
            after key: KeyBytes, records wanted: Int, wants: (IndexSlot) -> Bool
        ) throws -> KeyBytes? {
            let next = first(key) + wanted
            return next < records.count ? records[next].key.primaryKey : nil
        }

        func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
            var left = limit
            for (tagging, weight) in records[first(range.lower)...] {
                let primary = tagging.primaryKey
                guard range.contains(primary.span) else { return nil }
                if left == 0 { return primary }
                left -= 1
                sink.count(records: 1)
                for slot in state.indexes.indices where sink.wants(IndexSlot(slot)) {
                    let entry = derive(slot, tagging, weight)
                    let key = KeyBytes(entry.key), value = KeyBytes(entry.value)
                    sink.emit(IndexSlot(slot), key: key.span, value: value.span)
                }
            }
            return nil
        }

        func entries(
            of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
        ) throws -> KeyBytes? {
            let all = state.indexes[index.rawValue].active.entries
                .map { (key: KeyBytes($0.key), value: $0.value) }
                .filter { !($0.key < key) }
                .sorted { $0.key < $1.key }
            for entry in all.prefix(limit) {
                let value = KeyBytes(entry.value)
                batch.append(key: entry.key.span, value: value.span)
            }
            return all.count > limit ? all[limit].key : nil
        }

        func room(forEntries entries: Int, payload: Int, of index: IndexSlot) throws
            -> (available: Int, needed: Int)
        {
            (available: capacity, needed: payload)
        }
    }
}
