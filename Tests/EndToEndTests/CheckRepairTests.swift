// Damage, check and repair.

import Foundation
import TestSupport
import Testing

@Suite struct CheckRepairTests {
    /// Damages one index and returns what was done.
    func damage(
        _ volume: String, _ index: String, _ count: Int, _ kind: String, seed: Int = 1
    ) throws -> [String: Int] {
        try json(
            "damage", volume, "--index", index, "--count", "\(count)", "--kind", kind, "--seed",
            "\(seed)"
        ).counts
    }

    @Test(arguments: ["rmap", "parents"], ["missing", "stray", "wrong", "mixed"])
    func `check finds exactly the damage that was done`(index: String, kind: String) throws {
        try withVolume(files: 400) { volume in
            let done = try damage(volume, index, 100, kind)
            #expect(done.values.reduce(0, +) == 100)
            let list = volume + "-list"
            let report = try json("check", volume, "--list", list, status: 1)
            #expect(report.string("outcome") == "corrupt")
            #expect(report.index(index)?.counts == done)
            let other = index == "rmap" ? "parents" : "rmap"
            #expect(report.index(other)?.counts == ["missing": 0, "stray": 0, "wrong": 0])
            let lines = try Ended(
                status: 0, output: try String(contentsOfFile: list, encoding: .utf8), errors: ""
            ).lines
            #expect(lines.count == 100)
            for (name, count) in done {
                #expect(lines.filter { $0.string("kind") == name }.count == count)
            }
            for line in lines {
                #expect(line.string("index") == index)
                #expect(!line["key"].object.isEmpty)
                #expect(line["found"].object.isEmpty == (line.string("kind") == "missing"))
                #expect(line["expected"].object.isEmpty == (line.string("kind") == "stray"))
            }
            // And the witness says the same.
            let witness = try json("verify", volume, status: 1)
            #expect(witness.index(index)?.counts == done)
        }
    }

