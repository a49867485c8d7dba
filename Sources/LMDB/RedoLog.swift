// What a write transaction has changed, so that it can be done once more in another: liblmdb has
// no way back to a point inside a transaction that costs as little (a nested transaction copies
// each page that it touches).
//
// A record: kind u8, table u32, key length u32, value length u32, key, value; integers in the
// processor's own byte order.

internal import Bytes

/// Used by one thread at a time.
package final class RedoLog {
    private enum Kind: UInt8 { case put, delete }

    private static let headerSize = 13

    private var arena = ByteArena(capacity: 1 << 16)

    package init() {}

    /// Where the next record comes.
    package var position: Int { arena.count }

    /// Forgets what came at `position` and behind it.
    package func cut(to position: Int) { arena.cut(to: position) }

    func notePut(_ table: Table, _ key: RawSpan, _ value: RawSpan) {
        note(.put, table, key, value)
    }

    func noteDelete(_ table: Table, _ key: RawSpan) { note(.delete, table, key, RawSpan()) }

    private func note(_ kind: Kind, _ table: Table, _ key: RawSpan, _ value: RawSpan) {
        arena.append(native: kind.rawValue)
        arena.append(native: table.dbi)
        arena.append(native: UInt32(key.byteCount))
        arena.append(native: UInt32(value.byteCount))
        arena.append(key)
        arena.append(value)
    }

    /// Hands each change of one of `tables` to `body`, in their order: the value that was put, nil
    /// for a deletion.
    package func forEach(
        of tables: [Table], _ body: (Table, RawSpan, RawSpan?) throws -> Void
    ) rethrows {
        let named = Dictionary(uniqueKeysWithValues: tables.map { ($0.dbi, $0) })
        var arena = ByteArena(capacity: 64)
        swap(&arena, &self.arena)
        defer { swap(&arena, &self.arena) }
        var position = 0
        while position < arena.count {
            let table = named[arena.load(at: position + 1)]
            let keySize = Int(arena.load(at: position + 5, as: UInt32.self))
            let valueSize = Int(arena.load(at: position + 9, as: UInt32.self))
            let start = position + RedoLog.headerSize
            if let table {
                let key = arena.bytes(at: start, keySize)
                if Kind(rawValue: arena.load(at: position)) == .put {
                    try body(table, key, arena.bytes(at: start + keySize, valueSize))
                } else {
                    try body(table, key, nil)
                }
            }
            position = start + keySize + valueSize
        }
    }

    /// Does all of it once more.
    fileprivate func redo(_ transaction: inout WriteTransaction) throws(LMDBError) {
        // Spans into an arena are good as long as the arena is a variable of their own scope.
        var arena = ByteArena(capacity: 64)
        swap(&arena, &self.arena)
        defer { swap(&arena, &self.arena) }
        var position = 0
        while position < arena.count {
            let table = Table(dbi: arena.load(at: position + 1), name: "a change done again")
            let keySize = Int(arena.load(at: position + 5, as: UInt32.self))
            let valueSize = Int(arena.load(at: position + 9, as: UInt32.self))
            let start = position + RedoLog.headerSize
            let key = arena.bytes(at: start, keySize)
            if Kind(rawValue: arena.load(at: position)) == .put {
                try transaction.put(table, key, arena.bytes(at: start + keySize, valueSize))
            } else {
                _ = try transaction.delete(table, key)
            }
            position = start + keySize + valueSize
        }
    }
}

extension WriteTransaction {
    /// Notes each change from here on in `log`, by key; nil: no more. What changes entries in
    /// another way (by a cursor, by appending, whole tables) can't be noted.
    package mutating func note(in log: RedoLog?) { redoLog = log }

    /// Redoes what another transaction has logged, and continues to log.
    package mutating func redo(_ log: RedoLog) throws(LMDBError) {
        redoLog = nil
        try log.redo(&self)
        redoLog = log
    }

    func checkNotNoted() {
        precondition(redoLog == nil, "a change that can't be done again")
    }
}
