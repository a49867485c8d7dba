// The one table that comes out.

struct Row {
    enum Verdict: String { case pass, fail, info = "–" }

    var what: String
    var target: String
    var measured: String
    var verdict: Verdict

    /// A row with a bound that the value must not exceed.
    static func atMost(
        _ what: String, _ bound: Double, _ value: Double, unit: String = "", digits: Int = 2,
        isTarget: Bool = true, more: String = ""
    ) -> Row {
        Row(
            what: what, target: isTarget ? "≤ \(bound.trimmed)\(unit)" : "–",
            measured: value.shown(digits) + unit + more,
            verdict: isTarget ? (value <= bound ? .pass : .fail) : .info)
    }

    /// A row with a bound that the value must reach.
    static func atLeast(
        _ what: String, _ bound: Double, _ value: Double, unit: String = "", digits: Int = 0,
        more: String = ""
    ) -> Row {
        Row(
            what: what, target: "≥ \(bound.trimmed)\(unit)",
            measured: value.shown(digits) + unit + more, verdict: value >= bound ? .pass : .fail)
    }

    static func info(_ what: String, _ measured: String) -> Row {
        Row(what: what, target: "–", measured: measured, verdict: .info)
    }
}

extension Double {
    /// Without decimals where there are none.
    var trimmed: String {
        self == rounded() ? String(Int(self)) : String(self)
    }
}

struct Table {
    private(set) var rows: [Row] = []

    mutating func add(_ row: Row) {
        rows.append(row)
        tell("| \(row.what) | \(row.target) | \(row.measured) | \(row.verdict.rawValue) |")
    }

    var failed: Int { rows.filter { $0.verdict == .fail }.count }

    var markdown: String {
        let head = "| | target | measured | |\n| --- | --- | --- | --- |\n"
        return head
            + rows.map { "| \($0.what) | \($0.target) | \($0.measured) | \($0.verdict.rawValue) |" }
            .joined(separator: "\n")
    }
}
