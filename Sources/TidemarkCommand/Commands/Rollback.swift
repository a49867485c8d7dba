// `tidemark rollback`: the previous generation, which a rebuild replaced, serves again; or what a
// scrub has mended is as it was.

internal import ArgumentParser
internal import HostFiles
internal import Reports
internal import RunService
internal import Tidemark
internal import Volume

struct Rollback: ServableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make the generation that a rebuild replaced active again, or undo a scrub.",
        discussion: """
            `tidemark repair --keep-old` keeps the generation of an index that a rebuild replaces \
            as the previous one, and every later change maintains it like the active one. A \
            rollback exchanges the two in one transaction, for all the indexes that are named, or \
            for none. The index is then as it was, wrong entries included, except for what was \
            written since; a second rollback undoes the first.

            With --forget the previous generation is discarded instead, and its storage returned: \
            until then it costs storage, and time with every change.

            With --scrub what a scrub has mended is made what it was before, the last mend first, \
            each in one transaction, while the volume stays in use. A mend whose records have \
            changed since is kept, and told. The volume is then as damaged as it was. With \
            --forget the scrub's journal is deleted instead, and it can't be undone any more. The \
            scrub's report tells its number; `tidemark dump VOLUME mends` shows the journal.

            Exit status: 0 done; 1 some mends are kept; 4 refused: there is no previous generation \
            (a patch keeps nothing), a run is at work on the index, the journal does not have all \
            of the scrub, or another process has the volume open.

            Example: tidemark rollback /tmp/v --index rmap
            """)

    @Argument(
        help: ArgumentHelp("The volume's directory.", valueName: "volume"),
        transform: Arguments.path)
    var volume: String

    @Option(
        help: ArgumentHelp(
            "The index: rmap, parents or quota. May be given several times; without it: all "
                + "that have a previous generation."))
    var index: [IndexName] = []

    @Option(help: ArgumentHelp("Undo what this scrub has mended.", valueName: "number"))
    var scrub: UInt64?

    @Flag(help: "Discard the previous generations, or the scrub's journal, instead.")
    var forget = false

    @OptionGroup var common: CommonOptions

    var target: String { volume }

    func execute(_ output: Output) throws -> ExitStatus {
        try withVolume(volume, .readWrite, output) { opened in
            if let scrub {
                return try forget
                    ? giveUp(scrub, opened, output) : rollBack(scrub, opened, output)
            }
            try forget ? giveUp(opened, output) : rollBack(opened, output)
            return .success
        }
    }

    func validate() throws {
        if scrub != nil, !index.isEmpty {
            throw ValidationError("--scrub undoes a scrub, --index a rebuild of an index.")
        }
    }

    /// Kept mends that the report tells of.
    private static let told = 1000

    private func rollBack(
        _ scrub: UInt64, _ opened: Volume, _ output: Output
    ) throws -> ExitStatus {
        var undone = 0, kept = 0, first: [UndoneMend] = []
        let isServed = output.served != nil, registry = output.served?.registry
        try opened.rollBack(scrub: scrub) { mend in
            guard mend.keptFor != nil else {
                undone += 1
                return
            }
            kept += 1
            if first.count < Rollback.told { first.append(mend) }
        } goOn: {
            if registry?.isClosing == true {
                throw CommandFailure("\(volume): the volume is being closed")
            }
            if !isServed, let reason = Signals.stopRequest {
                throw CommandFailure("\(volume): \(reason): \(undone) mends are undone")
            }
        }
        try opened.sync()
        let told = first.map { mend in
            JSONValue.object([
                ("mend", .unsigned(mend.mend)), ("kind", .string(mend.kind)),
                ("why", .optional(mend.keptFor)),
            ])
        }
        output.json(
            ifAsked: document([
                ("scrub", .unsigned(scrub)), ("undone", .integer(undone)), ("kept", .integer(kept)),
                ("first", .array(told)),
            ]))
        output.line(
            "\(volume): scrub \(scrub): \(counted(undone, "mend")) undone"
                + (kept == 0 ? "" : ", \(grouped(kept)) kept"))
        for mend in output.isVerbose ? first[...] : first.prefix(20) {
            output.line("  kept: mend \(mend.mend), \(mend.kind): \(mend.keptFor ?? "")")
        }
        return kept == 0 ? .success : .uncorrected
    }

    private func giveUp(
        _ scrub: UInt64, _ opened: Volume, _ output: Output
    ) throws -> ExitStatus {
        let mends = try opened.forget(scrub: scrub)
        try opened.sync()
        output.json(
            ifAsked: document([("scrub", .unsigned(scrub)), ("forgotten", .unsigned(mends))]))
        output.line("\(volume): scrub \(scrub): \(grouped(mends)) mends can't be undone any more")
        return .success
    }

    private var named: [IndexSlot] { index.isEmpty ? [] : index.slots }

    private func rollBack(_ opened: Volume, _ output: Output) throws {
        let done: [RolledBack]
        do {
            done = try Undo.rollBack(named, of: opened)
        } catch let refusal as UndoRefusal {
            throw CommandFailure("\(volume): \(refusal)")
        }
        try opened.sync()
        let indexes = done.map { done in
            JSONValue.object([
                ("name", .string(IndexName.all[done.index.rawValue])),
                ("generation", .integer(Int(done.active))),
                ("previous", .integer(Int(done.previous))),
            ])
        }
        output.json(ifAsked: document([("indexes", .array(indexes))]))
        for done in done {
            output.line(
                "\(volume): \(IndexName.all[done.index.rawValue]): generation \(done.active) is "
                    + "active again; generation \(done.previous) is kept for a rollback")
        }
    }

    private func giveUp(_ opened: Volume, _ output: Output) throws {
        let given = try Undo.forget(named, of: opened)
        try finishReaping(opened, output)
        try opened.sync()
        let indexes = given.map { given in
            JSONValue.object([
                ("name", .string(IndexName.all[given.index.rawValue])),
                ("forgotten", .integer(Int(given.generation))),
            ])
        }
        output.json(ifAsked: document([("indexes", .array(indexes))]))
        for given in given {
            output.line(
                "\(volume): \(IndexName.all[given.index.rawValue]): generation "
                    + "\(given.generation) is discarded")
        }
        if given.isEmpty { output.line("\(volume): there is no previous generation") }
    }
}
