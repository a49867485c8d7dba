// Standard output and standard error, written to without libc's buffers, so that what was
// printed has left the process, and a reader who has gone away is noticed.

internal import Bytes
internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

public enum StandardStream: Int32, Sendable {
    case output = 1
    case error = 2

    /// Sees that descriptors 0 to 2 are open, so that no file that is opened later becomes standard
    /// output or standard error, and gets what is written there. One that was closed becomes one
    /// that can be neither read nor written to: who uses it is told that, as with the closed one.
    /// To be called before anything is opened.
    public static func secure() {
        for (descriptor, mode) in [(Int32(0), O_WRONLY), (1, O_RDONLY), (2, O_RDONLY)] {
            guard fcntl(descriptor, F_GETFD) < 0, Glibc.errno == EBADF else { continue }
            var file = unsafe open("/dev/null", mode)
            // Where there is no /dev: a directory can't be read from or written to either.
            if file < 0 { file = unsafe open("/", O_RDONLY | O_DIRECTORY) }
            guard file == descriptor else { exit(4) }
        }
    }

    /// Closes the stream. To be called once, when nothing more is written to it.
    public func close() throws(HostError) {
        // EBADF: it can't be used any more, which whoever wrote to it has been told.
        guard Glibc.close(rawValue) != 0, Glibc.errno != EBADF, Glibc.errno != EINTR else { return }
        throw HostError("close")
    }

    public var isTerminal: Bool { isatty(rawValue) == 1 }

    /// Columns of the terminal; 80 where it does not say.
    public var columns: Int { size.columns }

    /// Columns and rows of the terminal; 80 and 24 where it does not say.
    public var size: (columns: Int, rows: Int) {
        var size = winsize()
        guard unsafe ioctl(rawValue, UInt(TIOCGWINSZ), &size) == 0 else { return (80, 24) }
        return (
            size.ws_col > 0 ? Int(size.ws_col) : 80, size.ws_row > 0 ? Int(size.ws_row) : 24
        )
    }

    /// Whether terminals understand how to be redrawn: not where `TERM` says `dumb`, or nothing.
    public static var isDrawable: Bool {
        guard let name = environment("TERM") else { return false }
        return name != "dumb"
    }

    /// Whether the user lets programs use colours (no-color.org).
    public static var mayUseColor: Bool { environment("NO_COLOR") == nil }

    /// Whether what is written is read as UTF-8, by the variables of the locale.
    public static var isUTF8: Bool {
        let names = ["LC_ALL", "LC_CTYPE", "LANG"]
        guard let locale = names.lazy.compactMap({ environment($0) }).first else { return false }
        return locale.uppercased().contains("UTF-8") || locale.uppercased().contains("UTF8")
    }

    /// A variable of the environment; nil where it is empty.
    private static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        let text = unsafe String(cString: value)
        return text.isEmpty ? nil : text
    }

    /// - Throws: with EPIPE where nobody reads any more.
    public func write(_ text: String) throws(HostError) {
        var text = text
        var failure: HostError?
        text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let count = unsafe Glibc.write(
                    rawValue, bytes.baseAddress! + done, bytes.count - done)
                if count < 0, Glibc.errno == EINTR { continue }
                if count < 0, Glibc.errno == EAGAIN {
                    var wait = pollfd(fd: rawValue, events: Int16(POLLOUT), revents: 0)
                    unsafe poll(&wait, 1, 1000)
                    continue
                }
                guard count > 0 else {
                    failure = HostError("write")
                    return
                }
                done += count
            }
        }
        if let failure { throw failure }
    }
}

/// A file that a user named for a list.
public struct TextFile: ~Copyable, Sendable {
    private let descriptor: Int32
    private var buffer: [UInt8] = []
    private var isClosed = false

    /// Makes the file, or empties it.
    public init(path: String) throws(HostError) {
        descriptor = unsafe open(path.hostPath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw HostError("open") }
    }

    deinit { if !isClosed { Glibc.close(descriptor) } }

    /// Writes out what is left and closes the file: some file systems tell only then that they had
    /// no room.
    public mutating func close() throws(HostError) {
        guard !isClosed else { return }
        try flush()
        isClosed = true
        if Glibc.close(descriptor) != 0, Glibc.errno != EINTR { throw HostError("close") }
    }

    public mutating func append(_ text: String) throws(HostError) {
        buffer.append(contentsOf: text.utf8)
        if buffer.count >= 1 << 16 { try flush() }
    }

    public mutating func flush() throws(HostError) {
        var done = 0
        while done < buffer.count {
            let count = unsafe buffer.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress! + done, $0.count - done)
            }
            if count < 0, Glibc.errno == EINTR { continue }
            guard count > 0 else { throw HostError("write") }
            done += count
        }
        buffer.removeAll(keepingCapacity: true)
    }
}

/// Signals as flags: a command checks them where it can stop.
public enum Signals {
    private static let received = Atomic<Int32>(0)

    /// From now on a reader who goes away, and a limit of a file's size (`ulimit -f`), make
    /// `write` fail, in place of ending the process; and SIGINT, SIGTERM and SIGHUP set
    /// `stopRequest`, also where whoever started the process had them blocked, but not where they
    /// are to be ignored (nohup(1)). A second one of them ends the process as it always does.
    public static func install() {
        _ = signal(SIGPIPE, SIG_IGN)
        _ = signal(SIGXFSZ, SIG_IGN)
        // Made here: a handler must not be the first to touch it.
        received.store(0, ordering: .relaxed)
        var wanted = sigset_t()
        unsafe sigemptyset(&wanted)
        for number in [SIGINT, SIGTERM, SIGHUP] {
            if isIgnored(number) { continue }
            var action = sigaction()
            unsafe action.__sigaction_handler.sa_handler = { Signals.note($0) }
            action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND)) | SA_RESTART
            unsafe sigaction(number, &action, nil)
            unsafe sigaddset(&wanted, number)
        }
        unsafe pthread_sigmask(SIG_UNBLOCK, &wanted, nil)
    }

    private static func isIgnored(_ number: Int32) -> Bool {
        var action = sigaction()
        unsafe sigaction(number, nil, &action)
        let handler = unsafe action.__sigaction_handler.sa_handler
        return unsafe unsafeBitCast(handler, to: Int.self) == 1
    }

    private static func note(_ number: Int32) { received.store(number, ordering: .relaxed) }

    /// Asks another process to end. One that has ended already is none.
    public static func askToStop(_ process: Int32) { kill(process, SIGTERM) }

    /// The signal that asked for an end, if one did.
    public static var stopRequest: String? {
        switch received.load(ordering: .relaxed) {
        case SIGINT: "interrupted"
        case SIGTERM: "terminated"
        case SIGHUP: "hung up"
        default: nil
        }
    }
}

public func sleep(milliseconds: UInt32) {
    usleep(milliseconds * 1000)
}

/// Ends the process at once.
public func endProcess(status: Int32) -> Never { exit(status) }

/// The number of this process.
public var processNumber: Int32 { getpid() }
