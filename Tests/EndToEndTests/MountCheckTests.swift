// `tidemark check` and `tidemark doctor` on a mounted XFS, from outside.

import Foundation
import TestSupport
import Testing

@Suite(.enabled(if: KeptImage.obstacle == nil, KeptImage.obstacle ?? ""))
struct MountCheckTests {
    @Test func `a check of a damaged mount tells its five lies and what to do about them`() throws {
        try KeptImage.withMounted("xfs-parent-damaged.img.zst") { point in
            let ended = try run("check", point, "--json")
            #expect(ended.status == 1, "\(ended.errors)")
            let document = try ended.document()
            #expect(document.string("outcome") == "corrupt")
            let findings = document.list("findings")
            #expect(
                findings.compactMap { $0.string("object") } == [
                    "block 72", "block 20867", "inode 275", "inode 815", "inode 262461",
                ])
            for finding in findings {
                for member in ["problem", "consequence", "avoid", "mend"] {
                    #expect(finding.string(member)?.isEmpty == false)
                }
                let paths = finding.list("inodes").first?.strings("paths") ?? []
                #expect(paths.count == 1)
                for path in paths {
                    #expect(FileManager.default.fileExists(atPath: point + path))
                }
            }
            #expect((document["notCovered"]["blocks"].int("journal") ?? 0) > 0)
            let text = try run("check", point)
            #expect(text.status == 1)
            #expect(text.output.contains("corrupt: 5 findings"))
            #expect(text.output.contains("not covered: journal"))
            #expect(text.output.contains("mended by: Unmount it and run `xfs_repair"))
        }
    }

    @Test func `a check of a consistent mount is clean, and of one index only that`() throws {
        try KeptImage.withMounted("xfs-parent-clean.img.zst") { point in
            let ended = try run("check", point)
            #expect(ended.status == 0, "\(ended.errors)")
            #expect(ended.output.hasPrefix("\(point): clean\n"))
            let one = try run("check", point, "--index", "rmap", "--json").document()
            #expect(one.list("indexes").compactMap { $0.string("name") } == ["rmap"])
            let scoped = try run("check", point, "--inode", "128")
            #expect(scoped.status == 8)
            #expect(scoped.errors.contains("checked as a whole"))
            let doctor = try run("doctor", point, "--json").document()
            #expect(doctor.object["canCheck"] as? Bool == true)
            #expect(doctor.list("abilities").contains { $0.string("name") == "parents" })
        }
    }

    @Test func `what is no XFS is refused with what to do`() throws {
        let doctor = try run("doctor", "/proc")
        #expect(doctor.status == 4)
        #expect(doctor.output.contains("can't be checked"))
        let nowhere = try run("doctor", "/nowhere/at/all")
        #expect(nowhere.status == 4)
        #expect(nowhere.errors.contains("/nowhere/at/all"))
    }
}

/// Images of the tests of `LinuxFilesystem`.
enum KeptImage {
    /// nil where they can be mounted and checked here, else why they can't.
    static let obstacle: Comment? = {
        if geteuid() != 0 { return "needs root to mount" }
        if access("/dev/loop-control", W_OK) != 0 { return "needs loop devices" }
        let known = (try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8)) ?? ""
        for type in ["xfs", "tracefs"]
        where !known.split(separator: "\n").contains(where: { $0.hasSuffix("\t\(type)") }) {
            return "the kernel has no \(type)"
        }
        return nil
    }()

    static func withMounted(_ name: String, _ body: (String) throws -> Void) throws {
        let image = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent()
            .appendingPathComponent("LinuxFilesystemTests/Fixtures/\(name)").path
        let place = FileManager.default.temporaryDirectory
            .appendingPathComponent("tidemark-mount-\(UUID().uuidString)").path
        let point = place + "/mounted"
        try FileManager.default.createDirectory(
            atPath: point, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: place) }
        let made = try shell(
            "zstd -qd \"$1\" -o \"$2/image\" && mount -o loop,nouuid \"$2/image\" \"$2/mounted\"",
            image, place)
        try #require(made.status == 0, "\(made.errors)")
        defer { _ = try? shell("umount \"$1\"", point) }
        try body(point)
    }
}
