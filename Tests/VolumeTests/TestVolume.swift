// A volume in a directory of its own, for the length of a test.

import Bytes
import Foundation
import LMDB
import TestSupport
import Tidemark
import VolumeFormat

@testable import Volume

/// Made, opened, handed to `body`, closed and removed.
func withVolume<R>(
    size: UInt64 = 64 << 20, create: (inout CreateOptions) -> Void = { _ in },
    open: (inout OpenOptions) -> Void = { _ in }, _ body: (Volume) throws -> R
) throws -> R {
    try withDirectory { directory in
        let path = directory + "/volume"
        var createOptions = CreateOptions(size: size)
        create(&createOptions)
        try Volume.create(path, options: createOptions)
        return try withOpen(path, open, body)
    }
}

/// Opens the volume, hands it to `body`, and closes it.
func withOpen<R>(
    _ path: String, _ options: (inout OpenOptions) -> Void = { _ in }, _ body: (Volume) throws -> R
) throws -> R {
    var openOptions = OpenOptions()
    openOptions.metadataLimit = 1 << 30
    options(&openOptions)
    let volume = try Volume.open(path, options: openOptions)
    let result: R
    do {
        result = try body(volume)
    } catch {
        try? volume.close()
        throw error
    }
    try volume.close()
    return result
}

extension Volume {
    /// All records of the fixed tables and of the live generations, as they are stored.
    func contents() throws -> [String: [[UInt8]: [UInt8]]] {
        let snapshot = try read()
        var contents: [String: [[UInt8]: [UInt8]]] = [:]
        for name in try snapshot.tableNames() {
            var table: [[UInt8]: [UInt8]] = [:]
            try snapshot.dump(name) { key, value in table[key.array] = value.array }
            contents[name] = table
        }
        return contents
    }

    /// A table's records.
    func records(_ table: String) throws -> [[UInt8]: [UInt8]] {
        var records: [[UInt8]: [UInt8]] = [:]
        try read().dump(table) { key, value in records[key.array] = value.array }
        return records
    }

    /// What the primary records derive, by separate code: index entries as they should stand
    /// in a live generation.
    func derived() throws -> (rmap: [[UInt8]: [UInt8]], parents: [[UInt8]: [UInt8]]) {
        var rmap: [[UInt8]: [UInt8]] = [:]
        for (key, value) in try records(TableName.extents) {
            // start, owner, fork and offset; length and state
            let entry = Array(value[0..<8]) + key
            rmap[entry] = sealedValue(key: entry.rawSpan, body: Array(value[8..<13]))
        }
        var parents: [[UInt8]: [UInt8]] = [:]
        for (key, value) in try records(TableName.dirents) {
            let entry = Array(value[0..<8]) + key
            parents[entry] = sealedValue(key: entry.rawSpan, body: Array(value[8..<12]))
        }
        return (rmap, parents)
    }

    /// The entries of a live generation.
    func liveEntries(_ index: String) throws -> [[UInt8]: [UInt8]] {
        let record = try read().generations().first { $0.index == index && $0.state == .active }
        return try records(TableName.generation(index, record?.number ?? 0))
    }
}

func name(_ number: Int) -> [UInt8] { Array("name-\(number)".utf8) }
