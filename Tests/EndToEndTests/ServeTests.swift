// `tidemark serve` of a mounted XFS or ext4, `owner` and `paths` of its index, as a user runs them.

import Foundation
import TestSupport
import Testing

/// What these need of the machine; nil where it is there.
private let obstacle: Comment? = {
    if geteuid() != 0 { return "needs root to mount" }
    if access("/dev/loop-control", W_OK) != 0 { return "needs loop devices" }
    let known = (try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8)) ?? ""
    for kind in ["xfs", "ext4"] {
        if !known.contains("\t\(kind)\n") { return "the kernel has no \(kind)" }
        if access("/usr/sbin/mkfs.\(kind)", X_OK) != 0 { return "needs mkfs.\(kind)" }
    }
    return nil
}()

@Suite(.temporaryDirectory, .serialized, .enabled(if: obstacle == nil, obstacle ?? ""))
struct ServeTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path
    private static let load =
        "\(root)/Tests/LinuxFilesystemTests/Fixtures/load.py"

    /// How an index is kept.
    enum Kind: String, CaseIterable {
        case xfs = "mkfs.xfs -q -m rmapbt=1,reflink=1"
        /// Without a reverse map.
        case plain = "mkfs.xfs -q -m rmapbt=0"
        case ext4 = "mkfs.ext4 -q -F"
    }

    /// A filesystem with a tree in it, mounted in a directory of the test's.
    final class Served {
        let place: String
        let mounts: PrivateMounts
        private var programs: [Started] = []

        var point: String { place + "/mounted" }
        var index: String { place + "/index" }

        init(_ kind: Kind = .xfs) throws {
            place = try temporaryDirectory()
            mounts = try PrivateMounts(
                place,
                arrangement: """
                    truncate -s 400M image; \(kind.rawValue) image; mkdir mounted
                    mount -o loop image mounted
                    mkdir mounted/load mounted/tree
                    for n in $(seq 300); do
                        mkdir -p mounted/tree/$((n % 20))
                        head -c $((n * 700)) /dev/zero >mounted/tree/$((n % 20))/file-$n
                    done
                    ln mounted/tree/1/file-1 mounted/tree/2/link
                    sync -f mounted
                    """)
        }

        deinit {
            for program in programs where program.isRunning { program.signal(SIGKILL) }
            for program in programs { _ = program.wait() }
            _ = try? mounts.shell("umount '\(point)'")
        }

        /// Starts a command in the namespace; it becomes the one that was asked for.
        func start(_ words: [String]) throws -> Started {
            let started = try mounts.start(words)
            programs.append(started)
            return started
        }

        func serve(_ words: String...) throws -> Started {
            try start([tidemark, "serve", point, "--index", index] + words)
        }

        func ask(_ words: String..., status: Int32? = 0) throws -> Document {
            let ended = try mounts.run([tidemark] + words + ["--json"])
            if let status { #expect(ended.status == status, "\(words): \(ended.errors)") }
            return try ended.document()
        }

        /// Waits until the index is settled as of now or later.
        func untilCurrent(_ server: Started) throws {
            let now = Date()
            let form = ISO8601DateFormatter()
            form.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
            try until("a current index") {
                guard server.isRunning else {
                    let ended = server.wait()
                    throw EndedEarly(description: "\(ended.status): \(ended.output)\(ended.errors)")
                }
                let ended = try mounts.run([tidemark, "paths", index, "--inode", "1", "--json"])
                guard ended.status == 0, let time = try ended.document().string("asOf") else {
                    return false
                }
                return form.date(from: time).map { $0 > now } ?? false
            }
        }

        /// Freezes, waits, and compares the index with what the kernel says, by other code.
        func compare(_ server: Started) throws {
            let frozen = try mounts.shell("sync -f '\(point)' && fsfreeze -f '\(point)'")
            #expect(frozen.status == 0, "\(frozen.errors)")
            defer { _ = try? mounts.shell("fsfreeze -u '\(point)'") }
            try untilCurrent(server)
            let compared = try mounts.run([
                "/usr/bin/env", "python3", "\(root)/Scripts/lab/compare-index.py", tidemark, index,
                point,
            ])
            #expect(compared.status == 0, "\(compared.output)\(compared.errors)")
        }

        func work(seeds: Range<Int>, _ body: () throws -> Void) throws {
            let load = try seeds.map {
                try start(["/usr/bin/env", "python3", ServeTests.load, point + "/load", "\($0)"])
            }
            try body()
            for program in load {
                program.signal(SIGKILL)
                _ = program.wait()
            }
        }

        func end(_ server: Started, by signal: Int32, status: Int32) {
            server.signal(signal)
            let ended = server.wait()
            #expect(ended.status == status, "\(ended.output)\(ended.errors)")
        }
    }

    @Test(arguments: Kind.allCases)
    func `an index under load equals the filesystem, also after kill -9 and a restart`(
        kind: Kind
    ) throws {
        let served = try Served(kind)
        var server = try served.serve("--interval", "0.2")
        try served.work(seeds: 1..<3) {
            try served.untilCurrent(server)
            served.end(server, by: SIGKILL, status: 128 + SIGKILL)
            // What happens now nobody tells of.
            _ = try served.mounts.shell(
                "cd '\(served.point)/tree' && rm -r 3 && mv 4 5/ && cp -a 6 7/")
            let asked = try served.ask("paths", served.index, "--inode", "1", status: 16)
            #expect(asked.object["served"] as? Bool == false)
            server = try served.serve("--interval", "0.2")
            try served.untilCurrent(server)
        }
        try served.compare(server)
        served.end(server, by: SIGTERM, status: 0)
    }

    @Test func `what moves blocks between files, and a resize, is seen on ext4`() throws {
        let served = try Served(.ext4)
        let server = try served.serve("--interval", "0.2")
        let made = try served.mounts.shell(
            """
            cd '\(served.point)/load' && for n in $(seq 40); do
                for file in a b c; do
                    dd if=/dev/zero of=$file bs=8K count=1 seek=$((2 * n)) conv=fsync status=none
                done
            done
            """)
        #expect(made.status == 0, "\(made.errors)")
        try served.untilCurrent(server)
        let moved = try served.mounts.shell(
            """
            cd '\(served.place)' && e4defrag mounted/load >defrag 2>&1
            truncate -s 500M image && losetup -c "$(findmnt -no SOURCE mounted)"
            resize2fs "$(findmnt -no SOURCE mounted)"
            """)
        // Where root may not (CAP_SYS_RESOURCE) only what was moved is seen.
        #expect(
            moved.status == 0 || moved.errors.contains("Permission denied to resize"),
            "\(moved.output)\(moved.errors)")
        _ = try served.mounts.shell("cp -a '\(served.point)/tree' '\(served.point)/new'")
        try served.compare(server)
        served.end(server, by: SIGTERM, status: 0)
    }

    @Test(arguments: Kind.allCases)
    func `events that are lost all the time are made up for`(kind: Kind) throws {
        let served = try Served(kind)
        let server = try served.serve("--buffer", "8K", "--interval", "0.1", "--json")
        try served.work(seeds: 1..<3) {
            try until("an index") {
                try served.mounts.run([tidemark, "paths", served.index, "--inode", "1"]).status & 4
                    == 0
            }
            _ = try served.mounts.shell(
                "cd '\(served.point)' && for n in 1 2 3 4 5 6; do cp -a tree copy; rm -r copy; done"
            )
        }
        try served.compare(server)
        server.signal(SIGTERM)
        let ended = server.wait()
        #expect(try ended.document().int("losses") ?? 0 > 0)
    }

    @Test(arguments: Kind.allCases)
    func `a question of a mount point is answered by its index, or by reading all of it`(
        kind: Kind
    ) throws {
        let served = try Served(kind)
        let inode = try served.mounts.shell("stat -c %i '\(served.point)/tree/7/file-207'").output
            .trimmingCharacters(in: .whitespacesAndNewlines)
        func ask(isMade: Bool) throws {
            let ended = try served.mounts.run([
                tidemark, "paths", served.point, "--inode", inode, "--json",
            ])
            #expect(ended.status == 0, "\(ended.errors)")
            let answer = try ended.document()
            #expect(answer.strings("paths") == ["/tree/7/file-207"])
            #expect(answer.object["settled"] as? Bool == true)
            #expect(answer.object["made"] as? Bool == isMade)
            #expect(answer.object["served"] as? Bool == !isMade)
            #expect(ended.errors.contains("no server keeps an index of it") == isMade)
        }
        try ask(isMade: true)
        var server = try served.serve()
        try served.untilCurrent(server)
        try ask(isMade: false)
        let block = try served.mounts.shell(
            """
            "$1" dump "$2" rmap | jq -r "select(.key.inode == $3 and .key.offset == 0).key.block"
            """, tidemark, served.index, inode
        ).output.trimmingCharacters(in: .whitespacesAndNewlines)
        let number = try #require(Int(block), "\(block)")
        let size = try served.mounts.shell("stat -fc %s '\(served.point)'").output
            .trimmingCharacters(in: .whitespacesAndNewlines)
        let sector = number * (try #require(Int(size)) / 512) + 1
        for words in [["--block", block], ["--sector", "\(sector)", "--disk"]] {
            let ended = try served.mounts.run([tidemark, "owner", served.point, "--json"] + words)
            #expect(ended.status == 0, "\(ended.errors)")
            let owner = try ended.document().list("blocks").first?.list("owners").first
            #expect(owner?.strings("paths") == ["/tree/7/file-207"])
        }
        // What a server that was killed has left says nothing.
        served.end(server, by: SIGKILL, status: 128 + SIGKILL)
        try ask(isMade: true)
        server = try served.serve()
        try served.untilCurrent(server)
        served.end(server, by: SIGTERM, status: 0)
        try ask(isMade: true)
    }

    @Test func `owner and paths name files, offsets and times`() throws {
        let served = try Served()
        let server = try served.serve()
        try served.untilCurrent(server)
        let looked = try served.mounts.shell(
            """
            cd "$1" && stat -c %i tree/1/file-1 tree/7/file-207 &&
            xfs_bmap tree/7/file-207 | awk 'NR == 2 { split($3, a, "[.]"); print a[1] }'
            """, served.point)
        let numbers = looked.output.split(separator: "\n").compactMap { Int($0) }
        try #require(numbers.count == 3, "\(looked.output)\(looked.errors)")
        let paths = try served.ask("paths", served.index, "--inode", "\(numbers[0])")
        #expect(paths.strings("paths") == ["/tree/1/file-1", "/tree/2/link"])
        #expect(paths.object["settled"] as? Bool == true)
        let sector = numbers[2]
        let owner = try served.ask("owner", served.index, "--sector", "\(sector + 9)")
        let one = try #require(owner.list("blocks").first?.list("owners").first)
        #expect(one.int("inode") == numbers[1])
        #expect(one.strings("paths") == ["/tree/7/file-207"])
        #expect(one.int("offset") == 1)
        #expect(one.int("offsetBytes") == 4096)
        let again = try served.ask("owner", served.index, "--block", "\(sector / 8)")
        #expect(again.list("blocks").first?.list("owners").first?.int("offset") == 0)
        // A loop device is its own disk.
        let disk = try served.ask("owner", served.index, "--sector", "\(sector)", "--disk")
        #expect(disk.list("blocks").first?.int("block") == sector / 8)
        let super_ = try served.mounts.run([tidemark, "owner", served.index, "--block", "0"])
        #expect(super_.output.contains("block 0: no file has it"))
        #expect(super_.output.contains("as of "))
        let beyond = try served.mounts.run([tidemark, "owner", served.index, "--block", "99999999"])
        #expect(beyond.status == 8)
        served.end(server, by: SIGTERM, status: 0)
        let stopped = try served.mounts.run([tidemark, "owner", served.index, "--block", "0"])
        #expect(stopped.status == 16)
        #expect(stopped.output.contains("no server keeps the index"))
    }

    @Test func `a list of bad sectors becomes files and offsets in one command`() throws {
        let served = try Served()
        let server = try served.serve()
        try served.untilCurrent(server)
        let looked = try served.mounts.shell(
            """
            cd "$1" && for file in tree/7/file-207 tree/9/file-289; do
                xfs_bmap $file | awk 'NR == 2 { split($3, a, "[.]"); print a[1] }'
            done
            lsblk -no KNAME "$(findmnt -no SOURCE .)" || findmnt -no SOURCE . | sed 's,/dev/,,'
            """, served.point)
        let words = looked.output.split(separator: "\n").map(String.init)
        let first = try #require(words.first.flatMap { Int($0) }, "\(looked.errors)")
        let second = try #require(Int(words[1])), device = words[2]
        func ask(_ text: String, _ options: String, status: Int32 = 0) throws -> Document {
            let ended = try served.mounts.shell(
                "printf '%s\\n' \"$1\" | \"$2\" owner \"$3\" \(options) --json", text, tidemark,
                served.index)
            #expect(ended.status == status, "\(text): \(ended.errors)")
            return try ended.document()
        }
        func files(_ document: Document) -> [String] {
            document.list("blocks").flatMap { $0.list("owners") }.map {
                "\($0.strings("paths").joined()) \($0.int("offsetBytes") ?? -1)"
            }
        }
        let both = ["/tree/7/file-207 4096", "/tree/9/file-289 0"]
        let answer = try ask("\((first + 8) / 2)\n\(second / 2)", "--from badblocks")
        #expect(Set(files(answer)) == Set(both))
        let log = """
            [1.5] I/O error, dev \(device), sector \(first + 9) op 0x0:(READ) flags 0x0 phys_seg 1
            [1.6] Buffer I/O error on dev \(device), logical block 1, async page read
            [1.7] critical medium error, dev \(device), sector \(second)
            [1.8] critical medium error, dev elsewhere9, sector 1
            """
        let ofKernel = try ask(log, "--from kernel")
        #expect(Set(files(ofKernel)) == Set(both))
        #expect(ofKernel.int("sectorsOfOtherDevices") == 1)
        let tests = """
            Num  Test_Description  Status                   Remaining  LifeTime  LBA_of_first_error
            # 1  Extended offline  Completed: read failure        90%       188  \(first)
            # 2  Extended offline  Completed: read failure        90%       188  99999999
            """
        let ofDisk = try ask(tests, "--from smartctl")
        #expect(files(ofDisk) == ["/tree/7/file-207 0"])
        #expect(ofDisk.object["sectorsOutside"] as? [Int] == [99_999_999])
        let wrong = try ask("12\ntwelve", "--from badblocks", status: 8)
        #expect(wrong.string("error")?.contains("line 2") == true)
        _ = try ask("12", "--from badblocks --unit 100", status: 8)
        served.end(server, by: SIGTERM, status: 0)
    }

    @Test func `an index file is where a symbolic link leads to`() throws {
        let served = try Served()
        let server = try served.serve()
        try served.untilCurrent(server)
        served.end(server, by: SIGTERM, status: 0)
        // On the filesystem itself, whether what it leads to is there or not.
        let made = try served.mounts.shell(
            """
            cd '\(served.place)' && ln -s mounted/absent to-absent && ln -s to-absent to-link
            : >mounted/present; ln -s "$PWD/mounted/present" to-present
            """)
        #expect(made.status == 0, "\(made.errors)")
        for link in ["to-absent", "to-link", "to-present"] {
            let ended = try served.mounts.run([
                tidemark, "serve", served.point, "--index", "\(served.place)/\(link)",
            ])
            #expect(ended.status == 4)
            #expect(ended.errors.contains("can't lie on the filesystem that it is of"))
        }
        #expect(access(served.point + "/absent", F_OK) != 0)
        // One that leads elsewhere is asked like the file itself, with one lock for both.
        try FileManager.default.createSymbolicLink(
            atPath: served.place + "/to-index", withDestinationPath: served.index)
        let linked = try served.mounts.run([
            tidemark, "paths", served.place + "/to-index", "--inode", "1",
        ])
        #expect(linked.status == 16, "\(linked.errors)")
        #expect(access(served.place + "/to-index-lock", F_OK) != 0)
    }

    @Test func `what can't be an index, or is another's, is refused and left as it is`() throws {
        let served = try Served()
        let server = try served.serve()
        try served.untilCurrent(server)
        let second = try served.mounts.run([
            tidemark, "serve", served.point, "--index", served.index,
        ])
        #expect(second.status == 4)
        #expect(second.errors.contains("another server keeps this index"))
        served.end(server, by: SIGTERM, status: 0)
        let inside = try served.mounts.run([
            tidemark, "serve", served.point, "--index", served.point + "/index",
        ])
        #expect(inside.errors.contains("can't lie on the filesystem that it is of"))
        #expect(access(served.point + "/index", F_OK) != 0)

        let bytes = try Data(contentsOf: URL(fileURLWithPath: served.index))
        func refused(_ name: String, _ bytes: Data, _ words: String) throws {
            let path = served.place + "/" + name
            try bytes.write(to: URL(fileURLWithPath: path))
            for command in [
                ["serve", served.point, "--index", path], ["owner", path, "--block", "100"],
                ["paths", path, "--inode", "128"], ["dump", path, "rmap"],
            ] {
                let ended = try served.mounts.run(["/usr/bin/timeout", "20", tidemark] + command)
                #expect(ended.status == 4, "\(name) \(command): \(ended.output)\(ended.errors)")
                #expect(ended.errors.contains(words), "\(name) \(command): \(ended.errors)")
            }
            #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == bytes)
        }
        try refused("text", Data("what is this\n".utf8), "no index")
        try refused("short", bytes.prefix(bytes.count / 2), "damaged")
        var flipped = bytes
        // The pages of the trees: all but the first two.
        for page in stride(from: 2, to: bytes.count / 4096, by: 3) {
            flipped[page * 4096 + 14] ^= 0x55
        }
        try refused("flipped", flipped, "damaged")
        let volume = served.place + "/volume"
        #expect(try run("create", volume, "--size", "64M").status == 0)
        try refused(
            "foreign", try Data(contentsOf: URL(fileURLWithPath: volume + "/meta.mdb")), "no index")

        let other = try Served()
        let ended = try other.mounts.run([
            tidemark, "serve", other.point, "--index", served.index,
        ])
        #expect(ended.status == 4)
        #expect(ended.errors.contains("this is the index of the filesystem"))
        let missing = try served.mounts.run([tidemark, "serve", served.place, "--index", "x"])
        #expect(missing.status == 4)
        #expect(missing.errors.contains("neither an XFS nor an ext4 is mounted there"))
        #expect(try run("serve", "/x", "--index", "y", "--interval", "0").status == 8)
    }

    @Test func `a full disk below the index is said, and what it holds stays`() throws {
        let served = try Served()
        let small = served.place + "/small"
        _ = try served.mounts.shell(
            "mkdir \"$1\" && mount -t tmpfs -o size=72k index \"$1\"", small)
        let ended = try served.mounts.run([
            "/usr/bin/timeout", "60", tidemark, "serve", served.point, "--index", small + "/index",
        ])
        #expect(ended.status == 4)
        #expect(ended.errors.contains("no room for the index"), "\(ended.errors)")
        _ = try served.mounts.shell("umount \"$1\"", small)
    }
}
