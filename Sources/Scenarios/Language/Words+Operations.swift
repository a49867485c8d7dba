// Operations, paths and places, read from words.

extension Words {
    /// The number of blocks that an offset or a length can be.
    static let blockRange: ClosedRange<UInt64> = 0...(1 << 40)

    /// An operation of a store of `kind`.
    mutating func operation(_ kind: StoreDescription.Kind) throws(ScenarioError) -> Operation {
        let verb = try next("an operation")
        guard let operation = try operation(verb.raw, kind) else {
            let names = Operation.names(kind)
            throw error(verb, expected: "an operation: \(choices(names, for: verb.raw))")
        }
        try finish()
        return operation
    }

    private mutating func operation(
        _ verb: String, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> Operation? {
        switch kind {
        case .tree: try treeOperation(verb)
        case .catalogue, .unlocked: try catalogueOperation(verb)
        }
    }

    private mutating func treeOperation(_ verb: String) throws(ScenarioError) -> Operation? {
        if let making = Operation.Making(rawValue: verb) {
            return .make(making, try entryPath("the path to make"))
        }
        if let renaming = Operation.Renaming(rawValue: verb) {
            let old = try entryPath("the path to \(verb)")
            return .rename(renaming, old, try entryPath("the path to \(verb) it to"))
        }
        if let mapping = Operation.Mapping(rawValue: verb) {
            let path = try path("the path of a file")
            let offset = try integer("an offset in blocks", Words.blockRange)
            let length = try integer("a length in blocks", 1...Words.blockRange.upperBound)
            return .map(mapping, path, offset: offset, length: length)
        }
        switch verb {
        case "link":
            let file = try path("the path of a file")
            return .link(file, try entryPath("the path of its new name"))
        case "unlink": return .unlink(try entryPath("the path of a name"))
        case "rmdir": return .rmdir(try entryPath("the path of a directory"))
        case "truncate":
            let path = try path("the path of a file")
            return .truncate(path, try integer("a length in blocks", Words.blockRange))
        case "open": return .open(try path("the path to open"))
        case "close": return .close(try path("the path that was opened"))
        case "chmod":
            let path = try path("a path")
            return .chmod(path, try permissions())
        case "chown":
            let path = try path("a path")
            let ids = 0...UInt64(UInt32.max)
            let uid = try integer("a user", ids), gid = try integer("a group", ids)
            return .chown(
                path, uid: UInt32(uid), gid: UInt32(gid),
                project: UInt32(try integer("a project", ids)))
        default: return nil
        }
    }

    private mutating func catalogueOperation(
        _ verb: String
    ) throws(ScenarioError) -> Operation? {
        switch verb {
        case "set":
            let item = try integer("an item", 0...UInt64.max)
            let tag = try tag(try next("a tag"))
            let weight = try integer("a weight", 0...UInt64(UInt32.max))
            return .set(item: item, tag: tag, weight: UInt32(weight))
        case "remove":
            let item = try integer("an item", 0...UInt64.max)
            return .remove(item: item, tag: try tag(try next("a tag")))
        default: return nil
        }
    }

    private mutating func permissions() throws(ScenarioError) -> UInt16 {
        let word = try next("permissions")
        guard word.raw.utf8.count <= 4, word.raw.utf8.allSatisfy({ (0x30...0x37).contains($0) }),
            let bits = UInt16(word.raw, radix: 8)
        else { throw error(word, expected: "permissions in octal, 0 to 7777") }
        return bits
    }

    private func tag(_ word: Word) throws(ScenarioError) -> String {
        guard isTag(word.text) else {
            throw error(word, expected: "a tag: 1 to 64 bytes, without NUL")
        }
        return word.text
    }

    private func isTag(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count) && !text.utf8.contains(0)
    }
}

// MARK: Paths and places

extension Words {
    /// A path of a name: its directory and the name itself.
    private mutating func entryPath(_ what: String) throws(ScenarioError) -> Path {
        let word = try next(what)
        let path = try path(word, word.elements[...])
        guard !path.names.isEmpty else {
            throw error(word, expected: "\(what): one that ends in a name")
        }
        return path
    }

    private mutating func path(_ what: String) throws(ScenarioError) -> Path {
        let word = try next(what)
        return try path(word, word.elements[...])
    }

