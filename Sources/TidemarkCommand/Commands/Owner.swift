// `tidemark owner`: from blocks to the files that own them.

internal import ArgumentParser
internal import Bytes
internal import LinuxIndex
internal import Reports
internal import RunService
internal import Volume
internal import VolumeFormat

struct Owner: ServableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say who owns blocks: a file with all its paths, the volume itself, or nobody.",
        discussion: """
            Answered from the live reverse map and the live parent pointers; if they are damaged \
            the answer says so, as far as that can be detected. Blocks that are neither owned nor \
            free are named too: `tidemark check` finds the reason.

            Of a mounted XFS or ext4 the index answers that `tidemark serve` keeps, and says as \
            of when; without one all inodes are read for the answer. Blocks are counted from the \
            start of the filesystem. Exit status 16: what is said is not settled, because it is \
            being verified or no server keeps the index.

            With --from a list of bad sectors is read from standard input: what badblocks prints \
            (--unit: the block size that it was run with), smartctl -l selftest or -l error, or \
            the kernel's log. The last two count sectors of the whole disk.

            Examples: tidemark owner /tmp/v --block 4711
                      tidemark owner /srv --sector 37688 --disk
                      dmesg | tidemark owner /var/lib/tidemark/srv.index --from kernel
            """)

    @Argument(
        help: ArgumentHelp(
            "The volume's directory, a mount point, or an index file.", valueName: "target"),
        transform: Arguments.path)
    var target: String

    @Option(help: "The first block.")
    var block: UInt64?

    @Option(help: "How many blocks.")
    var length: UInt64 = 1

    @Option(help: "The sector, of 512 bytes, as the kernel names it in messages.")
    var sector: UInt64?

    @Flag(help: "The sector is one of the whole disk, not of the partition. Not of a volume.")
    var disk = false

    @Option(
        help: ArgumentHelp(
            "Read bad sectors from standard input, as printed by badblocks, smartctl or kernel.",
            valueName: "format"))
    var from: BadSectorFormat?

    @Option(help: "What a number of the list counts; default: 1K of badblocks, 512 of smartctl.")
    var unit: SizeArgument?

    @OptionGroup var common: CommonOptions

    /// Blocks of one answer, which is collected in memory.
    private static let mostBlocks: UInt64 = 1 << 20

    func validate() throws {
        guard [block != nil, sector != nil, from != nil].filter({ $0 }).count == 1 else {
            throw ValidationError("Give one of --block, --sector and --from.")
        }
        guard (1...Owner.mostBlocks).contains(length) else {
            throw ValidationError("--length is 1 to \(Owner.mostBlocks).")
        }
        guard block != nil || length == 1 else {
            throw ValidationError("--length goes with --block.")
        }
        guard !disk || sector != nil || from == .badblocks else {
            throw ValidationError("--disk goes with --sector, or with --from badblocks.")
        }
        if let unit {
            guard let from, from != .kernel, unit.bytes % 512 == 0,
                (512...1 << 30).contains(unit.bytes)
            else {
                throw ValidationError(
                    "--unit is a multiple of 512 up to 1G, and goes with --from badblocks or "
                        + "smartctl.")
            }
        }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        if isOfIndex { return try askIndex(output) }
        guard !disk, from == nil else {
            throw CommandFailure("\(target): --disk and --from are not for volumes", .usage)
        }
        return try withVolume(target, .readOnly, output) { volume in
            let geometry = volume.geometry
            let first = block ?? sector.map { $0 / max(1, UInt64(geometry.blockSize) / 512) } ?? 0
            guard first < geometry.blocks, length <= geometry.blocks - first else {
                throw CommandFailure(
                    "\(target): \(counted(length, "block")) from block \(first) on are not in the "
                        + "volume, which has \(geometry.blocks)", .usage)
            }
            let answer = try OwnerAnswer(try volume.read(), first..<(first + length))
            output.json(ifAsked: document(answer.members(UInt64(geometry.blockSize))))
            answer.print(to: output)
            return answer.isDamaged ? .uncorrected : .success
        }
    }
}

/// Who owns a range of blocks.
struct OwnerAnswer {
    struct Part {
        enum Who {
            case free
            case volume(ExtentRecord)
            case file(ExtentRecord, PathReport?)
            /// Neither free nor owned.
            case nobody
        }

        let blocks: Range<UInt64>
        let who: Who
    }

    let blocks: Range<UInt64>
    private(set) var parts: [Part] = []
    private(set) var damaged: [String] = []

    var isDamaged: Bool { !damaged.isEmpty }

