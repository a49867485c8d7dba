// A command that continues in the background: this program, started again in a session of its own.
// Not a fork: threads, and files that a library has mapped, don't survive one.
//
// The one in front waits until the one behind says that it is ready, or has ended; until then both
// share standard error, so what went wrong is read where the command was typed. The one in front
// may go on and watch over the one behind.

internal import Bytes
internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

public enum Background {
    /// Where the one behind says that it is ready.
    private static let descriptor: Int32 = 3
    /// `POSIX_SPAWN_SETSID` of glibc.
    private static let newSession: Int16 = 0x80

    /// The one behind.
    public final class Process: Sendable {
        /// What it said when it was ready.
        public let words: String
        /// Its number; nil once it was waited for. Until then nobody else has that number, and it
        /// can be signalled by it.
        private let number: Mutex<Int32?>

        fileprivate init(_ number: Int32, _ words: String) {
            self.number = Mutex(number)
            self.words = words
        }

        /// Whether it has not ended.
        public var isRunning: Bool {
            number.withLock { number in
                guard let child = number else { return false }
                var status: Int32 = 0
                if unsafe waitpid(child, &status, WNOHANG) == 0 { return true }
                number = nil
                return false
            }
        }

        /// Ends it, and waits until it has ended. One that has ended is not signalled.
        public func end() {
            number.withLock { number in
                guard let child = number else { return }
                kill(child, SIGTERM)
                _ = Background.wait(child)
                number = nil
            }
        }
    }

    public enum Start: Sendable {
        case ready(Process)
        /// It has ended instead, with this status, and has said why, where it could.
        case ended(Int32, why: String?)
    }

    /// Whether somebody waits in front: the descriptor is theirs, and not one of a file that was
    /// opened here.
    private static let hasParent = Atomic<Bool>(false)

    /// Whether these are the words of a command that is started to be the one behind.
    public static func isBehind(_ words: [String]) -> Bool {
        words.first == "dashboard" || words.first == "mount" && words.contains("--behind")
    }

