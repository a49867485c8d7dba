// What a volume holds, in numbers: for `tidemark stat`.

internal import Bytes
internal import LMDB
internal import Synchronization
public import VolumeFormat

public struct VolumeStatistics: Sendable {
    public struct TableSize: Sendable {
        public let name: String
        public let records: Int
        public let pages: Int
    }

    public struct GenerationSize: Sendable {
        public let record: GenerationRecord
        /// Entries that the table holds; `record.entries` is how many there should be.
        public let entries: Int
        public let pages: Int
    }

    public let commit: UInt64
    /// The last commit that survives a failure of the system.
    public let durableCommit: UInt64
    public let geometry: Geometry
    public let counters: Counters
    public let tables: [TableSize]
    public let generations: [GenerationSize]
    /// Bytes.
    public let pageSize: Int
    /// Bytes of the metadata file up to its last page in use.
    public let metadataBytes: Int
    /// Bytes of the metadata file in pages that are free.
    public let freeMetadataBytes: Int
    /// Bytes of metadata at the most.
    public let metadataLimit: Int
    /// Index entries that operations did not find as they should have been, since the volume
    /// was opened: a sign of damage.
    public let indexAnomalies: UInt64
}

extension Volume {
    /// About how many bytes of the data area are free, without a look at a snapshot.
    public var freeBytes: UInt64 {
        let (bytes, overflow) = core.freeBlocks.load(ordering: .relaxed)
            .multipliedReportingOverflow(by: UInt64(geometry.blockSize))
        return overflow ? .max : bytes
    }
}

extension Volume {
    public func statistics() throws -> VolumeStatistics {
        try read().statistics()
    }
}

extension VolumeSnapshot {
    public func statistics() throws -> VolumeStatistics {
        let environment = core.environment.statistics
        let tables = try core.tables.all.map { table in
            let size = try transaction.statistics(table)
            return VolumeStatistics.TableSize(
                name: table.name, records: size.entries, pages: size.pages)
        }
        let sizes = try generations().map { record in
            let size = try core.generations[TableName.generation(record.index, record.number)]
                .map { try transaction.statistics($0) }
            return VolumeStatistics.GenerationSize(
                record: record, entries: size?.entries ?? 0, pages: size?.pages ?? 0)
        }
        let growth = core.environment.pagesToGrow
        return VolumeStatistics(
            commit: commit, durableCommit: core.durableCommit, geometry: core.geometry,
            counters: try counters(), tables: tables, generations: sizes,
            pageSize: environment.pageSize, metadataBytes: environment.usedBytes,
            freeMetadataBytes: max(0, try transaction.freePages() - growth) * environment.pageSize,
            metadataLimit: environment.mapSize,
            indexAnomalies: core.indexAnomalies.load(ordering: .relaxed))
    }

    /// The counters as of this commit.
    func counters() throws -> Counters {
        let key = Counters.key
        var cursor = try transaction.cursor(core.tables.superblock)
        guard try cursor.find(key.rawSpan) else {
            throw VolumeError.damaged(table: TableName.superblock, object: "the counters", .length)
        }
        do {
            return try Counters(value: cursor.value)
        } catch {
            throw VolumeError.damaged(table: TableName.superblock, object: "the counters", error)
        }
    }
}
