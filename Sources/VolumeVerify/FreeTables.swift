// The two tables of free space hold the same runs: each is looked up in the other.

internal import Bytes
internal import LMDB
internal import VolumeFormat

struct FreeTables {
    let tables: PrimaryTables
    let findings: Findings

    func run(_ transaction: borrowing ReadTransaction) throws {
        try lookUpByLength(transaction)
        try lookUpByStart(transaction)
    }

    /// Every run of `free` in `freelen`. Damaged runs were reported by the sweep.
    private func lookUpByLength(_ transaction: borrowing ReadTransaction) throws {
        var walk = try TableWalk.start(transaction, tables.free, nil)
        while !walk.isAtEnd {
            if let run = try? FreeRecord(key: walk.key, value: walk.value) {
                let key = FreeRecord.lengthKey(length: run.length, start: run.start)
                if try transaction.get(tables.freeByLength, key.span) == nil {
                    findings.defect(
                        .freeTables, in: TableName.free, key: [.init("block", run.start)],
                        found: "length \(run.length)",
                        expected: "the same in \(TableName.freeByLength)")
                }
            }
            try walk.advance()
        }
    }

    /// Every run of `freelen` in `free`.
    private func lookUpByStart(_ transaction: borrowing ReadTransaction) throws {
        var walk = try TableWalk.start(transaction, tables.freeByLength, findings)
        while !walk.isAtEnd {
            do throws(RecordDamage) {
                let run = try FreeRecord(lengthKey: walk.key, value: walk.value)
                let other = try? length(transaction, at: run.start)
                if other != run.length {
                    findings.defect(
                        .freeTables, in: walk.name, key: describedKey(of: walk.name, walk.key),
                        found: "length \(run.length)",
                        expected: other.map { "length \($0)" } ?? "no free space there")
                }
            } catch {
                walk.damaged(error)
            }
            try walk.advance()
        }
    }

    /// The length of the run that `free` has at `start`; nil where it has none.
    private func length(
        _ transaction: borrowing ReadTransaction, at start: UInt64
    ) throws -> UInt64? {
        let key = FreeRecord.key(start: start)
        guard let value = try transaction.get(tables.free, key.span) else { return nil }
        return (try? FreeRecord(key: key.span, value: value))?.length
    }
}
