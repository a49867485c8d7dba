// The campaign in an index file (`tidemark serve --index`): each field of its tables, its head, and
// its pages; read as `owner`, `paths` and `dump` do, and kept on as a server does.

import Bytes
import Foundation
import LMDB
import TestSupport
import Testing
import Tidemark

@testable import LinuxIndex

@Suite(.temporaryDirectory, .serialized) struct IndexFileCampaignTests {
    struct Field: Sendable, CustomStringConvertible {
        let table, name: String
        let isInKey: Bool
        let offset, size: Int
        var page: MetaPlace?

        var description: String { "\(table).\(name)" }
    }

    typealias Layout = [(name: String, size: Int)]

    private static func fields(
        _ table: String, _ isInKey: Bool, _ layout: Layout, page: MetaPlace? = nil
    ) -> [Field] {
        var offset = 0
        return layout.map { name, size in
            defer { offset += size }
            return Field(
                table: table, name: (isInKey ? "key " : "") + name, isInKey: isInKey,
                offset: offset, size: size, page: page)
        }
    }

    /// The layouts of IndexFormat.swift, IndexHeader.swift and IndexRanges.swift.
    static let all: [Field] = [
        fields("blocks", true, [("chunk", 8), ("inode", 8), ("fork", 1), ("line", 8)]),
        fields("blocks", false, [("first", 1), ("last", 1), ("state", 1)]),
        fields("extents", true, [("inode", 8), ("fork", 1), ("line", 8), ("chunk", 8)]),
        fields("parents", true, [("child", 8), ("directory", 8), ("name", 4)]),
        fields("children", true, [("directory", 8), ("child", 8)]),
        fields(
            "head", false,
            [
                ("magic", 8), ("version", 4), ("kind", 1), ("zeroes", 3), ("identity", 16),
                ("block size", 4), ("major", 4), ("minor", 4), ("more zeroes", 4), ("blocks", 8),
                ("start of the partition", 8), ("root", 8), ("epoch", 8), ("boot", 36),
                ("last zeroes", 4), ("mount", 8), ("as of", 8), ("device", 32), ("disk", 32),
                ("rest", 20), ("checksum", 4),
            ]),
        fields(
            "unsettled", false,
            [
                ("count", 4), ("as of", 8), ("length of the lower bound", 2),
                ("length of the upper bound", 2), ("lower bound", 1), ("upper bound", 1),
                ("checksum", 4),
            ]),
        fields(
            "pages", false, CampaignFields.metaPageLayout.map { ($0.name, $0.size) }, page: .meta),
        fields(
            "pages", false, CampaignFields.rootPageLayout.map { ($0.name, $0.size) }, page: .root),
    ].flatMap { $0 }

    /// In tables: the name of the table, and the key of the record where there are others.
    private static func place(_ field: Field) -> (table: String, key: [UInt8]?) {
        switch field.table {
        case "head", "unsettled": ("head", Array(field.table.utf8))
        default: (field.table, nil)
        }
    }

    private func make(_ path: String) throws {
        let file = try IndexFile.openForServer(path)
        try file.environment.write { transaction in
            let key = BlockKey(block: 300, inode: 131, fork: 0, offset: 0)
            try transaction.put(file.tables.blocks, key.bytes.span, [44, 99, 1].rawSpan)
            try transaction.put(file.tables.extents, key.extentsBytes.span, RawSpan())
            let parent = InodePair.key(131, 128).span.array + Array("name".utf8)
            try transaction.put(file.tables.parents, parent.rawSpan, RawSpan())
            try transaction.put(file.tables.children, InodePair.key(128, 131).span, RawSpan())
            try transaction.put(
                file.tables.head, Array("head".utf8).rawSpan, Self.header.bytes.span)
            let ranges = UnsettledRanges().next(
                [KeyRange(lower: KeyBytes([7]), upper: KeyBytes([9]))], settledUntil: 5)
            try transaction.put(
                file.tables.head, Array("unsettled".utf8).rawSpan, ranges.bytes.rawSpan)
        }
    }

    private static let header = IndexHeader(
        kind: .xfs, identity: Array(1...16), blockSize: 4096, major: 8, minor: 17, blocks: 1 << 20,
        partitionStart: 2048, root: 128, epoch: 3, boot: "boot", mount: 42, asOf: 1 << 60,
        device: "sda1", disk: "sda")

