// Counts, sizes and times as people read them.

/// `1.5 GiB`.
package func binarySize(_ bytes: some BinaryInteger) -> String {
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
package func grouped(_ value: some BinaryInteger) -> String {
    let digits = Array("\(value.magnitude)")
    var text = value < 0 ? "-" : ""
    for (index, digit) in digits.enumerated() {
        if index > 0, (digits.count - index) % 3 == 0 { text += "," }
        text.append(digit)
    }
    return text
}

/// `1 entry`, `2 entries`.
package func counted(_ value: some BinaryInteger, _ one: String, _ many: String? = nil) -> String {
    "\(grouped(value)) \(value == 1 ? one : many ?? one + "s")"
}

/// A number with `places` decimals.
package func decimal(_ value: Double, _ places: Int) -> String {
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
package func duration(_ seconds: Double) -> String {
    switch seconds {
    case ..<0.001: "\(decimal(seconds * 1e6, 0)) µs"
    case ..<1: "\(decimal(seconds * 1e3, seconds < 0.01 ? 2 : 1)) ms"
    case ..<120: "\(decimal(seconds, seconds < 10 ? 2 : 1)) s"
    case ..<7200: "\(Int(seconds) / 60) min \(Int(seconds) % 60) s"
    default: "\(Int(seconds) / 3600) h \(Int(seconds) % 3600 / 60) min"
    }
}

/// `text` in a column of `width`: at its right, or at its left where `width` is negative.
package func padded(_ text: String, _ width: Int) -> String {
    let space = String(repeating: " ", count: max(0, Int(width.magnitude) - text.count))
    return width < 0 ? text + space : space + text
}
