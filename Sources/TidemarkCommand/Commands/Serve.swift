// `tidemark serve`: the live index of a mounted filesystem.

internal import ArgumentParser
internal import HostFiles
internal import LinuxIndex
internal import Reports
internal import Tidemark

struct Serve: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Keep an index of a mounted XFS or ext4: files of blocks, paths of inodes.",
        discussion: """
            Reads all inodes of the filesystem into an index file, and keeps that current from the \
            kernel's trace events until it is stopped (SIGTERM, Ctrl-C). The filesystem stays in \
            use, and is never written to. `tidemark owner` and `tidemark paths` answer, of FILE or \
            from the file, while a server keeps it and after that, and say as of when.

            Started again it reads everything again: what may have changed meanwhile is not \
            believed. Until then answers are those of before, and say so. The same where events \
            were lost. The file must not lie on the filesystem that it is of. The filesystem can't \
            be unmounted while it is served.

            Exit status: 0 it was stopped; 4 it can't be served, or no longer.

            Example: tidemark serve /srv --index /var/lib/tidemark/srv.index
            """)

    @Argument(
        help: ArgumentHelp("Where the filesystem is mounted.", valueName: "mountpoint"),
        transform: Arguments.path)
    var target: String

    @Option(
        help: "The index file; it is made where there is none.", completion: .file(),
        transform: Arguments.path)
    var index: String

    @Option(help: ArgumentHelp("Seconds from one commit to the next.", valueName: "seconds"))
    var interval = 1.0

    @Option(help: "Memory of the kernel for events, for each processor.")
    var buffer = SizeArgument(bytes: 32 << 20)

    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard interval.isFinite, (0.05...3600).contains(interval) else {
            throw ValidationError("--interval is 0.05 to 3600.")
        }
        guard (8 << 10...4 << 30).contains(buffer.bytes) else {
            throw ValidationError("--buffer is 8K to 4G.")
        }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        guard isMountedFilesystem(target) else {
            throw CommandFailure(
                "\(target): neither an XFS nor an ext4 is mounted there; `tidemark owner` and "
                    + "`tidemark paths` of a volume need no server")
        }
        var options = KeeperOptions()
        options.interval = interval
        options.bufferKilobytes = Int(buffer.bytes >> 10)
        let keeper = try IndexKeeper(target, index: index, options: options)
        var teller = ServeTeller(target, index, output)
        try keeper.run(isPublic: true, until: { Signals.stopRequest != nil }) {
            teller.note($0, isFound: keeper.isAnnounced)
        }
        ServiceManager.tell("STOPPING=1")
        output.json(ifAsked: document(teller.members))
        return .success
    }
}

/// Tells what becomes of an index: when it is settled, and when it is not any more.
private struct ServeTeller {
    private let target, index: String
    private let output: Output
    private var last: KeeperProgress?
    private var isReady = false
    private var damage = 0, commits = 0

    init(_ target: String, _ index: String, _ output: Output) {
        self.target = target
        self.index = index
        self.output = output
    }

    mutating func note(_ progress: KeeperProgress, isFound: Bool) {
        if !isReady {
            if !isFound {
                output.note(
                    "\(target): \(IndexRegistry.folder) can't be written to, and questions of the "
                        + "mount point do not find the index: ask \(index) itself")
            }
            ServiceManager.tell("READY=1\nSTATUS=\(index)")
            isReady = true
        }
        commits += 1
        let wasSettled = last?.isSettled ?? false
        if progress.losses > last?.losses ?? 0 {
            output.note(
                "\(target): events were lost: \(counted(progress.unsettled, "range")) to be "
                    + "verified again; until then answers say so. A larger --buffer loses fewer")
        }
        if progress.isSettled != wasSettled {
            output.note(
                progress.isSettled
                    ? "\(target): \(index) is settled, and kept current"
                    : "\(target): \(index) is being verified")
        }
        for one in progress.damage.suffix(max(0, progress.damage.count - damage)) {
            output.note("\(target): not read: \(one.object): \(one.problem)")
        }
        damage = progress.damage.count
        output.detail(
            "\(index): \(counted(progress.statements, "change")), "
                + "\(grouped(progress.count.written)) records written, "
                + "\(grouped(progress.count.deleted)) deleted in \(duration(progress.seconds))")
        last = progress
    }

    var members: [(String, JSONValue)] {
        [
            ("index", .string(index)), ("commits", .integer(commits)),
            ("isSettled", .bool(last?.isSettled ?? false)),
            ("asOf", .optional(last.flatMap { timeText($0.header.asOf) })),
            ("epoch", .unsigned(last?.header.epoch ?? 0)),
            ("losses", .integer(last?.losses ?? 0)),
            ("notRead", .integer(damage)),
        ]
    }
}
