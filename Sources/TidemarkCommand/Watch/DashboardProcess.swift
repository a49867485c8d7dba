// The page about a mount is served by a process of its own, which asks the one that serves the
// mount as anybody would, through the control socket. Whatever happens to it, however many connect
// to it and whatever they send: the mount knows nothing of it.

internal import Dashboard
internal import HostFiles
internal import Logging
internal import Threads

final class DashboardProcess {
    private let arguments: [String]
    private let logger: Logger
    private var process: Background.Process
    private var restarted: UInt64 = 0

    /// Where the page is, as a URL.
    var page: String { process.words }

    /// - Throws: where it can't listen. It has told why, in full, on standard error.
    init(_ volume: String, at address: DashboardAddress, _ logger: Logger) throws {
        process = try DashboardProcess.start(
            ["dashboard", "--address", "\(address)", "--", volume], volume)
        // Where the system has chosen the port, it stays when the process is started again.
        let place = process.words.dropFirst("http://".count).dropLast()
        arguments = ["dashboard", "--address", "\(place)", "--", volume]
        self.logger = logger
        logger.info("dashboard", metadata: ["at": "\(page)"])
        if !address.isLoopback {
            logger.notice(
                "the dashboard is open to other machines: everybody who reaches it sees file names",
                metadata: ["at": "\(page)"])
        }
    }

    private static func start(_ arguments: [String], _ volume: String) throws -> Background.Process
    {
        switch try Background.start(arguments) {
        case .ready(let process): return process
        case .ended(let status, _):
            throw CommandFailure("\(volume): no dashboard, so not mounted (status \(status))")
        }
    }

    /// Starts it again where it has died; at most every five seconds.
    func lookAfter() {
        guard monotonicNanoseconds() > restarted + 5_000_000_000, !process.isRunning else { return }
        restarted = monotonicNanoseconds()
        logger.error("the process of the dashboard has died; it is restarted")
        do {
            process = try DashboardProcess.start(arguments, page)
        } catch {
            logger.error("the dashboard could not be restarted: \(explanation(of: error))")
        }
    }

    func end() { process.end() }
}
