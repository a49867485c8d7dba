// `tidemark damage`: discrepancies made on purpose.

internal import ArgumentParser
internal import Volume

struct Damage: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Damage a live index on purpose, to try checks and repairs.",
        discussion: """
            Exactly N discrepancies are made in the index that the volume serves, never two at one \
            key: entries are deleted (missing), added (stray) or given another value (wrong); \
            mixed is a third of each. Link counts stand in the inodes, where they can only be \
            wrong. Other primary records are not touched. The same seed does the same \
            to the same volume.

            Example: tidemark damage /tmp/v --index rmap --count 1000 --kind mixed
            """)

    @Argument(help: ArgumentHelp("The volume's directory.", valueName: "volume"))
    var volume: String

    @Option(help: "The index to damage: rmap, parents, quota or links.")
    var index: IndexName

    @Option(help: "How many discrepancies.")
    var count: Int

    @Option(help: "missing, stray, wrong or mixed; without it: mixed, and for links wrong.")
    var kind: DamageArgument?

    @Option(help: "What chooses the entries; without it: anything.")
    var seed: UInt64?

    @OptionGroup var common: CommonOptions

    var target: String { volume }

    func validate() throws {
        if index.name == "links", let kind, kind != .wrong {
            throw ValidationError(
                "--kind \(kind.rawValue) is not for links: the counts stand in the inodes, and can "
                    + "only be wrong.")
        }
        if count < 0 { throw ValidationError("--count is a number of entries, 0 or more.") }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        let seed = seed ?? .random(in: 0 ... .max)
        return try withVolume(volume, .readWrite, output) { opened in
            let done = try opened.damage(
                index: index.name, count: count, kind: kind?.kind ?? index.damageKind, seed: seed)
            output.json(
                ifAsked: document([
                    ("index", .string(index.name)), ("seed", .unsigned(seed)),
                    ("missing", .integer(done.missing)), ("stray", .integer(done.stray)),
                    ("wrong", .integer(done.wrong)),
                ]))
            output.line(
                "\(volume): \(index.name): "
                    + "\(counted(done.missing, "entry", "entries")) deleted, "
                    + "\(grouped(done.stray)) added, \(grouped(done.wrong)) changed "
                    + "(seed \(seed))")
            return .success
        }
    }
}

extension IndexName {
    /// Damage of every kind that the index can have.
    var damageKind: DamageKind { name == "links" ? .wrong : .mixed }
}

/// `--kind`.
enum DamageArgument: String, ExpressibleByArgument, CaseIterable {
    case missing, stray, wrong, mixed

    var kind: DamageKind {
        switch self {
        case .missing: .missing
        case .stray: .stray
        case .wrong: .wrong
        case .mixed: .mixed
        }
    }
}
