// The wrapper against a sorted dictionary: random transactions, some of them aborted, some
// by a full map, with snapshots that are looked at again later.

import Bytes
import LMDB
import TestSupport
import Testing

@Suite(.temporaryDirectory) struct ModelTests {
    private struct Stop: Error {}

    @Test(arguments: 0..<30)
    func `a table is a sorted dictionary`(_ seed: UInt64) throws {
        let scratch = try Scratch()
        var random = SplitMix64(seed: seed)
        let (environment, table) = try scratch.openTable()
        var model: [[UInt8]: [UInt8]] = [:]
        var pinned = try environment.beginRead()
        var pinnedModel = model
        for _ in 0..<60 {
            let commits = Int.random(in: 0..<4, using: &random) > 0
            var changed = model
            do {
                try environment.write { transaction in
                    for _ in 0..<Int.random(in: 1...60, using: &random) {
                        try step(&transaction, table, &changed, &random)
                    }
                    if !commits { throw Stop() }
                }
                #expect(commits, "SEED=\(seed)")
                model = changed
            } catch is Stop {
                #expect(!commits, "SEED=\(seed)")
            }
            try compare(try environment.beginRead(), table, model, seed)
            if Int.random(in: 0..<8, using: &random) == 0 {
                try compare(pinned, table, pinnedModel, seed)
                pinned = try environment.beginRead()
                pinnedModel = model
            }
        }
        try compare(pinned, table, pinnedModel, seed)
    }

    private func step(
        _ transaction: inout WriteTransaction, _ table: Table, _ model: inout [[UInt8]: [UInt8]],
        _ random: inout SplitMix64
    ) throws {
        // Few and short keys, so that they meet, now and then a long one.
        let isLong = Int.random(in: 0..<20, using: &random) == 0
        let length = isLong ? 300 : Int.random(in: 1...3, using: &random)
        let key = (0..<length).map { _ in UInt8.random(in: 0...5, using: &random) }
        let value = [UInt8](
            repeating: .random(in: 0...255, using: &random),
            count: Int.random(in: 0..<10, using: &random) == 0 ? 3000 : 12)
        switch Int.random(in: 0..<7, using: &random) {
        case 0, 1:
            try transaction.put(table, key.span.bytes, value.span.bytes)
            model[key] = value
        case 2:
            let isNew = try transaction.insert(table, key.span.bytes, value.span.bytes)
            #expect(isNew == (model[key] == nil))
            if isNew { model[key] = value }
        case 3:
            let wasThere = try transaction.delete(table, key.span.bytes)
            #expect(wasThere == (model.removeValue(forKey: key) != nil))
        case 4:
            #expect(try transaction.get(table, key.span.bytes)?.array == model[key])
        default:
            try transaction.withCursor(table) { try walk(&$0, key, &model, &random) }
        }
    }

    /// From `key` on a few steps, changing or deleting what is met.
    private func walk(
        _ cursor: inout WriteCursor, _ key: [UInt8], _ model: inout [[UInt8]: [UInt8]],
        _ random: inout SplitMix64
    ) throws {
        var found = try cursor.seek(key.span.bytes)
        var expected = sorted(model).drop { $0.lexicographicallyPrecedes(key) }
        for _ in 0..<5 {
            #expect(found == (expected.first != nil))
            guard let next = expected.popFirst(), found else { return }
            #expect(cursor.key.array == next)
            #expect(cursor.value.array == model[next])
            switch Int.random(in: 0..<3, using: &random) {
            case 0:
                try cursor.delete()
                model[next] = nil
            case 1:
                let value = [UInt8](repeating: 7, count: Int.random(in: 0...50, using: &random))
                try cursor.put(next.span.bytes, value.span.bytes)
                model[next] = value
            default: break
            }
            found = try cursor.next()
        }
    }

    private func compare(
        _ reader: borrowing ReadTransaction, _ table: Table, _ model: [[UInt8]: [UInt8]],
        _ seed: UInt64
    ) throws {
        let entries = try reader.entries(table)
        #expect(entries == sorted(model).map { [$0, model[$0]!] }, "SEED=\(seed)")
        #expect(try reader.statistics(table).entries == model.count, "SEED=\(seed)")
        var cursor = try reader.cursor(table)
        for key in sorted(model).reversed().prefix(10) {
            #expect(try cursor.seek(atOrBefore: (key + [0]).span.bytes))
            #expect(try reader.get(table, key.span.bytes)?.array == model[key], "SEED=\(seed)")
        }
    }

    private func sorted(_ model: [[UInt8]: [UInt8]]) -> [[UInt8]] {
        model.keys.sorted { $0.lexicographicallyPrecedes($1) }
    }
}
