// The tables as they are stored: for `tidemark dump`, and for whoever looks for damage.

internal import Bytes
internal import LMDB
public import Tidemark
public import VolumeFormat

extension VolumeSnapshot {
    /// The tables of this volume: the fixed ones, then those of all generations, and those of mends
    /// where there are any.
    public func tableNames() throws -> [String] {
        let mends = [TableName.quarantine, TableName.mends].compactMap {
            core.generations[$0]?.name
        }
        return try Tables.names
            + generations().map { TableName.generation($0.index, $0.number) } + mends
    }

    /// Hands each record of the table to `body`, in key order. Nothing is decoded.
    /// - Throws: `invalid` where there is no such table.
    public func dump(_ name: String, _ body: (RawSpan, RawSpan) throws -> Void) throws {
        var cursor = try transaction.cursor(try table(name))
        var isThere = try cursor.first()
        while isThere {
            try body(cursor.key, cursor.value)
            isThere = try cursor.next()
        }
    }

    func table(_ name: String) throws -> Table {
        if let table = core.tables.all.first(where: { $0.name == name }) { return table }
        guard try tableNames().contains(name), let table = core.generations[name] else {
            throw VolumeError.invalid("table \(name): the volume has \(try tableNames())")
        }
        return table
    }
}

// MARK: Records that are the volume's own

extension VolumeSnapshot {
    /// A record of table `runs`.
    public static func run(key: RawSpan, value: RawSpan) throws(RecordDamage) -> RunRecord {
        try Runs.record(key: key, value: value)
    }

    /// A piece of the hook log: where it stands, and how many deltas it holds.
    public static func logged(
        key: RawSpan, value: RawSpan
    ) throws(RecordDamage) -> (position: LogPosition, deltas: Int) {
        var deltas = DeltaBatch()
        let position = try HookLog.decode(key, value, into: &deltas)
        return (position, deltas.count)
    }
}
