// Quota usage and link counts, through the command.

import Bytes
import Foundation
import LMDB
import TestSupport
import Testing
import VolumeFormat

@Suite struct SummaryTests {
    @Test(arguments: ["quota", "links"])
    func `counters that were made wrong are found, mended, and right for the witness`(
        index: String
    ) throws {
        try withVolume(files: 300) { volume in
            let count = index == "quota" ? 3 : 40
            let done = try json(
                "damage", volume, "--index", index, "--count", "\(count)", "--seed", "1"
            ).counts
            #expect(done.values.reduce(0, +) == count)
            #expect(index != "links" || done["wrong"] == count)
            let list = volume + "-list"
            let check = try json("check", volume, "--index", index, "--list", list, status: 1)
            #expect(check.index(index)?.counts == done)
            #expect(try json("verify", volume, status: 1).index(index)?.counts == done)
            let lines = try Ended(
                status: 0, output: try String(contentsOfFile: list, encoding: .utf8), errors: ""
            ).lines
            #expect(lines.count == count)
            for line in lines where line.string("kind") == "wrong" {
                let field = index == "quota" ? "blocks" : "links"
                #expect(line["found"].object[field] != nil)
                #expect(line["expected"].object[field] != nil)
            }
            let repair = try json("repair", volume)
            #expect(repair.string("outcome") == "repaired")
            #expect(repair.index(index)?.counts == done)
            #expect(repair.index(index)?.string("strategy") == "patch")
            #expect(try json("verify", volume).string("outcome") == "clean")
        }
    }

    @Test func `a new generation of quota serves the right counters`() throws {
        try withVolume(files: 300) { volume in
            try json("damage", volume, "--index", "quota", "--count", "3", "--seed", "2")
            let repair = try json(
                "repair", volume, "--index", "quota", "--strategy", "rebuild")
            #expect(repair.index("quota")?.int("generation") == 2)
            #expect(try json("verify", volume).string("outcome") == "clean")
            let dump = try json("dump", volume, "quota")
            #expect(dump.string("table") == "quota.g2")
            #expect(dump.list("records").allSatisfy { $0["key"].string("type") != nil })
        }
    }

    @Test func `a name that leads nowhere is told with what it blocks, and left`() throws {
        try withVolume(files: 50) { volume in
            try tamper(volume) { transaction in
                let table = try transaction.open(TableName.dirents)
                let name = Array("gone".utf8)
                let key = DirentRecord.key(.root, name.span.bytes)
                let target = DirentTarget(child: 999_999, generation: 1, type: .regular)
                try transaction.put(table, key.span, target.value(key: key.span).span)
            }
            // The parent pointers lack the name, which can be mended; the name stays.
            for (command, left) in [("check", 1), ("repair", 1), ("check", 0)] {
                let report = try json(command, volume, status: 1)
                #expect(report.string("outcome") == "corrupt")
                #expect(report.index("parents")?.counts["missing"] == left)
                let defects = report["primaryDefects"]
                // The directory has a name more than its size says.
                #expect(defects.int("total") == 2)
                #expect(defects["counts"].int("directorySize") == 1)
                #expect(defects["counts"].int("danglingEntry") == 1)
                let first = try #require(defects.list("first").first)
                #expect(first.string("object") == "name \"gone\" in directory 1")
                #expect(first.has("blocks"))
            }
            #expect(try run("check", volume).output.contains("2 defects of primary records"))
            let verify = try json("verify", volume, status: 1)
            #expect(verify["primaries"].int("danglingEntry") == 1)
        }
    }

    @Test func `link counts can't be missing or stray`() throws {
        for kind in ["missing", "stray", "mixed"] {
            let ended = try run(
                ["damage", "v", "--index", "links", "--count", "1", "--kind", kind])
            #expect(ended.status == 8)
            #expect(ended.errors.contains("can only be wrong"))
        }
    }

    @Test(arguments: [1, 2])
    func `all four are repaired under writers who change owners`(seed: Int) throws {
        try withVolume(files: 300) { volume in
            let report = try json(
                "stress", volume, "--seconds", "3", "--writers", "3", "--seed", "\(seed)",
                "--index", "rmap", "--index", "parents", "--index", "quota", "--damage", "20")
            #expect(report.string("outcome") == "clean", "SEED=\(seed)")
            #expect(report["writers"]["operations"].int("setOwner") ?? 0 > 0)
            let links = try json(
                "stress", volume, "--seconds", "1", "--seed", "\(seed)", "--index", "links",
                "--index", "quota")
            #expect(links.string("outcome") == "clean", "SEED=\(seed)")
            let verified = try run("verify", volume)
            #expect(verified.status == 0, "SEED=\(seed): \(verified.output)")
        }
    }
}
