// Threads of our own: LMDB's write transactions belong to one, and a run's helpers give
// way to everybody else.

#if canImport(Glibc)
internal import Glibc
#endif

@safe
public final class DedicatedThread: @unchecked Sendable {
    private final class Start {
        let name: String
        let niceness: Int32
        let body: @Sendable () -> Void
        init(_ name: String, _ niceness: Int32, _ body: @escaping @Sendable () -> Void) {
            self.name = name
            self.niceness = niceness
            self.body = body
        }
    }

    private let thread: pthread_t
    private var isJoined = false

    /// Starts a thread. `niceness` above 0 makes it yield to others (setpriority(2), which
    /// on Linux works for a single thread).
    public init(name: String, niceness: Int32 = 0, _ body: @escaping @Sendable () -> Void) {
        var created = pthread_t()
        let start = unsafe Unmanaged.passRetained(Start(name, niceness, body))
        let code = unsafe pthread_create(
            &created, nil,
            { argument in
                let start = unsafe Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
                nameThisThread(start.name)
                allowInterrupt()
                if start.niceness != 0 {
                    _ = setpriority(Int32(PRIO_PROCESS.rawValue), 0, start.niceness)
                }
                start.body()
                return nil
            }, start.toOpaque())
        precondition(code == 0, "the system has no thread left")
        thread = created
    }

    /// Has the system call that the thread waits in end with EINTR: a signal that does nothing else.
    public func interrupt() {
        var action = sigaction()
        unsafe action.__sigaction_handler.sa_handler = { _ in }
        unsafe sigaction(SIGURG, &action, nil)
        pthread_kill(thread, SIGURG)
    }

    /// Waits for the end of the thread. To be called once, by one thread.
    public func join() {
        precondition(!isJoined, "a thread is joined once")
        isJoined = true
        _ = pthread_join(thread, nil)
    }

    deinit {
        if !isJoined { pthread_detach(thread) }
    }
}

/// Also where whoever started the process had the signal blocked.
private func allowInterrupt() {
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    unsafe sigaddset(&signals, SIGURG)
    unsafe pthread_sigmask(SIG_UNBLOCK, &signals, nil)
}

/// For top(1) and profilers; proc(5), `/proc/thread-self/comm`. Failing is no harm.
private func nameThisThread(_ name: String) {
    let file = unsafe open("/proc/thread-self/comm", O_WRONLY)
    guard file >= 0 else { return }
    let bytes = Array(name.utf8.prefix(15))
    unsafe bytes.withUnsafeBytes { _ = unsafe write(file, $0.baseAddress, $0.count) }
    close(file)
}

/// Lets another thread run.
public func yieldProcessor() { sched_yield() }