    /// - Returns: whether anything was changed.
    private func tell(_ field: Field, _ lie: FieldLie, isSealed: Bool, _ path: String) throws
        -> Bool
    {
        var random = SplitMix64(seed: UInt64(field.offset))
        if let page = field.page {
            var bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
            func number(_ place: Int) -> Int {
                (0..<8).reduce(0) { $0 | Int(bytes[place + $1]) << (8 * $1) }
            }
            let meta = number(144) > number(4096 + 144) ? 0 : 4096
            let start = (page == .meta ? meta : number(meta + 128) * 4096) + field.offset
            let new = lie.apply(to: Array(bytes[start..<start + field.size]), &random)
            guard isSealed, new != Array(bytes[start..<start + field.size]) else { return false }
            bytes.replaceSubrange(start..<start + field.size, with: new)
            try Data(bytes).write(to: URL(filePath: path))
            return true
        }
        let environment = try Environment(path: path, options: .init(mapSize: 1 << 30))
        let place = Self.place(field)
        let table = try #require(try environment.table(place.table, create: false))
        return try environment.write { transaction in
            var key: [UInt8] = [], value: [UInt8] = []
            try transaction.withCursor(table) { cursor in
                if let wanted = place.key {
                    _ = try cursor.seek(wanted.rawSpan)
                } else {
                    _ = try cursor.first()
                }
                key = cursor.key.array
                value = cursor.value.array
            }
            let range = field.offset..<field.offset + field.size
            let old = Array((field.isInKey ? key : value)[range])
            let new = lie.apply(to: old, &random)
            guard new != old else { return false }
            if field.isInKey {
                _ = try transaction.delete(table, key.rawSpan)
                key.replaceSubrange(range, with: new)
            } else {
                value.replaceSubrange(range, with: new)
                // Tables have no checksum; the head and its ranges end in one.
                if isSealed, place.key != nil, field.name != "checksum" {
                    let body = Array(value.dropLast(4))
                    let sum = CRC32C.checksum(body.rawSpan)
                    value = body + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: sum >> $0) }
                } else if place.key == nil, !isSealed {
                    return false
                }
            }
            try transaction.put(table, key.rawSpan, value.rawSpan)
            return true
        }
    }

    private func refusing(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "clean"
        } catch {
            #expect(!"\(error)".isEmpty)
            return "refused"
        }
    }

    /// What `owner`, `paths` and `dump` do.
    private func read(_ path: String) -> String {
        refusing {
            let file = try IndexFile.openForReading(path)
            let snapshot = try file.snapshot()
            for block: UInt64 in [0, 300, 343, 399, 1 << 20, .max] {
                _ = try snapshot.owners(ofBlock: block)
            }
            for inode: UInt64 in [0, 128, 131, .max] {
                _ = try snapshot.paths(of: inode, limit: 10)
            }
            try snapshot.forEachBlocks { _, _ in }
            try snapshot.forEachName { _, _, _ in }
        }
    }

    /// What a server does at its start, when everything is read again.
    private func serve(_ path: String) -> String {
        refusing {
            let file = try IndexFile.openForServer(path)
            let header = try file.snapshot().header ?? Self.header
            let pending = PendingChanges(
                blocks: IndexSlot(0), names: IndexSlot(1), pool: BatchPool(capacity: 64, limit: 2))
            pending.read(.all, at: SequenceNumber(raw: 1))
            _ = try file.commit(pending, upTo: 2, header: header, unsettled: .all)
        }
    }

    @Test func `a lie in an index file is refused or answered, by readers and the server`() throws {
        let directory = try temporaryDirectory()
        let base = directory + "/index"
        try make(base)
        #expect(read(base) == "clean")
        var tried: Set<String> = [], refused = 0, lines = "", number = 0
        // A sample, which changes lies and checksums, or all with `Scripts/campaign`.
        let step = CampaignTests.results == nil ? 11 : 1
        for field in Self.all {
            for lie in FieldLie.allCases {
                for isSealed in [true, false] {
                    number += 1
                    guard number % step == 0 else { continue }
                    let path = directory + "/lied"
                    try? FileManager.default.removeItem(atPath: path + "-lock")
                    try? FileManager.default.removeItem(atPath: path)
                    try FileManager.default.copyItem(atPath: base, toPath: path)
                    guard try tell(field, lie, isSealed: isSealed, path) else { continue }
                    tried.insert(field.description)
                    let watchdog = Watchdog(seconds: 20, "\(field) \(lie)")
                    defer { watchdog.end() }
                    let answers = [("owner, paths", read(path)), ("serve", serve(path))]
                    for (verb, answer) in answers {
                        if answer == "refused" { refused += 1 }
                        lines +=
                            "index file \(field.table)\t\(field.name)\t\(lie.rawValue)\t"
                            + "\(isSealed ? "right" : "wrong")\t\(verb)\t\(answer)\n"
                    }
                    // A wrong checksum is never believed.
                    if Self.place(field).key != nil, !isSealed {
                        #expect(answers.allSatisfy { $0.1 == "refused" }, "\(field) \(lie)")
                    }
                }
            }
        }
        #expect(refused > 20)
        if step == 1 {
            #expect(Set(Self.all.map(\.description)).subtracting(tried).isEmpty)
        }
        if let results = CampaignTests.results {
            let file = open(results, O_WRONLY | O_APPEND | O_CREAT, 0o644)
            _ = Array(lines.utf8).withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
            close(file)
        }
    }

    @Test func `fields cover every table of an index file, and every byte`() throws {
        let path = try temporaryDirectory() + "/index"
        try make(path)
        #expect(Set(IndexFile.Tables.names).subtracting(Self.all.map(\.table)).isEmpty)
        let file = try IndexFile.openForReading(path)
        let transaction = try file.environment.beginRead()
        for (table, name) in [
            (file.tables.blocks, "blocks"), (file.tables.extents, "extents"),
            (file.tables.parents, "parents"), (file.tables.children, "children"),
            (file.tables.head, "head"),
        ] {
            var cursor = try transaction.cursor(table)
            while try cursor.next() {
                let own = name == "head" ? String(decoding: cursor.key.array, as: UTF8.self) : name
                func count(_ isInKey: Bool) -> Int {
                    Self.all.filter { $0.table == own && $0.isInKey == isInKey && $0.page == nil }
                        .reduce(0) { $0 + $1.size }
                }
                if name != "head" { #expect(count(true) == cursor.key.byteCount, "\(own)") }
                #expect(count(false) == cursor.value.byteCount, "\(own)")
            }
        }
    }
}
