// What can be wrong with a volume: each gives a clear error and the right status, and
// nothing is lost.

import Bytes
import Foundation
import LMDB
import TestSupport
import Testing
import VolumeFormat

/// The metadata of a closed volume, changed behind its back.
func tamper(_ volume: String, _ body: (inout WriteTransaction) throws -> Void) throws {
    let environment = try Environment(
        path: volume + "/meta.mdb", options: .init(mapSize: 1 << 40))
    try environment.write(body)
    try environment.sync()
}

extension WriteTransaction {
    mutating func open(_ name: String) throws -> Table {
        try #require(try table(name, create: false))
    }

    /// Changes one byte in the value of a record, and leaves its checksum.
    mutating func flip(_ table: Table, _ key: [UInt8]) throws {
        guard var value = try get(table, key.span.bytes)?.array else {
            throw CocoaError(.fileReadUnknown)
        }
        value[0] ^= 0x55
        try put(table, key.span.bytes, value.span.bytes)
    }
}

@Suite struct BadInputTests {
    static let readers: [[String]] = [
        ["stat", "V"], ["check", "V"], ["verify", "V"], ["dump", "V", "inodes"],
        ["owner", "V", "--block", "0"], ["paths", "V", "--inode", "1"],
    ]
    static let writers: [[String]] = [
        ["repair", "V"], ["import", "V", "/var/empty-or-not/.."],
        ["damage", "V", "--index", "rmap", "--count", "1"], ["stress", "V", "--seconds", "1"],
    ]

    private func arguments(_ command: [String], _ volume: String, _ tree: String) -> [String] {
        command.map { $0 == "V" ? volume : $0.hasPrefix("/var") ? tree : $0 }
    }

