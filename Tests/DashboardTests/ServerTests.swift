// The server over real sockets: what it answers, what it refuses, and clients that misbehave.

import Foundation
import Synchronization
import Testing
#if canImport(Glibc)
import Glibc
#endif

@testable import Dashboard

private struct Broken: Error, CustomStringConvertible { let description = "nobody is at work" }

@Suite struct ServerTests {
    private func server(
        _ source: @escaping @Sendable () throws -> DashboardSnapshot = {
            var family = MetricFamily("a_total", .counter, "A.")
            family.add(1)
            return DashboardSnapshot(status: "{\"a\":1}", metrics: [family])
        }
    ) throws -> DashboardAddress {
        try DashboardServer(try #require(DashboardAddress("0")), source: source).start()
    }

    /// A socket that is connected, or -1.
    private func connected(_ address: DashboardAddress) -> Int32 {
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = address.port.bigEndian
        place.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let code = withUnsafePointer(to: &place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else {
            close(file)
            return -1
        }
        var patience = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(
            file, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        return file
    }

    /// Sends `text` and returns all that comes.
    private func exchange(_ address: DashboardAddress, _ text: String) -> String {
        let file = connected(address)
        guard file >= 0 else { return "" }
        defer { close(file) }
        _ = text.withCString { send(file, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
        var all: [UInt8] = [], part = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(file, &part, part.count, 0)
            guard count > 0 else { break }
            all += part[..<count]
        }
        return String(decoding: all, as: UTF8.self)
    }

    private func get(
        _ address: DashboardAddress, _ path: String, host: String = "localhost",
        method: String = "GET"
    ) -> String {
        exchange(
            address, "\(method) \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n\r\n")
    }

    @Test func `the page, its parts, the document and the metrics are there`() throws {
        let address = try server()
        for (path, kind, text) in [
            ("/", "text/html", "<title>Tidemark</title>"), ("/page.css", "text/css", ":root"),
            ("/page.js", "text/javascript", "use strict"),
            ("/status", "application/json", "{\"a\":1}"),
            ("/metrics", "text/plain; version=0.0.4", "# TYPE a_total counter\na_total 1\n"),
        ] {
            let answer = get(address, path)
            #expect(answer.hasPrefix("HTTP/1.1 200 "), "\(path): \(answer.prefix(200))")
            #expect(answer.contains("Content-Type: \(kind)"), "\(path)")
            #expect(answer.contains("default-src 'none'"), "\(path)")
            #expect(answer.contains(text), "\(path)")
        }
        #expect(get(address, "/other").hasPrefix("HTTP/1.1 404 "))
    }

    @Test func `nothing of the page is loaded from elsewhere`() {
        for bytes in [
            PackageResources.page_html, PackageResources.page_css, PackageResources.page_js,
        ] {
            let text = String(decoding: bytes, as: UTF8.self)
                .replacing("http://www.w3.org/2000/svg", with: "")
            #expect(!text.contains("http:") && !text.contains("https:") && !text.contains("url("))
        }
    }

    @Test func `other hosts and other methods are refused`() throws {
        let address = try server()
        for path in ["/", "/status", "/metrics", "/nothing"] {
            #expect(get(address, path, host: "evil.example").hasPrefix("HTTP/1.1 403 "))
            for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
                #expect(get(address, path, method: method).hasPrefix("HTTP/1.1 405 "))
            }
        }
        let without = exchange(address, "GET /status HTTP/1.1\r\nConnection: close\r\n\r\n")
        #expect(without.hasPrefix("HTTP/1.1 403 "))
    }

    @Test func `a source that fails is an answer, and asked again`() throws {
        let count = Mutex(0)
        let address = try server {
            try count.withLock {
                $0 += 1
                if $0 == 1 { throw Broken() }
            }
            return DashboardSnapshot(status: "{}", metrics: [])
        }
        let first = get(address, "/status")
        #expect(first.hasPrefix("HTTP/1.1 503 ") && first.contains("nobody is at work"))
        usleep(300_000)
        #expect(get(address, "/status").hasPrefix("HTTP/1.1 200 "))
    }

    @Test func `many questions at once are one question to the source`() throws {
        let count = Mutex(0)
        let address = try server {
            count.withLock { $0 += 1 }
            return DashboardSnapshot(status: "{}", metrics: [])
        }
        for _ in 0..<20 { #expect(get(address, "/status").hasPrefix("HTTP/1.1 200 ")) }
        #expect(count.withLock { $0 } < 20)
    }

    @Test func `a port that is taken is said so`() throws {
        let taken = try server()
        #expect {
            _ = try DashboardServer(taken) { DashboardSnapshot(status: "", metrics: []) }.start()
        } throws: {
            "\($0)".contains("\(taken): the dashboard can't listen there")
                && "\($0)".contains("in use")
        }
    }

    @Test func `clients that send rubbish, or nothing, keep nobody out`() throws {
        let address = try server()
        let silent = (0..<100).map { _ in connected(address) }
        defer { for file in silent where file >= 0 { close(file) } }
        for text in [
            "rubbish\r\n\r\n", "\r\n", "GET\r\n\r\n", String(repeating: "x", count: 100_000),
        ] {
            let file = connected(address)
            _ = text.withCString { send(file, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
            close(file)
        }
        #expect(get(address, "/status").hasPrefix("HTTP/1.1 200 "))
    }
}
