// What `tidemark owner` and `tidemark paths` answer from an index file.
//
// Each answer says as of when it holds, and whether that is now: an index that a server keeps is
// settled but for what is being verified; one that nobody keeps was.

internal import Bytes
internal import HostFiles
internal import LinuxIndex
internal import LinuxOwner
internal import Reports
internal import Threads
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

/// An index that is asked.
struct AskedIndex {
    let file: IndexFile
    let header: IndexHeader
    /// Whether a server keeps it, or all of it was read for this question.
    let isServed: Bool
    private let isMade: Bool

    /// Whether `target` is an index file or a mounted filesystem, and so no volume's directory.
    static func isMeant(_ target: String) -> Bool {
        isFile(target) || isMountedFilesystem(target)
    }

    private static func isFile(_ path: String) -> Bool {
        var status = stat()
        return stat(path.hostPath, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    /// The index file `target`; of a mount point that which a server keeps, or one made now.
    init(_ target: String, _ output: Output) throws {
        if AskedIndex.isFile(target) {
            try self.init(file: try IndexFile.openForReading(target), isMade: false)
        } else if let kept = try IndexRegistry.index(of: target) {
            try self.init(file: try IndexFile.openForReading(kept), isMade: false)
        } else {
            try self.init(file: try AskedIndex.make(target, output), isMade: true)
        }
    }

    private init(file: IndexFile, isMade: Bool) throws {
        self.file = file
        self.isMade = isMade
        isServed = isMade || file.isServed
        guard let header = try file.snapshot().header else {
            throw CommandFailure(
                "\(file.path): nothing has been indexed yet; ask again in some seconds")
        }
        self.header = header
    }

    private static func make(_ target: String, _ output: Output) throws -> IndexFile {
        output.note(
            "\(target): no server keeps an index of it, so all of its inodes are read first; "
                + "`tidemark serve \(target) --index FILE` keeps one")
        let wanted = getenv("TMPDIR").map { [String(cString: $0)] } ?? []
        let places = wanted + ["/var/tmp", "/tmp", "/dev/shm"]
        guard let place = placeForSideFile(besides: target, of: places) else {
            throw CommandFailure(
                "\(target): there is no directory for an index on another filesystem: set TMPDIR")
        }
        guard let file = try IndexKeeper.read(
            target, in: place, until: { Signals.stopRequest != nil })
        else { throw CommandFailure("\(target): stopped before all of it was read") }
        return file
    }

    /// As of when something holds, in words.
    func words(_ asOf: UInt64, isSettled: Bool) -> String {
        guard let time = timeText(asOf) else { return "not read yet: the index is being built" }
        let age = "as of \(time), \(duration(max(0, age(of: asOf)))) ago"
        if !isServed {
            return "\(age); no server keeps the index, and what has changed since is not in it"
        }
        return isSettled ? age : "\(age); still to be verified"
    }

    var members: [(String, JSONValue)] {
        [
            ("served", .bool(isServed && !isMade)), ("made", .bool(isMade)),
            ("filesystem", .string(header.identityText)),
            ("asOf", .optional(timeText(header.asOf))), ("epoch", .unsigned(header.epoch)),
        ]
    }
}

extension AskedIndex {
    static let tables = ["rmap", "parents"]

    /// Calls `body` with key and value of each record of one of `tables`, in key order.
    func dump(
        _ table: String,
        _ body: (_ key: [(String, JSONValue)], _ value: [(String, JSONValue)]) throws -> Void
    ) throws {
        let snapshot = try file.snapshot()
        if table == "parents" {
            return try snapshot.forEachName { inode, directory, name in
                try body(
                    [
                        ("inode", .unsigned(inode)), ("directory", .unsigned(directory)),
                        ("name", .string(escapedName(name))),
                    ], [])
            }
        }
        try snapshot.forEachBlocks { blocks, owner in
            try body(
                [
                    ("block", .unsigned(blocks.lowerBound)), ("inode", .unsigned(owner.inode)),
                    ("fork", .string(owner.fork == 0 ? "data" : "attributes")),
                    ("offset", .unsigned(owner.offset)),
                ],
                [
                    ("length", .unsigned(blocks.upperBound - blocks.lowerBound)),
                    ("state", .string(owner.isUnwritten ? "unwritten" : "written")),
                ])
        }
    }
}

/// Who has a block, from an index.
struct IndexOwnerAnswer {
    struct One {
        let owner: BlockOwner
        let paths: IndexPaths
    }

    let block: UInt64
    let owners: [One]
    /// As of when, and whether that is now.
    let asOf: UInt64
    let isSettled: Bool
    /// How long it took to look it up.
    let seconds: Double

    init(_ snapshot: borrowing IndexSnapshot, block: UInt64, isServed: Bool) throws {
        let begun = monotonicNanoseconds()
        self.block = block
        owners = try snapshot.owners(ofBlock: block).map {
            One(owner: $0, paths: try snapshot.paths(of: $0.inode, limit: 64))
        }
        let times = owners.map(\.owner.asOf) + owners.compactMap(\.paths.asOf)
        // Whoever is not read yet may have it too.
        let unread = snapshot.unsettled.pieces.map(\.asOf).min()
        asOf = (times + [unread ?? snapshot.header?.asOf ?? 0]).min() ?? 0
        isSettled = isServed && unread == nil
        seconds = Double(monotonicNanoseconds() - begun) / 1e9
    }

    func lines(_ index: AskedIndex) -> [String] {
        var lines: [String] = []
        for one in owners {
            let place = one.owner.fork == 0 ? "contents" : "attributes"
            lines.append(
                "block \(block): inode \(one.owner.inode), \(place), from block "
                    + "\(one.owner.offset) of the file, "
                    + (one.owner.isUnwritten ? "unwritten" : "written"))
            lines += one.paths.paths.map { "  \(escapedName($0))" }
            if one.paths.isCut { lines.append("  and more: tidemark paths") }
            if one.paths.paths.isEmpty { lines.append("  no path leads to it") }
        }
        if owners.isEmpty {
            let others = index.header.kind == .ext4 ? ", attributes" : ""
            lines.append(
                "block \(block): no file has it: it is free, metadata\(others), or of a symbolic "
                    + "link")
        }
        return lines
    }

    func json(_ index: AskedIndex) -> JSONValue {
        .object([
            ("block", .unsigned(block)), ("sector", .unsigned(block * index.header.blockSectors)),
            (
                "owners",
                .array(
                    owners.map { one in
                        .object([
                            ("owner", "file"), ("inode", .unsigned(one.owner.inode)),
                            ("fork", .string(one.owner.fork == 0 ? "data" : "attributes")),
                            ("offset", .unsigned(one.owner.offset)),
                            (
                                "offsetBytes",
                                .unsigned(one.owner.offset &* UInt64(index.header.blockSize))
                            ),
                            ("state", .string(one.owner.isUnwritten ? "unwritten" : "written")),
                            ("settled", .bool(one.owner.isSettled && index.isServed)),
                            ("asOf", .optional(timeText(one.owner.asOf))),
                            ("paths", .array(one.paths.paths.map { .string(escapedName($0)) })),
                            ("pathsAreAll", .bool(!one.paths.isCut)),
                        ])
                    })
            ),
            ("settled", .bool(isSettled)), ("asOf", .optional(timeText(asOf))),
            ("seconds", .number(seconds)),
        ])
    }
}

extension Owner {
    var isOfIndex: Bool { AskedIndex.isMeant(target) }

    func askIndex(_ output: Output) throws -> ExitStatus {
        let index = try AskedIndex(target, output)
        let asked = try from.map { try listed($0, index) } ?? AskedBlocks(try blocks(index))
        let snapshot = try index.file.snapshot()
        let answers = try asked.blocks.map {
            try IndexOwnerAnswer(snapshot, block: $0, isServed: index.isServed)
        }
        let isSettled = answers.allSatisfy(\.isSettled)
        output.json(
            ifAsked: document(
                index.members + [
                    ("settled", .bool(isSettled)),
                    ("blockSize", .unsigned(UInt64(index.header.blockSize))),
                    ("blocks", .array(answers.map { $0.json(index) })),
                    ("sectorsOutside", .array(asked.outside.map { .unsigned($0) })),
                    ("sectorsOfOtherDevices", .integer(asked.ofOthers)),
                ]))
        for answer in answers { output.lines(answer.lines(index)) }
        if !asked.outside.isEmpty {
            output.line(
                "\(counted(asked.outside.count, "sector")) outside of the filesystem: "
                    + asked.outside.prefix(8).map { "\($0)" }.joined(separator: ", ")
                    + (asked.outside.count > 8 ? ", …" : ""))
        }
        if asked.ofOthers > 0 {
            output.line("\(counted(asked.ofOthers, "sector")) of other devices")
        }
        if let oldest = answers.map(\.asOf).min() {
            output.line(index.words(oldest, isSettled: isSettled))
        } else {
            output.line("no bad sector of this filesystem is in the list")
        }
        return isSettled ? .success : .unsettled
    }

    /// Blocks that are asked for, and what of a list is none of the filesystem's.
    private struct AskedBlocks {
        var blocks: [UInt64]
        var outside: [UInt64] = []
        var ofOthers = 0

        init(_ blocks: [UInt64]) { self.blocks = blocks }
    }

    /// The blocks of a list on standard input, ascending.
    private func listed(_ format: BadSectorFormat, _ index: AskedIndex) throws -> AskedBlocks {
        var list = BadSectorList(format, unit: unit?.bytes)
        do {
            try StandardInput.forEachLine { try list.take($0) }
            try list.finish()
        } catch let error as BadSectorError {
            throw CommandFailure("\(error)", .usage)
        } catch let error as HostError {
            throw CommandFailure("standard input: \(error)")
        }
        let header = index.header
        var asked = AskedBlocks([])
        for bad in list.sectors.sorted() {
            var isOfDisk = disk || format == .smartctl
            if let device = bad.device {
                guard device == header.disk || device == header.device else {
                    asked.ofOthers += 1
                    continue
                }
                isOfDisk = device == header.disk
            }
            let start = isOfDisk ? try partitionStart(header) : 0
            let sector = bad.sector >= start ? bad.sector - start : .max
            guard sector / header.blockSectors < header.blocks else {
                asked.outside.append(bad.sector)
                continue
            }
            let block = sector / header.blockSectors
            if asked.blocks.last != block { asked.blocks.append(block) }
        }
        // Names of disk and partition may be mixed.
        asked.blocks = Array(Set(asked.blocks)).sorted()
        return asked
    }

    private func partitionStart(_ header: IndexHeader) throws -> UInt64 {
        guard header.partitionStart != IndexHeader.unknownStart else {
            throw CommandFailure(
                "\(target): the filesystem lies on \(header.device), which lies on other devices; "
                    + "translate sectors to those of \(header.device), and give them with --sector "
                    + "or --from badblocks --unit 512", .usage)
        }
        return header.partitionStart
    }

    private func blocks(_ index: AskedIndex) throws -> [UInt64] {
        let header = index.header
        var first = block ?? 0
        if var sector {
            if disk {
                let start = try partitionStart(header)
                guard sector >= start else {
                    throw CommandFailure(
                        "\(target): sector \(sector) of \(header.disk) lies before the "
                            + "filesystem, which begins at sector \(start)", .usage)
                }
                sector -= start
            }
            first = sector / header.blockSectors
        }
        guard first < header.blocks, length <= header.blocks - first else {
            throw CommandFailure(
                "\(target): \(counted(length, "block")) from block \(first) on are not in the "
                    + "filesystem, which has \(header.blocks)", .usage)
        }
        return Array(first..<first + length)
    }
}

extension Paths {
    var isOfIndex: Bool { AskedIndex.isMeant(target) }

    func askIndex(_ output: Output) throws -> ExitStatus {
        let index = try AskedIndex(target, output)
        let begun = monotonicNanoseconds()
        let snapshot = try index.file.snapshot()
        let answer = try snapshot.paths(of: inode, limit: limit)
        let seconds = Double(monotonicNanoseconds() - begun) / 1e9
        let paths = answer.paths.map { escapedName($0) }
        // Directories that are not read yet may have further names.
        let unread = snapshot.unsettled.pieces.map(\.asOf).min()
        let asOf = unread ?? answer.asOf ?? index.header.asOf
        let isSettled = index.isServed && answer.isSettled && unread == nil
        output.json(
            ifAsked: document(
                index.members + [
                    ("inode", .unsigned(inode)), ("paths", .array(paths.map { .string($0) })),
                    ("isComplete", .bool(!answer.isCut)), ("loose", .integer(answer.loose)),
                    ("settled", .bool(isSettled)), ("asOf", .optional(timeText(asOf))),
                    ("seconds", .number(seconds)),
                ]))
        output.lines(paths)
        if answer.isCut { output.note("there are more than \(paths.count) paths; see --limit") }
        if answer.loose > 0 {
            output.note(
                "\(counted(answer.loose, "name")) in directories that no path leads to")
        }
        if paths.isEmpty, answer.loose == 0 { output.note("inode \(inode) has no name") }
        output.note(index.words(asOf, isSettled: isSettled))
        return isSettled ? .success : .unsettled
    }
}
