// The page, what it shows, and metrics, by HTTP: three files that never change, and two documents
// that are made when they are asked for, at most five times a second.
//
// Nothing can be changed through it: it knows GET only. Who may read it is decided by where it
// listens, and by the name that it is asked for by (DashboardAddress.swift).

internal import Dispatch
internal import FlyingFox
internal import FlyingSocks
internal import Foundation
package import Reports
internal import Synchronization
internal import Threads

/// What there is to be shown at one moment.
package struct DashboardSnapshot: Sendable {
    /// A JSON document.
    package let status: String
    package let metrics: [MetricFamily]

    package init(status: String, metrics: [MetricFamily]) {
        self.status = status
        self.metrics = metrics
    }
}

package enum DashboardError: Error, CustomStringConvertible {
    case cannotListen(DashboardAddress, why: String)

    package var description: String {
        switch self {
        case .cannotListen(let address, let why):
            "\(address): the dashboard can't listen there: \(why); choose another address or port"
        }
    }
}

package final class DashboardServer: Sendable {
    private let address: DashboardAddress
    private let asker: Asker

    /// - Parameter source: what there is to be shown now; what it throws is told the client.
    package init(
        _ address: DashboardAddress, source: @escaping @Sendable () throws -> DashboardSnapshot
    ) {
        self.address = address
        asker = Asker(source)
    }

    /// Listens, and from then on answers, until the process ends.
    /// - Returns: where it listens, with the port that the system chose where it was to.
    package func start() throws(DashboardError) -> DashboardAddress {
        let outcome = Monitor<Result<DashboardAddress, DashboardError>?>(nil)
        Task.detached { [self] in
            var place = address
            while true {
                await serve(at: place) { found in
                    if case .success(let found) = found { place = found }
                    outcome.withLock(notify: true) { if $0 == nil { $0 = found } }
                }
                // Out of descriptors, perhaps: FlyingFox then ends, and is begun again.
                try? await Task.sleep(for: .seconds(1))
            }
        }
        return try outcome.wait { $0 }.get()
    }

    /// Serves until that fails.
    private func serve(
        at place: DashboardAddress, _ tell: (Result<DashboardAddress, DashboardError>) -> Void
    ) async {
        let server: HTTPServer
        do {
            server = try make(place)
        } catch {
            return tell(.failure(.cannotListen(place, why: "\(error)")))
        }
        let running = Task { try await server.run() }
        let ended = Atomic<Bool>(false)
        async let end: Void = {
            _ = await running.result
            ended.store(true, ordering: .releasing)
        }()
        while await !server.isListening, !ended.load(ordering: .acquiring) {
            try? await Task.sleep(for: .milliseconds(5))
        }
        if let bound = await server.listeningAddress {
            var place = place
            place.port = bound.port ?? place.port
            tell(.success(place))
        }
        await end
        if case .failure(let error) = await running.result {
            tell(.failure(.cannotListen(place, why: reason(of: error))))
        }
    }

    private func make(_ place: DashboardAddress) throws -> HTTPServer {
        func configured(_ address: some SocketAddress) -> HTTPServer.Configuration {
            HTTPServer.Configuration(
                address: address, timeout: 10,
                pool: BoundedPool(HTTPServer.defaultPool()), logger: .disabled)
        }
        return HTTPServer(
            config: configured(try place.socketAddress()),
            handler: ClosureHTTPHandler { [self] request in await answer(request) })
    }

    // MARK: Answering

    private func answer(_ request: HTTPRequest) async -> HTTPResponse {
        guard address.admits(host: request.headers[.host]) else {
            return text(.forbidden, "ask for this page by an address in numbers, or as localhost\n")
        }
        guard request.method == .GET else {
            return text(.methodNotAllowed, "GET only\n", [HTTPHeader("Allow"): "GET"])
        }
        switch request.path {
        case "/": return file(PackageResources.page_html, "text/html; charset=utf-8")
        case "/page.css": return file(PackageResources.page_css, "text/css; charset=utf-8")
        case "/page.js": return file(PackageResources.page_js, "text/javascript; charset=utf-8")
        case "/status":
            return await made(kind: "application/json") { $0.status }
        case "/metrics":
            return await made(kind: "text/plain; version=0.0.4; charset=utf-8") {
                prometheusText($0.metrics)
            }
        default: return text(.notFound, "there is /, /status and /metrics\n")
        }
    }

    private func made(
        kind: String, _ body: (DashboardSnapshot) -> String
    ) async -> HTTPResponse {
        switch await asker.snapshot() {
        case .success(let snapshot): response(.ok, Data(body(snapshot).utf8), kind)
        case .failure(let error): text(.serviceUnavailable, "\(error)\n")
        }
    }

    private func file(_ bytes: [UInt8], _ kind: String) -> HTTPResponse {
        response(.ok, Data(bytes), kind)
    }

    private func text(
        _ code: HTTPStatusCode, _ text: String, _ headers: [HTTPHeader: String] = [:]
    ) -> HTTPResponse {
        response(code, Data(text.utf8), "text/plain; charset=utf-8", headers)
    }

    private func response(
        _ code: HTTPStatusCode, _ body: Data, _ kind: String, _ more: [HTTPHeader: String] = [:]
    ) -> HTTPResponse {
        var headers: HTTPHeaders = [
            .contentType: kind, HTTPHeader("Cache-Control"): "no-store",
            HTTPHeader("X-Content-Type-Options"): "nosniff",
            HTTPHeader("Referrer-Policy"): "no-referrer",
            HTTPHeader("Content-Security-Policy"):
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                + "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ]
        for (name, value) in more { headers[name] = value }
        return HTTPResponse(statusCode: code, headers: headers, body: body)
    }
}

/// The system's words for what kept a socket from being made.
private func reason(of error: any Error) -> String {
    if case .failed(_, _, let message) = error as? SocketError { return message }
    return "\(error)"
}

extension Socket.Address {
    fileprivate var port: UInt16? {
        switch self {
        case .ip4(_, let port), .ip6(_, let port): port
        case .unix: nil
        }
    }
}

/// Asks the source, one question at a time, on a thread that may be kept waiting; those who ask
/// shortly afterwards get the same answer.
private final class Asker: Sendable {
    private typealias Answer = Result<DashboardSnapshot, any Error>

    private let source: @Sendable () throws -> DashboardSnapshot
    private let queue = DispatchQueue(label: "dashboard")
    private let last = Mutex<(answer: Answer, time: ContinuousClock.Instant)?>(nil)

    init(_ source: @escaping @Sendable () throws -> DashboardSnapshot) { self.source = source }

    func snapshot() async -> Result<DashboardSnapshot, any Error> {
        await withCheckedContinuation { continuation in
            queue.async { [self] in continuation.resume(returning: current()) }
        }
    }

    private func current() -> Answer {
        if let (answer, time) = last.withLock({ $0 }), time.duration(to: .now) < .milliseconds(200)
        {
            return answer
        }
        let answer = Answer { try source() }
        last.withLock { $0 = (answer, .now) }
        return answer
    }
}
