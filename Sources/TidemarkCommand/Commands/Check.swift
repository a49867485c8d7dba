// `tidemark check`: the live indexes are compared with what the primary records derive.

internal import ArgumentParser
internal import Reports
internal import RunService
internal import Tidemark
internal import Volume

struct Check: ServableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare the live indexes with the primary records; change nothing.",
        discussion: """
            Reads every primary record, derives every entry from it, and compares the result with \
            the live indexes. The volume is opened for reading only: several checks may run at a \
            time, and nothing in it is changed (there is a side file in its directory runs/ during \
            the check).

            With --inode, --subtree or --blocks only a part is checked: what the records of that \
            part derive. Everything else is neither compared nor reported. Without --index such a \
            run is about rmap and parents, or, with --blocks, about rmap.

            Where the target is a mounted XFS, that is checked while it is in use, and nothing is \
            written to it: rmap, parents and link counts, as far as it has them. \
            `tidemark doctor` says what can be checked. What never stood still is unsettled (16), \
            and what the kernel lets nobody derive is told as not covered.

            Where it is a mounted ext4, its inodes, names and block bitmaps are compared: blocks \
            in use that no file has, blocks of files that are free, blocks with two owners, wrong \
            link counts, and names that lead to free inodes.

            Exit status: 0 clean; 1 discrepancies were found; 4 the check could not be made or \
            is incomplete, because a primary record is damaged, for example; 16 something never \
            stood still and was not judged. A sum: 17 is discrepancies, and more beside them that \
            was not judged.

            Example: tidemark check /tmp/v --index rmap --list found.jsonl
            """)

    @Argument(
        help: ArgumentHelp(
            "The volume's directory, or where an XFS or an ext4 is mounted.", valueName: "target"),
        transform: Arguments.path)
    var target: String

    @Option(
        help:
            "The index to check: rmap, parents, quota, links. Several may be given; default: all."
    )
    var index: [IndexName] = []

    @Option(
        help: "Write each discrepancy as a line of JSON to this file.", completion: .file(),
        transform: Arguments.path)
    var list: String?

    @Option(
        help: ArgumentHelp(
            "Of a mounted filesystem: room for its events, in KiB for each processor.",
            valueName: "KiB"))
    var traceBuffer = 16384

    @OptionGroup(title: "Scope") var scope: ScopeOptions
    @OptionGroup(title: "Limits, which `tidemark set` can change") var limits: LimitOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var common: CommonOptions

    func validate() throws {
        try scope.validate(with: index)
        guard (4...1 << 20).contains(traceBuffer) else {
            throw ValidationError("--trace-buffer is 4 to 1048576 (KiB for each processor)")
        }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        if isOnExt4 { return try checkExt4(output) }
        if isMountedFilesystem(target) { return try checkMount(output) }
        let list = try LineList(path: list, output)
        return try withVolume(target, .readOnly, output, pages: pages.pages) { volume in
            let report = try withHandle(volume, limits, output) { handle in
                var execution = RunExecution(handle, scope.slots(index))
                execution.scope = scope.scope?.description
                execution.observer = observer(list, volume, output)
                return try execution.perform()
            }
            try list.finish()
            output.json(ifAsked: document(report.members))
            output.show(report, of: target, isDryRun: false)
            return report.outcome.status
        }
    }
}
