// Corrections on their way from a comparison to the owner: two sorted runs in the side file for
// each part, one of the keys whose counters differ, with their corrections, and, where a new
// generation may be loaded, one of the keys that agree, without a value. A patch takes the
// first; a load takes both, so that no batch of it holds many more keys than it has entries.

internal import Bytes
package import Contract
internal import Entries
package import Shadow

/// Writes the corrections of one part. Used by one thread at a time.
package final class CorrectionLog: @unchecked Sendable {
    private let store: any SideStore
    private let numbers: (differing: UInt32, agreeing: UInt32)
    private let keepsAgreeing: Bool
    private var differing: ChunkList
    private var agreeing: ChunkList
    private let scratch = EntryBatch()
    package private(set) var hasDiffering = false
    package private(set) var hasAgreeing = false

    private static let writeSize = 1 << 20

    package init(
        _ store: any SideStore, differing: UInt32, agreeing: UInt32, keepsAgreeing: Bool,
        chunkBytes: Int
    ) {
        self.store = store
        numbers = (differing, agreeing)
        self.keepsAgreeing = keepsAgreeing
        self.differing = ChunkList(limit: chunkBytes)
        self.agreeing = ChunkList(limit: chunkBytes)
    }

    package func agree(_ key: RawSpan) throws {
        guard keepsAgreeing else { return }
        scratch.removeAll()
        scratch.append(key: key, value: RawSpan())
        agreeing.append(scratch.record(at: 0))
        hasAgreeing = true
        guard agreeing.byteCount >= CorrectionLog.writeSize else { return }
        try store.append(agreeing, to: numbers.agreeing)
        agreeing.removeAll()
    }

    package func correct(_ key: RawSpan, _ correction: RawSpan) throws {
        scratch.removeAll()
        scratch.append(
            key: key, value: correction, isDamaged: key.byteCount > KeyBytes.capacity)
        differing.append(scratch.record(at: 0))
        hasDiffering = true
        guard differing.byteCount >= CorrectionLog.writeSize else { return }
        try store.append(differing, to: numbers.differing)
        differing.removeAll()
    }

    /// Writes what is left.
    package func finish() throws {
        if differing.count > 0 { try store.append(differing, to: numbers.differing) }
        if agreeing.count > 0 { try store.append(agreeing, to: numbers.agreeing) }
        differing.removeAll()
        agreeing.removeAll()
    }

    /// The runs that were written; good after `finish`.
    package var runs: (differing: UInt32?, agreeing: UInt32?) {
        (hasDiffering ? numbers.differing : nil, hasAgreeing ? numbers.agreeing : nil)
    }
}

/// The corrections that a comparison has found, in key order.
package struct Corrections {
    package let store: any SideStore
    package let chunkBytes: Int
    package var differing: [UInt32] = []
    package var agreeing: [UInt32] = []

    package mutating func add(_ log: CorrectionLog) {
        let runs = log.runs
        if let run = runs.differing { differing.append(run) }
        if let run = runs.agreeing { agreeing.append(run) }
    }

    /// A reader of those that differ; with `all`, of the keys that agree too.
    package func reader(all: Bool, index: any SecondaryIndex) throws -> ShadowMerge {
        let numbers = all ? differing + agreeing : differing
        let runs = numbers.map { SortedRun(number: $0, entries: 0, bytes: 0) }
        return try ShadowMerge(
            runs, in: store, voids: RangeMap(), index: index, chunkBytes: chunkBytes)
    }
}
