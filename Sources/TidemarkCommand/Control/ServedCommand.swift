// A command that one process sends to another, which serves the volume, because only that one can
// have the volume open. It is run there as it would be here: with the same words, and with its
// output sent back. A user sees no difference but that the command goes on when they leave.

internal import ArgumentParser
internal import Control
internal import HostFiles
internal import RunService
internal import Tidemark
internal import Volume
internal import VolumeMount

/// A command that whoever serves the volume runs for others.
protocol ServableCommand: TidemarkSubcommand {
    /// The file of a list that it was asked for.
    var list: String? { get }
}

extension ServableCommand {
    var list: String? { nil }
}

/// The volume that this process serves.
struct ServedVolume: Sendable {
    let volume: Volume
    let registry: RunRegistry
}

struct CommandRequest: Codable, Sendable {
    /// As typed, without the name of the program.
    let words: [String]
    /// Of the terminal on which progress is drawn; nil: none.
    let progressColumns: Int?
}

/// One of them.
struct CommandPart: Codable, Sendable {
    var output: String?
    var words: String?
    var progress: String?
    var list: String?
}

struct CommandAnswer: Codable, Sendable {
    let status: Int32
}

enum CommandVerbs {
    static let command = ControlStreamVerb<CommandRequest, CommandPart, CommandAnswer>("command")
}

// MARK: Where it is run

extension ServedVolume {
    /// What others may ask of this process: to steer its runs, and to run commands.
    var table: ControlTable {
        var table = registry.controlTable
        table.add(CommandVerbs.command) { request, _, stream in
            let parsed: any ServableCommand
            do {
                guard
                    let command = try TidemarkCommand.parseAsRoot(request.words)
                        as? any ServableCommand
                else {
                    throw ControlRefusal(
                        "notServable",
                        "it is served by process \(processNumber), and that command needs it for "
                            + "itself; unmount it first")
                }
                parsed = command
            } catch let refusal as ControlRefusal {
                throw refusal
            } catch {
                throw ControlRefusal("badArgument", TidemarkCommand.fullMessage(for: error))
            }
            let channel = RemoteChannel(stream: stream, progressColumns: request.progressColumns)
            let status = try parsed.attempt(channel, self)
            return CommandAnswer(status: status.rawValue)
        }
        return table
    }
}

private struct RemoteChannel: Channel {
    let stream: ControlStream<CommandPart>
    let progressColumns: Int?

    func write(_ text: String) -> OutputFailure? {
        stream.send(CommandPart(output: text)) ? nil : .noReader
    }
    func tell(_ text: String) { stream.send(CommandPart(words: text)) }
    func draw(_ line: String) { stream.sendIfFree(CommandPart(progress: line)) }
    var list: (@Sendable (String) -> Bool)? {
        { [stream] in stream.send(CommandPart(list: $0)) }
    }
}

// MARK: Where it was typed

/// The process that serves a volume, and runs commands about it for others.
struct Server: ~Copyable {
    private let folder: String
    private var client: ControlClient

    /// - Returns: nil where no process serves `target`, or one that only lets itself be steered.
    init?(of target: String) throws {
        let folder = volumePath(target)
        do {
            client = try ControlClient(folder: folder)
        } catch .notServed {
            return nil
        } catch .system, .noPermission, .inTheWay {
            // Opening it tells more of what is wrong with it.
            return nil
        }
        self.folder = folder
    }

    /// - Returns: nil where it does not know how to.
    mutating func run(_ command: any ServableCommand, _ output: Output) throws -> ExitStatus? {
        let request = CommandRequest(
            words: Arguments.words,
            progressColumns: output.isQuiet ? nil : output.channel.progressColumns)
        let list = try LineList(path: command.list, output)
        do {
            let answer = try client.ask(
                CommandVerbs.command, request, while: { Signals.stopRequest == nil }
            ) { part in
                if let text = part.output { output.put(text) }
                if let text = part.words { output.channel.tell(text) }
                if let line = part.progress { output.channel.draw(line) }
                if let text = part.list { list.add(text: text) }
                if part.output != nil { output.flush() }
            }
            try list.finish()
            return ExitStatus(rawValue: answer.status)
        } catch ControlError.refused(code: "noSuchVerb", _) {
            return nil
        } catch ControlError.abandoned {
            throw CommandFailure(
                "\(command.target): no longer waited for; the command continues in the process "
                    + "that serves it, until `tidemark stop \(command.target)`")
        }
    }
}

/// The directory of the volume that is meant: `target` itself, or what is mounted there.
func volumePath(_ target: String) -> String {
    guard let mount = MountPoint.mount(at: target), mount.isVolume else { return target }
    return mount.source
}
