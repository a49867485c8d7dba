// The command `tidemark`. Its shape is fixed in Docs/man/tidemark.1: one subcommand for
// each thing to do, results on standard output, everything else on standard error, and an
// exit status that is a sum (ExitStatus.swift).

internal import ArgumentParser
internal import Bytes
internal import HostFiles
internal import LMDB
internal import Reports

let tidemarkVersion = "0.1.0"

/// Said where liblmdb can't go on (`FailStop`).
let metadataFault = """
    tidemark: ended, because metadata could not be read: a page of meta.mdb, or of a side file, is \
    damaged or missing, or the disk below fails. What was synced is on the disk. Run `tidemark \
    verify VOLUME` to see what is damaged, and restore the volume from a copy before it is used.

    """

@main
struct TidemarkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tidemark",
        abstract: "Check and rebuild the secondary indexes of a volume that stays in use.",
        discussion: """
            A volume is a directory that holds a filesystem: names, inodes, extents, and secondary \
            indexes that are derived from them: `rmap` leads from a block to the file that owns \
            it, `parents` from an inode to its names; `quota` and `links` are counters.

            A first session:
              tidemark create /tmp/v --size 64G
              tidemark import /tmp/v /usr
              tidemark damage /tmp/v --index rmap --count 1000
              tidemark check /tmp/v
              tidemark repair /tmp/v
              tidemark verify /tmp/v

            Exit status, a sum: 0 all well; 1 errors found and left uncorrected; 2 optimisation \
            possible; 4 could not check, or incomplete; 8 wrong usage; 16 unsettled: something \
            never stood still and was not judged.

            `tidemark --generate-completion-script bash` (or zsh, or fish) prints a script for the \
            shell. `tidemark help COMMAND` explains one command.
            """,
        version: "tidemark \(tidemarkVersion)",
        subcommands: [
            Create.self, Import.self, Stat.self, Dump.self, Verify.self, Damage.self,
            Check.self, Repair.self, ScrubCommand.self,
            Status.self, Stop.self, Pause.self, Resume.self,
            SetLimits.self, Rollback.self, Stress.self, Owner.self, Paths.self, Replay.self,
            Explore.self, Simulate.self, Mount.self, Unmount.self, DashboardCommand.self,
            Doctor.self, Serve.self,
        ])

    static func main() {
        // Before anything is opened: what is opened next must not take their place.
        StandardStream.secure()
        if Background.isBehind(Arguments.words) { Background.noteParent() }
        Signals.install()
        FailStop.install(message: metadataFault)
        do {
            var command = try parseAsRoot(Arguments.words)
            try command.run()
        } catch {
            end(error)
        }
        endProcess(status: ExitStatus.success.rawValue)
    }

    /// Says what is to be said of the end of a command, and ends the process.
    private static func end(_ error: any Error) -> Never {
        if let end = error as? CommandEnd { finish(end.status) }
        let text = fullMessage(for: error).shownPath
        let isHelp = exitCode(for: error) == .success
        guard !isHelp else { finish(print(text + "\n")) }
        if !text.isEmpty { try? StandardStream.error.write(text + "\n") }
        var status = ExitStatus.usage
        if UsageDocument.isWanted(Arguments.words) {
            let document = UsageDocument(Arguments.words, message(for: error).shownPath)
            status.formUnion(print(document.json.pretty + "\n"))
        }
        finish(status)
    }

    /// Prints a result that no command prints.
    private static func print(_ text: String) -> ExitStatus {
        switch StandardChannel.shared.write(text) {
        case nil, .noReader: return .success
        case .failed(let why):
            StandardChannel.shared.tell("tidemark: \(why); the result is not whole\n")
            return .operational
        }
    }

    /// Ends the process. Some file systems tell only when a file is closed that it is not whole.
    private static func finish(_ status: ExitStatus) -> Never {
        var status = status
        do throws(HostError) {
            try StandardStream.output.close()
        } catch {
            StandardChannel.shared.tell(
                "tidemark: standard output: \(error.reason); the result is not whole\n")
            status.insert(.operational)
        }
        endProcess(status: status.rawValue)
    }
}

/// What `--json` prints where the usage is wrong, and no command was found that could say it.
struct UsageDocument {
    private let command, target: String?
    private let error: String

    /// Whether the user has asked for JSON.
    static func isWanted(_ words: [String]) -> Bool {
        words.prefix { $0 != "--" }.contains("--json")
    }

    init(_ words: [String], _ error: String) {
        let names = words.filter { !$0.hasPrefix("-") }
        let known = TidemarkCommand.configuration.subcommands.map { $0._commandName }
        command = names.first.flatMap { known.contains($0) ? $0 : nil }
        target = command == nil ? nil : names.dropFirst().first
        self.error = error
    }

    var json: JSONValue {
        .object([
            ("schema", .integer(JSONValue.schema)), ("command", .optional(command)),
            ("target", .optional(target)), ("error", .string(error)),
        ])
    }
}
