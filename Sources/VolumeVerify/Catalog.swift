// What is there to verify: the volume's tables, its super records, and the active
// generation of each index.

internal import Bytes
internal import LMDB
internal import VolumeFormat

/// The tables of primary records.
struct PrimaryTables {
    let superblock, inodes, dirents, extents, xattrs, symlinks: Table
    let free, freeByLength, reclaim, freeInodes: Table

    static let names = [
        TableName.superblock, TableName.inodes, TableName.dirents, TableName.extents,
        TableName.xattrs, TableName.symlinks, TableName.free, TableName.freeByLength,
        TableName.reclaim, TableName.freeInodes,
    ]

    /// - Returns: nil where one is missing: nothing can be compared then.
    static func open(
        _ environment: Environment, _ findings: Findings
    ) throws -> PrimaryTables? {
        var tables: [Table] = []
        for name in names {
            if let table = try environment.table(name, create: false) {
                tables.append(table)
            } else if name == TableName.superblock {
                throw VerifyError.notAVolume(path: environment.path)
            } else {
                findings.defect(
                    .missingTable, in: name, key: [], found: nil, expected: "a table")
            }
        }
        return PrimaryTables(Dictionary(uniqueKeysWithValues: tables.map { ($0.name, $0) }))
    }

    /// - Returns: nil where one is missing.
    init?(_ named: [String: Table]) {
        let tables = PrimaryTables.names.compactMap { named[$0] }
        guard tables.count == PrimaryTables.names.count else { return nil }
        (superblock, inodes, dirents, extents) = (tables[0], tables[1], tables[2], tables[3])
        (xattrs, symlinks, free, freeByLength) = (tables[4], tables[5], tables[6], tables[7])
        (reclaim, freeInodes) = (tables[8], tables[9])
    }

    var all: [Table] {
        [
            superblock, inodes, dirents, extents, xattrs, symlinks, free, freeByLength, reclaim,
            freeInodes,
        ]
    }
}

/// The records of table `super`.
struct SuperRecords {
    /// nil where it is damaged or missing: what depends on it is not judged.
    var geometry: Geometry?
    var counters: Counters?
    var generations: [GenerationRecord] = []

    init(
        _ transaction: borrowing ReadTransaction, _ table: Table, path: String,
        _ findings: Findings?
    ) throws {
        var cursor = try transaction.cursor(table)
        var found = try cursor.first()
        var isGeometryThere = false, areCountersThere = false
        while found {
            let key = cursor.key.array
            do throws(RecordDamage) {
                if key == Geometry.key {
                    isGeometryThere = true
                    geometry = try Geometry(value: cursor.value)
                } else if key == Counters.key {
                    areCountersThere = true
                    counters = try Counters(value: cursor.value)
                } else if key.starts(with: GenerationRecord.keyPrefix) {
                    generations.append(try GenerationRecord(key: cursor.key, value: cursor.value))
                } else {
                    _ = try cursor.value.verified(key: cursor.key)
                }
            } catch {
                findings?.damaged(TableName.superblock, key: cursor.key, error)
            }
            found = try cursor.next()
        }
        if let version = geometry?.version, version > Geometry.currentVersion {
            throw VerifyError.newerFormat(path: path, version: version)
        }
        if let version = geometry?.version, version < Geometry.currentVersion {
            throw VerifyError.olderFormat(path: path, version: version)
        }
        if !isGeometryThere { SuperRecords.missing("geometry", findings) }
        if !areCountersThere { SuperRecords.missing("counters", findings) }
    }

    private static func missing(_ record: String, _ findings: Findings?) {
        findings?.defect(
            .damagedRecord, in: TableName.superblock, key: [.init("record", record)], found: nil,
            expected: "a record")
    }

    /// The active generation of `index`; nil, which is a defect, where there is not exactly one.
    func active(_ index: String, _ findings: Findings?) -> GenerationRecord? {
        let active = generations.filter { $0.index == index && $0.state == .active }
        if active.count == 1 { return active[0] }
        let numbers = active.map { "\($0.number)" }.joined(separator: ", ")
        findings?.defect(
            .activeGeneration, in: TableName.superblock, key: [.init("index", index)],
            found: active.isEmpty ? nil : "generations \(numbers)", expected: "one generation")
        return nil
    }
}
