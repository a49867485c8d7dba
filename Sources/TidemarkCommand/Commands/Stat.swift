// `tidemark stat`: what a volume holds, in numbers.

internal import ArgumentParser
internal import Reports
internal import RunService
internal import Volume
internal import VolumeFormat

struct Stat: ServableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show records per table, counters, generations and space.",
        discussion: "Example: tidemark stat /tmp/v --json")

    @Argument(
        help: ArgumentHelp("The volume's directory.", valueName: "target"),
        transform: Arguments.path)
    var target: String

    @OptionGroup var pages: PageOptions
    @OptionGroup var common: CommonOptions

    func execute(_ output: Output) throws -> ExitStatus {
        try withVolume(target, .readOnly, output, pages: pages.pages) { volume in
            let statistics = try volume.statistics()
            output.json(ifAsked: document(statistics.members))
            statistics.print(target, to: output)
            return .success
        }
    }
}

extension GenerationState {
    var words: String {
        switch self {
        case .active: "active"
        case .loading: "loading"
        case .reaping: "to be reaped"
        case .previous: "previous"
        }
    }
}

extension VolumeStatistics {
    private var blockSize: UInt64 { UInt64(geometry.blockSize) }

    var members: [(String, JSONValue)] {
        [
            ("identity", .string(uuid(geometry.identity))),
            ("formatVersion", .integer(Int(geometry.version))),
            ("commit", .unsigned(commit)), ("durableCommit", .unsigned(durableCommit)),
            ("blockSize", .unsigned(blockSize)), ("blocks", .unsigned(geometry.blocks)),
            ("freeBlocks", .unsigned(counters.freeBlocks)),
            ("inodes", .unsigned(counters.inodes)), ("nextInode", .unsigned(counters.nextInode)),
            (
                "metadata",
                .object([
                    ("pageSize", .integer(pageSize)), ("bytes", .integer(metadataBytes)),
                    ("freeBytes", .integer(freeMetadataBytes)),
                    ("limitBytes", .integer(metadataLimit)),
                ])
            ),
            (
                "tables",
                .array(
                    tables.map {
                        .object([
                            ("name", .string($0.name)), ("records", .integer($0.records)),
                            ("bytes", .integer($0.pages * pageSize)),
                        ])
                    })
            ),
            (
                "generations",
                .array(
                    generations.map {
                        .object([
                            ("index", .string($0.record.index)),
                            ("generation", .integer(Int($0.record.number))),
                            ("state", .string($0.record.state.words)),
                            ("entries", .integer($0.entries)),
                            ("recordedEntries", .unsigned($0.record.entries)),
                            ("bytes", .integer($0.pages * pageSize)),
                        ])
                    })
            ),
        ]
    }

    func print(_ target: String, to output: Output) {
        let used = geometry.blocks - min(counters.freeBlocks, geometry.blocks)
        output.line("\(target): volume \(uuid(geometry.identity)), format \(geometry.version)")
        output.line(
            "  data       \(binarySize(geometry.blocks * blockSize)) in blocks of "
                + "\(binarySize(blockSize)): \(binarySize(used * blockSize)) used, "
                + "\(binarySize(counters.freeBlocks * blockSize)) free")
        output.line(
            "  metadata   \(binarySize(metadataBytes)), of which \(binarySize(freeMetadataBytes)) "
                + "free; limit \(binarySize(metadataLimit))")
        output.line(
            "  inodes     \(grouped(counters.inodes)); the next new number is \(counters.nextInode)"
        )
        output.line("  commit     \(commit), durable \(durableCommit)")
        output.line("  table                  records         size")
        for table in tables { row(table.name, table.records, table.pages, "", output) }
        for generation in generations {
            let record = generation.record
            var note = record.state.words
            if record.index != "quota", generation.entries != Int(clamping: record.entries) {
                note += ", should have \(grouped(record.entries))"
            }
            row(
                TableName.generation(record.index, record.number), generation.entries,
                generation.pages, note, output)
        }
    }

    private func row(
        _ name: String, _ records: Int, _ pages: Int, _ note: String, _ output: Output
    ) {
        let line =
            "  " + padded(name, -14) + padded(grouped(records), 15)
            + padded(binarySize(pages * pageSize), 13)
        output.line(note.isEmpty ? line : line + "  " + note)
    }
}
