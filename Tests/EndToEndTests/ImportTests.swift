// Importing trees of every kind.

import Foundation
import HostFiles
import TestSupport
import Testing
import VolumeFormat

@Suite struct ImportTests {
    /// An empty volume and a directory beside it.
    private func withTree<R>(
        size: String = "1G", _ body: (_ tree: String, _ volume: String) throws -> R
    ) throws -> R {
        try withDirectory { directory in
            try FileManager.default.createDirectory(
                atPath: directory + "/tree", withIntermediateDirectories: false)
            try json("create", directory + "/volume", "--size", size)
            return try body(directory + "/tree", directory + "/volume")
        }
    }

    private func make(_ script: String, _ tree: String) throws {
        let ended = try shell("set -e; cd \"$1\"; " + script, tree)
        try #require(ended.status == 0, "\(ended.errors)")
    }

    /// The records of a table.
    private func dump(_ volume: String, _ table: String) throws -> [Document] {
        let ended = try run("dump", volume, table)
        #expect(ended.status == 0, "\(ended.errors)")
        return try ended.lines
    }

    /// The entries by name; names must be unique in the tree.
    private func entries(_ volume: String) throws -> [String: Document] {
        var entries: [String: Document] = [:]
        for record in try dump(volume, "dirents") {
            entries[record["key"].string("name") ?? ""] = record["value"]
        }
        return entries
    }

    private func inode(_ volume: String, _ number: Int?) throws -> Document {
        let all = try dump(volume, "inodes")
        return try #require(all.first { $0["key"].int("inode") == number })["value"]
    }

