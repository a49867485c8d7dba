// stat, dump, owner, paths.

import Foundation
import TestSupport
import Testing

@Suite struct QueryTests {
    @Test func `stat counts what was imported`() throws {
        try withVolume(files: 100) { volume in
            let stat = try json("stat", volume)
            var records: [String: Int] = [:]
            for table in stat.list("tables") {
                records[table.string("name") ?? ""] = table.int("records")
            }
            // 12 directories, 200 files, the big one, the symlink, the root; one hard link.
            #expect(records["inodes"] == 215)
            #expect(records["dirents"] == 215)
            #expect(records["symlinks"] == 1)
            #expect(stat.int("inodes") == 215)
            let generations = stat.list("generations")
            #expect(generations.map { $0.string("state") } == ["active", "active", "active"])
            for generation in generations where generation.string("index") != "quota" {
                let table = generation.string("index") == "rmap" ? "extents" : "dirents"
                #expect(generation.int("entries") == records[table])
                #expect(generation.int("recordedEntries") == records[table])
            }
            #expect((stat.int("durableCommit") ?? 0) == stat.int("commit"))
            #expect(try run("stat", volume).output.contains("parents.g1"))
        }
    }

    static let tables = [
        "super", "inodes", "dirents", "extents", "xattrs", "symlinks", "free", "freelen",
        "reclaim", "freeinos", "rmap", "parents", "rmap.g1",
    ]

    @Test(arguments: tables)
    func `dump prints every record of a table, decoded`(table: String) throws {
        try withVolume(files: 30) { volume in
            let ended = try run("dump", volume, table)
            #expect(ended.status == 0)
            let lines = try ended.lines
            let document = try json("dump", volume, table)
            #expect(document.int("count") == lines.count)
            #expect(document.list("records").count == lines.count)
            #expect(lines.allSatisfy { !$0.has("damage") && !$0["key"].object.isEmpty })
            let stat = try json("stat", volume)
            let sizes = stat.list("tables").filter { $0.string("name") == table }
            if let size = sizes.first { #expect(size.int("records") == lines.count) }
            if !["xattrs", "reclaim", "freeinos"].contains(table) { #expect(!lines.isEmpty) }
        }
    }

    @Test func `a table that does not exist is wrong usage and the tables are named`() throws {
        try withVolume(files: 5) { volume in
            for name in ["nosuch", "rmap.g9"] {
                let ended = try run("dump", volume, name)
                #expect(ended.status == 8)
                #expect(ended.errors.contains("dirents") && ended.errors.contains("rmap.g1"))
            }
        }
    }

    @Test func `every block is free, reserved, or a file's with its paths`() throws {
        try withVolume(files: 30) { volume in
            let reserved = try json("owner", volume, "--block", "0")
            #expect(reserved.list("owners").map { $0.string("owner") } == ["volume"])
            let blocks = try #require(try json("stat", volume).int("blocks"))
            let last = try json("owner", volume, "--block", "\(blocks - 1)")
            #expect(last.list("owners").first?.string("owner") == "volume")
            let free = try json("owner", volume, "--block", "\(blocks - 100)", "--length", "10")
            #expect(free.list("owners").map { $0.string("owner") } == ["free"])

            let big = try #require(
                try run("dump", volume, "dirents").lines.first {
                    $0["key"].string("name") == "big"
                })["value"].int("inode")
            let extent = try #require(
                try run("dump", volume, "extents").lines.first { $0["key"].int("inode") == big })
            let start = try #require(extent["value"].int("start"))
            let file = try json("owner", volume, "--block", "\(start + 3)")
            let owner = try #require(file.list("owners").first)
            #expect(owner.string("owner") == "file")
            #expect(owner.int("inode") == big)
            #expect(owner.int("offset") == 3)
            #expect(owner.string("fork") == "data")
            #expect(owner.strings("paths") == ["/big"])
            let sector = try json("owner", volume, "--sector", "\((start + 3) * 8 + 7)")
            #expect(sector.list("owners").first?.int("inode") == big)

            // The whole volume in one answer: nothing is left over, nothing twice.
            let all = try json("owner", volume, "--block", "0", "--length", "\(blocks)")
            var next = 0
            for part in all.list("owners") {
                #expect(part.int("block") == next)
                #expect(part.string("owner") != "none")
                next += part.int("length") ?? 0
            }
            #expect(next == blocks)
            #expect(all.strings("problems").isEmpty)

            let outside = try run("owner", volume, "--block", "\(blocks)")
            #expect(outside.status == 8)
            #expect(outside.errors.contains("\(blocks)"))
        }
    }

    @Test func `a damaged reverse map is not taken for free space`() throws {
        try withVolume(files: 30) { volume in
            let entries = try run("dump", volume, "rmap").lines
            let done = try json(
                "damage", volume, "--index", "rmap", "--count", "\(entries.count)", "--kind",
                "missing")
            #expect(done.int("missing") == entries.count)
            let block = try #require(entries.first?["key"].int("block"))
            let answer = try json("owner", volume, "--block", "\(block)", status: 1)
            #expect(answer.list("owners").map { $0.string("owner") } == ["none"])
            #expect(answer.strings("problems").count == 1)
        }
    }

    @Test func `missing parent pointers are said, not hidden`() throws {
        try withVolume(files: 30) { volume in
            let entries = try run("dump", volume, "dirents").lines
            let first = try #require(entries.first?["value"].int("inode"))
            #expect(try json("paths", volume, "--inode", "\(first)").strings("paths").count == 1)
            try json(
                "damage", volume, "--index", "parents", "--count", "\(entries.count)", "--kind",
                "missing")
            let answer = try json("paths", volume, "--inode", "\(first)", status: 1)
            #expect(answer.strings("paths").isEmpty)
            #expect(!answer.strings("problems").isEmpty)
            let missing = try run("paths", volume, "--inode", "999999")
            #expect(missing.status == 4)
            #expect(missing.errors.contains("inode 999999"))
        }
    }

    @Test func `the root has the path of a slash`() throws {
        try withVolume(files: 5) { volume in
            let ended = try run("paths", volume, "--inode", "1")
            #expect(ended.output == "/\n")
        }
    }
}
