// Reads a scenario file. Docs/scenarios.md describes the language.
//
// Whatever the text is, the answer is a scenario or an error that says where the mistake is:
// nothing traps. Each part of the file has a function of its own; a key that is not known is
// a mistake, never passed over.

internal import Tidemark
internal import Yams

/// Reads the text of a scenario file.
public enum ScenarioReader {
    /// - Parameter file: its name, for errors.
    public static func read(_ text: String, file: String) throws(ScenarioError) -> Scenario {
        let source = ScenarioSource(text, file: file)
        let document = try source.parse(text)
        let reading = ScenarioReading(source: source)
        let scenario: Result<Scenario, ScenarioError> = withExtendedLifetime(document.parser) {
            do throws(ScenarioError) {
                return .success(try reading.scenario(document.root))
            } catch {
                return .failure(error)
            }
        }
        return try scenario.get()
    }
}

/// The state of a reading: what the parts of a file must know of each other.
struct ScenarioReading {
    let source: ScenarioSource

    static let keys = [
        "store", "setup", "damage", "run", "runs", "writers", "faults", "order", "expect",
    ]

    private static let storeKeys = [
        "kind", "blocks", "void-every", "log", "buffers", "room", "knows-changes",
        "knows-records", "withheld", "hidden",
    ]

    func scenario(_ root: Node?) throws(ScenarioError) -> Scenario {
        var scenario = Scenario()
        scenario.title = source.title
        guard let root else { return scenario }
        let fields = try fields(root, "a scenario", ScenarioReading.keys)
        if let node = fields["store"] { scenario.store = try store(node) }
        let kind = scenario.store.kind
        if let node = fields["setup"] {
            for item in try list(node, "operations") {
                scenario.setup.append(try operation(item, kind))
            }
        }
        if let node = fields["damage"] {
            for item in try list(node, "damage") { scenario.damage.append(try damage(item, kind)) }
        }
        scenario.runs = try runs(fields, kind)
        if let node = fields["writers"] { scenario.writers = try writers(node, scenario) }
        if let node = fields["faults"] {
            for item in try list(node, "faults") { scenario.faults.append(try fault(item, kind)) }
        }
        if let node = fields["order"] {
            for item in try list(node, "turns") { scenario.order.append(try turn(item, scenario)) }
        }
        if let node = fields["expect"] { scenario.expect = try expectations(node, kind) }
        return scenario
    }

    // MARK: Store, damage, faults

    private func store(_ node: Node) throws(ScenarioError) -> StoreDescription {
        var store = StoreDescription()
        guard node.mapping != nil else {
            store.kind = try choice(node, "a kind of store")
            return store
        }
        let fields = try fields(node, "a store", ScenarioReading.storeKeys)
        guard let kind = fields["kind"] else {
            throw source.error(
                node, "a store without kind", expected: "kind: tree, catalogue or unlocked")
        }
        store.kind = try choice(kind, "a kind of store")
        if let node = fields["blocks"] {
            guard store.kind == .tree else {
                throw source.error(
                    node, "blocks of a \(store.kind.rawValue)", expected: "them for a tree only")
            }
            store.blocks = try integer(node, "blocks", 1...(1 << 24))
        }
        if let node = fields["void-every"] {
            store.voidEvery = try integer(node, "void-every", 0...1000)
        }
        if let node = fields["log"] {
            guard store.kind == .tree else {
                throw source.error(
                    node, "log of a \(store.kind.rawValue)", expected: "it for a tree only")
            }
            store.log = try integer(node, "log", 1...(1 << 40))
        }
        for key in ["buffers", "room", "knows-changes", "knows-records", "withheld", "hidden"] {
            guard let node = fields[key], store.kind != .unlocked else { continue }
            throw source.error(
                node, "\(key) of a \(store.kind.rawValue)", expected: "it for `unlocked` only")
        }
        if let node = fields["buffers"] { store.buffers = try integer(node, "buffers", 1...16) }
        if let node = fields["room"] { store.room = try integer(node, "room", 1...(1 << 20)) }
        if let node = fields["knows-changes"] { store.knowsChanges = try bool(node) }
        if let node = fields["knows-records"] { store.knowsRecords = try bool(node) }
        if let node = fields["withheld"] {
            store.withheld = UInt64(try integer(node, "withheld", 0...(1 << 40)))
        }
        if let node = fields["hidden"] {
            store.hidden = UInt64(try integer(node, "hidden", 0...(1 << 40)))
        }
        return store
    }

