// A command that goes on in the background: this program, started again in a session of its own.
// Not a fork: threads, and files that a library has mapped, don't survive one.
//
// The one in front waits until the one behind says that it is ready, or has ended; until then both
// share standard error, so what went wrong is read where the command was typed.

#if canImport(Glibc)
internal import Glibc
#endif

public enum Background {
    /// Where the one behind says that it is ready.
    private static let descriptor: Int32 = 3
    /// `POSIX_SPAWN_SETSID` of glibc.
    private static let newSession: Int16 = 0x80

    /// Starts this program with `arguments`, and waits until it is ready.
    /// - Returns: nil once it is; where it has ended instead, with which status.
    public static func start(_ arguments: [String]) throws(HostError) -> Int32? {
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
        var word: UInt8 = 0
        while true {
            let count = unsafe read(ends.0, &word, 1)
            if count < 0, errno == EINTR { continue }
            if count == 1 { return nil }
            break
        }
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
        var words = unsafe (["tidemark"] + arguments).map { unsafe strdup($0) }
        defer { unsafe words.forEach { unsafe free($0) } }
        unsafe words.append(nil)
        var child: pid_t = 0
        let code = unsafe posix_spawn(
            &child, "/proc/self/exe", &actions, &attributes, words, environ)
        return code == 0 ? .success(child) : .failure(HostError("start", errno: code))
    }

    /// The one behind is ready: it tells the one in front, and lets go of what they share.
    public static func isReady() {
        var word: UInt8 = 0
        _ = unsafe write(descriptor, &word, 1)
        close(descriptor)
        let null = unsafe open("/dev/null", O_RDWR | O_CLOEXEC)
        guard null >= 0 else { return }
        for standard: Int32 in 0...2 { dup2(null, standard) }
        close(null)
        _ = unsafe chdir("/")
    }
}

/// `path` from the root on, where it exists.
public func absolutePath(_ path: String) -> String {
    guard let whole = unsafe realpath(path, nil) else { return path }
    defer { unsafe free(whole) }
    return unsafe String(cString: whole)
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

extension String {
    /// The text as a format that stands for itself.
    fileprivate var replacingPercents: String {
        var result = ""
        for character in self { result += character == "%" ? "%%" : String(character) }
        return result
    }
}
