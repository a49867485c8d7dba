// Repairs while writers write, through the command.

import Foundation
import TestSupport
import Testing

@Suite struct StressTests {
    @Test(arguments: [1, 2, 3])
    func `repairs under writers end clean and the witness agrees`(seed: Int) throws {
        try withVolume(files: 1000) { volume in
            for index in ["rmap", "parents"] {
                try json("damage", volume, "--index", index, "--count", "200", "--seed", "1")
            }
            let report = try json(
                "stress", volume, "--seconds", "3", "--writers", "3", "--seed", "\(seed)",
                "--index",
                "rmap", "--index", "parents", "--damage", "50")
            #expect(report.string("outcome") == "clean", "SEED=\(seed)")
            let runs = report.list("runs")
            #expect(!runs.isEmpty)
            for run in runs {
                #expect(
                    ["clean", "repaired"].contains(run.string("outcome") ?? ""), "SEED=\(seed)")
                for index in run.list("indexes") {
                    let recheck = index["recheck"].counts
                    #expect(recheck == ["missing": 0, "stray": 0, "wrong": 0], "SEED=\(seed)")
                }
                #expect(run["damage"]["rmap"].counts.values.reduce(0, +) == 50)
            }
            #expect(runs.contains { ($0["deltas"].int("applied") ?? 0) > 0 })
            let writers = report["writers"]
            #expect(writers["withRun"].int("operations") ?? 0 > 0)
            #expect(writers["withoutRun"].int("operations") ?? 0 > 0)
            for percentile in ["p50", "p99", "p999", "max"] {
                #expect(writers["withRun"]["latencyMicroseconds"].number(percentile) != nil)
            }
            for kind in ["create", "unlink", "rename", "exchange", "punch", "allocate", "link"] {
                #expect(writers["operations"].int(kind) ?? 0 > 0, "\(kind)")
            }
            let verified = try run("verify", volume)
            #expect(verified.status == 0, "SEED=\(seed): \(verified.output)")
            #expect(try json("check", volume).string("outcome") == "clean", "SEED=\(seed)")
        }
    }

    @Test func `writers alone need no index`() throws {
        try withVolume(files: 20) { volume in
            let report = try json("stress", volume, "--seconds", "1", "--writers", "2")
            #expect(report.list("runs").isEmpty)
            #expect(report["writers"]["withRun"].int("operations") == 0)
            #expect(report["writers"].int("count") == 2)
            try expectVerified(volume)
        }
    }

    @Test func `patching under writers ends clean too`() throws {
        try withVolume(files: 500) { volume in
            let report = try json(
                "stress", volume, "--seconds", "2", "--writers", "2", "--seed", "4", "--index",
                "rmap", "--index", "parents", "--strategy", "patch", "--damage", "30")
            #expect(report.string("outcome") == "clean", "SEED=4")
            try expectVerified(volume)
        }
    }
}