    /// Finds out whether somebody waits in front. To be called before anything is opened.
    public static func noteParent() {
        var status = stat()
        let isPipe = unsafe fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFIFO
        hasParent.store(isPipe, ordering: .relaxed)
        if isPipe { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    }

    /// The one behind has failed before it was ready: it tells the one in front why.
    public static func hasFailed(_ text: String) {
        guard hasParent.exchange(false, ordering: .relaxed) else { return }
        // Without an end of the line, which says that it is ready.
        tell(Array(text.prefix(while: { $0 != "\n" }).utf8))
    }

    private static func tell(_ bytes: [UInt8]) {
        _ = unsafe bytes.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
    }

    /// Starts this program with `arguments`, and waits until it is ready.
    public static func start(_ arguments: [String]) throws(HostError) -> Start {
        var ends: (Int32, Int32) = (0, 0)
        let made = unsafe withUnsafeMutablePointer(to: &ends) {
            unsafe $0.withMemoryRebound(to: Int32.self, capacity: 2) { unsafe pipe($0) }
        }
        guard made == 0 else { throw HostError("make a pipe") }
        _ = fcntl(ends.0, F_SETFD, FD_CLOEXEC)
        let child = spawn(arguments, ready: ends.1)
        close(ends.1)
        defer { close(ends.0) }
        let number = try child.get()
        var said: [UInt8] = [], part = [UInt8](repeating: 0, count: 256)
        while true {
            let count = unsafe part.withUnsafeMutableBytes {
                unsafe read(ends.0, $0.baseAddress, $0.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            said += part[..<count]
        }
        // A line, which may be empty.
        guard said.last == UInt8(ascii: "\n") else {
            let why = said.isEmpty ? nil : String(decoding: said, as: UTF8.self)
            return .ended(wait(number), why: why)
        }
        let words = String(decoding: said.dropLast(), as: UTF8.self)
        return .ready(Process(number, words))
    }

    /// Waits for the end.
    /// - Returns: the status that a shell would give it.
    private static func wait(_ number: Int32) -> Int32 {
        var status: Int32 = 0
        while unsafe waitpid(number, &status, 0) < 0, errno == EINTR {}
        return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + status & 0x7f
    }

    private static func spawn(
        _ arguments: [String], ready: Int32
    ) -> Result<pid_t, HostError> {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, ready, descriptor)
        if ready != descriptor { unsafe posix_spawn_file_actions_addclose(&actions, ready) }
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        unsafe posix_spawnattr_setflags(&attributes, newSession)
        var words = unsafe (["tidemark"] + arguments).map { unsafe strdup($0.hostPath) }
        defer { unsafe words.forEach { unsafe free($0) } }
        unsafe words.append(nil)
        var child: pid_t = 0
        let code = unsafe posix_spawn(
            &child, "/proc/self/exe", &actions, &attributes, words, environ)
        return code == 0 ? .success(child) : .failure(HostError("start", errno: code))
    }

    /// The one behind is ready: it tells the one in front, and lets go of what they share.
    /// - Parameter words: for the one in front, on one line.
    public static func isReady(_ words: String = "") {
        guard hasParent.exchange(false, ordering: .relaxed) else { return }
        tell(Array((words + "\n").utf8))
        let null = unsafe open("/dev/null", O_RDWR | O_CLOEXEC)
        guard null >= 0 else { return }
        for standard: Int32 in 0...2 { dup2(null, standard) }
        close(null)
        _ = unsafe chdir("/")
    }
}

/// Bounds what this process, and nothing else, may take: open files, bytes of memory, and the
/// processor where others want it. Where the system runs out of memory it goes first.
public func limitThisProcess(files: UInt, memory: UInt, niceness: Int32) {
    for (resource, limit) in [(RLIMIT_NOFILE, files), (RLIMIT_DATA, memory), (RLIMIT_CORE, 0)] {
        var limits = rlimit(rlim_cur: limit, rlim_max: limit)
        _ = unsafe setrlimit(Int32(resource.rawValue), &limits)
    }
    _ = setpriority(Int32(PRIO_PROCESS.rawValue), 0, niceness)
    let file = unsafe open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    _ = unsafe write(file, "500", 3)
    close(file)
}

/// The process that has started this one, or has taken it over.
public var parentNumber: Int32 { getppid() }

/// `path` from the root on, where it exists.
public func absolutePath(_ path: String) -> String {
    guard let whole = unsafe realpath(path.hostPath, nil) else { return path }
    defer { unsafe free(whole) }
    return unsafe String(hostPath: whole)
}

/// `path` from the root on, where its directory exists.
public func absolutePath(ofNew path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return absolutePath(".") + "/" + path }
    let directory = slash == path.startIndex ? "/" : String(path[..<slash])
    return absolutePath(directory) + path[slash...]
}

/// Hands a line to the system's log.
public func logToSystem(_ text: String) {
    unsafe withVaList([]) { none in
        unsafe vsyslog(LOG_DAEMON | LOG_NOTICE, text.replacingPercents, none)
    }
}

/// A socket on which each write is a line of the system's log (syslog(3)), for where syslog itself
/// may not be called, and what it begins with: priority, program, process. nil where nobody takes
/// them.
public func systemLogSocket() -> (descriptor: Int32, head: String)? {
    let kind = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let log = socket(AF_UNIX, kind, 0)
    guard log >= 0 else { return nil }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let path = Array("/dev/log".utf8)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    let isConnected = unsafe withUnsafePointer(to: &address) {
        unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe connect(log, $0, size) == 0
        }
    }
    guard isConnected else {
        close(log)
        return nil
    }
    return (log, "<\(LOG_DAEMON | LOG_ERR)>tidemark[\(getpid())]: ")
}

extension String {
    /// The text as a format that stands for itself.
    fileprivate var replacingPercents: String {
        var result = ""
        for character in self { result += character == "%" ? "%%" : String(character) }
        return result
    }
}