    func operation(
        _ node: Node, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> Operation {
        var words = try Words(node, source, what: "an operation")
        return try words.operation(kind)
    }

    private func damage(
        _ node: Node, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> Damage {
        var words = try Words(node, source, what: "damage: KIND INDEX PLACE")
        let kinds = Discrepancy.Kind.allCases
        let first = try words.next("a kind of damage")
        guard let damage = Discrepancy.Kind(rawValue: first.raw) else {
            throw words.error(first, expected: choices(kinds.map(\.rawValue), for: first.raw))
        }
        let index = try words.next("an index")
        guard kind.indexes.contains(index.raw) else {
            let names = choices(kind.indexes, for: index.raw)
            throw words.error(index, expected: "an index: \(names)")
        }
        let place = try words.place(kind)
        try words.finish()
        return Damage(kind: damage, index: index.raw, place: place)
    }

    /// `POINT: CAUSE`, `POINT, call N: CAUSE`, `POINT, every call: CAUSE`, or
    /// `window read: unreadable PLACE`.
    private func fault(
        _ node: Node, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> Fault {
        let (key, value) = try pair(node, "a fault: `POINT, call N: CAUSE`")
        let (point, call) = try faultPoint(key)
        var words = try Words(value, source, what: "a cause")
        let first = try words.next("a cause")
        if first.raw == "unreadable" {
            guard point == .windowRead, call == nil else {
                throw words.error(first, expected: "it as `window read: unreadable PLACE` only")
            }
            let place = try words.place(kind)
            try words.finish()
            return Fault(point, call: 0, cause: .damaged, unreadable: place)
        }
        let text = try text(value, "a cause")
        guard let cause = Fault.Cause(rawValue: text) else {
            let causes = Fault.Cause.allCases.map(\.rawValue)
            throw source.error(
                first.spot, quoted(text), expected: "a cause: \(choices(causes, for: text))")
        }
        return Fault(point, call: call ?? 1, cause: cause)
    }

    private func faultPoint(
        _ node: Node
    ) throws(ScenarioError) -> (point: Fault.Point, call: Int?) {
        let text = try text(node, "a point of failure")
        let parts = text.split(separator: ",", maxSplits: 1, omittingEmptySubsequences: false)
        let name = parts.first.map(String.init) ?? ""
        guard let point = Fault.Point(rawValue: name) else {
            let points = Fault.Point.allCases.map(\.rawValue)
            throw source.error(
                node, quoted(name), expected: "a point of failure: \(choices(points, for: name))")
        }
        guard parts.count == 2 else { return (point, nil) }
        if parts[1] == " every call" { return (point, 0) }
        let prefix = " call "
        guard parts[1].hasPrefix(prefix), let call = decimal(String(parts[1].dropFirst(6))),
            (1...1_000_000).contains(call)
        else {
            throw source.error(
                node, quoted(text),
                expected: "`\(name), call N` with N from 1, or `\(name), every call`")
        }
        return (point, Int(call))
    }

    // MARK: Writers

    private func writers(
        _ node: Node, _ scenario: Scenario
    ) throws(ScenarioError) -> [Writer] {
        var writers: [Writer] = []
        guard let mapping = node.mapping else {
            throw source.error(node, expected: "writers by name")
        }
        for (key, value) in mapping {
            let name = try laneName(key, "a writer")
            guard !scenario.runs.contains(where: { $0.name == name }) else {
                throw source.error(key, quoted(name), expected: "a name that no run has")
            }
            var transactions: [Transaction] = []
            for item in try list(value, "transactions") {
                transactions.append(try transaction(item, scenario.store.kind))
            }
            writers.append(Writer(name: name, transactions: transactions))
        }
        return writers
    }

    private func transaction(
        _ node: Node, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> Transaction {
        if node.mapping != nil {
            let (key, value) = try pair(node, "`abort: OPERATIONS`")
            guard try text(key, "abort") == "abort" else {
                throw source.error(key, expected: "abort")
            }
            return Transaction(try operations(value, kind), isAborted: true)
        }
        if node.scalar?.string == "sync" { return Transaction([], isSync: true) }
        if let rollback = try rollback(node, kind) { return rollback }
        return Transaction(try operations(node, kind))
    }

    /// `rollback INDEX…`; nil where it is something else.
    private func rollback(
        _ node: Node, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> Transaction? {
        guard node.scalar?.string.split(separator: " ").first == "rollback" else { return nil }
        var words = try Words(node, source, what: "a rollback: rollback INDEX")
        _ = try words.next("rollback")
        var indexes: [String] = []
        var next: Word? = try words.next("an index to roll back")
        while let word = next {
            guard kind.indexes.contains(word.raw), !indexes.contains(word.raw) else {
                let names = choices(kind.indexes, for: word.raw)
                throw words.error(word, expected: "an index, each once: \(names)")
            }
            indexes.append(word.raw)
            next = words.nextIfAny()
        }
        return Transaction(rollBack: indexes)
    }

    /// One operation, or a list of some.
    private func operations(
        _ node: Node, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> [Operation] {
        guard let sequence = node.sequence else { return [try operation(node, kind)] }
        guard !sequence.isEmpty else {
            throw source.error(node, "an empty list", expected: "operations")
        }
        var operations: [Operation] = []
        for item in sequence { operations.append(try operation(item, kind)) }
        return operations
    }

    /// The name of a writer or a run, which stands in `order` beside the lanes' own words.
    func laneName(_ node: Node, _ what: String) throws(ScenarioError) -> String {
        let name = try text(node, "the name of \(what)")
        let bytes = Array(name.utf8)
        let isWord =
            (1...32).contains(bytes.count) && (0x61...0x7a).contains(bytes[0])
            && bytes.allSatisfy {
                (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d
            }
        guard isWord, !Turn.words.contains(name) else {
            throw source.error(
                node, quoted(name),
                expected:
                    "the name of \(what): lower-case letters, digits and hyphens, and none of "
                    + Turn.words.joined(separator: ", "))
        }
        return name
    }
}

extension Turn {
    /// Words that name lanes, and so nothing else.
    static let words =
        ["scanner", "assistant", "compare", "merger", "feed", "checkpoint", "crash", "restart"]
        + runEvents

    /// What happens to a run, with its name behind.
    static let runEvents = ["stop", "pause", "resume", "lose", "spoil"]

    /// The steps of a coordinator that a turn can name.
    static let coordinatorSteps = Coordinator.Step.allCases.filter { $0 != .end }.map(\.rawValue)
    static let writerSteps = ["begin", "commit", "report", "event", "change", anyPart]
    /// One part of a transaction, whichever is next.
    static let anyPart = "part"
    static let checkpointSteps = RunLanes.CheckpointStep.allCases.map(\.rawValue)
}
