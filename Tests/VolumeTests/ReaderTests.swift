// Docs/format.md is enough for a third party: a reader in Python that was written from it alone
// (Tests/Reader/read_volume.py) reads what the product reads, also after the machine has failed,
// and judges as `verify` does.

import Bytes
import Foundation
import LMDB
import TestSupport
import Testing
import VolumeFormat
import VolumeVerify

@testable import Volume

@Suite(.temporaryDirectory) struct ReaderTests {
    private static let reader = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Reader/read_volume.py").path

    private func read(_ words: String...) throws -> Ended {
        try Started("/usr/bin/env", ["python3", ReaderTests.reader] + words).wait()
    }

    private func contents(_ dump: String) -> [String: [[UInt8]: [UInt8]]] {
        var contents: [String: [[UInt8]: [UInt8]]] = [:]
        for line in dump.split(separator: "\n") {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 3 else { continue }
            contents[String(words[0]), default: [:]][bytes(words[1])] = bytes(words[2])
        }
        return contents
    }

    private func bytes(_ text: Substring) -> [UInt8] {
        let digits = Array(text.utf8)
        return stride(from: 0, to: digits.count - 1, by: 2).compactMap {
            UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
        }
    }

    /// A copy in which of the pages written since `older` any are on the disk, as a failure of
    /// the machine may leave it.
    private func tear(
        _ path: String, to copy: String, older: Data, _ random: inout SplitMix64
    ) throws {
        try FileManager.default.copyItem(atPath: path, toPath: copy)
        var torn = try Data(contentsOf: URL(fileURLWithPath: path + "/meta.mdb"))
        for start in stride(from: 0, to: torn.count, by: 4096) where Bool.random(using: &random) {
            for index in start..<min(start + 4096, torn.count) {
                torn[index] = index < older.count ? older[index] : 0
            }
        }
        try torn.write(to: URL(fileURLWithPath: copy + "/meta.mdb"))
    }

    private func change(_ volume: Volume, _ writer: inout SummaryWriter) throws {
        try writer.write(volume, operations: 120)
        try volume.perform { operations in
            writer.serial += 1
            let file = try operations.create(.root, Array("f\(writer.serial)".utf8))
            try operations.setXattr(
                file.number, Array("user.large".utf8), [UInt8](repeating: 9, count: 9000))
            try operations.setXattr(file.number, Array("user.small".utf8), [1, 2])
        }
    }

    @Test(arguments: 1...6)
    func `the reader reads what the product reads, after the machine has failed`(
        seed: UInt64
    ) throws {
        let directory = try temporaryDirectory()
        var random = SplitMix64(seed: seed)
        var writer = SummaryWriter(seed: seed)
        let path = directory + "/v", copy = directory + "/copy"
        try Volume.create(path, options: CreateOptions(size: 64 << 20))
        let made = { (options: inout OpenOptions) in
            options.durableSeconds = 1000
            options.bootIdentity = "first"
        }
        var kept: [String: [[UInt8]: [UInt8]]] = [:]
        try withOpen(path, made) { volume in
            try change(volume, &writer)
            try volume.sync()
            kept = try volume.contents()
            let older = try Data(contentsOf: URL(fileURLWithPath: path + "/meta.mdb"))
            try change(volume, &writer)
            // The process alone has failed: the last commit is there.
            let alive = directory + "/alive"
            try FileManager.default.copyItem(atPath: path, toPath: alive)
            let now = try read("--boot", "first", "--dump", alive)
            #expect(now.status == 0, "SEED=\(seed) \(now.output.suffix(300))")
            for (table, records) in try volume.contents() {
                #expect(contents(now.output)[table] ?? [:] == records, "SEED=\(seed) \(table)")
            }
            try tear(path, to: copy, older: older, &random)
        }
        let judged = try read("--boot", "second", copy)
        #expect(judged.status == 0, "SEED=\(seed) \(judged.output) \(judged.errors)")
        let dumped = try read("--boot", "second", "--dump", copy)
        for (table, records) in kept {
            #expect(contents(dumped.output)[table] ?? [:] == records, "SEED=\(seed) \(table)")
        }
        // And the product, which puts it back.
        try withOpen(copy, { $0.bootIdentity = "second" }) { volume throws in
            #expect(try volume.contents()[TableName.inodes] == kept[TableName.inodes])
        }
        let closed = try read("--boot", "third", copy)
        #expect(closed.status == 0, "SEED=\(seed) \(closed.output) \(closed.errors)")
        #expect(
            try Verifier.verify(metadata: copy + "/meta.mdb", data: copy + "/data").isClean)
    }

    @Test func `the reader finds what verify finds`() throws {
        let directory = try temporaryDirectory()
        let base = directory + "/v"
        try Volume.create(base, options: CreateOptions(size: 64 << 20))
        try withOpen(base) { volume in
            var writer = SummaryWriter(seed: 4)
            try change(volume, &writer)
        }
        #expect(try read(base).status == 0)
        let harms: [(String, @Sendable (inout Operations) throws -> Void)] = [
            ("rmap", { _ in }), ("parents", { _ in }), ("quota", { _ in }),
            ("counters", { $0.counters.freeBlocks -= 3 }),
            ("inodes", { $0.counters.inodes += 1 }),
        ]
        for (name, harm) in harms {
            let copy = directory + "/" + name
            try FileManager.default.copyItem(atPath: base, toPath: copy)
            try withOpen(copy) { volume in
                if ["rmap", "parents", "quota"].contains(name) {
                    _ = try volume.damage(index: name, count: 2, kind: .mixed, seed: 3)
                } else {
                    try volume.perform {
                        try $0.begin()
                        try harm(&$0)
                    }
                }
            }
            let found = try read(copy)
            #expect(found.status == 1, "\(name): \(found.output)")
            let verified = try Verifier.verify(metadata: copy + "/meta.mdb")
            #expect(!verified.isClean, "\(name)")
        }
        for (name, offset) in [("data", 9), ("durable", 30)] {
            let copy = directory + "/" + name
            try FileManager.default.copyItem(atPath: base, toPath: copy)
            let file = try FileHandle(forUpdating: URL(fileURLWithPath: copy + "/" + name))
            for place in [offset, offset + 4096] {
                try file.seek(toOffset: UInt64(place))
                try file.write(contentsOf: Data([0xa5, 0x5a]))
            }
            try file.close()
            #expect(try read(copy).status != 0, "\(name)")
        }
        #expect(try read(directory + "/none").status == 4)
        #expect(try read().status == 8)
    }
}
