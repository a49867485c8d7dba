// Metrics in the text format of Prometheus, version 0.0.4.

/// All samples of one name.
package struct MetricFamily: Sendable {
    package enum Kind: String, Sendable { case counter, gauge, histogram, summary }
    package typealias Labels = [(name: String, value: String)]

    struct Sample: Sendable {
        let suffix: String
        let labels: [String]
        let value: Double
    }

    let name: String
    let kind: Kind
    let help: String
    private(set) var samples: [Sample] = []

    /// - Parameter name: with its unit; of a counter with `_total`.
    package init(_ name: String, _ kind: Kind, _ help: String) {
        precondition(kind != .counter || name.hasSuffix("_total"), "a counter is a total")
        self.name = name
        self.kind = kind
        self.help = help
    }

    package mutating func add(_ value: Double, _ labels: Labels = [], suffix: String = "") {
        samples.append(
            Sample(
                suffix: suffix, labels: labels.map { "\($0.name)=\"\(escaped($0.value))\"" },
                value: value))
    }

    /// - Parameter within: how many did not exceed each bound, ascending.
    package mutating func add(
        histogram within: [(bound: Double, count: Int)], count: Int, sum: Double,
        _ labels: Labels = []
    ) {
        precondition(kind == .histogram, "a histogram's sample")
        for (bound, count) in within {
            add(Double(count), labels + [("le", plain(bound))], suffix: "_bucket")
        }
        add(Double(count), labels + [("le", "+Inf")], suffix: "_bucket")
        add(sum, labels, suffix: "_sum")
        add(Double(count), labels, suffix: "_count")
    }

    package mutating func add(
        quantiles: [(quantile: Double, value: Double)], count: Int, sum: Double,
        _ labels: Labels = []
    ) {
        precondition(kind == .summary, "a summary's sample")
        for (quantile, value) in quantiles {
            add(value, labels + [("quantile", plain(quantile))])
        }
        add(sum, labels, suffix: "_sum")
        add(Double(count), labels, suffix: "_count")
    }
}

/// The whole text; families without samples are left out.
package func prometheusText(_ families: [MetricFamily]) -> String {
    var text = ""
    for family in families where !family.samples.isEmpty {
        text += "# HELP \(family.name) \(family.help.replacingLineEnds)\n"
        text += "# TYPE \(family.name) \(family.kind.rawValue)\n"
        for sample in family.samples {
            text += family.name + sample.suffix
            if !sample.labels.isEmpty {
                text += "{" + sample.labels.joined(separator: ",") + "}"
            }
            text += " \(plain(sample.value))\n"
        }
    }
    return text
}

/// Whole numbers without a fraction.
private func plain(_ value: Double) -> String {
    if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
    if value.isNaN { return "NaN" }
    return value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
}

private func escaped(_ value: String) -> String {
    var text = ""
    for scalar in value.unicodeScalars {
        switch scalar {
        case "\\": text += "\\\\"
        case "\"": text += "\\\""
        case "\n": text += "\\n"
        default: text.unicodeScalars.append(scalar)
        }
    }
    return text
}

extension String {
    fileprivate var replacingLineEnds: String {
        String(map { $0.isNewline ? " " : $0 })
    }
}
