// What the process takes of the machine.

public import Engine
internal import Threads
#if canImport(Glibc)
internal import Glibc
#endif

/// Anonymous memory of the process, in bytes: `RssAnon` in proc(5), `/proc/self/status`.
/// Pages of mapped files are not in it: the system takes them back when it needs them.
func anonymousBytes() -> Int {
    let file = unsafe open("/proc/self/status", O_RDONLY)
    guard file >= 0 else { return 0 }
    defer { close(file) }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, $0.count) }
    guard count > 0 else { return 0 }
    return residentKilobytes(buffer[..<count]) << 10
}

/// The number in the line `RssAnon:`; 0 where there is none. Bytes, not strings: it is asked for
/// fifty times a second.
func residentKilobytes(_ status: some Collection<UInt8>) -> Int {
    let name = Array("\nRssAnon:".utf8)
    var matched = 0, number: Int?
    for byte in status {
        if matched < name.count {
            matched = byte == name[matched] ? matched + 1 : byte == name[0] ? 1 : 0
        } else if byte >= 0x30, byte <= 0x39 {
            number = (number ?? 0) &* 10 &+ Int(byte - 0x30)
        } else if number != nil || byte == name[0] {
            break
        }
    }
    return number ?? 0
}

/// Nanoseconds that the calling thread was ready to run and waited for a processor:
/// `/proc/thread-self/schedstat`, of the kernel's Documentation/scheduler/sched-stats. 0 where
/// the kernel does not tell.
func threadDelay() -> UInt64 {
    let file = unsafe open("/proc/thread-self/schedstat", O_RDONLY)
    guard file >= 0 else { return 0 }
    defer { close(file) }
    var buffer = (UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0))
    return unsafe withUnsafeMutableBytes(of: &buffer) { bytes in
        let count = unsafe read(file, bytes.baseAddress, bytes.count)
        guard count > 0 else { return 0 }
        var number: UInt64 = 0, field = 0
        for place in 0..<count {
            let byte = unsafe bytes[place]
            if byte == UInt8(ascii: " ") {
                if field == 1 { return number }
                field += 1
                number = 0
            } else if byte >= 0x30, byte <= 0x39 {
                number = number &* 10 &+ UInt64(byte - 0x30)
            }
        }
        return 0
    }
}

/// Nanoseconds that the calling thread has run.
func threadTime() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

extension RunClock {
    /// Nanoseconds that the calling thread has run, as far as they are known. Where a test turns
    /// the clock, work takes what the clock says.
    var processorTime: UInt64 { manual == nil ? threadTime() : now() }

    /// Nanoseconds that the calling thread was ready to run and waited for a processor.
    var processorDelay: UInt64 { manual == nil ? threadDelay() : 0 }

    /// The system's `CLOCK_MONOTONIC`.
    public static let system = RunClock(now: monotonicNanoseconds)
}
