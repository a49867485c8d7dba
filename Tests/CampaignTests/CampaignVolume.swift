// The volume that the campaign lies to, and the lies.

import Bytes
import Foundation
import LMDB
import TestSupport
import Testing
import Tidemark
import Volume
import VolumeFormat

/// One lie.
struct CampaignCase: Sendable, CustomTestStringConvertible {
    let field: CampaignField
    let lie: FieldLie
    let isSealed: Bool

    var testDescription: String {
        "\(field.testDescription) \(lie.rawValue), \(isSealed ? "right" : "wrong") checksum"
    }
}

/// A small volume in which every kind of record occurs, closed.
struct CampaignVolume {
    let path: String

    init(in directory: String) throws {
        path = directory + "/base"
        var options = CreateOptions(size: 1 << 20)
        options.reservedAtStart = 4
        try Volume.create(path, options: options)
        let volume = try Volume.open(path)
        try CampaignVolume.fill(volume)
        try volume.close()
        try CampaignVolume.addRecords(path)
    }

    func copy(to other: String) throws {
        try FileManager.default.copyItem(atPath: path, toPath: other)
    }

    private static func fill(_ volume: Volume) throws {
        try volume.perform { operations in
            var new = NewInode(permissions: 0o755)
            new.uid = 7
            new.gid = 8
            let root = InodeNumber.root
            let directory = try operations.makeDirectory(root, Array("directory".utf8), new)
            try operations.makeDirectory(directory.number, Array("below".utf8), new)
            for name in ["first", "second", "third"] {
                let file = try operations.create(directory.number, Array(name.utf8), new)
                try operations.allocate(file.number, 0, 40_000, .reserve(keepSize: false))
                try operations.setXattr(file.number, Array("user.small".utf8), [1, 2, 3])
                try operations.setXattr(
                    file.number, Array("user.large".utf8), [UInt8](repeating: 9, count: 5000))
            }
            try operations.symlink(root, Array("link".utf8), to: Array("directory/first".utf8))
            try operations.unlink(directory.number, Array("second".utf8))
        }
    }

    /// Records that a closed volume has only where something was under way: of a run, its log,
    /// and blocks beyond the end of a file that are to be given back.
    private static func addRecords(_ path: String) throws {
        let environment = try Environment(
            path: path + "/meta.mdb", options: .init(mapSize: 1 << 30))
        let tables = try [
            TableName.runs, TableName.hookLog, TableName.reclaim, TableName.quarantine,
            TableName.mends,
        ].map {
            try #require(try environment.table($0, create: true))
        }
        try environment.write { transaction in
            let number: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 1]
            var record = RunRecord(number: 1, indexes: ["rmap"], strategy: .auto)
            record.state = .completed
            let value = sealedValue(
                key: number.rawSpan, body: Array(try JSONEncoder().encode(record)))
            try transaction.put(tables[0], number.rawSpan, value.rawSpan)
            let place = number + [0, 0, 0, 0]
            // Added, of the first index; three strings of one byte.
            let delta: [UInt8] = [1, 0, 1, 0, 1, 0, 1, 0, 7, 8, 9]
            let logged = sealedValue(key: place.rawSpan, body: delta)
            try transaction.put(tables[1], place.rawSpan, logged.rawSpan)
            let key = InodeRecord.key(4)
            let reclaim = ReclaimRecord(inode: 4, from: 100).value
            try transaction.put(tables[2], key.span, reclaim.span)
            let first = QuarantineRecord.key(1)
            let taken = QuarantineRecord(
                table: TableName.inodes, key: key.span.array, value: [1, 2, 3, 4],
                since: Timestamp(seconds: 1, nanoseconds: 2))
            try transaction.put(
                tables[3], first.span, taken.value(key: first.span).rawSpan)
            var scrub = ScrubRecord(number: 1, began: Timestamp(seconds: 1, nanoseconds: 2))
            (scrub.mends, scrub.bytes) = (1, 100)
            let begun = MendRecord.key(scrub: 1, mend: 0)
            try transaction.put(tables[4], begun.span, scrub.value.span)
            let mended = MendRecord.key(scrub: 1, mend: 1)
            let mend = MendRecord(
                time: Timestamp(seconds: 1, nanoseconds: 2), kind: "linkCount", inodes: 0,
                freeBlocks: 0,
                changes: [
                    RecordChange(
                        table: TableName.inodes, key: key.span.array, before: [1, 2], after: nil)
                ])
            try transaction.put(
                tables[4], mended.span, mend.value(key: mended.span).rawSpan)
        }
        try environment.sync()
    }

    /// Every record of every table that is primary, by table and key; of inodes without links,
    /// which a repair sets right.
    static func primaries(_ path: String) throws -> [String: [[UInt8]: [UInt8]]] {
        let environment = try Environment(
            path: path + "/meta.mdb", options: .init(mapSize: 1 << 30, isReadOnly: true))
        var result: [String: [[UInt8]: [UInt8]]] = [:]
        for name in [
            TableName.inodes, TableName.dirents, TableName.extents, TableName.xattrs,
            TableName.symlinks, TableName.free, TableName.freeByLength, TableName.freeInodes,
        ] {
            guard let table = try environment.table(name, create: false) else { continue }
            let transaction = try environment.beginRead()
            var cursor = try transaction.cursor(table)
            var isThere = try cursor.first()
            while isThere {
                var value = cursor.value.array
                if name == TableName.inodes, value.count == InodeRecord.valueSize {
                    value.replaceSubrange(16..<20, with: [0, 0, 0, 0])
                    value.removeLast(checksumSize)
                }
                result[name, default: [:]][cursor.key.array] = value
                isThere = try cursor.next()
            }
        }
        return result
    }
}