    @Test(arguments: readers + writers)
    func `what is not a volume is said to be none, and is left alone`(command: [String]) throws {
        try withDirectory { directory in
            let missing = directory + "/missing", file = directory + "/file"
            let other = directory + "/other", garbage = directory + "/garbage"
            try Data("text".utf8).write(to: URL(fileURLWithPath: file))
            for path in [other, garbage] {
                try FileManager.default.createDirectory(
                    atPath: path, withIntermediateDirectories: false)
            }
            for name in ["meta.mdb", "data", "durable"] {
                try Data(repeating: 0x5a, count: 8192).write(
                    to: URL(fileURLWithPath: garbage + "/" + name))
            }
            for path in [missing, file, other, garbage] {
                let ended = try run(arguments(command, path, directory))
                #expect(ended.status == 4, "\(path): \(ended.output)")
                #expect(ended.output.isEmpty)
                #expect(ended.errors.contains(path), "\(ended.errors)")
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: other).isEmpty)
            #expect(!FileManager.default.fileExists(atPath: missing))
            #expect(
                FileManager.default.contents(atPath: garbage + "/meta.mdb")
                    == Data(repeating: 0x5a, count: 8192))
        }
    }

    @Test func `a newer format is named and not touched`() throws {
        try withVolume(files: 5) { volume in
            var value: [UInt8] = []
            try tamper(volume) { transaction in
                let table = try transaction.open(TableName.superblock)
                let key = Geometry.key
                value = try transaction.get(table, key.span.bytes)?.array ?? []
                value.replaceSubrange(8..<12, with: [0, 0, 0, 9])
                try transaction.put(table, key.span.bytes, value.span.bytes)
            }
            for command in BadInputTests.readers + BadInputTests.writers {
                let ended = try run(arguments(command, volume, "/nowhere/.."))
                #expect(ended.status == 4)
                if command[0] == "import" { continue }
                #expect(ended.errors.contains("version 9"), "\(command): \(ended.errors)")
                #expect(ended.errors.contains("newer"))
            }
            let now = try Environment(path: volume + "/meta.mdb", options: .init(mapSize: 1 << 40))
            let table = try #require(try now.table(TableName.superblock, create: false))
            let transaction = try now.beginRead()
            let key = Geometry.key
            let stored = try transaction.get(table, key.span.bytes)?.array
            #expect(stored == value)
        }
    }

    @Test func `a volume in use is refused to others, who are told by whom`() throws {
        try withVolume(files: 50) { volume in
            let writer = try Started(
                tidemark, ["stress", volume, "--seconds", "600", "--seed", "1"])
            func holder() -> Int32? {
                let text = try? String(contentsOfFile: volume + "/lock", encoding: .utf8)
                return text.flatMap { Int32($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
            }
            try until("holder of the lock") { holder() == writer.number }
            try #require(writer.isRunning)
            let empty = volume + "-empty"
            mkdir(empty, 0o755)
            for command in BadInputTests.readers + BadInputTests.writers
            where command[0] != "verify" {
                let ended = try run(arguments(command, volume, empty))
                #expect(ended.status == 4, "\(command)")
                #expect(
                    ended.errors.contains("in use by process \(writer.number)"),
                    "\(command): \(ended.errors)")
            }
            // The witness needs nobody: it looks at the last commit beside the writer.
            try expectVerified(volume)
            writer.signal(SIGTERM)
            let ended = writer.wait()
            #expect(ended.status == 4)
            #expect(ended.errors.contains("terminated"))
            try expectVerified(volume)
        }
    }

    @Test(arguments: ["extents", "dirents", "inodes"])
    func `a damaged primary record is named and nothing is committed`(table name: String) throws {
        try withVolume(files: 100) { volume in
            _ = try run("damage", volume, "--index", "rmap", "--count", "5", "-q")
            _ = try run("damage", volume, "--index", "parents", "--count", "5", "-q")
            try tamper(volume) { transaction in
                let table = try transaction.open(name)
                var key: [UInt8] = []
                try transaction.withCursor(table) {
                    _ = try $0.last()
                    key = $0.key.array
                }
                try transaction.flip(table, key)
            }
            func generations() throws -> String {
                try json("stat", volume).list("generations").map {
                    "\($0.string("index") ?? "") \($0.int("generation") ?? 0) "
                        + "\($0.string("state") ?? "") \($0.int("entries") ?? 0)"
                }.joined(separator: ", ")
            }
            let before = try generations()
            for command in ["check", "repair"] {
                let report = try json(command, volume, status: 4)
                #expect(report.string("outcome") == "incomplete")
                #expect(report.has("reason"))
                let damaged = report.list("damagedPrimaries")
                #expect(damaged.count == 1)
                #expect(damaged.first?.string("problem")?.contains("checksum") == true)
            }
            #expect(try generations() == before)
            let text = try run("check", volume)
            #expect(text.output.contains("not read: "))
            let verify = try json("verify", volume, status: 1)
            #expect(verify["damagedRecords"].int(name) == 1)
            let dump = try run("dump", volume, name)
            #expect(dump.status == 1)
            #expect(try dump.lines.filter { $0.has("damage") }.count == 1)
        }
    }

    @Test func `a repair that was killed leaves a volume that can be repaired`() throws {
        try withVolume(files: 3000) { volume in
            for looks in [1, 5, 20] {
                let writer = try Started(
                    tidemark,
                    [
                        "stress", volume, "--seconds", "600", "--writers", "2", "--index", "rmap",
                        "--index", "parents", "--damage", "200",
                    ])
                // At one moment or another of one of its repairs.
                var seen = 0
                try until("repair at work") {
                    if try !Document.live(volume).list("runs").isEmpty { seen += 1 }
                    return seen == looks
                }
                writer.signal(SIGKILL)
                _ = writer.wait()
                let repair = try json("repair", volume)
                #expect(["clean", "repaired"].contains(repair.string("outcome") ?? ""))
                try expectVerified(volume)
                #expect(try json("stat", volume).list("generations").count == 3)
            }
        }
    }

    @Test func `a list that can't be written is an error before anything is looked at`() throws {
        try withVolume(files: 5) { volume in
            let ended = try run("check", volume, "--list", "/nonexistent/list")
            #expect(ended.status == 4)
            #expect(ended.errors.contains("/nonexistent/list"))
            let full = try run("verify", volume, "--list", "/dev/full")
            #expect(full.status == 0)
        }
    }

    @Test func `a full disk below a list is an error`() throws {
        try withVolume(files: 50) { volume in
            _ = try run("damage", volume, "--index", "rmap", "--count", "20", "-q")
            let ended = try run("check", volume, "--list", "/dev/full")
            #expect(ended.status == 4)
            #expect(ended.errors.contains("/dev/full"))
        }
    }
}
