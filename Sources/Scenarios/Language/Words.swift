// The words inside a scalar: operations, places, lanes.
//
// Words stand apart by spaces. What stands in single quotes, a whole word or a part of it,
// is taken as it is: there a space divides nothing, and neither `/`, `:`, `@` nor a leading
// `#` means anything. Two single quotes within quotes are one.

internal import Yams

/// One word, with its place in the file.
struct Word {
    struct Element: Hashable {
        var scalar: Unicode.Scalar
        var isQuoted: Bool

        /// Whether it is `mark`, meant as such.
        func isMark(_ mark: Unicode.Scalar) -> Bool { !isQuoted && scalar == mark }
    }

    var elements: [Element]
    var spot: Spot
    /// As it stands in the file.
    var raw: String

    /// The word without its quotes.
    var text: String { string(elements.map(\.scalar)) }
}

/// The words of a scalar, taken one after the other.
struct Words {
    let source: ScenarioSource
    /// What the words make up, for errors: `the operation`.
    private let all: [Word]
    private var position = 0
    private let end: Spot
    private let node: Node
    private let count: Int

    init(_ node: Node, _ source: ScenarioSource, what: String) throws(ScenarioError) {
        guard let text = node.scalar?.string else { throw source.error(node, expected: what) }
        let scalars = Array(text.unicodeScalars)
        let start = source.contentSpot(node, scalars)
        let spot = start ?? source.spot(node)
        var words: [Word] = []
        var index = 0
        while index < scalars.count {
            if Words.isSpace(scalars[index]) {
                index += 1
                continue
            }
            let first = index
            let place = start.map { Spot(line: $0.line, column: $0.column + first) } ?? spot
            guard let elements = Words.takeWord(scalars, &index) else {
                throw source.error(
                    place, "a single quote that nothing closes", expected: "a second one")
            }
            words.append(
                Word(elements: elements, spot: place, raw: string(scalars[first..<index])))
        }
        guard !words.isEmpty else { throw source.error(node, expected: what) }
        self.source = source
        self.node = node
        all = words
        count = scalars.count
        end = start.map { Spot(line: $0.line, column: $0.column + scalars.count) } ?? spot
    }

    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar == " " || scalar == "\t" || scalar == "\n" || scalar == "\r"
    }

    /// - Returns: nil where a quote is not closed.
    private static func takeWord(
        _ scalars: [Unicode.Scalar], _ index: inout Int
    ) -> [Word.Element]? {
        var elements: [Word.Element] = []
        var isQuoted = false
        while index < scalars.count {
            let scalar = scalars[index]
            if scalar == "'" {
                if isQuoted, index + 1 < scalars.count, scalars[index + 1] == "'" {
                    elements.append(.init(scalar: scalar, isQuoted: true))
                    index += 1
                } else {
                    isQuoted.toggle()
                }
            } else if !isQuoted, isSpace(scalar) {
                return elements
            } else {
                elements.append(.init(scalar: scalar, isQuoted: isQuoted))
            }
            index += 1
        }
        return isQuoted ? nil : elements
    }

    /// The next word.
    mutating func next(_ expected: String) throws(ScenarioError) -> Word {
        guard position < all.count else {
            let isCut = source.hasComment(
                behind: Spot(line: end.line, column: end.column - count), count: count)
            let hint = isCut ? " (` #` begins a comment: put it all in double quotes)" : ""
            throw source.error(end, "the end", expected: expected + hint)
        }
        defer { position += 1 }
        return all[position]
    }

    /// The next word, if there is one.
    mutating func nextIfAny() -> Word? {
        guard position < all.count else { return nil }
        defer { position += 1 }
        return all[position]
    }

    /// - Throws: where there are more words.
    func finish() throws(ScenarioError) {
        guard position < all.count else { return }
        throw error(all[position], expected: "the end")
    }

    func error(_ word: Word, expected: String) -> ScenarioError {
        source.error(word.spot, quoted(word.raw), expected: expected)
    }

    mutating func integer(
        _ what: String, _ range: ClosedRange<UInt64>
    ) throws(ScenarioError) -> UInt64 {
        let word = try next(what)
        guard let number = decimal(word.raw), range.contains(number) else {
            throw error(word, expected: "\(what), \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }
}

/// A number in decimal digits and nothing else.
func decimal(_ text: String) -> UInt64? {
    guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return UInt64(text)
}
