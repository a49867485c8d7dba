// A place for the environment of one test.

import Bytes
import LMDB
import TestSupport

final class Scratch: Sendable {
    let directory: String
    var path: String { directory + "/test.mdb" }

    init() throws { directory = try temporaryDirectory() }

    func open(_ options: Environment.Options = .init(isUnsynced: true)) throws -> Environment {
        try Environment(path: path, options: options)
    }

    /// An environment with one table.
    func openTable(
        _ options: Environment.Options = .init(isUnsynced: true)
    ) throws -> (Environment, Table) {
        let environment = try open(options)
        return (environment, try environment.table("t", create: true)!)
    }
}

func key(_ number: UInt64) -> FixedBytes<8> {
    var key = FixedBytes<8>()
    key.store(number, at: 0)
    return key
}

extension WriteTransaction {
    mutating func put(_ table: Table, _ number: UInt64, _ value: [UInt8]) throws {
        let bytes = key(number)
        try put(table, bytes.span, value.span.bytes)
    }

    func value(_ table: Table, _ number: UInt64) throws -> [UInt8]? {
        let bytes = key(number)
        return try get(table, bytes.span)?.array
    }
}

extension ReadTransaction {
    func value(_ table: Table, _ number: UInt64) throws -> [UInt8]? {
        let bytes = key(number)
        return try get(table, bytes.span)?.array
    }

    /// All entries in key order.
    func entries(_ table: Table) throws -> [[[UInt8]]] {
        var cursor = try cursor(table)
        var entries: [[[UInt8]]] = []
        var found = try cursor.first()
        while found {
            entries.append([cursor.key.array, cursor.value.array])
            found = try cursor.next()
        }
        return entries
    }
}
