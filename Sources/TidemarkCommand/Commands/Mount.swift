// `tidemark mount`: a volume as a filesystem. `tidemark unmount`: its end.

internal import ArgumentParser
internal import Control
internal import Dashboard
internal import HostFiles
internal import LMDB
internal import Logging
internal import Reports
internal import RunService
internal import Scenarios
internal import Threads
internal import Tidemark
internal import Volume
internal import VolumeMount
#if canImport(Glibc)
internal import Glibc
#endif

struct Mount: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Mount a volume as a filesystem, through FUSE.",
        discussion: """
            The command returns when the filesystem is ready, or reports what prevents the mount; \
            a background process serves it until it is unmounted, or is sent SIGTERM. The mount of \
            a server that has died is removed first. Mounted by root it is open to all users, as \
            permissions allow.

            What fsync(2) acknowledged survives any failure. Other changes are on the disk after a \
            few seconds; after a crash the volume is as it was at one moment before it.

            Exit status: 0 it is mounted (with --foreground: it was, and is unmounted); 4 it is not.

            Example: tidemark mount /srv/vol /mnt
            """)

    @Argument(
        help: ArgumentHelp("The volume's directory.", valueName: "volume"),
        transform: Arguments.path)
    var volume: String

    @Argument(
        help: ArgumentHelp("A directory to mount it on.", valueName: "mountpoint"),
        transform: Arguments.path)
    var mountPoint: String

    @Flag(help: "Serve it in this process, and log to standard error.")
    var foreground = false

    @Flag(help: "Open the volume for reading only.")
    var readOnly = false

    @Flag(help: "Let other users access a mount that was not made by root (see fuse.conf(5)).")
    var allowOther = false

    @Option(
        help: ArgumentHelp(
            "Write what programs do as a scenario to this file, when the mount ends.",
            valueName: "file"), completion: .file(), transform: Arguments.path)
    var record: String?

    @Option(help: "Requests that are processed at a time.")
    var workers = MountOptions().workers

    @Option(
        help: ArgumentHelp(
            "Serve a page about it by HTTP at this port, or address and port; port 0: any.",
            valueName: "address"),
        transform: DashboardAddress.read)
    var dashboard: DashboardAddress?

    @Option(
        help: ArgumentHelp(
            "The most space that metadata may take: if it is full, programs get ENOSPC. "
                + "Without it, what the disk holds.", valueName: "size"))
    var metadataLimit: SizeArgument?

    @Option(
        help: ArgumentHelp(
            "Milliseconds for which changes wait for others to be committed with them; 0: each "
                + "is committed before the program is answered.", valueName: "ms"))
    var commitDelay = 5

    /// Set by `mount` itself, for the process that it starts.
    @Flag(help: .hidden)
    var behind = false

    @OptionGroup var pages: PageOptions
    @OptionGroup var common: CommonOptions

    var target: String { volume }

    func validate() throws {
        guard (1...256).contains(workers) else { throw ValidationError("--workers is 1 to 256.") }
        guard (0...100).contains(commitDelay) else {
            throw ValidationError("--commit-delay is 0 to 100.")
        }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        if foreground || behind { return try serve(output) }
        var arguments = [
            "mount", "--behind", "--workers", "\(workers)", "--commit-delay", "\(commitDelay)",
        ]
        if readOnly { arguments.append("--read-only") }
        if allowOther { arguments.append("--allow-other") }
        if let metadataLimit { arguments += ["--metadata-limit", "\(metadataLimit.bytes)"] }
        if let record { arguments += ["--record", absolutePath(ofNew: record)] }
        if pages.pages { arguments.append("--pages") }
        if common.verbose { arguments.append("--verbose") }
        if let dashboard { arguments += ["--dashboard", "\(dashboard)"] }
        arguments += ["--", absolutePath(volume), mountPoint]
        switch try Background.start(arguments) {
        case .ready(let process):
            tellMounted(output, page: process.words)
            return .success
        case .ended(let status, let why):
            // It has said why, to people.
            let text = why ?? "\(volume): not mounted"
            output.json(ifAsked: document([("error", .string(text))]))
            return ExitStatus(rawValue: status == 0 ? ExitStatus.operational.rawValue : status)
        }
    }

    private func serve(_ output: Output) throws -> ExitStatus {
        giveBackLargePieces()
        let logger = makeLogger(toSystem: behind, isVerbose: common.verbose)
        let mode = readOnly ? OpenOptions.Mode.readOnly : .readWrite
        if ServiceManager.isThere {
            // Its server before may still be closing it, or a command be at work: that passes, and
            // is not to keep the service down as a damaged volume is.
            _ = try? Volume.waitUntilFree(volume, seconds: Unmount.patience)
        }
        try withVolume(
            absolutePath(volume), mode, output, logger, pages: pages.pages,
            options: {
                if let metadataLimit { $0.metadataLimit = Int(clamping: metadataLimit.bytes) }
                $0.groupCommitSeconds = Double(commitDelay) / 1000
            }
        ) { opened in
            let served = ServedVolume(
                volume: opened,
                registry: RunRegistry(opened, command: Mount._commandName, servesPrograms: true))
            let server = try controlServer(served, logger)
            defer { server?.close() }
            let page = try dashboard.map { try DashboardProcess(opened.path, at: $0, logger) }
            defer { page?.end() }
            if let page { served.registry.add(dashboard: page.page) }
            var options = MountOptions()
            options.isReadOnly = readOnly
            options.allowsOthers = allowOther
            options.workers = workers
            options.logger = logger
            let recording = try MountRecording(opened, to: record)
            let mounted = try MountedVolume(opened, at: mountPoint, options: options)
            defer { mounted.close() }
            served.registry.add(mounted)
            let words = page?.page ?? ""
            if behind {
                failToSystemLog()
                Background.isReady(words)
            } else {
                tellMounted(output, page: words)
            }
            ServiceManager.tell("READY=1\nSTATUS=\(mountPoint)")
            let runs = readOnly ? nil : served.resumeInterrupted(logger)
            try waitForEnd(mounted) { page?.lookAfter() }
            ServiceManager.tell("STOPPING=1")
            server?.stop()
            served.registry.close("its mount has ended")
            runs?.join()
            try recording?.finish(opened, logger)
        }
        return .success
    }

    /// Where the terminal is let go of, what would be said there last goes to the system's log.
    private func failToSystemLog() {
        guard let log = systemLogSocket() else { return }
        FailStop.install(message: log.head + metadataFault, descriptor: log.descriptor)
    }

    /// A volume on what can only be read, or has no room for one more file, is mounted without:
    /// what is in it can be read then, and deleted.
    private func controlServer(
        _ served: ServedVolume, _ logger: Logger
    ) throws -> ControlServer? {
        do {
            return try ControlServer(folder: served.volume.path, table: served.table)
        } catch let error as ControlError {
            guard case .system(_, _, let number) = error,
                readOnly || [ENOSPC, EDQUOT, EROFS].contains(number)
            else { throw error }
            logger.info("\(error); no commands can be sent to this process")
            return nil
        }
    }

    /// - Parameter page: where the dashboard is; empty: there is none.
    private func tellMounted(_ output: Output, page: String) {
        output.json(
            ifAsked: document([
                ("mountPoint", .string(absolutePath(mountPoint))),
                ("dashboard", page.isEmpty ? .null : .string(page)),
            ]))
        output.line("\(volume): mounted on \(mountPoint)" + (page.isEmpty ? "" : "; \(page)"))
        output.flush()
    }

    private func waitForEnd(_ mounted: MountedVolume, _ meanwhile: () -> Void) throws {
        while !mounted.hasEnded(within: 0.1) {
            if Signals.stopRequest != nil { try mounted.unmount() } else { meanwhile() }
        }
    }
}

