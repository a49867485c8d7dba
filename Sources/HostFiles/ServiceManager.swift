// What a service manager that has started this process is told, and how it takes a log: the
// protocols of sd_notify(3) and sd-daemon(3).

#if canImport(Glibc)
internal import Glibc
#endif

public enum ServiceManager {
    /// Whether this process has been started by one that waits to be told.
    public static var isThere: Bool { unsafe getenv("NOTIFY_SOCKET") != nil }

    /// Tells it of a change of state, as `READY=1`. Nothing happens where there is none.
    public static func tell(_ state: String) {
        guard let value = unsafe getenv("NOTIFY_SOCKET") else { return }
        let name = unsafe Array(String(cString: value).utf8)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let isFit = unsafe withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            guard name.count > 1, name.count < bytes.count else { return false }
            unsafe bytes.copyBytes(from: name)
            // `@` stands for the null byte of an abstract name.
            if unsafe bytes[0] == UInt8(ascii: "@") { unsafe bytes[0] = 0 }
            return true
        }
        guard isFit else { return }
        let kind = Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_UNIX, kind, 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let head = MemoryLayout.offset(of: \sockaddr_un.sun_path) ?? 2
        let text = Array(state.utf8)
        unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                _ = unsafe text.withUnsafeBytes {
                    unsafe sendto(
                        descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL), address,
                        socklen_t(head + name.count))
                }
            }
        }
    }

    /// Whether standard error leads to the journal: a line then begins with its priority.
    public static var hasJournal: Bool {
        guard let value = unsafe getenv("JOURNAL_STREAM") else { return false }
        let parts = unsafe String(cString: value).split(separator: ":").compactMap { UInt64($0) }
        var status = stat()
        guard parts.count == 2, unsafe fstat(2, &status) == 0 else { return false }
        return parts[0] == UInt64(status.st_dev) && parts[1] == UInt64(status.st_ino)
    }
}
