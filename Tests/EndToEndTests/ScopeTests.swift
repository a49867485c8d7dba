// Checks and repairs of a part of a volume.

import Foundation
import TestSupport
import Testing

@Suite struct ScopeTests {
    private func damage(_ volume: String) throws {
        for index in ["rmap", "parents"] {
            try json(
                "damage", volume, "--index", index, "--count", "120", "--kind", "mixed", "--seed",
                "5")
        }
    }

    private func found(_ report: Document) -> Int {
        report.list("indexes").reduce(0) { $0 + $1.counts.values.reduce(0, +) }
    }

    @Test func `a subtree is repaired, then an inode, then blocks, and the rest is left`() throws {
        try withVolume { volume in
            try damage(volume)
            var left = found(try json("check", volume, status: 1))
            #expect(left == 240)
            func repair(_ arguments: String...) throws -> Document {
                let scope = arguments[0].dropFirst(2) + " " + arguments[1]
                let check = try Started(tidemark, ["check", volume, "--json"] + arguments).wait()
                let report = try Started(tidemark, ["repair", volume, "--json"] + arguments).wait()
                #expect(report.status == 0, "\(report.output) \(report.errors)")
                let document = try report.document()
                #expect(document.string("scope") == scope)
                #expect(found(document) == found(try check.document()))
                left -= found(document)
                let rest = try run("check", volume, "--json")
                #expect(found(try rest.document()) == left)
                return document
            }
            let subtree = try repair("--subtree", "/d3")
            #expect(subtree.string("outcome") == "repaired")
            #expect(subtree.list("indexes").map { $0.string("name") } == ["rmap", "parents"])
            // The volume's own areas belong to nobody's subtree.
            _ = try repair("--inode", "0")
            let blocks = try repair("--blocks", "0:262144")
            #expect(blocks.list("indexes").map { $0.string("name") } == ["rmap"])
            let last = try json("repair", volume)
            #expect(last.index("rmap")?.counts.values.reduce(0, +) == 0)
            try expectVerified(volume)
        }
    }

    @Test func `a run with a scope that was stopped goes on with the same scope`() throws {
        try withVolume { volume in
            try damage(volume)
            let stopped = try json(
                "repair", volume, "--subtree", "/", "--stop-after", "1", status: 4)
            #expect(stopped.string("outcome") == "stopped")
            let run = try json("status", volume).list("runs").last
            #expect(run?.string("scope") == "subtree /")
            let resumed = try json("resume", volume)
            #expect(resumed.string("outcome") == "repaired")
            #expect(resumed.string("scope") == "subtree /")
            #expect(found(try json("check", volume, "--subtree", "/")) == 0)
        }
    }

    @Test(arguments: [
        ["--inode", "3", "--subtree", "/"], ["--blocks", "1:2", "--index", "parents"],
        ["--inode", "3", "--index", "quota"], ["--subtree", "/", "--index", "links"],
        ["--blocks", "1:0"], ["--blocks", "x"], ["--inode", "x"],
    ])
    func `a scope that can't be is a usage error`(arguments: [String]) throws {
        for command in ["check", "repair"] {
            #expect(try run([command, "/nowhere"] + arguments).status == 8)
        }
    }

    @Test func `a scope is not rebuilt, and must be there`() throws {
        for more in [["--strategy", "rebuild"], ["--keep-old"]] {
            #expect(try run(["repair", "/nowhere", "--inode", "3"] + more).status == 8)
        }
        try withVolume(files: 1) { volume in
            for scope in [["--subtree", "/no"], ["--subtree", "/big"], ["--blocks", "99999999"]] {
                let ended = try run(["check", volume] + scope)
                #expect(ended.status == 4 && !ended.errors.isEmpty, "\(ended.errors)")
            }
        }
    }
}
