// `tidemark status`: what is at work on a volume, and what the volume remembers of past runs.

internal import ArgumentParser
internal import HostFiles
internal import Tidemark
internal import Volume

struct Status: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the run that is at work, runs that can go on, and the last results.",
        discussion: """
            The process that is at work on the volume is asked through control.sock in the \
            volume's directory; nothing is opened, and nothing waits for it. With --watch it is \
            asked again each second, until the run that was found, or the next one, has ended: a \
            terminal is redrawn, anything else gets a line each second (with --json one document \
            a line).

            Exit status: 0 it was said what there is to say; 4 the process that is at work could \
            not be asked, or this is no volume.

            Example: tidemark status /tmp/v --watch
            """)

    @Argument(help: ArgumentHelp("The volume's directory.", valueName: "target"))
    var target: String

    @Flag(help: "Show it again each second, until the run ends.")
    var watch = false

    @OptionGroup var common: CommonOptions

    func execute(_ output: Output) throws -> ExitStatus {
        if watch { return try observe(output) }
        var status = StatusDocument(live: try liveStatus(target))
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
        let screen = output.isJSON || output.isQuiet ? nil : Screen()
        var watched: Int?
        while Signals.stopRequest == nil, !output.isUnread {
            let status = StatusDocument(live: try liveStatus(target))
            let runs = status.live?.runs ?? []
            if watched == nil { watched = runs.first?.number }
            if output.isJSON {
                output.json(document(status.members), isPretty: false)
            } else if let screen {
                screen.show(status.lines(target))
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

    /// A second, or less where a signal asks for the end.
    private func rest() {
        for _ in 0..<20 where Signals.stopRequest == nil { sleep(milliseconds: 50) }
    }
}

extension StatusDocument {
    /// On one line.
    func summary(_ target: String) -> String {
        guard let run = live?.runs.first else { return lines(target)[0] }
        var text = "run \(run.number): \(run.progress.line)"
        let found = run.progress.discrepancies
        if found > 0 { text += "; " + counted(found, "discrepancy", "discrepancies") }
        return text
    }
}

/// A few lines of a terminal that are drawn over and over.
private final class Screen {
    private var drawn = 0

    /// - Returns: nil where standard output is no terminal that could be redrawn.
    init?() {
        guard StandardStream.output.isTerminal, StandardStream.isDrawable else { return nil }
    }

    func show(_ lines: [String]) {
        let columns = max(20, StandardStream.output.columns - 1)
        var text = drawn > 0 ? "\u{1b}[\(drawn)A" : ""
        for line in lines { text += "\r\u{1b}[K\(line.prefix(columns))\n" }
        // What the last picture had more.
        text += "\u{1b}[J"
        try? StandardStream.output.write(text)
        drawn = lines.count
    }
}
