// The command `tidemark`. Its shape is fixed in Docs/man/tidemark.1: one subcommand for
// each thing to do, results on standard output, everything else on standard error, and an
// exit status that is a sum (ExitStatus.swift).

internal import ArgumentParser
internal import HostFiles
internal import LMDB

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
            A volume is a directory that holds a filesystem: names, inodes, extents, and two \
            secondary indexes that are derived from them. `rmap` leads from a block to the file \
            that owns it, `parents` from an inode to its names.

            A first walk through all of it:
              tidemark create /tmp/v --size 64G
              tidemark import /tmp/v /usr
              tidemark damage /tmp/v --index rmap --count 1000
              tidemark check /tmp/v
              tidemark repair /tmp/v
              tidemark verify /tmp/v

            Exit status, a sum: 0 all well; 1 errors found and left uncorrected; \
            2 optimisation possible; 4 could not look, or incomplete; 8 wrong usage.

            `tidemark --generate-completion-script bash` (or zsh, or fish) prints a script \
            for the shell. `tidemark help COMMAND` explains one command.
            """,
        version: "tidemark \(tidemarkVersion)",
        subcommands: [
            Create.self, Import.self, Stat.self, Dump.self, Verify.self, Damage.self,
            Check.self, Repair.self, Status.self, Stop.self, Pause.self, Resume.self,
            SetLimits.self, Rollback.self, Stress.self, Owner.self, Paths.self, Replay.self,
            Explore.self, Simulate.self, Mount.self, Unmount.self, DashboardCommand.self,
            Doctor.self,
        ])

    static func main() {
        Signals.install()
        FailStop.install(message: metadataFault)
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            end(error)
        }
        endProcess(status: ExitStatus.success.rawValue)
    }

    /// Says what is to be said of the end of a command, and ends the process.
    private static func end(_ error: any Error) -> Never {
        if let end = error as? CommandEnd { endProcess(status: end.status.rawValue) }
        let text = fullMessage(for: error)
        let isHelp = exitCode(for: error) == .success
        let stream = isHelp ? StandardStream.output : .error
        if !text.isEmpty { try? stream.write(text + "\n") }
        endProcess(status: isHelp ? 0 : ExitStatus.usage.rawValue)
    }
}