extension CampaignCase {
    private var seed: UInt64 { UInt64(field.offset) &* 8 &+ UInt64(field.size) }

    /// Writes the lie into the volume.
    /// - Returns: whether anything was changed by it.
    func tell(_ volume: String) throws -> Bool {
        field.isFile ? try tellFile(volume) : try tellRecord(volume)
    }

    private func tellFile(_ volume: String) throws -> Bool {
        let path = volume + "/" + field.file
        var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        var start = field.offset, size = field.size
        if let place = field.place {
            guard let found = place(bytes) else { return false }
            (start, size) = (found.lowerBound, found.count)
        }
        if let page = field.page {
            func number(_ place: Int) -> Int {
                (0..<8).reduce(0) { $0 | Int(bytes[place + $1]) << (8 * $1) }
            }
            // The commit is at 144 of a meta page of 64-bit machines, the root of tables at 128.
            let meta = number(144) > number(4096 + 144) ? 0 : 4096
            start += page == .meta ? meta : number(meta + 128) * 4096
        }
        guard bytes.count >= start + size else { return false }
        var random = SplitMix64(seed: seed)
        let old = Array(bytes[start..<start + size])
        let new = lie.apply(to: old, &random)
        guard new != old else { return false }
        bytes.replaceSubrange(start..<start + size, with: new)
        if isSealed, let sealed = field.sealed(bytes.count) {
            let body = Array(bytes[sealed])
            bytes.replaceSubrange(
                sealed.lowerBound..<sealed.upperBound + checksumSize,
                with: sealedValue(key: RawSpan(), body: body))
        }
        // What has no checksum is told once.
        guard field.sealed(bytes.count) != nil || isSealed else { return false }
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try handle.write(contentsOf: Data(bytes))
        try handle.close()
        return true
    }

    private func tellRecord(_ volume: String) throws -> Bool {
        let environment = try Environment(
            path: volume + "/" + field.environment, options: .init(mapSize: 1 << 30))
        let name = field.environment == "meta.mdb" ? field.table : SuspendedVolume.sortedRun
        let table = try #require(try environment.table(name, create: false), "no table \(name)")
        let (key, value) = try #require(try record(environment, table), "no \(testDescription)")
        if let member = field.member {
            guard isSealed else { return false }
            let body = Array(value.dropLast(checksumSize))
            guard let new = SuspendedVolume.replacing(member, in: body, lie), new != body else {
                return false
            }
            try environment.write { transaction in
                try transaction.put(
                    table, key.rawSpan, sealedValue(key: key.rawSpan, body: new).rawSpan)
            }
            return try finish(environment, volume)
        }
        var random = SplitMix64(seed: seed)
        var newKey = key, newValue = value
        let whole = field.isInKey ? key.count : value.count - checksumSize
        let size = field.size == 0 ? 1 : field.size
        let place = field.size == 0 ? (field.offset + whole) / 2 : field.offset
        let bytes = Array((field.isInKey ? key : value)[place..<place + size])
        let new = lie.apply(to: bytes, &random)
        if field.isInKey {
            newKey.replaceSubrange(place..<place + size, with: new)
        } else {
            newValue.replaceSubrange(place..<place + size, with: new)
        }
        guard newKey != key || newValue != value else { return false }
        if isSealed {
            newValue = sealedValue(
                key: newKey.rawSpan, body: Array(newValue.dropLast(checksumSize)))
        }
        try environment.write { transaction in
            if newKey != key { _ = try transaction.delete(table, key.rawSpan) }
            try transaction.put(table, newKey.rawSpan, newValue.rawSpan)
        }
        return try finish(environment, volume)
    }

    private func finish(_ environment: Environment, _ volume: String) throws -> Bool {
        try environment.sync()
        if field.environment != "meta.mdb" {
            try SuspendedVolume.point(volume, at: volume + "/" + field.environment)
        }
        return true
    }

    private func record(
        _ environment: Environment, _ table: Table
    ) throws -> (key: [UInt8], value: [UInt8])? {
        let transaction = try environment.beginRead()
        var cursor = try transaction.cursor(table)
        var isThere = try cursor.first()
        while isThere {
            let key = cursor.key.array, value = cursor.value.array
            if field.record(key, value) { return (key, value) }
            isThere = try cursor.next()
        }
        return nil
    }
}
