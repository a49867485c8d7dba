// Fills tables in key order: sequential, with full pages, as no volume in use is filled,
// but in minutes instead of hours.

internal import Bytes
internal import LMDB
internal import VolumeFormat

/// The records of one table, in key order, handed out piece by piece.
protocol RecordSource {
    /// Puts the records of the next object. Returns false when there is none.
    mutating func next(_ put: (RawSpan, RawSpan) throws -> Void) throws -> Bool
}

struct TableFiller {
    let environment: Environment

    private static let recordsPerTransaction = 200_000

    /// Replaces what the table holds. Returns the number of records.
    @discardableResult
    func fill(_ name: String, _ source: consuming some RecordSource) throws -> Int {
        var source = source
        let table = try environment.write { transaction in
            if let old = try transaction.table(name, create: false) { try transaction.drop(old) }
            return try transaction.table(name, create: true)
        }
        guard let table else { preconditionFailure("a table that was created is there") }
        var total = 0, isDone = false
        while !isDone {
            try environment.write { transaction in
                try transaction.withCursor(table) { cursor in
                    var records = 0
                    while records < TableFiller.recordsPerTransaction, !isDone {
                        isDone = try !source.next { key, value in
                            try cursor.append(key, value)
                            records += 1
                        }
                    }
                    total += records
                }
            }
        }
        return total
    }
}

/// Records that a closure makes by number.
struct IndexedSource: RecordSource {
    let count: Int
    typealias Put = (RawSpan, RawSpan) throws -> Void
    let record: (Int, Put) throws -> Void
    private var position = 0

    init(_ count: Int, _ record: @escaping (Int, Put) throws -> Void) {
        self.count = count
        self.record = record
    }

    mutating func next(_ put: (RawSpan, RawSpan) throws -> Void) throws -> Bool {
        guard position < count else { return false }
        try record(position, put)
        position += 1
        return true
    }
}

/// Entries and sum of a generation, as its record keeps them.
final class GenerationSum {
    private(set) var entries: UInt64 = 0
    private(set) var sum: UInt64 = 0

    /// Of quota usage the record counts inodes, and adds up weights.
    func add(_ usage: QuotaUsage, of key: QuotaKey) {
        entries &+= usage.inodes
        sum &+= usage.weight(of: key)
    }

    func add(_ checksum: UInt32) {
        entries += 1
        sum &+= GenerationRecord.mix(checksum)
    }
}
