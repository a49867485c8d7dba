// Workers around a generated volume: making it, proving it right, the raw append of its
// index, and its rows for PostgreSQL.

internal import Bytes
internal import CBaseline
internal import Foundation
internal import LMDB
internal import Volume
internal import VolumeFormat
internal import VolumeGenerator
internal import VolumeVerify

enum VolumeWorkers {
    static let blockSize: UInt64 = 4096

    /// `generate VOLUME ENTRIES SEED`
    static func generate(_ arguments: Arguments) throws -> Measures {
        let path = try arguments.string(0)
        var options = CreateOptions()
        let generator = VolumeGenerator(
            entries: try arguments.integer(1), seed: UInt64(try arguments.integer(2)),
            reserved: UInt64(options.reservedAtStart))
        options.size = generator.blocks * blockSize
        options.blockSize = UInt32(blockSize)
        try Volume.create(path, options: options)
        var measures = Measures()
        try timed(&measures, "generate") { try generator.fill(metadata: path + "/meta.mdb") }
        // The volume's own durable point must be of what it holds now.
        try Volume.open(path).close()
        return measures
    }

    /// `verify VOLUME`
    static func verify(_ arguments: Arguments) throws -> Measures {
        let path = try arguments.string(0)
        var measures = Measures()
        let report = try timed(&measures, "verify") {
            try Verifier.verify(metadata: path + "/meta.mdb")
        }
        guard report.isClean else { throw BenchError("\(path) is not right:\n\(report)") }
        return measures
    }

    /// `append VOLUME INDEX`: the entries of the active generation, read into memory, then
    /// appended to an environment beside the volume.
    static func append(_ arguments: Arguments) throws -> Measures {
        let path = try arguments.string(0), index = try arguments.string(1)
        let table = try activeTable(path + "/meta.mdb", index)
        var records = baseline_records()
        try check(baseline_load(path + "/meta.mdb", table, &records))
        defer { baseline_free(&records) }
        sync()
        var measures = Measures()
        var seconds = 0.0
        try timed(&measures, "whole") {
            try check(baseline_append(path + "/append.mdb", &records, 100_000, &seconds))
        }
        measures["append"] = seconds
        measures["others.append"] = measures["others.whole"]
        measures["entries"] = Double(records.count)
        return measures
    }

    private static func check(_ code: Int32) throws {
        guard code != 0 else { return }
        throw BenchError("liblmdb: \(String(cString: baseline_error(code)))")
    }

    private static func activeTable(_ metadata: String, _ index: String) throws -> String {
        let environment = try Environment(
            path: metadata, options: .init(mapSize: 1 << 40, isReadOnly: true))
        guard let superblock = try environment.table(TableName.superblock, create: false) else {
            throw BenchError("\(metadata) holds no volume")
        }
        let transaction = try environment.beginRead()
        var cursor = try transaction.cursor(superblock)
        let prefix = GenerationRecord.keyPrefix
        var isThere = try cursor.seek(prefix.rawSpan)
        while isThere, cursor.key.array.starts(with: prefix) {
            let record = try GenerationRecord(key: cursor.key, value: cursor.value)
            if record.index == index, record.state == .active {
                return TableName.generation(index, record.number)
            }
            isThere = try cursor.next()
        }
        throw BenchError("\(metadata) has no active generation of \(index)")
    }

    /// `rows VOLUME FILE`: the extents as COPY takes them.
    static func rows(_ arguments: Arguments) throws -> Measures {
        let metadata = try arguments.string(0) + "/meta.mdb"
        let path = try arguments.string(1)
        guard FileManager.default.createFile(atPath: path, contents: nil),
            let file = FileHandle(forWritingAtPath: path)
        else { throw BenchError("\(path) can't be written") }
        let environment = try Environment(
            path: metadata, options: .init(mapSize: 1 << 40, isReadOnly: true))
        guard let extents = try environment.table(TableName.extents, create: false) else {
            throw BenchError("\(metadata) holds no volume")
        }
        let transaction = try environment.beginRead()
        var cursor = try transaction.cursor(extents)
        var text = ""
        while try cursor.next() {
            let e = try ExtentRecord(key: cursor.key, value: cursor.value)
            text += "\(e.start)\t\(e.inode)\t\(e.fork.rawValue)\t\(e.offset)\t\(e.length)\t"
            text += "\(e.state.rawValue)\n"
            if text.utf8.count > 1 << 20 {
                try file.write(contentsOf: Data(text.utf8))
                text.removeAll(keepingCapacity: true)
            }
        }
        try file.write(contentsOf: Data(text.utf8))
        try file.close()
        return Measures()
    }
}
