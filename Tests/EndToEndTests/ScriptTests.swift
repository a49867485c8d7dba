// The long campaigns of Scripts/ in their quick forms, so that none of them can rot. What they find
// in so short a time says little; that they come to their ends says that they can be relied on.

import Foundation
import TestSupport
import Testing

/// One after the other: each keeps the machine busy.
@Suite(.serialized) struct ScriptTests {
    private static let scripts = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Scripts").path

    private func script(_ line: String, expecting words: String) throws {
        let ended = try shell(
            "export TIDEMARK=\"$1\" && \(line)", tidemark, Self.scripts)
        #expect(ended.status == 0, "\(ended.errors.suffix(2000))")
        #expect((ended.output + ended.errors).contains(words), "\(ended.output.suffix(2000))")
    }

    @Test func `runs are killed and resumed`() throws {
        try script(#""$2/kills" --times 1 --seed 1"#, expecting: "each exact (seed 1)")
    }

    @Test func `writers, damage and repairs follow each other`() throws {
        try script(
            #""$2/soak" --rounds 2 --seed 3"#, expecting: "2 rounds without a finding")
    }

    @Test(.enabled(if: canMount, "there is no FUSE here"))
    func `programs work on a mount that is damaged and repaired`() throws {
        try script(
            #""$2/programs" --rounds 1 --seed 3 --only git,sqlite,tar"#,
            expecting: "without a finding, and a clean volume")
    }

    @Test(
        .enabled(if: canMount, "there is no FUSE here"),
        .enabled(if: FileManager.default.fileExists(atPath: "/usr/include/linux")))
    func `the demo holds what it says`() throws {
        try script(
            "DEMO_TREE=/usr/include/linux DEMO_DAMAGE=20 DEMO_SECONDS=9 \"$2/demo\"",
            expecting: "Every damaged entry was found, none invented")
    }

    /// Of five mistakes in a small program its tests notice four; the program stays as it was.
    @Test func `mistakes are made in a copy, and what survives is told`() throws {
        try script(
            #"""
            set -e; folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
            mkdir -p Sources/Small
            cat >Sources/Small/small.swift <<'END'
            func clamped(_ value: Int, _ limit: Int) -> Int {
                guard value >= 0 else { return 0 }
                return value < limit ? value : limit
            }
            func sum(_ values: [Int]) -> Int {
                var total = 0
                for place in 0..<values.count {
                    total = total + values[place]
                }
                return total
            }
            END
            cat >main.swift <<'END'
            if clamped(-3, 5) != 0 || clamped(9, 5) != 5 { print("✘ clamped") }
            if clamped(2, 5) != 2 { print("✘ clamped") }
            if sum([1, 2, 3]) != 6 { print("✘ sum") }
            END
            cp Sources/Small/small.swift before.swift
            status=0
            python3 "$2/mutate.py" --package "$folder" --seed 1 --modules Small \
                --build 'swiftc -o small main.swift Sources/Small/small.swift' --run ./small \
                >told || status=$?
            cmp Sources/Small/small.swift before.swift
            test $status = 1
            grep -q '^SURVIVES .*comparison: return value < limit.* -> .*value <= limit' told
            grep -c '^caught' told | grep -qx 4
            tail -1 told
            """#, expecting: "5 mistakes, 4 caught, 1 survive")
    }

    @Test func `the scenarios of a folder are explored, and seeds simulated`() throws {
        try script(#""$2/explore" --quick"#, expecting: "200 seeds, 0 failed")
    }

    @Test(.enabled(if: canMount, "there is no FUSE here"))
    func `what a repair costs programs is measured`() throws {
        try script(
            #""$2/stalls" --pairs 1 --files 1000 --only clone,verify_blocks"#,
            expecting: "anonymous memory of the server")
    }

    @Test(.enabled(if: canLosePower, "needs root, loop devices and mkfs.ext4"))
    func `a mount is measured beside other filesystems`() throws {
        try script(
            #""$2/bench-mount" --only names,data --rounds 1 --files 100 --mebibytes 16"#,
            expecting: "Sequential write, 1 MiB, until fsync returns")
    }

    @Test(.enabled(if: canMount, "there is no FUSE here"))
    func `a mounted volume in use is damaged and scrubbed`() throws {
        try script(
            #""$2/scrub-campaign" --seeds 1-1 --defects 60 --files 300"#,
            expecting: "1 seeds without a finding")
    }

    @Test(.enabled(if: canMount, "there is no FUSE here"))
    func `no command takes a volume with flipped bytes for clean, or ends by it`() throws {
        try script(#""$2/flips" --volumes 12 --seed 1"#, expecting: "0 wrong answers")
    }

    @Test(
        .enabled(if: canMountXFS, "needs root, loop devices, XFS and mkfs.xfs"),
        arguments: ["xfs", "xfs-plain", "ext4"])
    func `an index is kept, killed and compared`(filesystem: String) throws {
        try script(
            #""$2/serve-index" --rounds 1 --programs 1 --size 400M --seed 3 "#
                + "--filesystem \(filesystem)",
            expecting: "1 rounds without a difference")
    }

    @Test(
        .enabled(if: canMountXFS, "needs root, loop devices, XFS and mkfs.xfs"),
        .enabled(if: access("/usr/bin/plocate", X_OK) == 0, "needs plocate"))
    func `an index is measured beside what there is without one`() throws {
        try script(#""$2/bench-index" --quick --filesystem ext4"#, expecting: "debugfs icheck")
    }

    @Test(.enabled(if: canMountXFS, "needs root, loop devices, XFS and mkfs.xfs"))
    func `a mounted XFS is checked beside programs that work in it`() throws {
        try script(#""$2/check-mounted" --quick"#, expecting: "0 of 4 checks were wrong")
    }

    private static let canMountXFS =
        geteuid() == 0 && access("/dev/loop-control", W_OK) == 0
        && access("/usr/sbin/mkfs.xfs", X_OK) == 0
        && (try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8))?
            .contains("\txfs\n") == true

    @Test(
        arguments: [
            "kills", "soak", "programs", "stalls", "bench-mount", "explore", "scrub-campaign",
            "serve-index", "bench-index", "check-mounted", "flips",
        ])
    func `a script that is asked for what it can't do says how it is called`(name: String) throws {
        let ended = try shell("\"$1/$2\" --nonsense", Self.scripts, name)
        #expect(ended.status == 8)
        #expect((ended.output + ended.errors).contains("usage: Scripts/\(name)"))
    }
}
