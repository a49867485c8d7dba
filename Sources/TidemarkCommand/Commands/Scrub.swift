// `tidemark scrub`: the whole filesystem is looked at and repaired, while it stays in use.

internal import ArgumentParser
internal import HostFiles
internal import Reports
internal import RunService
internal import Scrub
internal import Volume
internal import VolumeVerify

struct ScrubCommand: ServableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scrub",
        abstract: "Check the whole volume and repair it, primary records too, while it is in use.",
        discussion: """
            Looks at every record, repairs what is wrong, and looks again, until nothing is wrong \
            or nothing makes progress: geometry; free space, numbers, reserved areas; inodes with \
            their extents, directories, attributes, symlinks; names, link counts, quota and the \
            indexes; counters. Each repair is a short transaction that looks again before it \
            writes; what has changed meanwhile is left to the next round.

            Where records contradict each other two witnesses against one decide. What has lost \
            its name goes to lost+found. A record that can't be decoded, or that better witnesses \
            contradict, is moved to the table quarantine (`tidemark dump VOLUME quarantine`). \
            Where nothing decides nothing is changed: the choices are told, and --prefer decides. \
            Docs/scrub.md has all kinds, what mends them, and what that loses.

            Exit status: 0 clean, or repaired and clean when looked at again; 1 something is wrong \
            (after --dry-run) or is left; 2 nothing is wrong, and something could be better; 4 it \
            could not be looked at, or was stopped.

            Example: tidemark scrub /tmp/v --prefer danglingEntry=report
            """)

    @Argument(
        help: ArgumentHelp("The volume's directory, or where it is mounted.", valueName: "target"),
        transform: Arguments.path)
    var target: String

    @Flag(help: "Look at everything, and change nothing.")
    var dryRun = false

    @Flag(help: "Mend only what could be better; tell what is wrong, and leave it.")
    var optimise = false

    @Option(
        help: ArgumentHelp(
            "What to do where nothing decides: a kind of defect and a choice; report leaves "
                + "those of the kind alone. May be repeated.", valueName: "kind=choice"))
    var prefer: [PreferenceArgument] = []

    @Option(
        help: "Write each defect, and what became of it, as a line of JSON to this file.",
        completion: .file(), transform: Arguments.path)
    var list: String?

    @OptionGroup(title: "Limits, which `tidemark set` can change") var limits: LimitOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var common: CommonOptions

    func validate() throws {
        if dryRun, optimise {
            throw ValidationError("--dry-run changes nothing, and --optimise does.")
        }
    }

    private var options: ScrubOptions {
        var options = ScrubOptions()
        options.mode = dryRun ? .check : optimise ? .optimise : .repair
        for preference in prefer {
            // Looked at when it was parsed.
            _ = options.preferences.prefer(preference.choice, for: preference.kind)
        }
        return options
    }

    func execute(_ output: Output) throws -> ExitStatus {
        let list = try LineList(path: list, output)
        let mode = dryRun ? OpenOptions.Mode.readOnly : .readWrite
        return try withVolume(target, mode, output, pages: pages.pages) { volume in
            if !dryRun { try finishReaping(volume, output) }
            let report = try withHandle(volume, limits, output) { handle in
                try Scrub.perform(volume, handle, options, observer(list, volume, output))
            }
            output.json(ifAsked: document([("dryRun", .bool(dryRun))] + report.members))
            output.lines(report.lines(target, isVerbose: output.isVerbose))
            // What can fail from here on no longer hides what the scrub has done.
            try list.finish()
            return report.outcome.status
        }
    }

    private func observer(
        _ list: LineList, _ volume: Volume, _ output: Output
    ) -> ScrubObserver {
        let progress = Progress(output)
        var observer = ScrubObserver()
        observer.run = runObserver(volume, output)
        observer.onProgress = { progress.show("looking at \($0)", $1, of: $2, "records") }
        observer.onMend = { finding, mend in
            guard mend.outcome == .mended else { return }
            if list.isWanted { list.add(finding.json(mend)) }
            if output.isVerbose, !output.isJSON { output.line("\(finding): \(mend.what)") }
        }
        observer.onRemnant = { if list.isWanted { list.add($0.json) } }
        let isServed = output.served != nil, registry = output.served?.registry
        observer.stopRequest = {
            if registry?.isClosing == true { return "the volume is being closed" }
            return isServed ? nil : Signals.stopRequest
        }
        return observer
    }
}

extension ScrubOutcome {
    var status: ExitStatus {
        switch self {
        case .clean, .repaired: .success
        case .optimisable: .optimisable
        case .corrupt: .uncorrected
        case .stopped: .operational
        }
    }
}

/// `--prefer`.
struct PreferenceArgument: ExpressibleByArgument {
    let kind: PrimaryDefect
    let choice: String

    init?(argument: String) {
        let parts = argument.split(separator: "=", maxSplits: 1)
        var preferences = Preferences()
        guard parts.count == 2, let kind = PrimaryDefect(rawValue: String(parts[0])),
            preferences.prefer(String(parts[1]), for: kind)
        else { return nil }
        self.kind = kind
        choice = String(parts[1])
    }

    static var allValueStrings: [String] {
        PrimaryDefect.allCases.flatMap { kind in
            Preferences.choices(for: kind).map { "\(kind.rawValue)=\($0)" }
        }
    }
}
