// A value that several threads share and wait on: a mutex with a condition. The standard
// library's `Mutex` has no condition to wait for; this is pthread's, wrapped once.

#if canImport(Glibc)
public import Glibc
#endif

@safe
public final class Monitor<State>: @unchecked Sendable {
    @usableFromInline var state: State
    @usableFromInline let mutex: UnsafeMutablePointer<pthread_mutex_t>
    @usableFromInline let changed: UnsafeMutablePointer<pthread_cond_t>

    public init(_ state: State) {
        self.state = state
        unsafe mutex = .allocate(capacity: 1)
        unsafe changed = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        unsafe changed.initialize(to: pthread_cond_t())
        unsafe pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        unsafe pthread_condattr_init(&attributes)
        unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        unsafe pthread_cond_init(changed, &attributes)
        unsafe pthread_condattr_destroy(&attributes)
    }

    deinit {
        unsafe pthread_cond_destroy(changed)
        unsafe pthread_mutex_destroy(mutex)
        unsafe changed.deallocate()
        unsafe mutex.deallocate()
    }

    /// Runs `body` alone, and wakes those who wait where `notify` says so.
    @inlinable
    public func withLock<R, E: Error>(
        notify: Bool = false, _ body: (inout State) throws(E) -> R
    ) throws(E) -> R {
        unsafe pthread_mutex_lock(mutex)
        defer {
            unsafe pthread_mutex_unlock(mutex)
            // A woken thread finds the mutex free.
            if notify { unsafe pthread_cond_broadcast(changed) }
        }
        return try body(&state)
    }

    /// Waits until `body` returns a value.
    @inlinable
    public func wait<R, E: Error>(_ body: (inout State) throws(E) -> R?) throws(E) -> R {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        while true {
            if let result = try body(&state) { return result }
            unsafe pthread_cond_wait(changed, mutex)
        }
    }

    /// Waits until `body` returns a value, for `seconds` at the most.
    @inlinable
    public func wait<R, E: Error>(
        seconds: Double, _ body: (inout State) throws(E) -> R?
    ) throws(E) -> R? {
        var limit = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &limit)
        let nanoseconds = limit.tv_nsec + Int(seconds * 1e9)
        limit.tv_sec += nanoseconds / 1_000_000_000
        limit.tv_nsec = nanoseconds % 1_000_000_000
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        while true {
            if let result = try body(&state) { return result }
            if unsafe pthread_cond_timedwait(changed, mutex, &limit) == ETIMEDOUT {
                return try body(&state)
            }
        }
    }

    @inlinable
    public func notify() { unsafe pthread_cond_broadcast(changed) }
}
