// `tidemark status`: what is at work on a volume, and what the volume remembers of past runs.

internal import ArgumentParser
internal import HostFiles
internal import Reports
internal import RunService
internal import Threads
internal import Tidemark
internal import Volume

struct Status: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the run that is at work, resumable runs, and the last results.",
        discussion: """
            Asks the process that is at work on the volume through control.sock in the volume's \
            directory; nothing is opened, and nothing waits for it. With --watch it asks again \
            each second, until the run that was found, or the next one, has ended. A terminal is \
            redrawn, with curves of the last minutes, and a mount is watched until Ctrl-C; other \
            outputs get one line each second (with --json one document per line).

            Exit status: 0 the status was printed; 4 the process that is at work could not be \
            asked, or this is not a volume.

            Example: tidemark status /tmp/v --watch
            """)

    @Argument(
        help: ArgumentHelp("The volume's directory.", valueName: "target"),
        transform: Arguments.path)
    var target: String

    @Flag(help: "Show it again each second, until the run ends.")
    var watch = false

    @OptionGroup var common: CommonOptions

    func execute(_ output: Output) throws -> ExitStatus {
        if watch { return try observe(output) }
        var status = StatusReport(live: try liveStatus(target))
        status.recorded = try status.live.map(\.recorded) ?? recorded(output)
        output.json(ifAsked: document(status.members))
        for line in status.lines(target) { output.line(line) }
        return .success
    }

    /// What the volume remembers; nil where a process has it that can't be asked.
    private func recorded(_ output: Output) throws -> [RunRecord]? {
        do {
            return try withVolume(target, .readOnly, output) { try $0.runs() }
        } catch VolumeError.inUse {
            return nil
        }
    }

    private func observe(_ output: Output) throws -> ExitStatus {
        if !output.isJSON, !output.isQuiet, let screen = WatchScreen() {
            return try observe(on: screen)
        }
        var watched: Int?
        while Signals.stopRequest == nil, !output.isUnread {
            let status = StatusReport(live: try liveStatus(target))
            let runs = status.live?.runs ?? []
            if watched == nil { watched = runs.first?.number }
            if output.isJSON {
                output.json(document(status.members), isPretty: false)
            } else {
                output.line(status.summary(target))
            }
            output.flush()
            let isOver = watched.map { number in !runs.contains { $0.number == number } } ?? false
            if status.live == nil || isOver { return .success }
            rest()
        }
        return .success
    }

    private func observe(on screen: WatchScreen) throws -> ExitStatus {
        var history = WatchHistory()
        var watched: Int?
        while Signals.stopRequest == nil {
            guard let live = try liveStatus(target) else {
                let line = WatchLine("\(target): no process is at work on it")
                screen.show { style in [line.rendered(style)] }
                break
            }
            history.note(live, at: Double(monotonicNanoseconds()) / 1e9)
            let seen = history
            screen.show { style in
                WatchView(target: target, live: live, history: seen, style: style).lines
            }
            if watched == nil { watched = live.runs.first?.number }
            let isOver = watched.map { run in !live.runs.contains { $0.number == run } } ?? false
            if isOver, live.mount == nil { break }
            if screen.hasFailed { return .operational }
            rest { screen.redrawIfResized() }
        }
        return .success
    }

    /// A second, or less where a signal asks for the end.
    private func rest(_ meanwhile: () -> Void = {}) {
        for _ in 0..<20 where Signals.stopRequest == nil {
            sleep(milliseconds: 50)
            meanwhile()
        }
    }
}
