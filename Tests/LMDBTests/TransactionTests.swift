import Bytes
import Foundation
import LMDB
import TestSupport
import Testing

@Suite(.temporaryDirectory) struct TransactionTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    @Test func `what was put is got, what was deleted is not`() throws {
        let (environment, table) = try scratch.openTable()
        try environment.write { transaction in
            try transaction.put(table, 1, [10])
            try transaction.put(table, 2, [])
            #expect(try transaction.value(table, 1) == [10])
            try transaction.put(table, 1, [11, 12])
            #expect(try transaction.value(table, 1) == [11, 12])
            #expect(try transaction.value(table, 2) == [])
            #expect(try transaction.value(table, 3) == nil)
            let two = key(2)
            #expect(try transaction.delete(table, two.span))
            #expect(try !transaction.delete(table, two.span))
        }
        let reader = try environment.beginRead()
        #expect(try reader.value(table, 1) == [11, 12])
        #expect(try reader.value(table, 2) == nil)
        #expect(try reader.statistics(table).entries == 1)
    }

    @Test func `an insert changes nothing where the key exists`() throws {
        let (environment, table) = try scratch.openTable()
        try environment.write { transaction in
            let one = key(1), old: [UInt8] = [1], new: [UInt8] = [2]
            let first = try transaction.insert(table, one.span, old.span.bytes)
            let second = try transaction.insert(table, one.span, new.span.bytes)
            #expect(first && !second)
            #expect(try transaction.value(table, 1) == [1])
        }
    }

    @Test
    func `a read transaction that is begun again sees the last commit, and holds none between`()
        throws
    {
        let (environment, table) = try scratch.openTable()
        for round in 1...40 as ClosedRange<UInt8> {
            try environment.write { try $0.put(table, 1, [round]) }
            // More at a time than are kept.
            var readers = try (0..<40).map { _ in Reader(try environment.beginRead()) }
            #expect(environment.oldestReader == environment.statistics.lastTransaction)
            for reader in readers {
                #expect(try reader.transaction.value(table, 1) == [round])
                #expect(reader.transaction.commit == environment.lastCommit)
            }
            readers.removeAll()
            #expect(environment.oldestReader == nil)
        }
        // The map can be made larger: those that are kept don't use it.
        #expect(try environment.grow(to: 64 << 20))
        let reader = try environment.beginRead()
        #expect(try reader.value(table, 1) == [40])
    }

    @Test func `a snapshot sees one commit, whatever comes after`() throws {
        let (environment, table) = try scratch.openTable()
        try environment.write { try $0.put(table, 1, [1]) }
        let before = try environment.beginRead()
        let number = before.commit
        try environment.write { transaction in
            #expect(transaction.commit == number + 1)
            try transaction.put(table, 1, [2])
            try transaction.put(table, 2, [2])
            #expect(try before.value(table, 1) == [1])
        }
        #expect(try before.value(table, 1) == [1])
        #expect(try before.value(table, 2) == nil)
        let after = try environment.beginRead()
        #expect(after.commit == number + 1)
        #expect(environment.statistics.lastTransaction == number + 1)
        #expect(try after.value(table, 1) == [2])
    }

    @Test func `an abort leaves nothing`() throws {
        struct Stop: Error {}
        let (environment, table) = try scratch.openTable()
        try environment.write { try $0.put(table, 1, [1]) }
        #expect(throws: Stop.self) {
            try environment.write { transaction in
                try transaction.put(table, 1, [2])
                try transaction.put(table, 2, [2])
                _ = try transaction.table("made", create: true)
                throw Stop()
            }
        }
        let reader = try environment.beginRead()
        #expect(try reader.value(table, 1) == [1])
        #expect(try reader.value(table, 2) == nil)
        #expect(try environment.table("made", create: false) == nil)
        try environment.write { try $0.put(table, 3, [3]) }
    }

    @Test func `a table that does not exist is nil, and a dropped one is gone`() throws {
        let environment = try scratch.open()
        #expect(try environment.table("none", create: false) == nil)
        let isThere = try environment.write { try $0.table("none", create: false) != nil }
        #expect(!isThere)
        let table = try environment.table("some", create: true)!
        #expect(try environment.table("some", create: false) == table)
        try environment.write { try $0.put(table, 1, [1]) }
        try environment.write { try $0.drop(table) }
        #expect(try environment.table("some", create: false) == nil)
    }

    @Test func `more tables than allowed is a typed error`() throws {
        let environment = try scratch.open(.init(maximumTables: 2, isUnsynced: true))
        _ = try environment.table("a", create: true)
        _ = try environment.table("b", create: true)
        let error = #expect(throws: LMDBError.self) { try environment.table("c", create: true) }
        #expect(error?.code == .tablesFull)
        #expect(error?.object == "c")
    }

    @Test func `keys have a length of 1 to 511 bytes`() throws {
        let (environment, table) = try scratch.openTable()
        #expect(environment.statistics.maximumKeySize == 511)
        let longest = [UInt8](repeating: 7, count: 511), none: [UInt8] = []
        try environment.write { try $0.put(table, longest.span.bytes, none.span.bytes) }
        let entries = try environment.beginRead().entries(table)
        #expect(entries == [[longest, none]])
        for wrong in [none, longest + [7]] {
            let error = #expect(throws: LMDBError.self) {
                try environment.write { try $0.put(table, wrong.span.bytes, none.span.bytes) }
            }
            #expect(error?.code == .badValueSize)
            #expect(error?.operation == "put")
        }
    }

    @Test func `values may be larger than a page`() throws {
        let (environment, table) = try scratch.openTable()
        let large = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        try environment.write { try $0.put(table, 1, large) }
        let reader = try environment.beginRead()
        #expect(try reader.value(table, 1) == large)
        #expect(try reader.statistics(table).overflowPages > 20)
    }

    @Test
    func `a write transaction inside a write transaction traps`() async throws {
        let result = await #expect(
            processExitsWith: .failure, observing: [\.exitStatus]
        ) { [path = scratch.path as String] in
            endIfHung()
            let environment = try Environment(path: path, options: .init(isUnsynced: true))
            try environment.write { _ in try environment.write { _ in } }
        }
        try expectTrap(result)
    }

    @Test
    func `a commit on another thread traps`() async throws {
        let result = await #expect(
            processExitsWith: .failure, observing: [\.exitStatus]
        ) { [path = scratch.path as String] in
            endIfHung()
            let environment = try Environment(path: path, options: .init(isUnsynced: true))
            let box = TransactionBox(try environment.beginWrite())
            try ThreadTask { try box.transaction.commitNow() }.value()
        }
        try expectTrap(result)
    }

    @Test
    func `a transaction that is over can't be used`() async throws {
        let result = await #expect(
            processExitsWith: .failure, observing: [\.exitStatus]
        ) { [path = scratch.path as String] in
            endIfHung()
            let environment = try Environment(path: path, options: .init(isUnsynced: true))
            let table = try environment.table("t", create: true)!
            var transaction = try environment.beginWrite()
            try transaction.commitNow()
            try transaction.put(table, 1, [1])
        }
        try expectTrap(result)
    }

    /// A trap ends the process by a signal, which is not that of the clock; an error that was
    /// thrown would not.
    private func expectTrap(_ result: ExitTest.Result?) throws {
        guard case .signal(let signal) = try #require(result).exitStatus, signal != SIGALRM else {
            Issue.record("no trap: \(String(describing: result?.exitStatus))")
            return
        }
    }
}

/// Of the process of an exit test: what should have trapped may wait for ever instead.
private func endIfHung() { alarm(UInt32(patience)) }

/// Transactions in a list.
private final class Reader {
    let transaction: ReadTransaction
    init(_ transaction: consuming ReadTransaction) { self.transaction = transaction }
}
