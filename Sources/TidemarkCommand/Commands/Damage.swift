// `tidemark damage`: discrepancies, or defects of primary records, made on purpose.

internal import ArgumentParser
internal import Reports
internal import Volume

struct Damage: ServableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Damage a live index, or primary records, on purpose, to try checks and repairs.",
        discussion: """
            Makes exactly N discrepancies in the live index, never two at one key: entries are \
            deleted (missing), added (stray) or given another value (wrong); mixed is a third of \
            each. Link counts are stored in the inodes, where they can only be wrong. Other \
            primary records are not touched. The same seed makes the same damage in the same \
            volume.

            With --primary, instead of --index, exactly N defects of primary records are made, of \
            a kind that verify and check report: two owners of one block, an owned block that is \
            free, a block that is free twice, a block that is neither owned nor free. The indexes \
            follow; no repair of an index removes such a defect.

            With --primary mixed, N records are damaged in turn: names, inodes, extents, free \
            space, targets and numbers are lost, changed, or made so that they can't be decoded. \
            The indexes do not follow. --list tells which inodes were hit. `tidemark scrub` mends \
            such damage.

            Example: tidemark damage /tmp/v --index rmap --count 1000 --kind mixed
            """)

    @Argument(
        help: ArgumentHelp("The volume's directory.", valueName: "volume"),
        transform: Arguments.path)
    var volume: String

    @Option(help: "The index to damage: rmap, parents, quota or links.")
    var index: IndexName?

    @Option(
        help: ArgumentHelp(
            "Damage primary records instead: extentOverlap, extentOverFree, freeOverlap, "
                + "leakedBlocks; or mixed."))
    var primary: PrimaryDamageArgument?

    @Option(help: "How many discrepancies.")
    var count: Int

    @Option(help: "missing, stray, wrong or mixed; without it: mixed, and for links wrong.")
    var kind: DamageArgument?

    @Option(help: "What chooses the entries; without it: anything.")
    var seed: UInt64?

    @Option(
        help: "Of --primary mixed: write each damage as a line of JSON to this file.",
        completion: .file(), transform: Arguments.path)
    var list: String?

    @OptionGroup var common: CommonOptions

    var target: String { volume }

    func validate() throws {
        if index?.name == "links", let kind, kind != .wrong {
            throw ValidationError(
                "--kind \(kind.rawValue) is not for links: the counts are stored in the inodes, "
                    + "and can only be wrong.")
        }
        if count < 0 { throw ValidationError("--count is a number of entries, 0 or more.") }
        guard (index == nil) != (primary == nil) else {
            throw ValidationError("One of --index and --primary says what is to be damaged.")
        }
        if primary != nil, kind != nil {
            throw ValidationError("--kind is of --index; --primary is a kind itself.")
        }
        if list != nil, primary == nil || primary?.kind != nil {
            throw ValidationError("--list is of --primary mixed.")
        }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        let seed = seed ?? .random(in: 0 ... .max)
        return try withVolume(volume, .readWrite, output) { opened in
            if let index { try damage(opened, index, seed, output) }
            if let kind = primary?.kind { try damage(opened, kind, seed, output) }
            if let primary, primary.kind == nil { try damageMixed(opened, seed, output) }
            return .success
        }
    }

    private func damage(
        _ opened: Volume, _ index: IndexName, _ seed: UInt64, _ output: Output
    ) throws {
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
    }

    private func damageMixed(_ opened: Volume, _ seed: UInt64, _ output: Output) throws {
        let list = try LineList(path: list, output)
        let done = try opened.damageMixed(count: count, seed: seed)
        if list.isWanted {
            for damage in done {
                list.add(
                    .object([
                        ("kind", .string(damage.kind)), ("inode", .unsigned(damage.inode)),
                    ]))
            }
        }
        let kinds = Dictionary(grouping: done, by: \.kind).mapValues(\.count)
        output.json(
            ifAsked: document([
                ("primary", .string("mixed")), ("seed", .unsigned(seed)),
                ("count", .integer(done.count)),
                (
                    "kinds",
                    .object(kinds.sorted { $0.key < $1.key }.map { ($0.key, .integer($0.value)) })
                ),
            ]))
        output.line(
            "\(volume): primary records: \(counted(done.count, "damage")) of "
                + "\(counted(kinds.count, "kind")) (seed \(seed))")
        try list.finish()
    }

    private func damage(
        _ opened: Volume, _ primary: PrimaryDamageKind, _ seed: UInt64, _ output: Output
    ) throws {
        try opened.damage(primary: primary, count: count, seed: seed)
        output.json(
            ifAsked: document([
                ("primary", .string(primary.rawValue)), ("seed", .unsigned(seed)),
                ("count", .integer(count)),
            ]))
        output.line(
            "\(volume): primary records: \(counted(count, "defect")) \(primary.rawValue) "
                + "(seed \(seed))")
    }
}

/// `--primary`.
struct PrimaryDamageArgument: ExpressibleByArgument {
    /// nil: of all kinds.
    let kind: PrimaryDamageKind?

    init?(argument: String) {
        if argument == "mixed" {
            kind = nil
            return
        }
        guard let kind = PrimaryDamageKind(rawValue: argument) else { return nil }
        self.kind = kind
    }

    static var allValueStrings: [String] {
        PrimaryDamageKind.allCases.map(\.rawValue) + ["mixed"]
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
