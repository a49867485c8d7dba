// What programs do to a mount, recorded as a scenario, and replayed.

import Foundation
import TestSupport
import Testing

@Suite(.enabled(if: canMount, "there is no /dev/fuse that could be opened"))
struct MountRecordTests {
    private func recorded(_ script: String) throws -> (scenario: String, replay: Ended) {
        try withDirectory { directory in
            let volume = directory + "/volume", point = directory + "/mnt"
            let file = directory + "/recorded.yaml"
            try FileManager.default.createDirectory(
                atPath: point, withIntermediateDirectories: false)
            try json("create", volume, "--size", "1G")
            try json("mount", volume, point, "--record", file)
            defer { _ = try? shell("umount -l \"$1\" 2>/dev/null", point) }
            try expectWell("cd \"$1\"\n" + script, point)
            #expect(try run("unmount", point).status == 0)
            let text = try String(contentsOfFile: file, encoding: .utf8)
            return (text, try run("replay", file))
        }
    }

    @Test func `names, owners, sizes and numbers that are used again replay`() throws {
        let (scenario, replay) = try recorded(
            """
            mkdir a a/b; for i in {1..30}; do echo "contents $i" > a/f$i; done
            mv a/f1 a/b/moved; ln a/f2 a/b/linked; ln -s f3 a/symbolic; mkfifo pipe
            rm a/f{4..9}; for i in {1..6}; do echo again > again$i; done
            mv -T a/f10 a/f11; truncate -s 100000 a/f12; fallocate -p -o 0 -l 8192 a/f12
            chown 1000:1001 a/f13; chmod 600 a/f14; rmdir a/b 2>/dev/null || true
            mkdir gone; rmdir gone; touch after
            """)
        #expect(scenario.contains("a") && scenario.contains("rename"))
        #expect(replay.status == 0, "\(replay.output) \(replay.errors)\n\(scenario.suffix(3000))")
    }

    @Test func `files that outlive their names replay`() throws {
        let (scenario, replay) = try recorded(
            """
            python3 - <<'END'
            import os
            kept = os.open("kept", os.O_RDWR | os.O_CREAT); os.write(kept, b"x" * 9000)
            os.unlink("kept")
            for i in range(5): open("file%d" % i, "w").write("y" * 5000)
            os.write(kept, b"z" * 9000); os.close(kept)
            nameless = os.open(".", os.O_TMPFILE | os.O_RDWR); os.write(nameless, b"t" * 6000)
            here = os.open(".", os.O_RDONLY)
            os.link("/proc/self/fd/%d" % nameless, "named", dst_dir_fd=here, follow_symlinks=True)
            other = os.open(".", os.O_TMPFILE | os.O_RDWR); os.write(other, b"t" * 6000)
            os.close(other); os.close(nameless)
            for i in range(5): os.rename("file%d" % i, "other")
            open("last", "w").write("l")
            END
            """)
        #expect(scenario.contains("open"))
        #expect(replay.status == 0, "\(replay.output) \(replay.errors)\n\(scenario.suffix(3000))")
    }

    @Test func `where a recording can't be written the mount is refused`() throws {
        try withDirectory { directory in
            let volume = directory + "/volume", point = directory + "/mnt"
            try FileManager.default.createDirectory(
                atPath: point, withIntermediateDirectories: false)
            try json("create", volume, "--size", "1G")
            let refused = try run("mount", volume, point, "--record", directory + "/no/file")
            #expect(refused.status == 4 && refused.errors.contains("/no/file"))
        }
    }
}
