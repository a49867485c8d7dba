// Pages of the metadata that are damaged: told of by every command, before liblmdb meets them.

import Foundation
import TestSupport
import Testing

@Suite struct DamagedPageTests {
    /// Overwrites the pages that hold `text`.
    private func zero(_ volume: String, pagesWith text: String) throws -> Int {
        let url = URL(filePath: volume + "/meta.mdb")
        var bytes = try Data(contentsOf: url)
        var count = 0
        for page in 2..<bytes.count / 4096 {
            let range = page * 4096..<(page + 1) * 4096
            guard bytes[range].range(of: Data(text.utf8)) != nil else { continue }
            bytes.replaceSubrange(range, with: Data(count: 4096))
            count += 1
        }
        try bytes.write(to: url)
        return count
    }

    private static let commands: [[String]] = [
        ["check", "V"], ["repair", "V"], ["repair", "V", "--strategy", "rebuild"], ["stat", "V"],
        ["dump", "V", "dirents"], ["owner", "V", "--block", "0"], ["paths", "V", "--inode", "2"],
        ["damage", "V", "--index", "rmap", "--count", "1"],
    ]

    @Test func `a page of zeroes is named by verify, and no command goes near it`() throws {
        try withVolume { volume in
            #expect(try zero(volume, pagesWith: "small-100") > 0)
            let before = FileManager.default.contents(atPath: volume + "/meta.mdb")
            let verified = try run("verify", volume, "--json")
            #expect(verified.status == 1, "\(verified.errors)")
            let document = try verified.document()
            #expect(document.string("outcome") == "corrupt")
            #expect(document["pages"]["defects"].int("wrongFlags") ?? 0 > 0)
            #expect(document["pages"].list("examples").contains {
                $0.string("table") == "table dirents" && $0.int("page") ?? 0 > 1
            })
            for command in Self.commands {
                let ended = try run(command.map { $0 == "V" ? volume : $0 })
                #expect(ended.status == 4, "\(command): \(ended.output) \(ended.errors)")
                #expect(ended.errors.contains("meta.mdb is damaged"), "\(ended.errors)")
            }
            #expect(FileManager.default.contents(atPath: volume + "/meta.mdb") == before)
        }
    }

    @Test(arguments: [0, 1, 4095, 4096, 8191, 8192, 8193, 40_000, 100_000])
    func `a file that was cut short is told of`(length: Int) throws {
        try withVolume(files: 200) { volume in
            #expect(truncate(volume + "/meta.mdb", length) == 0)
            for command in Self.commands + [["verify", "V"]] {
                let ended = try run(command.map { $0 == "V" ? volume : $0 })
                #expect([1, 4].contains(ended.status), "\(command): \(ended.errors)")
                #expect(
                    !ended.errors.isEmpty || ended.output.contains("corrupt"), "\(command)")
            }
        }
    }

    @Test func `a sound volume is sound, asked or not`() throws {
        try withVolume(files: 50) { volume in
            for command in [["check", "V", "--pages"], ["stat", "V", "--pages"]] {
                #expect(try run(command.map { $0 == "V" ? volume : $0 }).status == 0)
            }
            let pages = try run("verify", volume, "--json").document()["pages"]
            #expect(pages.int("read") ?? 0 > 10 && pages["defects"].object.isEmpty)
        }
    }

    @Test(.enabled(if: canMount, "there is no FUSE here"))
    func `a page that goes bad under a mount ends it with words`() throws {
        try withVolume(files: 3000) { volume in
            let point = volume + ".mnt"
            try FileManager.default.createDirectory(
                atPath: point, withIntermediateDirectories: false)
            defer { _ = try? shell("umount -l \"$1\" 2>/dev/null", point) }
            let server = try Started(tidemark, ["mount", "--foreground", volume, point])
            try expectWell("wait_until mountpoint -q \"$1\"", point)
            // A mount answers what was asked of it, checks included, until it meets the page.
            #expect(try run("check", volume, "--pages").status == 0)
            #expect(truncate(volume + "/meta.mdb", 5 * 4096) == 0)
            _ = try shell("ls -lR \"$1\"", point)
            let ended = server.wait()
            #expect(ended.status == 4, "\(ended.errors)")
            #expect(ended.errors.contains("tidemark verify"), "\(ended.errors)")
        }
    }
}