/// The recording of a mount, in its file.
private struct MountRecording {
    private let path: String
    private let recorder: ChangeRecorder

    /// - Returns: nil where nothing is to be recorded.
    init?(_ volume: Volume, to path: String?) throws {
        guard let path else { return nil }
        self.path = path
        // Where it can't be written that is better known before than after.
        try ScenarioFiles.write("# The recording did not come to its end.\n", to: path)
        recorder = try ChangeRecorder(volume)
    }

    func finish(_ volume: Volume, _ logger: Logger) throws {
        do {
            let scenario = try recorder.finish(
                volume, title: ["Recorded by tidemark mount: what programs did to a volume."])
            try ScenarioFiles.write(ScenarioWriter.write(scenario), to: path)
        } catch {
            // Whoever unmounts is not who asked for it: the file says it too.
            let text = explanation(of: error)
            logger.error("nothing was recorded in \(path): \(text)")
            try? ScenarioFiles.write("# Nothing was recorded: \(text)\n", to: path)
        }
    }
}

struct Unmount: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "End the mount of a volume.",
        discussion: """
            What programs have written is written out first, and the command returns when the \
            volume is closed: another command can open it then. If programs use the mount, it \
            stays, unless --force is given.

            Exit status: 0 it is unmounted; 4 it is in use, or no volume is mounted there.

            Example: tidemark unmount /mnt
            """)

    @Argument(
        help: ArgumentHelp("Where the volume is mounted.", valueName: "mountpoint"),
        transform: Arguments.path)
    var mountPoint: String

    @Flag(help: "End it although programs use it: they get errors from then on.")
    var force = false

    @OptionGroup var common: CommonOptions

    var target: String { mountPoint }

    /// Seconds that a server may take to make everything durable.
    fileprivate static let patience = 120.0

    func execute(_ output: Output) throws -> ExitStatus {
        guard let mount = MountPoint.mount(at: mountPoint), mount.isVolume else {
            throw MountError.notMounted(mountPoint)
        }
        if force {
            let server = try? liveStatus(mount.source)?.process
            let isSevered = try MountPoint.cutOff(mount.mountPoint)
            if !isSevered, let server { Signals.askToStop(server) }
        } else {
            try MountPoint.unmount(mount.mountPoint)
        }
        guard try Volume.waitUntilFree(mount.source, seconds: Unmount.patience) else {
            throw CommandFailure(
                "\(mount.source): unmounted, but its server has not closed it yet; see what it does"
            )
        }
        output.json(ifAsked: document([("volume", .string(mount.source))]))
        output.line("\(mountPoint): unmounted; \(mount.source) is closed")
        return .success
    }
}
