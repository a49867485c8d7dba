import Bytes
import LMDB
import TestSupport
import Testing

@Suite(.temporaryDirectory) struct CursorTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// A table with the keys 10, 20, … 50.
    private func openFilled() throws -> (Environment, Table) {
        let (environment, table) = try scratch.openTable()
        try environment.write { transaction in
            for number in [30, 10, 50, 20, 40] as [UInt64] {
                try transaction.put(table, number, [UInt8(number)])
            }
        }
        return (environment, table)
    }

    @Test func `moves go in key order and end at the ends`() throws {
        let (environment, table) = try openFilled()
        let reader = try environment.beginRead()
        var cursor = try reader.cursor(table)
        #expect(cursor.key.byteCount == 0)
        var seen: [UInt8] = []
        var found = try cursor.first()
        while found {
            seen.append(cursor.value.integer(at: 0))
            found = try cursor.next()
        }
        #expect(seen == [10, 20, 30, 40, 50])
        #expect(try cursor.last())
        #expect(cursor.value.array == [50])
        #expect(try cursor.previous())
        #expect(cursor.value.array == [40])
        #expect(try cursor.first())
        #expect(try !cursor.previous())
    }

    @Test(
        arguments: [
            (5, 10, nil), (10, 10, 10), (11, 20, 10), (49, 50, 40), (50, 50, 50), (51, nil, 50),
        ] as [(UInt64, UInt8?, UInt8?)])
    func `a seek finds the key or the next one, or the one before`(
        _ sought: UInt64, _ after: UInt8?, _ before: UInt8?
    ) throws {
        let (environment, table) = try openFilled()
        let reader = try environment.beginRead()
        var cursor = try reader.cursor(table)
        let sought = key(sought)
        #expect(try cursor.seek(sought.span) == (after != nil))
        #expect(cursor.value.array == (after.map { [$0] } ?? []))
        #expect(try cursor.find(sought.span) == (after != nil && after == before))
        #expect(try cursor.seek(atOrBefore: sought.span) == (before != nil))
        if let before { #expect(cursor.value.array == [before]) }
    }

    @Test func `a seek that finds nothing leaves no key behind`() throws {
        let (environment, table) = try openFilled()
        let reader = try environment.beginRead()
        var cursor = try reader.cursor(table)
        #expect(try cursor.first())
        let beyond = key(99)
        #expect(try !cursor.seek(beyond.span))
        #expect(cursor.key.byteCount == 0)
        #expect(cursor.value.byteCount == 0)
    }

    @Test func `an empty table has no first, last, next or nearest entry`() throws {
        let (environment, table) = try scratch.openTable()
        let reader = try environment.beginRead()
        var cursor = try reader.cursor(table)
        let any = key(1)
        #expect(try !cursor.first())
        #expect(try !cursor.last())
        #expect(try !cursor.next())
        #expect(try !cursor.seek(any.span))
        #expect(try !cursor.seek(atOrBefore: any.span))
    }

    @Test func `a cursor keeps its snapshot alive`() throws {
        let (environment, table) = try openFilled()
        func cursorOfSnapshot() throws -> Cursor { try environment.beginRead().cursor(table) }
        var cursor = try cursorOfSnapshot()
        // Enough commits to use the snapshot's pages again, were it not held.
        for round in 0..<20 as Range<UInt8> {
            try environment.write { transaction in
                for number in 0..<200 as Range<UInt64> {
                    try transaction.put(table, number, [round, round])
                }
            }
        }
        #expect(try cursor.first())
        #expect(cursor.value.array == [10])
        #expect(try cursor.last())
        #expect(cursor.value.array == [50])
        #expect(try !environment.grow(to: 1 << 31), "the snapshot still uses the map")
    }

    @Test func `a transaction keeps its environment open`() throws {
        func cursorOfEnvironment() throws -> Cursor {
            let (environment, table) = try openFilled()
            return try environment.beginRead().cursor(table)
        }
        var cursor = try cursorOfEnvironment()
        #expect(try cursor.last())
        #expect(cursor.value.array == [50])
    }

    @Test func `a write cursor changes what it stands on and holds no stale bytes`() throws {
        let (environment, table) = try openFilled()
        try environment.write { transaction in
            try transaction.withCursor(table) { cursor in
                let twenty = key(20), value: [UInt8] = [9, 9]
                #expect(try cursor.find(twenty.span))
                #expect(cursor.key.array == twenty.span.array)
                try cursor.put(twenty.span, value.span.bytes)
                #expect(cursor.key.byteCount == 0)
                #expect(cursor.value.byteCount == 0)
                #expect(try cursor.next())
                #expect(cursor.value.array == [30])
                try cursor.delete()
                #expect(cursor.value.byteCount == 0)
                #expect(try cursor.next())
                #expect(cursor.value.array == [40])
            }
        }
        let values = try environment.beginRead().entries(table).map { $0[1] }
        #expect(values == [[10], [9, 9], [40], [50]])
    }

    @Test func `deleting on the way visits every entry once`() throws {
        let (environment, table) = try scratch.openTable()
        try environment.write { transaction in
            for number in 0..<2000 as Range<UInt64> {
                try transaction.put(table, number, Array(repeating: 1, count: 40))
            }
        }
        try environment.write { transaction in
            try transaction.withCursor(table) { cursor in
                var next: UInt64 = 0
                while try next == 0 ? cursor.first() : cursor.next() {
                    #expect(cursor.key.integer(at: 0) == next)
                    if next % 3 != 0 { try cursor.delete() }
                    next += 1
                }
                #expect(next == 2000)
            }
        }
        #expect(try environment.beginRead().statistics(table).entries == 667)
    }

    @Test func `an append below the last key is refused`() throws {
        let (environment, table) = try scratch.openTable()
        try environment.write { transaction in
            try transaction.withCursor(table) { cursor in
                let low = key(1), high = key(2), value: [UInt8] = [1]
                try cursor.append(low.span, value.span.bytes)
                try cursor.append(high.span, value.span.bytes)
                for wrong in [low, high] {
                    let error = #expect(throws: LMDBError.self) {
                        try cursor.append(wrong.span, value.span.bytes)
                    }
                    #expect(error?.code == .keyExists)
                    #expect(error?.operation == "append")
                    #expect(error?.object == "t")
                }
            }
        }
        #expect(try environment.beginRead().statistics(table).entries == 2)
    }
}
