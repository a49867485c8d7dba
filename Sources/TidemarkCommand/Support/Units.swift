// Sizes, counts and times as people write and read them.

internal import ArgumentParser

/// A number of bytes: `64G`, `512M`, `1.5T`, `4096`. K, M, G, T, P are powers of 1,024, with
/// or without `iB` or `B` behind them.
struct SizeArgument: ExpressibleByArgument {
    let bytes: UInt64

    init(bytes: UInt64) { self.bytes = bytes }

    init?(argument: String) {
        var digits = argument[...]
        if digits.hasSuffix("iB") { digits = digits.dropLast(2) }
        if digits.hasSuffix("B") { digits = digits.dropLast() }
        var factor: UInt64 = 1
        if let letter = digits.last,
            let power = "KMGTP".firstIndex(of: Character(letter.uppercased()))
        {
            factor = 1 << (10 * UInt64("KMGTP".distance(from: "KMGTP".startIndex, to: power) + 1))
            digits = digits.dropLast()
        }
        if let whole = UInt64(digits) {
            let (product, overflow) = whole.multipliedReportingOverflow(by: factor)
            guard !overflow else { return nil }
            bytes = product
        } else {
            guard let number = Double(digits), number.isFinite, number >= 0,
                number * Double(factor) < 9e18, factor > 1
            else { return nil }
            bytes = UInt64(number * Double(factor))
        }
    }

    var defaultValueDescription: String { binarySize(bytes) }
}

/// `1.5 GiB`.
func binarySize(_ bytes: some BinaryInteger) -> String {
    var value = Double(bytes)
    var unit = 0
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    while value >= 1024, unit < units.count - 1 {
        value /= 1024
        unit += 1
    }
    return unit == 0 ? "\(bytes) B" : "\(decimal(value, value < 10 ? 2 : 1)) \(units[unit])"
}

/// `12,345,678`.
func grouped(_ value: some BinaryInteger) -> String {
    let digits = Array("\(value.magnitude)")
    var text = value < 0 ? "-" : ""
    for (index, digit) in digits.enumerated() {
        if index > 0, (digits.count - index) % 3 == 0 { text += "," }
        text.append(digit)
    }
    return text
}

/// `1 entry`, `2 entries`.
func counted(_ value: some BinaryInteger, _ one: String, _ many: String? = nil) -> String {
    "\(grouped(value)) \(value == 1 ? one : many ?? one + "s")"
}

/// A number with `places` decimals.
func decimal(_ value: Double, _ places: Int) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    var factor = 1.0
    for _ in 0..<places { factor *= 10 }
    let scaled = (abs(value) * factor).rounded()
    let whole = UInt64(scaled / factor)
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard places > 0 else { return sign + "\(whole)" }
    let rest = "\(UInt64(scaled - Double(whole) * factor))"
    return sign + "\(whole)." + String(repeating: "0", count: max(0, places - rest.count)) + rest
}

/// `12 µs`, `3.4 ms`, `5.6 s`, `2 min 3 s`.
func duration(_ seconds: Double) -> String {
    switch seconds {
    case ..<0.001: "\(decimal(seconds * 1e6, 0)) µs"
    case ..<1: "\(decimal(seconds * 1e3, seconds < 0.01 ? 2 : 1)) ms"
    case ..<120: "\(decimal(seconds, seconds < 10 ? 2 : 1)) s"
    case ..<7200: "\(Int(seconds) / 60) min \(Int(seconds) % 60) s"
    default: "\(Int(seconds) / 3600) h \(Int(seconds) % 3600 / 60) min"
    }
}
