// Standard input, line by line.

internal import Bytes
#if canImport(Glibc)
internal import Glibc
#endif

public enum StandardInput {
    /// Bytes of a line at the most.
    private static let longest = 1 << 16

    /// Calls `body` with each line, without its end.
    /// - Throws: `HostError` where it can't be read, and with `E2BIG` where a line is too long.
    public static func forEachLine(_ body: (String) throws -> Void) throws {
        var rest: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = unsafe piece.withUnsafeMutableBytes {
                unsafe read(0, $0.baseAddress, $0.count)
            }
            if count < 0, Glibc.errno == EINTR { continue }
            guard count >= 0 else { throw HostError("read") }
            if count == 0 { break }
            rest += piece.prefix(count)
            var start = 0
            while let end = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
                try body(String(decoding: rest[start..<end], as: UTF8.self))
                start = end + 1
            }
            rest.removeFirst(start)
            guard rest.count <= longest else {
                Glibc.errno = E2BIG
                throw HostError("read a line of")
            }
        }
        if !rest.isEmpty { try body(String(decoding: rest, as: UTF8.self)) }
    }
}
