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
    /// The active generation of each index, found when it is first asked for.
    private var active: [GenerationRecord]?

    init(_ core: VolumeCore) throws {
        self.core = core
        shard = LiveSnapshots.shard
        transaction = try core.snapshots.begin(core.environment, shard: shard)
    }

    deinit { core.snapshots.end(transaction.commit, shard: shard) }

    /// The number of the last commit that is seen.
    public var commit: UInt64 { transaction.commit }

    /// The records of all generations of all indexes.
    func generations() throws -> [GenerationRecord] {
        try readGenerations(try transaction.cursor(core.tables.superblock))
    }

    /// The record of the generation that is served.
    func activeGeneration(of slot: IndexSlot) throws -> GenerationRecord {
        let name = VolumeCore.indexes[slot.rawValue].name
        let records = try active ?? generations().filter { $0.state == .active }
        active = records
        guard let record = records.first(where: { $0.index == name }) else {
            throw VolumeError.damaged(
                table: TableName.superblock, object: "the active generation of \(name)",
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

/// The records of all generations, in the order of their keys.
func readGenerations(_ cursor: consuming Cursor) throws -> [GenerationRecord] {
    var records: [GenerationRecord] = []
    let prefix = GenerationRecord.keyPrefix
    var isThere = try cursor.seek(prefix.rawSpan)
    while isThere, cursor.key.byteCount > prefix.count,
        compareBytes(cursor.key.extracting(first: prefix.count), prefix.rawSpan) == 0
    {
        do {
            records.append(try GenerationRecord(key: cursor.key, value: cursor.value))
        } catch {
            throw VolumeError.damaged(
                table: TableName.superblock, object: escapedName(cursor.key), error)
        }
        isThere = try cursor.next()
    }
    return records
}
