// How far a run has come, and the limits that it has, as JSON and for people.

package import Tidemark

extension RunProgress {
    package var words: String {
        index.map { "\(phase.words) \($0)" } ?? phase.words
    }

    /// One line, as a progress bar.
    package var line: String {
        let words = limits.isPaused ? "paused while \(self.words)" : self.words
        return progressLine(
            words, UInt64(max(done, 0)), UInt64(max(total, 0)), phase.unit, rate: rate,
            left: limits.isPaused ? nil : phaseSecondsLeft)
    }
}

extension RunProgress.Phase {
    package var json: JSONValue {
        .object([
            ("phase", .string(phase.rawValue)), ("index", .optional(index)),
            ("began", .number(began)),
        ])
    }
}

extension RunState {
    var words: String {
        switch self {
        case .prepared: "preparing"
        case .rechecking: "checking again"
        default: rawValue
        }
    }

    /// What the phase counts.
    package var unit: String {
        switch self {
        case .scanning: "records"
        default: "entries"
        }
    }
}

/// Phase, bar, part, rate, time left; as much of it as is known.
/// - Parameters:
///   - total: 0 where it is not known.
///   - unit: what is counted, in the plural.
package func progressLine(
    _ phase: String, _ done: UInt64, _ total: UInt64, _ unit: String, rate: Double, left: Double?
) -> String {
    var text = phase
    let part = total > 0 ? min(Double(done) / Double(total), 1) : 0
    if total > 0 {
        let filled = Int(part * 20)
        text += " [" + String(repeating: "#", count: filled)
        text += String(repeating: ".", count: 20 - filled) + "] \(Int(part * 100)) %"
    }
    if done > 0 { text += "  \(grouped(done)) \(unit)" }
    if done > 0, rate > 0 {
        text += ", \(grouped(Int(min(rate, 1e15))))/s"
        if let left { text += ", \(duration(left)) left" }
    }
    return text
}

extension RunLimits {
    package var members: [(String, JSONValue)] {
        [
            ("speedLimit", speedLimit.map { .integer($0) } ?? .null),
            ("share", .integer(share)), ("window", .integer(window)),
            ("memoryBytes", .integer(memoryBytes)), ("queueBytes", .integer(queueBytes)),
            ("stopAfter", stopAfter.map { .integer($0) } ?? .null),
            ("maximumSeconds", .optional(maximumSeconds)), ("background", .bool(isBackground)),
        ]
    }

    package var text: String {
        words.joined(separator: "; ") + ", queue \(binarySize(queueBytes))"
    }

    /// Each limit that there is, but for the queue's.
    package var words: [String] {
        var words: [String] = []
        if let rate = speedLimit { words.append("\(grouped(rate)) records/s at the most") }
        if share < 100 { words.append("\(share) % of the time") }
        if isBackground { words.append("in the background") }
        if let stopAfter {
            words.append("stops after \(counted(stopAfter, "discrepancy", "discrepancies"))")
        }
        if let maximumSeconds { words.append("\(duration(maximumSeconds)) at the most") }
        words.append("windows of \(grouped(window))")
        words.append("memory \(binarySize(memoryBytes))")
        return words
    }
}
