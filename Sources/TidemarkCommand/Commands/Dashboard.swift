// `tidemark dashboard`: serves the page about a volume that another process serves. It is started
// by `tidemark mount --dashboard`.

internal import ArgumentParser
internal import Dashboard
internal import HostFiles
internal import Reports
internal import RunService

struct DashboardCommand: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        commandName: "dashboard", abstract: "Serve a page about what is at work on a volume.",
        shouldDisplay: false)

    @Argument var volume: String

    @Option(transform: DashboardAddress.read) var address: DashboardAddress

    @OptionGroup var common: CommonOptions

    var target: String { volume }

    func execute(_ output: Output) throws -> ExitStatus {
        let mount = parentNumber
        // Clients can make this process die, and nothing else.
        limitThisProcess(files: 256, memory: 512 << 20, niceness: 5)
        let status = try Status.parse([volume])
        let server = DashboardServer(address) { try status.snapshot() }
        Background.isReady("http://\(try server.start())/")
        while parentNumber == mount, Signals.stopRequest == nil { sleep(milliseconds: 100) }
        return .success
    }
}

extension Status {
    /// What the page shows.
    fileprivate func snapshot() throws -> DashboardSnapshot {
        guard let live = try liveStatus(target) else {
            throw CommandFailure("\(target): no process is at work on it")
        }
        let known = StatusReport(live: live, recorded: live.recorded)
        return DashboardSnapshot(
            status: document(known.members).compact,
            metrics: live.metrics(version: tidemarkVersion))
    }
}

extension DashboardAddress {
    /// As given on the command line.
    static func read(_ text: String) throws -> DashboardAddress {
        guard let address = DashboardAddress(text) else {
            throw ValidationError(
                "`\(text)` is no address for a dashboard: give a port, or an address in numbers "
                    + "and a port, such as 8080, 127.0.0.1:8080 or [::1]:8080.")
        }
        return address
    }
}