    private func path(
        _ word: Word, _ elements: ArraySlice<Word.Element>
    ) throws(ScenarioError) -> Path {
        if elements.count == 1, elements.first?.isMark("/") == true { return Path(names: []) }
        var parts = elements.split(omittingEmptySubsequences: false) { $0.isMark("/") }
        var path = Path(names: [])
        if let base = parts.first, base.first?.isMark("#") == true {
            guard let number = decimal(string(base.dropFirst().map(\.scalar))), number > 0 else {
                throw error(word, expected: "an inode's number behind the #: #17")
            }
            path.base = number
            parts.removeFirst()
        }
        for part in parts {
            guard let name = name(part) else {
                throw error(
                    word,
                    expected: "a path: names divided by /, from the root (a/b), or from an "
                        + "inode (#17/b); / alone is the root")
            }
            path.names.append(name)
        }
        return path
    }

    /// - Returns: nil where it can be no name.
    private func name(_ elements: ArraySlice<Word.Element>) -> String? {
        let text = string(elements.map(\.scalar))
        guard (1...255).contains(text.utf8.count), text != ".", text != ".." else { return nil }
        guard !elements.contains(where: { $0.scalar == "\0" || $0.scalar == "/" }) else {
            return nil
        }
        let marks: [Unicode.Scalar] = [":", "@"]
        return elements.contains { element in marks.contains(where: element.isMark) } ? nil : text
    }

    /// A place: `PATH`, `PATH:.`, `PATH:NAME`, `PATH@BLOCK`, or `ITEM:TAG` in a catalogue.
    mutating func place(_ kind: StoreDescription.Kind) throws(ScenarioError) -> Place {
        let word = try next("a place")
        let elements = word.elements
        let mark = elements.firstIndex { $0.isMark(":") || $0.isMark("@") }
        guard kind == .tree else { return try tagging(word, mark) }
        guard let mark else { return Place(path: try path(word, elements[...])) }
        let path = try path(word, elements[..<mark])
        let rest = elements[(mark + 1)...]
        if elements[mark].isMark(":") {
            if rest.count == 1, rest.first?.isMark(".") == true {
                return Place(path: path, part: .inode)
            }
            guard let name = name(rest) else {
                throw error(word, expected: "a name behind the colon: PATH:NAME")
            }
            return Place(path: path, part: .entry(name))
        }
        guard let block = decimal(string(rest.map(\.scalar))), Words.blockRange.contains(block)
        else { throw error(word, expected: "an offset in blocks behind the @: PATH@BLOCK") }
        return Place(path: path, part: .extent(block))
    }

    /// A scope: `inode PATH`, `subtree PATH` or `blocks START COUNT`.
    mutating func scope() throws(ScenarioError) -> ScopeDescription {
        let kinds = ["inode", "subtree", "blocks"]
        let kind = try next("a scope: \(choices(kinds, for: ""))")
        let scope: ScopeDescription
        switch kind.raw {
        case "inode": scope = .inode(try path("the path of an inode"))
        case "subtree":
            let word = try next("the path of a directory, from the root")
            let path = try path(word, word.elements[...])
            guard path.base == nil else {
                throw error(word, expected: "the path of a directory, from the root")
            }
            scope = .subtree(path)
        case "blocks":
            let start = try integer("the first block", Words.blockRange)
            scope = .blocks(
                start: start,
                count: try integer("a number of blocks", 1...Words.blockRange.upperBound))
        default: throw error(kind, expected: "a scope: \(choices(kinds, for: kind.raw))")
        }
        try finish()
        return scope
    }

    private func tagging(_ word: Word, _ mark: Int?) throws(ScenarioError) -> Place {
        let problem = error(word, expected: "a place in a catalogue: ITEM:TAG")
        guard let mark, word.elements[mark].isMark(":") else { throw problem }
        let tag = string(word.elements[(mark + 1)...].map(\.scalar))
        guard let item = decimal(string(word.elements[..<mark].map(\.scalar))), isTag(tag) else {
            throw problem
        }
        return Place(path: Path(names: []), part: .tagging(item: item, tag: tag))
    }
}

extension Operation {
    /// The operations of a store, as they are written.
    static func names(_ kind: StoreDescription.Kind) -> [String] {
        switch kind {
        case .tree:
            Making.allCases.map(\.rawValue) + ["link", "unlink", "rmdir"]
                + Renaming.allCases.map(\.rawValue) + Mapping.allCases.map(\.rawValue)
                + ["truncate", "open", "close", "chmod", "chown"]
        case .catalogue, .unlocked: ["set", "remove"]
        }
    }
}

extension StoreDescription.Kind {
    /// The names of the store's indexes, summaries last.
    var indexes: [String] {
        switch self {
        case .tree: ["rmap", "parents", "quota", "links"]
        case .catalogue, .unlocked: ["tags", "weights"]
        }
    }
}
