// Times of the day, as they are printed.

#if canImport(Glibc)
internal import Glibc
#endif

/// Nanoseconds since 1970 as `2026-11-29T08:40:12.345Z` (RFC 3339); nil for 0.
func timeText(_ nanoseconds: UInt64) -> String? {
    guard nanoseconds > 1 else { return nil }
    var seconds = time_t(nanoseconds / 1_000_000_000)
    var parts = tm()
    guard gmtime_r(&seconds, &parts) != nil else { return nil }
    func digits(_ number: Int, _ count: Int) -> String {
        let text = "\(number)"
        return String(repeating: "0", count: max(0, count - text.count)) + text
    }
    let date = [
        digits(Int(parts.tm_year) + 1900, 4), digits(Int(parts.tm_mon) + 1, 2),
        digits(Int(parts.tm_mday), 2),
    ].joined(separator: "-")
    let time = [Int(parts.tm_hour), Int(parts.tm_min), Int(parts.tm_sec)]
        .map { digits($0, 2) }.joined(separator: ":")
    return "\(date)T\(time).\(digits(Int(nanoseconds / 1_000_000 % 1000), 3))Z"
}

/// Seconds since then.
func age(of nanoseconds: UInt64) -> Double {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9 - Double(nanoseconds) / 1e9
}
