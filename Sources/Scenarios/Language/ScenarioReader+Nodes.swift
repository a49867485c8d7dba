// Nodes of the YAML document as what they should be.

internal import Yams

/// The values of a mapping by key.
struct Fields {
    fileprivate var values: [String: Node] = [:]

    subscript(_ key: String) -> Node? { values[key] }
}

extension ScenarioReading {
    /// A mapping whose keys are all among `keys`.
    func fields(
        _ node: Node, _ what: String, _ keys: [String]
    ) throws(ScenarioError) -> Fields {
        guard let mapping = try plain(node).mapping else {
            throw source.error(node, expected: "\(what): a mapping with \(choices(keys, for: ""))")
        }
        var fields = Fields()
        for (key, value) in mapping {
            let name = try text(key, "a key of \(what)")
            guard keys.contains(name) else {
                throw source.error(
                    key, "the unknown key \(quoted(name))", expected: choices(keys, for: name))
            }
            fields.values[name] = try plain(value)
        }
        return fields
    }

    /// The only key of a mapping, with its value.
    func pair(_ node: Node, _ what: String) throws(ScenarioError) -> (key: Node, value: Node) {
        guard let mapping = try plain(node).mapping, let first = mapping.first else {
            throw source.error(node, expected: what)
        }
        if mapping.count > 1 {
            let second = mapping[mapping.index(after: mapping.startIndex)]
            throw source.error(second.key, "a second key", expected: "only one: \(what)")
        }
        return (try plain(first.key), try plain(first.value))
    }

    func list(_ node: Node, _ what: String) throws(ScenarioError) -> [Node] {
        guard let sequence = try plain(node).sequence else {
            throw source.error(node, expected: "a list of \(what)")
        }
        var nodes: [Node] = []
        for item in sequence { nodes.append(try plain(item)) }
        return nodes
    }

    /// A scalar's text, which is not empty.
    func text(_ node: Node, _ what: String) throws(ScenarioError) -> String {
        guard let text = try plain(node).scalar?.string, !text.isEmpty else {
            throw source.error(node, expected: what)
        }
        return text
    }

    func integer(
        _ node: Node, _ what: String, _ range: ClosedRange<Int>
    ) throws(ScenarioError) -> Int {
        let text = try text(node, "a number")
        guard let number = decimal(text), let value = Int(exactly: number), range.contains(value)
        else {
            throw source.error(
                node, quoted(text),
                expected: "\(what): a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    func bool(_ node: Node) throws(ScenarioError) -> Bool {
        let text = try text(node, "true or false")
        guard text == "true" || text == "false" else {
            throw source.error(node, quoted(text), expected: "true or false")
        }
        return text == "true"
    }

    func choice<Value: RawRepresentable & CaseIterable>(
        _ node: Node, _ what: String
    ) throws(ScenarioError) -> Value where Value.RawValue == String {
        let names = Value.allCases.map(\.rawValue)
        let text = try text(node, "\(what): \(choices(names, for: ""))")
        guard let value = Value(rawValue: text) else {
            throw source.error(
                node, quoted(text), expected: "\(what): \(choices(names, for: text))")
        }
        return value
    }

    /// One of `names`.
    func name(
        _ node: Node, _ what: String, of names: [String]
    ) throws(ScenarioError) -> String {
        let text = try text(node, "\(what): \(choices(names, for: ""))")
        guard names.contains(text) else {
            throw source.error(
                node, quoted(text), expected: "\(what): \(choices(names, for: text))")
        }
        return text
    }

    /// One value, or a list of some.
    func values(_ node: Node, _ what: String) throws(ScenarioError) -> [Node] {
        node.sequence == nil ? [node] : try list(node, what)
    }

    /// A node with an anchor would have an alias.
    private func plain(_ node: Node) throws(ScenarioError) -> Node {
        guard node.anchor == nil else {
            throw source.error(
                node, "an anchor", expected: "none: the language has no anchors and aliases")
        }
        return node
    }
}
