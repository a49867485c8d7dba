// A mistake in a scenario file: where it is, what was found there, what was expected.

/// A mistake in a scenario file.
public struct ScenarioError: Error, Hashable, Sendable, CustomStringConvertible {
    public var file: String
    /// Counted from 1.
    public var line: Int
    /// In Unicode scalars, counted from 1.
    public var column: Int
    /// What stands there, in words.
    public var found: String
    /// What should, in words.
    public var expected: String

    public init(file: String, line: Int, column: Int, found: String, expected: String) {
        self.file = file
        self.line = line
        self.column = column
        self.found = found
        self.expected = expected
    }

    /// `FILE:LINE:COLUMN: …, expected …`
    public var description: String {
        "\(file):\(line):\(column): \(found), expected \(expected)"
    }
}

/// The words of which one was expected, the nearest to `word` last: `a, b or c; did you mean
/// b?`
func choices(_ words: [String], for word: String) -> String {
    let list =
        words.count < 2
        ? words.joined()
        : words.dropLast().joined(separator: ", ") + " or " + words[words.count - 1]
    guard let nearest = nearest(to: word, among: words) else { return list }
    return "\(list); did you mean \(nearest)?"
}

/// The word that `word` is likely to be a misspelling of, if any.
func nearest(to word: String, among words: [String]) -> String? {
    let scalars = Array(word.unicodeScalars)
    // Nobody misspells a word at such length, and the distance costs its square.
    guard (1...64).contains(scalars.count) else { return nil }
    let distances = words.map { (distance($0, scalars), $0) }
    guard let best = distances.min(by: { $0.0 < $1.0 }) else { return nil }
    return best.0 <= max(1, min(scalars.count, best.1.unicodeScalars.count) / 3) ? best.1 : nil
}

/// Changes, insertions and removals of a scalar that make one of the other, with two
/// neighbours that changed places as one change.
private func distance(_ a: String, _ b: [Unicode.Scalar]) -> Int {
    let a = Array(a.unicodeScalars)
    var before: [Int] = []
    var last = Array(0...b.count)
    for i in a.indices {
        var row = [i + 1]
        for j in b.indices {
            var best = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
                best = min(best, before[j - 1] + 1)
            }
            row.append(best)
        }
        before = last
        last = row
    }
    return last[b.count]
}
