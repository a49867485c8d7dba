// The text of a scenario file: its nodes as YAML has them, and where they stand.
//
// Yams gives the place where a node begins. A scalar that stands on one line as it is, plain
// or in quotes, lies in the text as in the node, so that a word in it has a place of its own;
// the words of others (with escapes, over several lines) stand where the scalar begins.

internal import Yams

/// A place in the text, counted from 1.
struct Spot: Hashable {
    var line: Int
    var column: Int
}

struct ScenarioSource {
    let file: String
    private let lines: [[Unicode.Scalar]]

    init(_ text: String, file: String) {
        self.file = file
        lines = ScenarioSource.split(text)
    }

    /// Lines as YAML ends them: LF, CR, CR LF, NEL, LS, PS.
    private static func split(_ text: String) -> [[Unicode.Scalar]] {
        var lines: [[Unicode.Scalar]] = [[]]
        var isAfterReturn = false
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n" where isAfterReturn: isAfterReturn = false
            case "\n", "\r", "\u{85}", "\u{2028}", "\u{2029}":
                lines.append([])
                isAfterReturn = scalar == "\r"
            default:
                lines[lines.count - 1].append(scalar)
                isAfterReturn = false
            }
        }
        return lines
    }

    func error(_ spot: Spot, _ found: String, expected: String) -> ScenarioError {
        ScenarioError(
            file: file, line: spot.line, column: spot.column, found: found, expected: expected)
    }

    func error(_ node: Node, _ found: String, expected: String) -> ScenarioError {
        error(spot(node), found, expected: expected)
    }

    /// For a node that should be something else.
    func error(_ node: Node, expected: String) -> ScenarioError {
        error(node, kind(node), expected: expected)
    }

    func spot(_ node: Node) -> Spot {
        Spot(line: max(1, node.mark?.line ?? 1), column: max(1, node.mark?.column ?? 1))
    }

    private func kind(_ node: Node) -> String {
        switch node {
        case .scalar(let scalar): scalar.string.isEmpty ? "nothing" : quoted(scalar.string)
        case .mapping: "a mapping"
        case .sequence: "a list"
        case .alias: "an alias"
        }
    }

    /// The comment with which the file opens, without its marks.
    var title: [String] {
        lines.prefix { $0.first == "#" }.map { line in
            let rest = line.dropFirst()
            return string(rest.first == " " ? rest.dropFirst() : rest)
        }
    }

    /// Where the content of a scalar begins, if it lies in the text as it is.
    func contentSpot(_ node: Node, _ content: [Unicode.Scalar]) -> Spot? {
        let spot = spot(node)
        guard lines.indices.contains(spot.line - 1) else { return nil }
        let line = lines[spot.line - 1]
        for skipped in 0...1 {
            let start = spot.column - 1 + skipped
            guard start + content.count <= line.count else { continue }
            if line[start..<start + content.count].elementsEqual(content) {
                return Spot(line: spot.line, column: start + 1)
            }
        }
        return nil
    }

    /// Whether a comment follows a scalar on its line: an operation with `#17` in it that is not
    /// quoted ends there.
    func hasComment(behind spot: Spot, count: Int) -> Bool {
        guard lines.indices.contains(spot.line - 1) else { return false }
        let rest = lines[spot.line - 1].dropFirst(spot.column - 1 + count).drop { $0 == " " }
        return rest.first == "#"
    }
}

// MARK: Parsing

extension ScenarioSource {
    /// The document; nil where the text holds none. The parser must outlive the use of its
    /// nodes, which know their anchors through it alone.
    func parse(_ text: String) throws(ScenarioError) -> (parser: Parser, root: Node?) {
        try checkCharacters()
        try checkAliases()
        do {
            let parser = try Parser(yaml: text, encoding: .utf8)
            return (parser, try parser.singleRoot())
        } catch {
            throw yamlError(error)
        }
    }

    /// What YAML does not take at all, except in escapes.
    private func checkCharacters() throws(ScenarioError) {
        for (number, line) in lines.enumerated() {
            for (column, scalar) in line.enumerated() {
                switch scalar.value {
                case 0x09, 0x20...0x7e, 0xa0...0xfefe, 0xff00...0xfffd, 0x10000...: continue
                default: break
                }
                throw error(
                    Spot(line: number + 1, column: column + 1), "the character U+\(hex(scalar))",
                    expected: "text, or an escape in double quotes")
            }
        }
    }

    private func hex(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16, uppercase: true)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    /// Aliases are no part of the language. Where there is more than a handful of what could
    /// be one, a small text could be composed into an enormous document.
    private func checkAliases() throws(ScenarioError) {
        var count = 0
        for (number, line) in lines.enumerated() {
            for column in line.indices where line[column] == "*" {
                guard column == 0 || " \t[]{},:?-".unicodeScalars.contains(line[column - 1])
                else { continue }
                count += 1
                guard count > 8 else { continue }
                throw error(
                    Spot(line: number + 1, column: column + 1), "an alias",
                    expected: "what it stands for: the language has no aliases")
            }
        }
    }

    private func yamlError(_ failure: any Error) -> ScenarioError {
        guard let failure = failure as? YamlError else {
            return error(Spot(line: 1, column: 1), "\(failure)", expected: "YAML")
        }
        switch failure {
        case .scanner(let context, let problem, let mark, _),
            .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            let place = context.map { " (\($0.text))" } ?? ""
            return error(spot(mark), problem + place, expected: "YAML")
        case .duplicatedKeysInMapping(let keys, let context):
            let names = keys.map(quoted).joined(separator: ", ")
            return error(
                spot(context.mark), "the key \(names) more than once", expected: "it once")
        default:
            return error(Spot(line: 1, column: 1), "\(failure)", expected: "YAML")
        }
    }

    private func spot(_ mark: Mark) -> Spot {
        Spot(line: max(1, mark.line), column: max(1, mark.column))
    }
}

func string(_ scalars: some Sequence<Unicode.Scalar>) -> String {
    var result = String.UnicodeScalarView()
    result.append(contentsOf: scalars)
    return String(result)
}

/// What a file says, in an error: not more of it than can be read.
func quoted(_ text: String) -> String {
    let scalars = text.unicodeScalars
    guard scalars.count > 60 else { return "'\(text)'" }
    return "'\(string(scalars.prefix(60)))…'"
}