    init(_ snapshot: VolumeSnapshot, _ blocks: Range<UInt64>) throws {
        self.blocks = blocks
        let length = blocks.upperBound - blocks.lowerBound
        let owned = try snapshot.owners(ofBlock: blocks.lowerBound, length: length)
        let free = try snapshot.free(ofBlock: blocks.lowerBound, length: length)
        damaged = owned.damaged.map { "an entry of the reverse map can't be decoded: \($0)" }
        if free.damaged > 0 {
            damaged.append("\(counted(free.damaged, "record")) of free space can't be decoded")
        }
        if owned.isCut { damaged.append("the reverse map overlaps itself; owners may be left out") }
        for run in free.runs {
            parts.append(Part(blocks: (run.start..<run.end).clamped(to: blocks), who: .free))
        }
        var paths: [InodeNumber: PathReport] = [:]
        for extent in owned.owners {
            let range = (extent.start..<extent.startEnd).clamped(to: blocks)
            guard extent.inode != .volume else {
                parts.append(Part(blocks: range, who: .volume(extent)))
                continue
            }
            if paths[extent.inode] == nil {
                do {
                    paths[extent.inode] = try snapshot.paths(of: extent.inode)
                } catch VolumeError.noEntry {
                    damaged.append(
                        "the reverse map names inode \(extent.inode), which does not exist")
                }
            }
            parts.append(Part(blocks: range, who: .file(extent, paths[extent.inode])))
        }
        for report in paths.values { damaged += report.problems.map { "\($0)" } }
        addGaps()
    }

    /// What nobody has, and what several have.
    private mutating func addGaps() {
        parts.sort { $0.blocks.lowerBound < $1.blocks.lowerBound }
        var gaps: [Part] = []
        var next = blocks.lowerBound
        for part in parts {
            if part.blocks.lowerBound > next {
                gaps.append(Part(blocks: next..<part.blocks.lowerBound, who: .nobody))
            } else if part.blocks.lowerBound < next {
                let end = min(next, part.blocks.upperBound)
                damaged.append("\(words(part.blocks.lowerBound..<end)): more than one owner")
            }
            next = max(next, part.blocks.upperBound)
        }
        if next < blocks.upperBound {
            gaps.append(Part(blocks: next..<blocks.upperBound, who: .nobody))
        }
        damaged += gaps.map { "\(words($0.blocks)): neither free nor owned by any entry" }
        parts = (parts + gaps).sorted { $0.blocks.lowerBound < $1.blocks.lowerBound }
    }

    private func words(_ range: Range<UInt64>) -> String {
        range.count == 1
            ? "block \(range.lowerBound)" : "blocks \(range.lowerBound) to \(range.upperBound - 1)"
    }

    func members(_ blockSize: UInt64) -> [(String, JSONValue)] {
        [
            ("block", .unsigned(blocks.lowerBound)),
            ("length", .unsigned(blocks.upperBound - blocks.lowerBound)),
            ("owners", .array(parts.map(\.json))),
            ("problems", .array(damaged.map { .string($0) })),
        ]
    }

    func print(to output: Output) {
        for part in parts {
            let range = words(part.blocks)
            switch part.who {
            case .free: output.line("\(range): free")
            case .nobody: output.line("\(range): neither free nor owned; run `tidemark check`")
            case .volume: output.line("\(range): reserved for the volume itself")
            case .file(let extent, let report):
                let offset = extent.offset + (part.blocks.lowerBound - extent.start)
                output.line(
                    "\(range): inode \(extent.inode), \(extent.fork.words), from block \(offset) "
                        + "of the file, \(extent.state)")
                for path in report?.paths ?? [] { output.line("  \(escapedName(path))") }
                if report?.isCut == true { output.line("  and more: tidemark paths") }
                if report?.paths.isEmpty ?? true { output.line("  no path leads to it") }
            }
        }
        for problem in damaged { output.error(problem) }
    }
}

extension Fork {
    var words: String {
        switch self {
        case .data: "contents"
        case .attributes: "attributes"
        }
    }

    var name: String {
        switch self {
        case .data: "data"
        case .attributes: "attributes"
        }
    }
}

extension OwnerAnswer.Part {
    var json: JSONValue {
        var members: [(String, JSONValue)] = [
            ("block", .unsigned(blocks.lowerBound)),
            ("length", .unsigned(blocks.upperBound - blocks.lowerBound)),
        ]
        switch who {
        case .free: members.append(("owner", "free"))
        case .nobody: members.append(("owner", "none"))
        case .volume: members.append(("owner", "volume"))
        case .file(let extent, let report):
            members += [
                ("owner", "file"), ("inode", .unsigned(extent.inode)),
                ("fork", .string(extent.fork.name)),
                ("offset", .unsigned(extent.offset + (blocks.lowerBound - extent.start))),
                ("state", .string("\(extent.state)")),
                ("paths", .array((report?.paths ?? []).map { .string(escapedName($0)) })),
            ]
        }
        return .object(members)
    }
}

extension BadSectorFormat: ExpressibleByArgument {}
