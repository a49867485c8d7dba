// A mounted volume under the programs that everybody uses.

import Foundation
import TestSupport
import Testing

/// Whether this process may mount. A node may be there without a driver behind it.
let canMount: Bool = {
    let file = open("/dev/fuse", O_RDWR | O_CLOEXEC)
    close(file)
    return file >= 0
}()

/// Runs `body` with a new volume that is mounted: (volume, mount point). Unmounts it, expects that
/// the witness finds nothing, and leaves no mount behind whatever happens.
func withMount(
    size: String = "2G", verified: Bool = true, _ body: (String, String) throws -> Void
) throws {
    try withDirectory { directory in
        let volume = directory + "/volume", point = directory + "/mnt"
        try FileManager.default.createDirectory(
            atPath: point, withIntermediateDirectories: false)
        try json("create", volume, "--size", size)
        try json("mount", volume, point)
        defer { _ = try? shell("umount -l \"$1\" 2>/dev/null", point) }
        try body(volume, point)
        let ended = try run("unmount", point)
        #expect(ended.status == 0, "\(ended.errors)")
        if verified { try expectVerified(volume) }
    }
}

/// Runs a script that ends with the first failure, and expects none.
func expectWell(
    _ script: String, _ arguments: String..., location: SourceLocation = #_sourceLocation
) throws {
    let whole = shellWaiting + "set -euo pipefail\n" + script
    let ended = try Started("/bin/bash", ["-c", whole, "bash"] + arguments).wait(location: location)
    #expect(ended.status == 0, "\(ended.output) \(ended.errors)", sourceLocation: location)
}

@Suite(.enabled(if: canMount, "there is no /dev/fuse that could be opened"))
struct MountTests {
    @Test func `git and tar find what they have written, also after a remount`() throws {
        try withMount { volume, point in
            try expectWell(
                """
                cd "$1"; git init -q repo; cd repo
                git config user.name n; git config user.email e@example.org
                for i in {1..40}; do mkdir -p d$i; seq $((i * 50)) > d$i/file; done
                ln -s d1/file link; git add -A; git commit -qm one
                git rm -rq d7; git mv d8 e8; git commit -qm two; git gc -q; git fsck --strict
                cd ..; git clone -q repo clone; tar cf all.tar repo; mkdir out
                tar xf all.tar -C out
                diff -r repo out/repo
                """, point)
            #expect(try run("unmount", point).status == 0)
            try expectVerified(volume)
            try json("mount", volume, point)
            try expectWell(
                """
                cd "$1"; diff -r repo out/repo; git -C clone fsck --strict
                git -C clone status --porcelain | wc -l | grep -qx 0
                rm -rf repo out clone all.tar; test -z "$(ls -A)"
                """, point)
        }
    }

    @Test func `a directory is listed whole while others are taken from it`() throws {
        try withMount { _, point in
            try expectWell(
                """
                cd "$1"; mkdir d; cd d; seq 20000 | xargs touch; ls | wc -l | grep -qx 20000
                cd ..; rm -rf d; test ! -e d
                """, point)
            try expectWell(
                """
                cd "$1"; mkdir d
                python3 - <<'END'
                import ctypes, os
                libc = ctypes.CDLL(None, use_errno=True)
                libc.opendir.restype = ctypes.c_void_p
                libc.readdir.restype = ctypes.POINTER(ctypes.c_ubyte * 280)
                libc.telldir.restype = ctypes.c_long
                for name in ("readdir", "telldir", "seekdir", "rewinddir"):
                    getattr(libc, name).argtypes = [ctypes.c_void_p] + (
                        [ctypes.c_long] if name == "seekdir" else [])
                def name(entry):
                    return bytes(entry.contents)[19:].split(b"\\0")[0].decode()
                for i in range(3000): open("d/%05d" % i, "w").close()
                stream = libc.opendir(b"d")
                seen, places = [], {}
                while True:
                    place = libc.telldir(stream)
                    entry = libc.readdir(stream)
                    if not entry: break
                    one = name(entry)
                    places[one] = place
                    seen.append(one)
                    if one.isdigit() and int(one) % 3 == 0:
                        os.unlink("d/" + one)
                        os.unlink("d/%05d" % (int(one) + 1))
                        open("d/+%s" % one, "w").close()
                stay = [one for one in seen if one.isdigit() and int(one) % 3 == 2]
                assert stay == ["%05d" % i for i in range(2, 3000, 3)], len(stay)
                assert len(seen) == len(set(seen))
                for one in reversed(stay):
                    libc.seekdir(stream, places[one])
                    assert name(libc.readdir(stream)) == one, one
                libc.rewinddir(stream)
                again = set()
                while (entry := libc.readdir(stream)): again.add(name(entry))
                assert again == {".", ".."} | set(stay) | {"+%05d" % i for i in range(0, 3000, 3)}
                END
                """, point)
        }
    }

    @Test func `four programs at once leave what each of them made`() throws {
        try withMount { _, point in
            try expectWell(
                """
                cd "$1"
                for p in 1 2 3 4; do (
                    mkdir p$p; cd p$p
                    for i in {1..150}; do echo $p $i > f$i; ln f$i l$i; mv f$i g$i; done
                    for i in {1..150..2}; do rm l$i; done
                    dd if=/dev/urandom of=data bs=64K count=64 status=none
                    cp data copy; cmp data copy
                ) & done
                wait
                for p in 1 2 3 4; do ls p$p | wc -l | grep -qx 227; grep -qx "$p 77" p$p/g77; done
                """, point)
        }
    }

    @Test func `a run checks a volume that is mounted read only`() throws {
        try withVolume(files: 60) { volume in
            let point = volume + "-mnt"
            try FileManager.default.createDirectory(
                atPath: point, withIntermediateDirectories: false)
            try json("mount", volume, point, "--read-only")
            defer { _ = try? shell("umount -l \"$1\" 2>/dev/null", point) }
            try expectWell(
                """
                cd "$1"; test "$(stat -c %s d0/small-0)" = 10; ! touch x 2>/dev/null
                test "$(find . | wc -l)" -gt 120
                """, point)
            try json("check", volume)
            #expect(try run("unmount", point).status == 0)
        }
    }
}
