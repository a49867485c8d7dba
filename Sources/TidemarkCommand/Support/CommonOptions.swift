// What every command takes, and the frame in which every command runs.

internal import ArgumentParser
internal import HostFiles

struct CommonOptions: ParsableArguments {
    @Flag(help: "Print one JSON document on standard output.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print errors only; with --json also the document.")
    var quiet = false

    @Flag(name: .shortAndLong, help: "Print more.")
    var verbose = false

    func validate() throws {
        if quiet && verbose { throw ValidationError("--quiet and --verbose exclude each other.") }
    }
}

protocol TidemarkSubcommand: ParsableCommand {
    var common: CommonOptions { get }

    /// What the document calls the object.
    var target: String { get }

    /// Does the work and prints the result.
    func execute(_ output: Output) throws -> ExitStatus
}

extension TidemarkSubcommand {
    func run() throws {
        let output = Output(
            form: common.json ? .json : .text, isQuiet: common.quiet, isVerbose: common.verbose)
        var status: ExitStatus
        do {
            status = try execute(output)
        } catch let error where error is ValidationError || error is ExitCode {
            throw error
        } catch {
            let text = explanation(of: error)
            status = (error as? CommandFailure)?.status ?? .operational
            output.error(text)
            if common.json { output.json(document([("error", .string(text))])) }
        }
        output.flush()
        Progress.clear()
        throw CommandEnd(status: status)
    }

    /// The document of a command: what all have in common, then its own.
    func document(_ members: [(String, JSONValue)]) -> JSONValue {
        .object(
            [
                ("schema", .integer(JSONValue.schema)),
                ("command", .string(Self._commandName)), ("target", .string(target)),
            ] + members)
    }
}
