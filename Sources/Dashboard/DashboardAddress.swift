// Where the page is served, and which names of that place a browser may use.
//
// A web page of somebody else can have its own name point to this machine, and then read what we
// answer, as if it were its own (DNS rebinding). So we answer only those who ask for us by an
// address in numbers or by a name that is surely ours.

internal import FlyingSocks
#if canImport(Glibc)
internal import Glibc
#endif

public struct DashboardAddress: Hashable, Sendable, CustomStringConvertible {
    /// In numbers, without brackets.
    public let host: String
    /// 0: the system chooses one.
    public var port: UInt16

    /// `8080`, `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`.
    public init?(_ text: String) {
        guard let (host, port) = DashboardAddress.parts(text), let port, let port = UInt16(port)
        else { return nil }
        self.port = port
        self.host = host.isEmpty || host == "localhost" ? "127.0.0.1" : host
        guard DashboardAddress.isNumeric(self.host) else { return nil }
    }

    public var description: String { isIPv6 ? "[\(host)]:\(port)" : "\(host):\(port)" }
    public var isLoopback: Bool { DashboardAddress.isLoopback(host) }
    private var isIPv6: Bool { host.contains(":") }

    /// Whether a request with this `Host` is meant for us.
    func admits(host header: String?) -> Bool {
        guard let header, let (name, _) = DashboardAddress.parts(header, isHostFirst: true)
        else { return false }
        let lower = name.lowercased()
        if lower == "localhost" || DashboardAddress.isLoopback(lower) { return true }
        guard !isLoopback else { return false }
        return DashboardAddress.isNumeric(lower) || lower == DashboardAddress.machine
    }

    func socketAddress() throws -> any SocketAddress {
        isIPv6
            ? try sockaddr_in6.inet6(ip6: host, port: port)
            : try sockaddr_in.inet(ip4: host, port: port)
    }

    // MARK: Reading

    /// Host, without brackets, and port, as far as they are there.
    private static func parts(
        _ text: String, isHostFirst: Bool = false
    ) -> (host: String, port: String?)? {
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            let host = String(text[text.index(after: text.startIndex)..<end])
            let rest = text[text.index(after: end)...]
            if rest.isEmpty { return (host, nil) }
            guard rest.first == ":" else { return nil }
            return (host, String(rest.dropFirst()))
        }
        let words = text.split(separator: ":", omittingEmptySubsequences: false)
        switch words.count {
        case 1: return isHostFirst ? (text, nil) : ("", text)
        case 2: return (String(words[0]), String(words[1]))
        default: return nil
        }
    }

    private static func isNumeric(_ host: String) -> Bool {
        var four = in_addr(), six = in6_addr()
        return inet_pton(AF_INET, host, &four) == 1 || inet_pton(AF_INET6, host, &six) == 1
    }

    private static func isLoopback(_ host: String) -> Bool {
        var four = in_addr()
        if inet_pton(AF_INET, host, &four) == 1 {
            return UInt32(bigEndian: four.s_addr) >> 24 == 127
        }
        return host == "::1"
    }

    /// What this machine calls itself.
    private static let machine: String? = {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return nil }
        let bytes = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: bytes, as: UTF8.self).lowercased()
    }()
}
