// A Unix stream socket, with deadlines, and no path that could be too long: sockets are named
// relative to an open directory, through /proc/self/fd.

internal import Bytes
internal import Threads
#if canImport(Glibc)
internal import Glibc
#endif

/// An open directory of a volume.
final class SocketFolder: Sendable {
    let path: String
    let descriptor: Int32

    init(path: String) throws(ControlError) {
        self.path = path
        descriptor = unsafe open(path.hostPath, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            let number = Glibc.errno
            if number == EACCES || number == EPERM { throw .noPermission(path) }
            throw .system(operation: "open", path: path, errno: number)
        }
    }

    deinit { close(descriptor) }

    /// What lies at `name`; nil: nothing.
    func look(_ name: String) throws(ControlError) -> (isSocket: Bool, inode: UInt64)? {
        var status = stat()
        guard unsafe fstatat(descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            if Glibc.errno == ENOENT { return nil }
            throw .system("look at", "\(path)/\(name)")
        }
        return (status.st_mode & S_IFMT == S_IFSOCK, UInt64(status.st_ino))
    }

    func remove(_ name: String) { unsafe unlinkat(descriptor, name, 0) }

    func address(_ name: String) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let text = Array("/proc/self/fd/\(descriptor)/\(name)".utf8)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            precondition(text.count < bytes.count, "the name of a socket is short")
            for (place, byte) in text.enumerated() { unsafe bytes[place] = byte }
        }
        return address
    }
}

/// One end of a connection, closed when it goes. Used by one thread.
struct Connection: ~Copyable {
    let descriptor: Int32
    private var buffer: [UInt8] = []
    /// Bytes of `buffer` that hold no newline.
    private var searched = 0

    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// Why a line did not come.
    enum Failure: Error { case timeout, tooLong, ended, stopped, system }

    /// Waits for a whole line.
    /// - Parameters:
    ///   - first: seconds until its first byte, at the most.
    ///   - whole: seconds from then on until its end.
    ///   - wakeup: a descriptor that becomes readable, or is hung up, to end the waiting.
    mutating func line(
        atMost limit: Int, first: Double, whole: Double, wakeup: Int32 = -1
    ) throws(Failure) -> [UInt8] {
        var deadline = monotonicSeconds() + (buffer.isEmpty ? first : whole)
        while true {
            if let end = buffer[searched...].firstIndex(of: Wire.newline) {
                let line = Array(buffer[..<end])
                buffer.removeSubrange(...end)
                searched = 0
                return line
            }
            searched = buffer.count
            guard buffer.count <= limit else { throw .tooLong }
            try wait(for: POLLIN, of: descriptor, until: deadline, wakeup)
            if buffer.isEmpty { deadline = monotonicSeconds() + whole }
            try receive()
        }
    }

    private mutating func receive() throws(Failure) {
        var part = [UInt8](repeating: 0, count: 16 << 10)
        let count = unsafe part.withUnsafeMutableBytes {
            unsafe recv(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT))
        }
        if count == 0 { throw .ended }
        guard count > 0 else {
            if Glibc.errno == EAGAIN || Glibc.errno == EINTR { return }
            throw .system
        }
        buffer += part[..<count]
    }

    /// Sends it all, within `seconds`.
    func send(_ bytes: [UInt8], within seconds: Double, wakeup: Int32 = -1) throws(Failure) {
        try sendAll(bytes, to: descriptor, within: seconds, wakeup: wakeup)
    }

    /// Who is at the other end; nil where the system does not say.
    var peer: ControlPeer? {
        // `struct ucred` of socket(7): process, user, group.
        var credentials: (Int32, UInt32, UInt32) = (0, 0, 0)
        var size = socklen_t(MemoryLayout.size(ofValue: credentials))
        guard unsafe getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0,
            Int(size) == MemoryLayout.size(ofValue: credentials)
        else { return nil }
        return ControlPeer(process: credentials.0, user: credentials.1)
    }
}

/// Sends it all, within `seconds`.
func sendAll(
    _ bytes: [UInt8], to descriptor: Int32, within seconds: Double, wakeup: Int32
) throws(Connection.Failure) {
    let deadline = monotonicSeconds() + seconds
    var done = 0
    while done < bytes.count {
        let count = unsafe bytes.withUnsafeBytes {
            unsafe Glibc.send(
                descriptor, $0.baseAddress! + done, $0.count - done,
                Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
        }
        if count >= 0 {
            done += count
            continue
        }
        guard Glibc.errno == EAGAIN || Glibc.errno == EINTR else { throw .ended }
        try wait(for: POLLOUT, of: descriptor, until: deadline, wakeup)
    }
}

/// Whether a short line can be sent without waiting.
func isWritable(_ descriptor: Int32) -> Bool {
    var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    return unsafe poll(&wanted, 1, 0) == 1 && wanted.revents & Int16(POLLOUT) != 0
}

private func wait(
    for event: Int32, of descriptor: Int32, until deadline: Double, _ wakeup: Int32
) throws(Connection.Failure) {
    while true {
        let left = deadline - monotonicSeconds()
        guard left > 0 else { throw .timeout }
        var wanted = [
            pollfd(fd: descriptor, events: Int16(event), revents: 0),
            pollfd(fd: wakeup, events: Int16(POLLIN), revents: 0),
        ]
        let count = unsafe poll(&wanted, 2, Int32(min(left * 1000 + 1, 60_000)))
        if count < 0, Glibc.errno != EINTR { throw .system }
        if wanted[1].revents != 0 { throw .stopped }
        if wanted[0].revents != 0 { return }
    }
}

/// A new socket, or an error with the number that the system gave.
func makeSocket(_ path: String) throws(ControlError) -> Int32 {
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let descriptor = socket(AF_UNIX, kind, 0)
    guard descriptor >= 0 else { throw .system("make a socket for", path) }
    return descriptor
}

/// Makes reading and writing answer at once, and keeps the descriptor from other programs.
func prepare(_ descriptor: Int32) {
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
}

/// Connects; where more wait to be taken than the system lets wait, again for `patience` seconds.
func connectSocket(
    _ folder: SocketFolder, _ name: String, patience: Double = 5
) throws(ControlError) -> Int32 {
    let deadline = monotonicSeconds() + patience
    while true {
        do throws(ControlError) {
            return try connectOnce(folder, name)
        } catch {
            guard case .stalled = error, monotonicSeconds() < deadline else { throw error }
            usleep(5000)
        }
    }
}

private func connectOnce(_ folder: SocketFolder, _ name: String) throws(ControlError) -> Int32 {
    let path = folder.path
    let descriptor = try makeSocket(path)
    var address = folder.address(name)
    let code = unsafe withUnsafePointer(to: &address) {
        unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
    guard code == 0 else {
        let error = ControlError.system("connect to", path)
        close(descriptor)
        throw error
    }
    return descriptor
}