    @Test(arguments: ["rebuild", "patch", "auto"])
    func `a thousand discrepancies in each index are found and mended`(strategy: String) throws {
        try withVolume(files: 2000) { volume in
            var done: [String: [String: Int]] = [:]
            for index in ["rmap", "parents"] {
                done[index] = try damage(volume, index, 1000, "mixed")
            }
            let check = try json("check", volume, status: 1)
            for (index, counts) in done {
                #expect(check.index(index)?.counts == counts)
                #expect(counts.values.reduce(0, +) == 1000)
            }
            let repair = try json("repair", volume, "--strategy", strategy)
            #expect(repair.string("outcome") == "repaired")
            for (index, counts) in done {
                let report = try #require(repair.index(index))
                #expect(report.counts == counts)
                #expect(report["recheck"].counts == ["missing": 0, "stray": 0, "wrong": 0])
                if strategy != "auto" { #expect(report.string("strategy") == strategy) }
                if strategy == "rebuild" { #expect(report.int("generation") == 2) }
                if strategy == "patch" { #expect(report.int("patched") == 1000) }
            }
            #expect(try json("check", volume).string("outcome") == "clean")
            #expect(try json("verify", volume).string("outcome") == "clean")
            // The old generations are gone.
            #expect(try json("stat", volume).list("generations").count == 3)
        }
    }

    @Test func `a rebuild of a clean index is made where it is asked for`() throws {
        try withVolume(files: 50) { volume in
            let repair = try json("repair", volume, "--index", "parents", "--strategy", "rebuild")
            #expect(repair.string("outcome") == "clean")
            #expect(repair.list("indexes").map { $0.string("name") } == ["parents"])
            #expect(repair.index("parents")?.int("generation") == 2)
            try expectVerified(volume)
        }
    }

    @Test func `a dry run says what would be done and does nothing`() throws {
        try withVolume(files: 100) { volume in
            let done = try damage(volume, "rmap", 20, "mixed")
            let dry = try json("repair", volume, "--dry-run", status: 1)
            #expect(dry.string("outcome") == "corrupt")
            #expect(dry.index("rmap")?.string("strategy") != "none")
            #expect(dry.index("parents")?.string("strategy") == "none")
            #expect(try json("check", volume, status: 1).index("rmap")?.counts == done)
        }
    }

    @Test func `the same seed does the same damage`() throws {
        try withVolume(files: 100) { volume in
            _ = try damage(volume, "rmap", 30, "mixed", seed: 7)
            func list() throws -> Set<String> {
                let path = volume + "-list"
                _ = try run("check", volume, "--list", path, "-q")
                let text = try String(contentsOfFile: path, encoding: .utf8)
                return Set(text.split(separator: "\n").map(String.init))
            }
            let first = try list()
            #expect(first.count == 30)
            #expect(try run("repair", volume, "--strategy", "patch").status == 0)
            _ = try damage(volume, "rmap", 30, "mixed", seed: 7)
            #expect(try list() == first)
        }
    }

    @Test(arguments: ["extentOverlap", "extentOverFree", "freeOverlap", "leakedBlocks"])
    func `check and verify agree on defects between extents and free space`(kind: String) throws {
        try withVolume(files: 400) { volume in
            let done = try json(
                "damage", volume, "--primary", kind, "--count", "20", "--seed", "3")
            #expect(done.string("primary") == kind && done.int("count") == 20)
            let check = try json("check", volume, "--index", "rmap", status: 1)
            let defects = check["primaryDefects"]
            #expect(defects.int("total") == 20 && defects["counts"].int(kind) == 20)
            #expect(check.index("rmap")?.counts == ["missing": 0, "stray": 0, "wrong": 0])
            let first = try #require(defects.list("first").first)
            for member in ["object", "problem", "blocks"] {
                #expect(first.string(member)?.isEmpty == false, "\(member)")
            }
            let witness = try json("verify", volume, status: 1)
            let found = witness["primaries"].object.compactMapValues { ($0 as? NSNumber)?.intValue }
            #expect(found.filter { $0.value > 0 } == [kind: 20])
            // A repair says so, too, and takes none of it away.
            let repair = try json("repair", volume, "--strategy", "rebuild", status: 1)
            #expect(repair["primaryDefects"]["counts"].int(kind) == 20)
            #expect(repair.string("outcome") == "corrupt")
        }
    }

    @Test func `more damage than there are entries is refused and nothing is changed`() throws {
        try withVolume(files: 10) { volume in
            let refused = try json(
                "damage", volume, "--index", "parents", "--count", "100000", "--kind", "missing",
                status: 4)
            #expect(refused.string("error")?.contains("parents") == true)
            #expect(try json("check", volume).string("outcome") == "clean")
        }
    }

    @Test func `verbose lists each discrepancy for people`() throws {
        try withVolume(files: 100) { volume in
            _ = try damage(volume, "parents", 9, "mixed")
            let ended = try run("check", volume, "--verbose")
            #expect(ended.status == 1)
            let lines = ended.output.split(separator: "\n")
            for kind in ["missing", "stray", "wrong"] {
                #expect(lines.filter { $0.hasPrefix("parents: \(kind): inode ") }.count == 3)
            }
        }
    }

    @Test func `a report has all the members that scripts rely on`() throws {
        try withVolume(files: 100) { volume in
            let report = try json("repair", volume, "--strategy", "rebuild")
            for member in [
                "outcome", "indexes", "primaryRecords", "windows", "deltas", "seconds",
                "lockHoldMicroseconds", "peakAnonymousBytes",
            ] { #expect(report.has(member), "\(member)") }
            for phase in ["scan", "settle", "compare", "load", "commit", "reap", "total"] {
                #expect(report["seconds"].number(phase) != nil, "\(phase)")
            }
            for member in ["max", "p99", "count"] {
                #expect(report["lockHoldMicroseconds"].number(member) != nil, "\(member)")
            }
            #expect(report["deltas"].int("applied") == 0)
            #expect((report.int("primaryRecords") ?? 0) > 100)
            // Files that are in the way of nobody: no side file is left.
            #expect(try FileManager.default.contentsOfDirectory(atPath: volume + "/runs").isEmpty)
        }
    }

    @Test func `a check leaves the volume as it was, byte by byte`() throws {
        try withVolume(files: 100) { volume in
            let names = ["meta.mdb", "data", "durable"]
            func sums() throws -> String {
                try shell(
                    "cd \"$1\" && shift && cksum \"$@\"", volume, names[0], names[1], names[2]
                )
                .output
            }
            let before = try sums()
            #expect(try run("check", volume).status == 0)
            #expect(try run("verify", volume).status == 0)
            #expect(try run("stat", volume).status == 0)
            #expect(try sums() == before)
        }
    }
}
