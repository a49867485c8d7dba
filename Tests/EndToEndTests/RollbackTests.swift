// Keeping what a rebuild replaces, and going back to it.

import Foundation
import TestSupport
import Testing

@Suite struct RollbackTests {
    /// Of the reverse map and the parent pointers.
    private func states(_ volume: String) throws -> [String] {
        try json("stat", volume).list("generations").filter { $0.string("index") != "quota" }.map {
            "\($0.string("index") ?? "").g\($0.int("generation") ?? 0) \($0.string("state") ?? "")"
        }
    }

    @Test func `a rebuild is undone, with what was wrong, and done again`() throws {
        try withVolume(files: 300) { volume in
            let done = try json(
                "damage", volume, "--index", "rmap", "--count", "30", "--seed", "1"
            ).counts
            let repair = try json("repair", volume, "--strategy", "rebuild", "--keep-old")
            #expect(repair.string("outcome") == "repaired")
            #expect(repair.list("indexes").map { $0.int("previous") } == [1, 1, 1, nil])
            #expect(
                try states(volume) == [
                    "parents.g1 previous", "parents.g2 active", "rmap.g1 previous",
                    "rmap.g2 active",
                ])
            try expectVerified(volume)
            #expect(try run("stress", volume, "--seconds", "1", "--writers", "2").status == 0)
            let back = try json("rollback", volume, "--index", "rmap")
            #expect(back.index("rmap")?.int("generation") == 1)
            #expect(back.index("rmap")?.int("previous") == 2)
            let witness = try json("verify", volume, status: 1)
            let left = witness.index("rmap")?.counts ?? [:]
            // What the writers have touched is right by now; nothing else may have come.
            for (kind, count) in left { #expect(count <= done[kind] ?? 0, "\(kind)") }
            #expect(left.values.reduce(0, +) > 0)
            #expect(try json("check", volume, status: 1).index("rmap")?.counts == left)
            #expect(try run("rollback", volume, "--index", "rmap").status == 0)
            try expectVerified(volume)
        }
    }

    @Test func `with nothing written since, the damage is exactly the same`() throws {
        try withVolume(files: 300) { volume in
            let done = try json(
                "damage", volume, "--index", "parents", "--count", "30", "--seed", "2"
            ).counts
            #expect(
                try run("repair", volume, "--strategy", "rebuild", "--keep-old").status == 0)
            #expect(try run("rollback", volume).status == 0)
            #expect(try json("check", volume, status: 1).index("parents")?.counts == done)
            #expect(try json("dump", volume, "super").int("damaged") == 0)
        }
    }

    @Test func `the previous generation is discarded when it is asked for, or by the next rebuild`()
        throws
    {
        try withVolume(files: 100) { volume in
            let keep = ["repair", volume, "--strategy", "rebuild", "--keep-old"]
            #expect(try run(keep).status == 0)
            let given = try json("rollback", volume, "--forget", "--index", "parents")
            #expect(given.index("parents")?.int("forgotten") == 1)
            #expect(
                try states(volume) == ["parents.g2 active", "rmap.g1 previous", "rmap.g2 active"])
            let next = try run("repair", volume, "--strategy", "rebuild")
            #expect(next.status == 0)
            #expect(next.output.contains("generation 1, the previous one before, is discarded"))
            #expect(try states(volume) == ["parents.g3 active", "rmap.g3 active"])
            #expect(
                try run("rollback", volume, "--forget").output.contains("no previous generation"))
        }
    }

    @Test func `a rollback that is impossible is refused with the reason`() throws {
        try withVolume(files: 400) { volume in
            _ = try json("damage", volume, "--index", "rmap", "--count", "1", "--seed", "3")
            let patched = try run("repair", volume, "--keep-old")
            #expect(patched.status == 0)
            #expect(patched.output.contains("rmap: there is no previous generation: a patch"))
            for arguments in [["rollback", volume], ["rollback", volume, "--index", "rmap"]] {
                let refused = try run(arguments)
                #expect(refused.status == 4)
                #expect(refused.errors.contains("a patch replaces none"))
            }
            let usage = try run("repair", volume, "--keep-old", "--strategy", "patch")
            #expect(usage.status == 8)
            try expectVerified(volume)
        }
    }

    @Test func `what a scrub has mended is undone, and mended again`() throws {
        try withVolume(files: 300) { volume in
            let done = try json(
                "damage", volume, "--primary", "mixed", "--count", "20", "--seed", "4")
            #expect(done.int("count") == 20)
            let scrub = try run("scrub", volume)
            #expect(scrub.status == 0)
            #expect(scrub.output.contains("to undo it: tidemark rollback \(volume) --scrub 1"))
            try expectVerified(volume)
            let back = try json("rollback", volume, "--scrub", "1")
            #expect(back.int("kept") == 0)
            let undone = try #require(back.int("undone"))
            #expect(undone >= 15)
            #expect(try json("verify", volume, status: 1).string("outcome") != "clean")
            let again = try json("scrub", volume)
            #expect(again.string("outcome") == "repaired")
            #expect(again["journal"].int("scrub") == 2)
            try expectVerified(volume)
            let dump = try json("dump", volume, "mends")
            #expect(dump.int("damaged") == 0)
            #expect(
                try json("rollback", volume, "--scrub", "2", "--forget").int("forgotten")
                    == again["journal"].int("mends"))
        }
    }

    @Test func `a rollback of a scrub that is impossible is refused with the reason`() throws {
        try withVolume(files: 20) { volume in
            let unknown = try run("rollback", volume, "--scrub", "7")
            #expect(unknown.status == 4)
            #expect(unknown.errors.contains("scrub 7: the journal of mends has no such scrub"))
            #expect(try run("rollback", volume, "--scrub", "7", "--forget").status == 4)
            #expect(try run("rollback", volume, "--scrub", "7", "--index", "rmap").status == 8)
            #expect(try run("rollback", volume, "--scrub", "x").status == 8)
        }
    }
}
