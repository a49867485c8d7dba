// `tidemark rollback`: the previous generation, which a rebuild replaced, serves again.

internal import ArgumentParser
internal import Reports
internal import RunService
internal import Tidemark
internal import Volume

struct Rollback: ServableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make the generation that a rebuild replaced active again.",
        discussion: """
            `tidemark repair --keep-old` keeps the generation of an index that a rebuild replaces \
            as the previous one, and every later change maintains it like the active one. A \
            rollback exchanges the two in one transaction, for all the indexes that are named, or \
            for none. The index is then as it was, wrong entries included, except for what was \
            written since; a second rollback undoes the first.

            With --forget the previous generation is discarded instead, and its storage returned: \
            until then it costs storage, and time with every change.

            Exit status: 0 done; 4 refused: there is no previous generation (a patch keeps \
            nothing), a run is at work on the index, or another process has the volume open.

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

    @Flag(help: "Discard the previous generations instead.")
    var forget = false

    @OptionGroup var common: CommonOptions

    var target: String { volume }

    func execute(_ output: Output) throws -> ExitStatus {
        try withVolume(volume, .readWrite, output) { opened in
            try forget ? giveUp(opened, output) : rollBack(opened, output)
            return .success
        }
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
