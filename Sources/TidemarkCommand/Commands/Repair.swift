// `tidemark repair`: what a check finds is mended, while the volume stays in use.

internal import ArgumentParser
internal import HostFiles
internal import Reports
internal import RunService
internal import Tidemark
internal import Volume

struct Repair: ServableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check, and patch or rebuild the indexes that are wrong.",
        discussion: """
            Repairs what a check finds. `patch` changes the entries that are wrong, `rebuild` \
            loads a new generation of the index and activates it in a single transaction. `auto` \
            takes whichever costs less, for each index. At the end the indexes are checked again. \
            What an earlier run left behind is reaped first.

            With --keep-old the generation that a rebuild replaces is kept, and kept up by \
            everything that is written afterwards, until `tidemark rollback` makes it active \
            again or discards it, or the next rebuild takes its place. A patch keeps nothing.

            With --inode, --subtree or --blocks only a part is repaired, by patching it: what the \
            records of that part derive. Everything else is neither compared nor changed. Without \
            --index such a run is about rmap and parents, or, with --blocks, about rmap.

            Exit status: 0 clean, or repaired and clean when checked again; 1 discrepancies remain \
            (after --dry-run: those that were found); 4 the repair could not be made or is \
            incomplete. An incomplete run changes no live index. Neither does an aborted one, \
            unless it is about several indexes and had finished one of them, which it then \
            reports.

            Example: tidemark repair /tmp/v --index rmap --strategy rebuild
            """)

    @Argument(
        help: ArgumentHelp(
            "The volume's directory, or where an XFS is mounted.", valueName: "target"),
        transform: Arguments.path)
    var target: String

    @Option(
        help:
            "The index to repair: rmap, parents, quota, links. Several may be given; default: all."
    )
    var index: [IndexName] = []

    @Option(help: "How to repair.")
    var strategy = StrategyArgument.auto

    @Flag(help: "Keep the generation that a rebuild replaces, for `tidemark rollback`.")
    var keepOld = false

    @Flag(help: "Report what would be done, and change nothing.")
    var dryRun = false

    @Option(
        help: ArgumentHelp(
            """
            On a mounted XFS: what to believe where nothing is proven. The rebuild throws the \
            other record away.
            """))
    var believe: BelieveArgument?

    @Option(
        help: "Write each discrepancy as a line of JSON to this file.", completion: .file(),
        transform: Arguments.path)
    var list: String?

    @OptionGroup(title: "Scope") var scope: ScopeOptions
    @OptionGroup(title: "Limits, which `tidemark set` can change") var limits: LimitOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var common: CommonOptions

    func validate() throws {
        try scope.validate(with: index)
        if scope.scope != nil, strategy == .rebuild || keepOld {
            throw ValidationError(
                "--inode, --subtree and --blocks repair a part, which is patched: a rebuild is of "
                    + "a whole index, and so is what --keep-old keeps.")
        }
        if keepOld, strategy == .patch {
            throw ValidationError(
                "--keep-old keeps what a rebuild replaces, and a patch replaces nothing.")
        }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        if isMountedFilesystem(target) { return try repairMount(output) }
        if believe != nil {
            throw CommandFailure(
                "\(target): --believe is for a mounted XFS: a volume's indexes are rebuilt from "
                    + "its primary records anyway", .usage)
        }
        let list = try LineList(path: list, output)
        let mode = dryRun ? OpenOptions.Mode.readOnly : .readWrite
        return try withVolume(target, mode, output, pages: pages.pages) { volume in
            if !dryRun { try finishReaping(volume, output) }
            let report = try withHandle(volume, limits, output) { handle in
                var execution = RunExecution(handle, scope.slots(index))
                execution.scope = scope.scope?.description
                execution.options.strategy = strategy.strategy
                execution.options.isDryRun = dryRun
                execution.options.keepsOld = keepOld
                execution.observer = observer(list, volume, output)
                return try execution.perform()
            }
            output.json(ifAsked: document([("dryRun", .bool(dryRun))] + report.members))
            output.show(report, of: target, isDryRun: dryRun)
            if keepOld, !dryRun { sayWhatIsNotKept(report, output) }
            // What can fail from here on no longer hides what the repair has done.
            try list.finish()
            // Emptied tables go only when nobody looks at them any more.
            if !dryRun, report.outcome.isDone { try finishReaping(volume, output) }
            return report.outcome.status
        }
    }
}

extension Repair {
    /// A patch replaces no generation: it can't be undone.
    private func sayWhatIsNotKept(_ report: RunReport, _ output: Output) {
        for index in report.indexes where index.patched > 0 {
            output.line(
                "  \(index.name): there is no previous generation: a patch changes entries in "
                    + "place (--strategy rebuild keeps the old generation)")
        }
    }
}

/// Deletes, in bounded steps, generations that an earlier run has left to be reaped.
func finishReaping(_ volume: Volume, _ output: Output) throws {
    let hasReaped = try volume.finishReaping {
        Signals.stopRequest != nil || output.served?.registry.isClosing == true
    }
    if hasReaped { output.detail("\(volume.path): reaped what an earlier run left behind") }
}

/// `--strategy`.
enum StrategyArgument: String, ExpressibleByArgument, CaseIterable {
    case auto, rebuild, patch

    var strategy: Strategy {
        switch self {
        case .auto: .auto
        case .rebuild: .rebuild
        case .patch: .patch
        }
    }
}