    @Test func `every type of file arrives with its attributes`() throws {
        try withTree { tree, volume in
            try make(
                """
                mkdir dir; chmod 2750 dir; printf hello > file; chmod 4711 file
                ln -s ../some/target symlink; mkfifo fifo
                touch -d '2001-02-03 04:05:06.123456789Z' file
                touch -d '1969-12-31 23:59:58.5Z' dir
                """, tree)
            let report = try json("import", volume, tree)
            #expect(report.string("outcome") == "complete")
            #expect(report["imported"].int("inodes") == 4)
            let entries = try entries(volume)
            let file = try inode(volume, entries["file"]?.int("inode"))
            #expect(file.string("type") == "regular")
            #expect(file.string("mode") == "4711")
            #expect(file.int("size") == 5)
            #expect(file.string("modified") == "981173106.123456789")
            #expect(file.int("uid") == Int(getuid()))
            let directory = try inode(volume, entries["dir"]?.int("inode"))
            #expect(directory.string("mode") == "2750")
            #expect(directory.string("modified") == "-2.500000000")
            #expect(entries["fifo"]?.string("type") == "fifo")
            #expect(
                try dump(volume, "symlinks").first?["value"].string("target") == "../some/target")
            try expectVerified(volume)
        }
    }

    @Test func `devices arrive with their numbers and mount points as empty directories`() throws {
        try withTree { _, volume in
            let report = try run("import", volume, "/dev", "--json")
            #expect(report.status == 0 || report.status == 4)
            let null = try #require(try entries(volume)["null"])
            #expect(null.string("type") == "characterDevice")
            let inode = try inode(volume, null.int("inode"))
            #expect(inode.int("major") == 1)
            #expect(inode.int("minor") == 3)
            try expectVerified(volume)
        }
    }

    @Test func `names are bytes and up to 255 of them`() throws {
        try withTree { tree, volume in
            try make(
                #"""
                touch $'latin-\xe9' $'new\nline' $'back\\slash' 'ünïcode' ' '
                touch "$(printf 'x%.0s' {1..255})"; touch "$(printf 'é%.0s' {1..127})"
                """#, tree)
            try json("import", volume, tree)
            let names = Set(try entries(volume).keys)
            #expect(
                names == [
                    "latin-\\xe9", "new\\x0aline", "back\\x5cslash", "ünïcode", " ",
                    String(repeating: "x", count: 255), String(repeating: "é", count: 127),
                ])
            let number = try #require(try entries(volume)["new\\x0aline"]?.int("inode"))
            #expect(try run("paths", volume, "--inode", "\(number)").output == "/new\\x0aline\n")
            try expectVerified(volume)
        }
    }

    @Test func `hard links are one inode with all its names`() throws {
        try withTree { tree, volume in
            try make("mkdir a b; printf data > a/one; ln a/one b/two; ln a/one three", tree)
            let report = try json("import", volume, tree)
            #expect(report["imported"].int("hardLinks") == 2)
            #expect(report["imported"].int("files") == 1)
            let entries = try entries(volume)
            let number = try #require(entries["one"]?.int("inode"))
            #expect(entries["two"]?.int("inode") == number)
            #expect(try inode(volume, number).int("links") == 3)
            let paths = try json("paths", volume, "--inode", "\(number)")
            #expect(Set(paths.strings("paths")) == ["/a/one", "/b/two", "/three"])
            try expectVerified(volume)
        }
    }

    @Test func `holes stay holes and sizes stay sizes`() throws {
        try withTree { tree, volume in
            try make(
                """
                truncate -s 1T hole; truncate -s 10M islands
                for at in 1 5 9; do
                    dd if=/dev/urandom of=islands bs=1M seek=$at count=1 conv=notrunc status=none
                done
                truncate -s 10M islands; sync
                """, tree)
            try json("import", volume, tree)
            let entries = try entries(volume)
            let hole = try inode(volume, entries["hole"]?.int("inode"))
            #expect(hole.int("size") == 1 << 40)
            #expect(hole.int("blocks") == 0)
            let islands = try inode(volume, entries["islands"]?.int("inode"))
            #expect(islands.int("size") == 10 << 20)
            #expect(islands.int("blocks") == 3 << 8)
            let extents = try dump(volume, "extents").filter {
                $0["key"].int("inode") == entries["islands"]?.int("inode")
            }
            #expect(extents.compactMap { $0["key"].int("offset") } == [1 << 8, 5 << 8, 9 << 8])
            try expectVerified(volume)
        }
    }

    @Test func `with data the contents are in the blocks that the extents name`() throws {
        try withTree { tree, volume in
            try make(
                """
                seq 1 200000 > numbers; truncate -s 3M numbers-sparse
                printf end | dd of=numbers-sparse bs=1 seek=2097152 conv=notrunc status=none
                ln numbers linked; : > empty
                """, tree)
            let report = try json("import", volume, tree, "--data")
            #expect(report["failed"].int("count") == 0)
            let entries = try entries(volume)
            let all = try dump(volume, "extents")
            let data = try #require(FileHandle(forReadingAtPath: volume + "/data"))
            for name in ["numbers", "numbers-sparse", "empty"] {
                let number = entries[name]?.int("inode")
                let size = try #require(try inode(volume, number).int("size"))
                var contents = Data(count: size)
                for extent in all where extent["key"].int("inode") == number {
                    #expect(extent["value"].string("state") == "written")
                    let offset = try #require(extent["key"].int("offset")) * 4096
                    try data.seek(
                        toOffset: UInt64(try #require(extent["value"].int("start"))) * 4096)
                    let length = try #require(extent["value"].int("length")) * 4096
                    let bytes = try data.read(upToCount: min(length, size - offset)) ?? Data()
                    contents.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
                }
                #expect(contents == FileManager.default.contents(atPath: tree + "/" + name))
            }
            #expect(report["imported"].int("bytesCopied") ?? 0 > 1_000_000)
            try expectVerified(volume)
        }
    }

    @Test func `a tree deeper than any path can say arrives whole`() throws {
        try withTree { tree, volume in
            let levels = 300
            let name = String(repeating: "d", count: 100)
            var directory = open(tree, O_RDONLY | O_DIRECTORY)
            for _ in 0..<levels {
                #expect(mkdirat(directory, name, 0o755) == 0)
                let next = openat(directory, name, O_RDONLY | O_DIRECTORY)
                close(directory)
                directory = next
                // A second one at each level, which is found again on the way back up.
                #expect(mkdirat(directory, "beside", 0o755) == 0)
            }
            close(directory)
            let report = try json("import", volume, tree)
            #expect(report["imported"].int("directories") == levels * 2)
            let deepest = try dump(volume, "dirents").filter { $0["key"].string("name") == name }
                .compactMap { $0["value"].int("inode") }.max()
            let paths = try json("paths", volume, "--inode", "\(try #require(deepest))")
            #expect(
                paths.strings("paths") == [String(repeating: "/" + name, count: levels)])
            try expectVerified(volume)
        }
    }

    @Test func `what can't be read is counted and named, and the rest arrives`() throws {
        try withTree { tree, volume in
            try make(
                """
                mkdir open closed; touch open/good closed/inside; truncate -s 1M open/secret
                chmod 000 closed open/secret
                """, tree)
            // Root may read everything: then the import is somebody else's.
            let command = "\(tidemark) import \(volume) \(tree) --json"
            let ended =
                getuid() == 0
                ? try shell(
                    "chmod 755 \(tree)/..; chown -R nobody \(tree) \(volume); exec setpriv "
                        + "--reuid nobody --clear-groups --inh-caps=-all \(command)")
                : try shell(command)
            #expect(ended.status == 4, "\(ended.errors)")
            let report = try ended.document()
            #expect(report.string("outcome") == "incomplete")
            #expect(report["failed"].int("count") == 2)
            let paths = report["failed"].list("first").compactMap { $0.string("path") }
            #expect(Set(paths) == [tree + "/closed", tree + "/open/secret"])
            #expect(ended.errors.contains(tree + "/closed: open: Permission denied"))
            let names = try entries(volume)
            #expect(names["good"] != nil)
            #expect(names["secret"] == nil && names["inside"] == nil)
            try expectVerified(volume)
        }
    }

    @Test func `names that exist already are failures one by one`() throws {
        try withTree { tree, volume in
            try make("mkdir d; touch d/a d/b c", tree)
            try json("import", volume, tree)
            try make("touch e", tree)
            let ended = try run("import", volume, tree, "--json")
            #expect(ended.status == 4)
            let report = try ended.document()
            #expect(report["failed"].int("count") == 2)
            #expect(report["imported"].int("inodes") == 1)
            #expect(ended.errors.contains("\(tree)/d") && ended.errors.contains("exists already"))
            try expectVerified(volume)
        }
    }

    @Test(arguments: [false, true])
    func `a full volume ends the import, stays clean, and can be used`(withData: Bool) throws {
        try withTree(size: "2M") { tree, volume in
            try make(
                """
                for i in {1..40}; do head -c 100K /dev/zero | tr '\\0' x > file-$i; done
                """, tree)
            let ended = try run(["import", volume, tree, "--json"] + (withData ? ["--data"] : []))
            #expect(ended.status == 4)
            #expect(ended.errors.contains("the volume is full at \(tree)/file-"), "\(ended.errors)")
            let report = try ended.document()
            #expect(report.string("reason")?.contains("full") == true)
            let files = try #require(report["imported"].int("files"))
            #expect((10...20).contains(files))
            // No file is there in part.
            let sizes = try dump(volume, "inodes").map { $0["value"] }
                .filter { $0.string("type") == "regular" }
            #expect(sizes.count == files)
            #expect(sizes.allSatisfy { $0.int("size") == 102_400 && $0.int("blocks") == 25 })
            try expectVerified(volume)
            let stress = try run("stress", volume, "--seconds", "1", "--seed", "1")
            #expect(stress.status == 0, "\(stress.errors)")
            try expectVerified(volume)
        }
    }

    @Test func `the volume itself is left out of a tree that holds it`() throws {
        try withDirectory { directory in
            let volume = directory + "/inside/volume"
            try FileManager.default.createDirectory(
                atPath: directory + "/inside", withIntermediateDirectories: false)
            try json("create", volume)
            try Data().write(to: URL(fileURLWithPath: directory + "/inside/file"))
            try json("import", volume, directory)
            #expect(Set(try entries(volume).keys) == ["inside", "file"])
            try expectVerified(volume)
        }
    }

    @Test func `attributes arrive with names and values, small and large`() throws {
        try withTree { tree, volume in
            try make("touch file", tree)
            let large = [UInt8](repeating: 0x41, count: 3000)
            let isKept = tree.withCString { _ in
                setAttribute(tree + "/file", "user.small", Array("value".utf8))
                    && setAttribute(tree + "/file", "user.large", large)
            }
            try #require(isKept, "the temporary directory takes no extended attributes")
            let report = try json("import", volume, tree)
            #expect(report["imported"].int("attributes") == 2)
            let records = try dump(volume, "xattrs")
            #expect(records.map { $0["key"].string("name") } == ["user.large", "user.small"])
            #expect(records[0]["value"].int("length") == 3000)
            #expect(records[1]["value"].string("bytes") == "value")
            try expectVerified(volume)
        }
    }

    private func setAttribute(_ path: String, _ name: String, _ value: [UInt8]) -> Bool {
        let script =
            "import os,sys; os.setxattr(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]))"
        let hex = value.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        return (try? shell("python3 -c '\(script)' \"$@\"", path, name, hex))?.status == 0
    }
}
