// Paths that are not UTF-8: each command takes them as bytes, and as it prints them.

import Foundation
import TestSupport
import Testing

@Suite struct HostPathCommandTests {
    @Test func `a volume, a tree and a part of it may have any name`() throws {
        try withDirectory { directory in
            let script = """
                set -e
                t=$1; cd "$2"
                n=$(printf 'caf\\351')
                mkdir "src-$n" "src-$n/$n"; echo x > "src-$n/$n/file"
                $t create "v-$n" --size 1G -q
                $t import "v-$n" "src-$n" -q
                $t check "v-$n" -q
                $t check "v-$n" --subtree "/$n" -q
                $t check "v-$n" --subtree '/caf\\xe9' -q
                $t check 'v-caf\\xe9' -q
                $t damage "v-$n" --index parents --count 1 -q --kind missing
                $t check "v-$n" -q --list "list-$n" || [ $? = 1 ]
                [ -s "list-$n" ]
                $t repair "v-$n" --subtree "/" -q
                $t verify 'v-caf\\xe9' -q
                $t status "v-$n"
                $t stat "v-$n" --json
                """
            let ended = try shell(script, tidemark, directory)
            #expect(ended.status == 0, "\(ended.errors) \(ended.output)")
            // As it is printed: escaped, for people and in documents.
            #expect(ended.output.contains("v-caf\\xe9: no process is at work"), "\(ended.output)")
            #expect(ended.output.contains(#""target": "v-caf\\xe9""#), "\(ended.output)")
        }
    }

    @Test func `what exists as it is typed is meant as it is typed`() throws {
        try withDirectory { directory in
            let ended = try shell(
                #"""
                set -e
                t=$1; cd "$2"
                mkdir 'a\x41'; $t create 'a\x41' --size 1G -q
                [ -e 'a\x41/data' ]; [ ! -e aA ]
                $t create 'b\x41' --size 1G -q; [ -e bA/data ]
                """#, tidemark, directory)
            #expect(ended.status == 0, "\(ended.errors)")
        }
    }
}

@Suite struct WholeVolumeTests {
    @Test func `a volume without its directory for runs is whole`() throws {
        try withVolume(files: 20) { volume in
            try FileManager.default.removeItem(atPath: volume + "/runs")
            try json("check", volume)
            #expect(!FileManager.default.fileExists(atPath: volume + "/runs"))
            try json("damage", volume, "--index", "rmap", "--count", "3")
            try json("repair", volume, "--strategy", "rebuild")
            try expectVerified(volume)
        }
    }

    @Test(.enabled(if: getuid() == 0, "mounts a directory for reading only"))
    func `what can only be read can be looked at`() throws {
        try withVolume(files: 20) { volume in
            let script = """
                set -e
                t=$1; v=$2
                mount --bind "$v" "$v"; mount -o remount,bind,ro "$v"
                for c in "check $v" "verify $v" "stat $v" "dump $v inodes" "owner $v --block 0" \\
                    "paths $v --inode 1" "status $v"; do
                    $t $c > "$v/../out" 2> "$v/../err" || { echo "$c: $?"; exit 1; }
                    [ ! -s "$v/../err" ] || { echo "$c said:"; cat "$v/../err"; exit 1; }
                done
                rc=0; $t repair "$v" 2> /dev/null || rc=$?; [ $rc = 4 ]
                """
            let preparations = [
                "", "rm -rf \"$2/runs\" \"$2/lock\"\n", "rm -f \"$2/meta.mdb-lock\"\n",
            ]
            for prepare in preparations {
                let ended = try Started(
                    "/usr/bin/env",
                    ["unshare", "--mount", "bash", "-c", prepare + script, "bash", tidemark, volume]
                ).wait()
                #expect(ended.status == 0, "\(prepare): \(ended.output) \(ended.errors)")
            }
        }
    }

    @Test func `verify looks at the file data`() throws {
        try withVolume(files: 3) { volume in
            let other = volume + "-other"
            try json("create", other, "--size", "1G")
            let data = volume + "/data", kept = volume + "-data"
            try FileManager.default.moveItem(atPath: data, toPath: kept)
            // Without it there is no volume.
            let gone = try run("verify", volume)
            #expect(gone.status == 4 && gone.errors.contains("no file data"), "\(gone.errors)")
            let damage: [(String, String, [String: Int])] = [
                ("empty", ": > \"$1\"", ["dataLabel": 1, "dataLength": 1]),
                ("short", "cp --sparse=always \"$2\" \"$1\"; truncate -s 1M \"$1\"",
                    ["dataLabel": 0, "dataLength": 1]),
                ("another volume's", "cp --sparse=always \"$3/data\" \"$1\"",
                    ["dataLabel": 1, "dataLength": 0]),
                ("whole", "cp --sparse=always \"$2\" \"$1\"", ["dataLabel": 0, "dataLength": 0]),
            ]
            for (name, script, counts) in damage {
                let made = try shell("rm -f \"$1\"; \(script)", data, kept, other)
                try #require(made.status == 0, "\(made.errors)")
                let isWhole = counts.values.allSatisfy { $0 == 0 }
                let ended = try run("verify", volume, "--json")
                #expect(
                    ended.status == (isWhole ? 0 : 1), "\(name): \(ended.output)\(ended.errors)")
                let primaries = try ended.document()["primaries"]
                for (kind, count) in counts {
                    #expect(primaries.int(kind) == count, "\(name): \(kind)")
                }
            }
        }
    }
}
