// Making a volume.

import Foundation
import TestSupport
import Testing

@Suite struct CreateTests {
    @Test func `a new volume is empty, clean, and as large as asked for`() throws {
        try withDirectory { directory in
            let volume = directory + "/v"
            let made = try json("create", volume, "--size", "2GiB", "--block-size", "1K")
            #expect(made.int("blocks") == 2 << 20)
            #expect(made.int("blockSize") == 1024)
            let stat = try json("stat", volume)
            #expect(stat.string("identity") == made.string("identity"))
            #expect(stat.int("inodes") == 1)
            let check = try json("check", volume)
            #expect(check.string("outcome") == "clean")
            #expect(check.index("parents")?.int("entries") == 0)
            try expectVerified(volume)
        }
    }

    @Test func `an empty directory is taken, one with something in it is left alone`() throws {
        try withDirectory { directory in
            let empty = directory + "/empty", full = directory + "/full"
            for path in [empty, full] {
                try FileManager.default.createDirectory(
                    atPath: path, withIntermediateDirectories: false)
            }
            try Data("mine".utf8).write(to: URL(fileURLWithPath: full + "/file"))
            try json("create", empty)
            let refused = try run("create", full)
            #expect(refused.status == 4)
            #expect(refused.errors.contains(full))
            #expect(try FileManager.default.contentsOfDirectory(atPath: full) == ["file"])
            #expect(
                try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
                    == ["empty", "full"])
        }
    }

    @Test func `a volume is never made over a volume`() throws {
        try withDirectory { directory in
            let volume = directory + "/v"
            let identity = try json("create", volume).string("identity")
            let again = try json("create", volume, status: 4)
            #expect(again.string("error")?.contains("exists already") == true)
            #expect(try json("stat", volume).string("identity") == identity)
        }
    }

    @Test func `where the directory can't be made nothing is left behind`() throws {
        try withDirectory { directory in
            let ended = try run("create", directory + "/missing/v")
            #expect(ended.status == 4)
            #expect(ended.errors.contains("missing/v"))
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
        }
    }
}
