// What every command takes, and the frame in which every command runs.

internal import ArgumentParser
internal import HostFiles
internal import Reports

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

struct PageOptions: ParsableArguments {
    @Flag(
        help: ArgumentHelp(
            "Check every page of the metadata first, however long it takes. Without it that is "
                + "done where the volume was not closed, and else for a second."))
    var pages = false
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
        throw CommandEnd(status: try attempt(StandardChannel.shared, nil))
    }

    /// Does the work, or has it done by the process that serves the volume, and tells of errors.
    func attempt(_ channel: any Channel, _ served: ServedVolume?) throws -> ExitStatus {
        let output = Output(
            form: common.json ? .json : .text, isQuiet: common.quiet, isVerbose: common.verbose,
            channel: channel, served: served)
        var status: ExitStatus
        do {
            if let sent = try sent(output) {
                status = sent
            } else {
                status = try execute(output)
                // Where only errors are printed, the status is not all there is of one.
                if output.isQuiet, status.contains(.operational), !output.hasToldError {
                    output.error("\(target): not everything could be done; see it without --quiet")
                }
            }
        } catch let error where error is ValidationError || error is ExitCode {
            throw error
        } catch {
            let text = explanation(of: error)
            status = (error as? CommandFailure)?.status ?? .operational
            output.error(text)
            if served == nil { Background.hasFailed(text) }
            if common.json { output.json(document([("error", .string(text))])) }
        }
        output.flush()
        channel.draw("")
        if let failure = output.failure { status.insert(told(failure, output)) }
        return status
    }

    /// What the exit status says where the result did not arrive.
    private func told(_ failure: OutputFailure, _ output: Output) -> ExitStatus {
        switch failure {
        // Whoever has left has what they wanted, as with `| head`.
        case .noReader: return .success
        case .failed(let why):
            output.error("\(why); the result is not whole")
            return .operational
        }
    }

    /// What became of it in the process that serves the volume; nil: it is to be done here.
    private func sent(_ output: Output) throws -> ExitStatus? {
        guard output.served == nil, let command = self as? any ServableCommand,
            var server = try Server(of: target)
        else { return nil }
        return try server.run(command, output)
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
