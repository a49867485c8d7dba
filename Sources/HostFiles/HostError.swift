// Files of the host, as the command meets them: trees to import, terminals, the volume's
// own directory. Everything here works on file descriptors and names relative to them, so
// that no path is ever too long and no symbolic link is followed by mistake; and names are
// bytes, as they are for the kernel.

internal import Bytes
#if canImport(Glibc)
internal import Glibc
#endif

/// A call to the system that failed.
public struct HostError: Error, Hashable, Sendable {
    /// The verb: `open`, `list`, `read`.
    public let operation: String
    public let errno: Int32

    public init(_ operation: String, errno: Int32) {
        self.operation = operation
        self.errno = errno
    }

    /// The call that has just returned.
    init(_ operation: String) { self.init(operation, errno: Glibc.errno) }

    /// Whether what was written to is a pipe or a socket that nobody reads any more.
    public var isWithoutReader: Bool { errno == EPIPE || errno == ECONNRESET }

    /// Whether the object was there a moment ago, and is gone.
    public var isVanished: Bool { errno == ENOENT || errno == ESTALE || errno == ENXIO }
}

extension HostError: CustomStringConvertible {
    public var description: String { "\(operation): \(reason)" }

    /// The system's words.
    public var reason: String { systemText(errno) }
}
