// For whoever plays races on a catalogue: the two halves of a transaction, and a look inside.
// An adopter needs nothing of this.

internal import Bytes
package import Tidemark
internal import Threads

extension Catalogue {
    /// The first half of `transaction`: the changes are visible, and no hook knows. Until
    /// `report` nobody may ask for a commit boundary.
    package func makeVisible(_ body: (inout Transaction) throws -> Void) throws -> Visible {
        let visible = Visible()
        try state.withLock { state in
            var transaction = Transaction(state)
            try body(&transaction)
            visible.deltas = transaction.commit(&state, indexes)
        }
        return visible
    }

    /// The second half.
    package func report(_ visible: Visible) { state.withLock { $0.report(visible.deltas) } }

    /// What hooks are still to be told.
    package final class Visible {
        fileprivate var deltas = DeltaBatch()
    }

    /// All that a catalogue holds, at one moment.
    package struct Image {
        fileprivate var state: State
        /// Equal for equal contents, whatever the number of the last commit is.
        package var fingerprint: UInt64 { state.fingerprint }
    }

    package var image: Image { state.withLock { Image(state: $0) } }

    /// As after a crash: no hook is attached, and what was being loaded is to be reaped.
    package func reopen(_ image: Image) {
        state.withLock { state in
            state = image.state
            state.hooks = []
            for slot in state.indexes.indices { state.indexes[slot].reopen() }
        }
    }

    /// The number of the active generation.
    package func activeGeneration(of index: IndexSlot) -> UInt32 {
        state.withLock { $0.indexes[index.rawValue].active.number }
    }

    /// The generation that is being loaded, if any.
    package func loadingGeneration(of index: IndexSlot) -> UInt32? {
        state.withLock { $0.indexes[index.rawValue].load?.number }
    }

    /// The entries of a generation; none where there is no such generation.
    package func entries(of index: IndexSlot, generation: UInt32) -> [[UInt8]: [UInt8]] {
        state.withLock { state in
            state.indexes[index.rawValue].all.first { $0.number == generation }?.entries ?? [:]
        }
    }

    /// See `Image.fingerprint`; of what a snapshot sees.
    package static func fingerprint(of snapshot: any OwnerSnapshot) -> UInt64? {
        (snapshot as? Snapshot)?.state.fingerprint
    }
}

extension Catalogue.IndexState {
    fileprivate mutating func reopen() {
        if let load = load.take() { retire(load) }
    }
}

extension Catalogue.State {
    /// A sum over the elements of each dictionary: their order is not fixed.
    fileprivate var fingerprint: UInt64 {
        var hash = Fingerprint()
        hash.add(UInt64(deltas.voidEvery > 0 ? deltas.count % deltas.voidEvery : 0))
        hash.add(
            records.reduce(0) { sum, record in
                var hash = Fingerprint()
                hash.add(record.key.item)
                hash.add(record.key.tag)
                hash.add(UInt64(record.value))
                return sum &+ hash.value
            })
        for index in indexes {
            hash.add(UInt64(index.active.number) << 32 | UInt64(index.load?.number ?? 0))
            hash.add(UInt64(index.previous?.number ?? 0))
            for generation in index.reaping { hash.add(UInt64(generation.number)) }
            for generation in index.all { generation.add(to: &hash) }
        }
        return hash.value
    }
}

extension Catalogue.Generation {
    fileprivate func add(to hash: inout Fingerprint) {
        switch loadCursor {
        case nil: hash.add(0)
        case .at(let key): hash.add(key.array)
        case .end: hash.add(1)
        }
        hash.add(invalidity == nil ? 0 : 1)
        hash.add(UInt64(bitPattern: Int64(expectedCount)))
        hash.add(
            entries.reduce(0) { sum, entry in
                var hash = Fingerprint()
                hash.add(entry.key)
                hash.add(entry.value)
                return sum &+ hash.value
            })
    }
}

/// One number for a sequence of others: SplitMix64's finalizer over each and what was before.
struct Fingerprint {
    private(set) var value: UInt64 = 0x9e37_79b9_7f4a_7c15

    mutating func add(_ number: UInt64) {
        var x = value ^ number &+ 0x9e37_79b9_7f4a_7c15
        x = (x ^ (x >> 30)) &* 0xbf58_476d_1ce4_e5b9
        x = (x ^ (x >> 27)) &* 0x94d0_49bb_1331_11eb
        value = x ^ (x >> 31)
    }

    mutating func add(_ bytes: [UInt8]) {
        add(UInt64(bytes.count))
        for byte in bytes { add(UInt64(byte)) }
    }
}
