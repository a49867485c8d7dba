// A volume at one commit.

internal import Bytes
internal import LMDB
internal import Tidemark
internal import VolumeFormat

/// Used by one thread at a time. As long as it lives no page that it sees is used again,
/// so a long one makes the metadata grow.
public final class VolumeSnapshot {
    static let rmapSlot = GroupState.rmapSlot
    static let parentsSlot = GroupState.parentsSlot
    static let quotaSlot = GroupState.quotaSlot
    static let linksSlot = GroupState.linksSlot

    let core: VolumeCore
    let transaction: ReadTransaction
    private let shard: Int
    /// By how much records of active generations differ from their tables, once that was judged.
    var countDifferences: [CountDifference] = []
    /// By how much the counter of free blocks differs from the free space.
    var freeBlockDifference: UInt64 = 0
    /// The records of generations, read when they are first asked for.
    private var served: GenerationCensus?

    init(_ core: VolumeCore) throws {
        self.core = core
        shard = LiveSnapshots.shard
        transaction = try core.snapshots.begin(core.environment, shard: shard)
    }

    deinit { core.snapshots.end(transaction.commit, shard: shard) }

    /// The number of the last commit that is seen.
    public var commit: UInt64 { transaction.commit }

    /// The records of all generations of all indexes that can be decoded.
    func generations() throws -> [GenerationRecord] { try census().records }

    private func census() throws -> GenerationCensus {
        try GenerationCensus(try transaction.cursor(core.tables.superblock))
    }

    private func served(_ slot: IndexSlot) throws -> GenerationRecord? {
        let generations = core.generations
        let known = try served ?? census()
        served = known
        return known.served(VolumeCore.indexes[slot.rawValue].name) { generations[$0] != nil }
    }

    /// The table of the generation that is served; nil where a damaged volume has none.
    func servedTable(of slot: IndexSlot) throws -> Table? {
        guard let record = try served(slot) else { return nil }
        return core.generations[TableName.generation(record.index, record.number)]
    }

    /// The record of the generation that is served.
    func activeGeneration(of slot: IndexSlot) throws -> GenerationRecord {
        guard let record = try served(slot) else {
            throw VolumeError.damaged(
                table: TableName.superblock,
                object: "the active generation of \(VolumeCore.indexes[slot.rawValue].name)",
                .field("state"))
        }
        return record
    }

    /// The table of the generation that is served.
    func activeTable(of slot: IndexSlot) throws -> Table {
        let record = try activeGeneration(of: slot)
        let name = TableName.generation(record.index, record.number)
        guard let table = core.generations[name] else {
            throw VolumeError.damaged(
                table: TableName.superblock, object: "table \(name)", .field("number"))
        }
        return table
    }
}
