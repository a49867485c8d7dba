// The one clock: time that only goes on, the same for all processes of a machine until it is
// started again.

#if canImport(Glibc)
internal import Glibc
#endif

/// `CLOCK_MONOTONIC`, in nanoseconds.
public func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// `CLOCK_MONOTONIC`, in seconds.
public func monotonicSeconds() -> Double { Double(monotonicNanoseconds()) / 1e9 }
