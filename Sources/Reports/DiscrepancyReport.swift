// A discrepancy with its key and values in words: what lists, progress and reports show of it, and
// what one process tells another, which need not know the index.

package import Tidemark

package struct DiscrepancyReport: Hashable, Sendable, Codable {
    package struct Field: Hashable, Sendable, Codable {
        package let name: String
        package let value: String
    }

    package let index: String
    package let kind: Discrepancy.Kind
    package let key: [Field]
    /// The fields of the live entry's value; nil where there is no entry, or it can't be decoded.
    package let found: [Field]?
    /// The fields of the derived entry's value; nil where no record derives it.
    package let expected: [Field]?

    /// Which of an entry's fields stand in its value, by the names that the indexes give them.
    package static let namesOfValue: Set<String> = [
        "length", "state", "generation", "value", "blocks", "inodes", "links",
    ]

    package init(_ discrepancy: Discrepancy, of index: any SecondaryIndex) {
        let key = discrepancy.key
        func fields(_ value: [UInt8]) -> [Field] {
            index.fields(key: key.span.bytes, value: value.span.bytes)
                .map { Field(name: $0.name, value: $0.value) }
        }
        func valueFields(_ value: [UInt8]) -> [Field] {
            fields(value).filter { DiscrepancyReport.namesOfValue.contains($0.name) }
        }
        self.index = index.name
        kind = discrepancy.kind
        self.key = fields(discrepancy.expected ?? discrepancy.found ?? [])
            .filter { !DiscrepancyReport.namesOfValue.contains($0.name) }
        found = discrepancy.found.map(valueFields)
        expected = discrepancy.expected.map(valueFields)
    }

    package var json: JSONValue {
        func side(_ fields: [Field]?) -> JSONValue {
            fields.map { .fields($0.map { ($0.name, $0.value) }) } ?? .null
        }
        return .object([
            ("index", .string(index)), ("kind", .string(kind.rawValue)), ("key", side(key)),
            ("found", side(found)), ("expected", side(expected)),
        ])
    }

    /// As one line for people.
    package var text: String {
        func words(_ fields: [Field]) -> String {
            fields.map { "\($0.name) \($0.value)" }.joined(separator: ", ")
        }
        var text = "\(index): \(kind.rawValue): \(words(key))"
        if let found { text += "; found " + words(found) }
        if let expected { text += "; expected " + words(expected) }
        if found == nil, kind == .wrong { text += "; found what can't be decoded" }
        return text
    }
}
