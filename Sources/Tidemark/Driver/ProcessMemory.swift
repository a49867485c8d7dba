// What the process takes of the machine.

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
    let text = String(decoding: buffer[..<count], as: UTF8.self)
    for line in text.split(separator: "\n") where line.hasPrefix("RssAnon:") {
        let digits = line.filter(\.isNumber)
        return (Int(digits) ?? 0) << 10
    }
    return 0
}

func sleepMilliseconds(_ milliseconds: Int) {
    usleep(UInt32(milliseconds * 1000))
}

extension RunClock {
    /// The system's `CLOCK_MONOTONIC`.
    public static let system = RunClock {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
