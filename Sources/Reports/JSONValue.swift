// JSON as it is printed: members stay in their order, so that a document reads like its
// description, and a line is printed as soon as it is known.

internal import Bytes

package indirect enum JSONValue: Sendable {
    case null
    case bool(Bool)
    case integer(Int)
    case unsigned(UInt64)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([(String, JSONValue)])

    /// On one line.
    package var compact: String {
        var text = ""
        write(to: &text, indent: nil)
        return text
    }

    /// On several lines, for people.
    package var pretty: String {
        var text = ""
        write(to: &text, indent: 0)
        return text
    }

    private func write(to text: inout String, indent: Int?) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += "\(value)"
        case .unsigned(let value): text += "\(value)"
        case .number(let value): text += value.isFinite ? "\(rounded(value))" : "null"
        case .string(let value): JSONValue.write(value, to: &text)
        case .array(let values):
            JSONValue.write(values.map { ("", $0) }, "[", "]", to: &text, indent) { _, _ in }
        case .object(let members):
            JSONValue.write(members, "{", "}", to: &text, indent) { name, text in
                JSONValue.write(name, to: &text)
                text += indent == nil ? ":" : ": "
            }
        }
    }

    /// Six decimals: a microsecond, where the value is in seconds.
    private func rounded(_ value: Double) -> Double { (value * 1e6).rounded() / 1e6 }

    private static func write(
        _ members: [(String, JSONValue)], _ open: String, _ close: String, to text: inout String,
        _ indent: Int?, _ prefix: (String, inout String) -> Void
    ) {
        text += open
        for (index, member) in members.enumerated() {
            if index > 0 { text += "," }
            if let indent { text += "\n" + String(repeating: "  ", count: indent + 1) }
            prefix(member.0, &text)
            member.1.write(to: &text, indent: indent.map { $0 + 1 })
        }
        if let indent, !members.isEmpty { text += "\n" + String(repeating: "  ", count: indent) }
        text += close
    }

    private static func write(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.shownPath.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case _ where scalar.value < 0x20 || scalar.value == 0x7f:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}

extension JSONValue {
    /// The version of all documents.
    package static let schema = 1

    package static func optional(_ value: String?) -> JSONValue {
        value.map { .string($0) } ?? .null
    }

    package static func optional(_ value: Double?) -> JSONValue {
        value.map { .number($0) } ?? .null
    }

    package static func fields(_ fields: [(name: String, value: String)]) -> JSONValue {
        .object(fields.map { ($0.name, .string($0.value)) })
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral {
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int) { self = .integer(value) }
}
