// Runs and expectations.

internal import Tidemark
internal import Yams

extension ScenarioReading {
    static let runKeys = [
        "indexes", "scope", "strategy", "scanners", "window", "spill", "load-batch", "overlay",
        "parts",
        "compare", "patch", "reap", "queue", "impatient", "keep-old", "resumable",
        "checkpoints", "replay", "candidates", "looks", "expect",
    ]
    static let runExpectationKeys = [
        "outcome", "reason", "applied", "elided", "windows", "found", "generation",
        "unsettled", "losses",
    ]
    static let expectationKeys =
        runExpectationKeys + ["exact", "left", "refused", "longest-hold", "meets", "digest"]
    static let outcomes = [
        "clean", "repaired", "corrupt", "incomplete", "aborted", "stopped", "unsettled",
    ]
    /// A number of bytes or entries.
    private static let amount = 1...(1 << 40)

    func runs(
        _ fields: Fields, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> [RunDescription] {
        guard let node = fields["runs"] else {
            guard let node = fields["run"] else { return [RunDescription(of: kind)] }
            return [try run(node, kind, name: RunDescription().name)]
        }
        if let single = fields["run"] {
            throw source.error(single, "run beside runs", expected: "one of the two")
        }
        guard let mapping = node.mapping, !mapping.isEmpty else {
            throw source.error(node, expected: "runs by name")
        }
        var runs: [RunDescription] = []
        for (key, value) in mapping {
            runs.append(try run(value, kind, name: try laneName(key, "a run")))
        }
        return runs
    }

    private func run(
        _ node: Node, _ kind: StoreDescription.Kind, name: String
    ) throws(ScenarioError) -> RunDescription {
        let fields = try fields(node, "a run", ScenarioReading.runKeys)
        var run = RunDescription(of: kind)
        run.name = name
        if let node = fields["indexes"] {
            for item in try values(node, "indexes") {
                let index = try self.name(item, "an index", of: kind.indexes)
                guard !run.indexes.contains(index) else {
                    throw source.error(item, "\(index) again", expected: "each index once")
                }
                run.indexes.append(index)
            }
        }
        if let node = fields["strategy"] { run.strategy = try choice(node, "a strategy") }
        if let node = fields["scope"] { run.scope = try scope(node, kind, run) }
        let numbers: [(String, WritableKeyPath<RunDescription, Int>, ClosedRange<Int>)] = [
            ("scanners", \.scanners, 1...16), ("window", \.window, ScenarioReading.amount),
            ("spill", \.spill, ScenarioReading.amount),
            ("load-batch", \.loadBatch, ScenarioReading.amount),
            ("overlay", \.overlay, ScenarioReading.amount), ("parts", \.parts, 1...16),
            ("compare", \.compare, ScenarioReading.amount),
            ("patch", \.patch, ScenarioReading.amount), ("reap", \.reap, ScenarioReading.amount),
            ("queue", \.queue, ScenarioReading.amount), ("checkpoints", \.checkpoints, 0...16),
            ("replay", \.replay, ScenarioReading.amount),
            ("candidates", \.candidates, ScenarioReading.amount),
            ("looks", \.looks, ScenarioReading.amount),
        ]
        for (key, path, range) in numbers {
            if let node = fields[key] { run[keyPath: path] = try integer(node, key, range) }
        }
        if let node = fields["impatient"] { run.isPatient = !(try bool(node)) }
        if let node = fields["resumable"] { run.isResumable = try bool(node) }
        if run.isResumable, kind != .tree, let node = fields["resumable"] {
            throw source.error(
                node, "a run of a catalogue", expected: "resumable runs of a tree only")
        }
        if let node = fields["keep-old"] { run.keepsOld = try bool(node) }
        if let node = fields["expect"] {
            let fields = try self.fields(
                node, "expectations of a run", ScenarioReading.runExpectationKeys)
            run.expect = try runExpectations(fields, kind)
        }
        return run
    }

    /// A part is patched or checked, and has no summaries; blocks are what mappings are about.
    private func scope(
        _ node: Node, _ kind: StoreDescription.Kind, _ run: RunDescription
    ) throws(ScenarioError) -> ScopeDescription {
        guard kind == .tree else {
            throw source.error(node, "a scope of a catalogue", expected: "it for a tree only")
        }
        var words = try Words(node, source, what: "a scope")
        let scope = try words.scope()
        guard run.strategy != .rebuild else {
            throw source.error(
                node, "a scope of a rebuild", expected: "strategy: check, auto or patch")
        }
        var allowed = ["rmap", "parents"]
        if case .blocks = scope { allowed = ["rmap"] }
        let wanted = run.indexes.isEmpty ? ["rmap", "parents"] : run.indexes
        guard wanted.allSatisfy(allowed.contains) else {
            throw source.error(
                node, "a scope of \(wanted.joined(separator: ", "))",
                expected: "indexes: [\(allowed.joined(separator: ", "))], or one of them")
        }
        return scope
    }

    // MARK: Expectations

    func expectations(
        _ node: Node, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> Expectations {
        let fields = try fields(node, "expectations", ScenarioReading.expectationKeys)
        var expect = Expectations()
        expect.run = try runExpectations(fields, kind)
        if let node = fields["exact"] { expect.isExact = try bool(node) }
        if let node = fields["left"] { expect.left = try found(node, kind) }
        if let node = fields["refused"] { expect.refused = try bounds(node) }
        if let node = fields["longest-hold"] { expect.longestHold = try milliseconds(node) }
        if let node = fields["meets"] {
            for item in try values(node, "situations") {
                expect.meets.append(try situation(item))
            }
        }
        if let node = fields["digest"] { expect.digest = try text(node, "a digest") }
        return expect
    }

    private func runExpectations(
        _ fields: Fields, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> RunExpectations {
        var expect = RunExpectations()
        if let node = fields["outcome"] {
            for item in try values(node, "outcomes") {
                expect.outcomes.append(
                    try name(item, "an outcome", of: ScenarioReading.outcomes))
            }
        }
        if let node = fields["reason"] { expect.reason = try text(node, "words of the reason") }
        if let node = fields["applied"] { expect.applied = try bounds(node) }
        if let node = fields["elided"] { expect.elided = try bounds(node) }
        if let node = fields["windows"] { expect.windows = try bounds(node) }
        if let node = fields["unsettled"] { expect.unsettled = try bounds(node) }
        if let node = fields["losses"] { expect.losses = try bounds(node) }
        if let node = fields["found"] { expect.found = try found(node, kind) }
        if let node = fields["generation"] {
            let fields = try self.fields(node, "generations by index", kind.indexes)
            for index in kind.indexes {
                guard let node = fields[index] else { continue }
                let number = try integer(node, "a generation", 1...Int(UInt32.max))
                expect.generations[index] = UInt32(number)
            }
        }
        return expect
    }

    private func found(
        _ node: Node, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> [String: [Discrepancy.Kind: Bounds]] {
        var found: [String: [Discrepancy.Kind: Bounds]] = [:]
        let fields = try fields(node, "discrepancies by index", kind.indexes)
        let kinds = Discrepancy.Kind.allCases
        for index in kind.indexes {
            guard let node = fields[index] else { continue }
            let counts = try self.fields(node, "discrepancies by kind", kinds.map(\.rawValue))
            var result: [Discrepancy.Kind: Bounds] = [:]
            for kind in kinds {
                if let node = counts[kind.rawValue] { result[kind] = try bounds(node) }
            }
            found[index] = result
        }
        return found
    }

    /// `3`, `1..3`, `2..` or `..3`.
    private func bounds(_ node: Node) throws(ScenarioError) -> Bounds {
        let text = try text(node, "a number or bounds: 3, 1..3, 2..")
        guard let bounds = Bounds(text) else {
            throw source.error(
                node, quoted(text), expected: "a number or bounds: 3, 1..3, 2..")
        }
        return bounds
    }

    private func situation(_ node: Node) throws(ScenarioError) -> String {
        let text = try text(node, "a situation")
        let names = Situation.allCases.map(\.rawValue)
        guard names.contains(text) else {
            let hint = nearest(to: text, among: names).map { "; did you mean '\($0)'?" } ?? ""
            throw source.error(
                node, quoted(text), expected: "a situation of Docs/scenarios.md\(hint)")
        }
        return text
    }

    private func milliseconds(_ node: Node) throws(ScenarioError) -> Double {
        let text = try text(node, "milliseconds: 5 ms")
        let number = text.hasSuffix(" ms") ? String(text.dropLast(3)) : ""
        let isDecimal = number.utf8.allSatisfy {
            (0x30...0x39).contains($0) || ".e+-".utf8.contains($0)
        }
        guard isDecimal, let value = Double(number), value.isFinite, value > 0 else {
            throw source.error(node, quoted(text), expected: "milliseconds, more than 0: 5 ms")
        }
        return value
    }
}

extension Bounds {
    /// - Returns: nil where `text` says none.
    init?(_ text: String) {
        func number(_ part: Substring) -> Int? { decimal(String(part)).flatMap(Int.init(exactly:)) }
        guard let dots = text.firstRange(of: "..") else {
            guard let number = number(text[...]) else { return nil }
            self.init(number, number)
            return
        }
        let lower = text[..<dots.lowerBound], upper = text[dots.upperBound...]
        guard !(lower.isEmpty && upper.isEmpty),
            let first = lower.isEmpty ? 0 : number(lower),
            let last = upper.isEmpty ? Int.max : number(upper), first <= last
        else { return nil }
        self.init(first, last)
    }
}
