// `tidemark stop`, `pause` and `set`: steer a run that is at work.

internal import ArgumentParser
internal import Control
internal import HostFiles
internal import Reports
internal import RunService
internal import Threads
internal import Tidemark

struct RunArguments: ParsableArguments {
    @Argument(
        help: ArgumentHelp("The volume's directory.", valueName: "target"),
        transform: Arguments.path)
    var target: String

    @Argument(
        help: ArgumentHelp("The run, by its number in `tidemark status`; without it: any."))
    var run: Int?

    @OptionGroup var common: CommonOptions
}

struct Stop: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Stop the run that is at work, at its next step.",
        discussion: """
            Nothing more is committed, and `tidemark resume` continues from the run's position. A \
            stress ends with its run. Waits until the run has ended.

            Exit status: 0 it has ended; 4 no process is at work on the volume, or it could not be \
            asked, or it has not ended within 30 seconds.

            Example: tidemark stop /tmp/v
            """)

    @OptionGroup var arguments: RunArguments

    var common: CommonOptions { arguments.common }
    var target: String { arguments.target }

    func execute(_ output: Output) throws -> ExitStatus {
        let answer = try ask(target, RunVerbs.stop, SteerRequest(run: arguments.run))
        let runs = arguments.run.map { [$0] } ?? answer.numbers
        let deadline = monotonicNanoseconds() + 30_000_000_000
        while monotonicNanoseconds() < deadline {
            let live = try? liveStatus(target)
            // Another process that has begun meanwhile is not the one that was stopped.
            guard let live, live.process == answer.process, !runs.isDisjoint(with: live.numbers)
            else {
                let reason = answer.stopReason ?? "stopped"
                output.json(ifAsked: document([("stopped", .bool(true))]))
                output.line("\(target): \(answer.command), process \(answer.process): \(reason)")
                return .success
            }
            sleep(milliseconds: 10)
        }
        throw CommandFailure(
            "\(target): process \(answer.process) was asked to stop and has not ended within 30 s; "
                + "see `tidemark status`")
    }
}

extension LiveStatus {
    fileprivate var numbers: Set<Int> { Set(runs.map(\.number)) }
}

struct Pause: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Pause the run that is at work, until `tidemark resume`.",
        discussion: """
            Writers continue, and their changes are recorded as before: the run loses nothing. A \
            run that is paused while it compares holds a snapshot of the volume, so the metadata \
            file grows by what writers change meanwhile.

            Exit status: 0 it is paused; 4 no process is at work on the volume, or it could not be \
            asked.

            Example: tidemark pause /tmp/v
            """)

    @OptionGroup var arguments: RunArguments

    var common: CommonOptions { arguments.common }
    var target: String { arguments.target }

    func execute(_ output: Output) throws -> ExitStatus {
        try steer(RunVerbs.pause, SteerRequest(run: arguments.run), output)
    }
}

struct SetLimits: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        commandName: "set",
        abstract: "Change the limits of the run that is at work.",
        discussion: """
            A change takes effect within a second, and holds for the runs that follow in the same \
            process. Limits that are not given stay unchanged. The options are those of `repair`, \
            `check` and `stress`.

            Exit status: 0 it was changed; 4 no process is at work on the volume, or it could not \
            be asked.

            Example: tidemark set /tmp/v --speed-limit 10000 --background
            """)

    @OptionGroup var arguments: RunArguments
    @OptionGroup var limits: LimitOptions

    var common: CommonOptions { arguments.common }
    var target: String { arguments.target }

    func validate() throws {
        if limits.change.isEmpty {
            throw ValidationError("Say what is to be changed: --speed-limit 10000, for example.")
        }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        try steer(
            RunVerbs.set, SteerRequest(run: arguments.run, change: limits.change), output)
    }
}

extension TidemarkSubcommand {
    /// Asks, and says what the limits are from here on.
    func steer(
        _ verb: ControlVerb<SteerRequest, LiveStatus>, _ request: SteerRequest, _ output: Output
    ) throws -> ExitStatus {
        tell(try ask(target, verb, request), output)
    }

    /// Says what the limits are.
    func tell(_ live: LiveStatus, _ output: Output) -> ExitStatus {
        output.json(ifAsked: document(StatusReport(live: live).members))
        let state = live.limits.isPaused ? "paused; " : ""
        output.line(
            "\(target): \(live.command), process \(live.process): \(state)\(live.limits.text)")
        return .success
    }
}
