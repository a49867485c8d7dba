// A directory for one test, removed with the value.

import Bytes
import Foundation
import LMDB

final class Scratch: Sendable {
    let directory: String
    var path: String { directory + "/test.mdb" }

    init() {
        let url = FileManager.default.temporaryDirectory
            .appendingPathComponent("lmdb-\(UUID().uuidString)")
        directory = url.path
        do {
            try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        } catch {
            preconditionFailure("no temporary directory: \(error)")
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

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

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
