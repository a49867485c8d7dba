// Writes a scenario as a file that ScenarioReader reads as the same scenario.
//
// What is as it would be without a word is left out, so that a small scenario is a small file.

internal import Tidemark

/// Writes scenarios as text.
public struct ScenarioWriter {
    private var text = ""
    private var kind = StoreDescription.Kind.tree

    private init() {}

    /// The text of `scenario`, whose names, paths and numbers must be such that a file can say
    /// them.
    public static func write(_ scenario: Scenario) -> String {
        var writer = ScenarioWriter()
        writer.write(scenario)
        return writer.text
    }

    private mutating func write(_ scenario: Scenario) {
        for line in scenario.title { put(line.isEmpty ? "#" : "# \(line)") }
        kind = scenario.store.kind
        put("store: \(store(scenario.store))")
        list("setup", scenario.setup.map { scalar(words($0)) })
        list("damage", scenario.damage.map { scalar(words($0)) })
        runs(scenario.runs)
        if !scenario.writers.isEmpty {
            put("writers:")
            for writer in scenario.writers {
                let transactions = writer.transactions.map(transaction)
                transactions.isEmpty
                    ? put("  \(writer.name): []")
                    : list(writer.name, transactions, indent: "  ")
            }
        }
        list("faults", scenario.faults.map(fault))
        let hasNames = Lanes.haveNames(scenario.runs)
        list("order", scenario.order.map { turn($0, Lanes(hasNames: hasNames)) })
        let lines = expectations(scenario.expect)
        if !lines.isEmpty {
            put("expect:")
            for line in lines { put("  " + line) }
        }
    }

    private mutating func put(_ line: String) { text += line + "\n" }

    private mutating func list(_ key: String, _ items: [String], indent: String = "") {
        guard !items.isEmpty else { return }
        put("\(indent)\(key):")
        for item in items { put("\(indent)  - \(item)") }
    }

    // MARK: Parts

    private func store(_ store: StoreDescription) -> String {
        let standard = StoreDescription()
        var parts = ["kind: \(store.kind.rawValue)"]
        if store.blocks != standard.blocks { parts.append("blocks: \(store.blocks)") }
        if store.voidEvery != standard.voidEvery { parts.append("void-every: \(store.voidEvery)") }
        if let log = store.log { parts.append("log: \(log)") }
        if store.buffers != standard.buffers { parts.append("buffers: \(store.buffers)") }
        if store.room != standard.room { parts.append("room: \(store.room)") }
        if store.knowsChanges { parts.append("knows-changes: true") }
        if store.knowsRecords { parts.append("knows-records: true") }
        if let item = store.withheld { parts.append("withheld: \(item)") }
        if let item = store.hidden { parts.append("hidden: \(item)") }
        return parts.count == 1 ? store.kind.rawValue : flow(parts)
    }

    private func transaction(_ transaction: Transaction) -> String {
        if transaction.isSync { return "sync" }
        if !transaction.rolledBack.isEmpty {
            return "rollback " + transaction.rolledBack.joined(separator: " ")
        }
        let operations = transaction.operations.map { scalar(words($0)) }
        let text = operations.count == 1 ? operations[0] : "[\(operations.joined(separator: ", "))]"
        return transaction.isAborted ? "abort: \(text)" : text
    }

    private func fault(_ fault: Fault) -> String {
        if let place = fault.unreadable {
            return "\(fault.point.rawValue): \(scalar("unreadable \(words(place))"))"
        }
        let call =
            switch fault.call {
            case 0: ", every call"
            case 1: ""
            default: ", call \(fault.call)"
            }
        return "\(fault.point.rawValue)\(call): \(fault.cause.rawValue)"
    }

    // MARK: Runs

    private mutating func runs(_ runs: [RunDescription]) {
        guard Lanes.haveNames(runs) else {
            for line in runs.first.map(run) ?? [] { put(line) }
            return
        }
        put("runs:")
        for description in runs {
            let lines = run(description)
            if lines.isEmpty { put("  \(description.name): {}") }
            for (number, line) in lines.enumerated() {
                put("  " + (number == 0 ? "\(description.name):" : line))
            }
        }
    }

    /// The lines of a run, the first of which is its name; none where all is standard.
    private func run(_ run: RunDescription) -> [String] {
        let standard = RunDescription(of: kind)
        var lines: [String] = []
        if !run.indexes.isEmpty { lines.append("indexes: \(flowList(run.indexes))") }
        if let scope = run.scope { lines.append("scope: \(scalar(words(scope)))") }
        if run.strategy != standard.strategy { lines.append("strategy: \(run.strategy.rawValue)") }
        let numbers: [(String, KeyPath<RunDescription, Int>)] = [
            ("scanners", \.scanners), ("window", \.window), ("spill", \.spill),
            ("load-batch", \.loadBatch), ("overlay", \.overlay), ("parts", \.parts),
            ("compare", \.compare), ("patch", \.patch), ("reap", \.reap), ("queue", \.queue),
            ("checkpoints", \.checkpoints), ("replay", \.replay),
            ("candidates", \.candidates), ("looks", \.looks),
        ]
        for (key, path) in numbers where run[keyPath: path] != standard[keyPath: path] {
            lines.append("\(key): \(run[keyPath: path])")
        }
        if !run.isPatient { lines.append("impatient: true") }
        if run.isResumable { lines.append("resumable: true") }
        if run.keepsOld { lines.append("keep-old: true") }
        if let expect = run.expect {
            let expectations = runExpectations(expect)
            lines.append(expectations.isEmpty ? "expect: {}" : "expect:")
            lines += expectations.map { "  " + $0 }
        }
        return lines.isEmpty ? [] : ["run:"] + lines.map { "  " + $0 }
    }

    // MARK: Expectations

    private func expectations(_ expect: Expectations) -> [String] {
        var lines = runExpectations(expect.run)
        if !expect.isExact { lines.append("exact: false") }
        if !expect.left.isEmpty { lines.append("left: \(discrepancies(expect.left))") }
        if let refused = expect.refused { lines.append("refused: \(refused.text)") }
        if let hold = expect.longestHold { lines.append("longest-hold: \(hold) ms") }
        if !expect.meets.isEmpty { lines.append("meets: \(flowList(expect.meets))") }
        if let digest = expect.digest { lines.append("digest: \(scalar(digest))") }
        return lines
    }

    private func discrepancies(_ found: [String: [Discrepancy.Kind: Bounds]]) -> String {
        flow(
            found.sorted { $0.key < $1.key }.map { index, counts in
                let counts = Discrepancy.Kind.allCases.compactMap { kind in
                    counts[kind].map { "\(kind.rawValue): \($0.text)" }
                }
                return "\(index): \(flow(counts))"
            })
    }

    private func runExpectations(_ expect: RunExpectations) -> [String] {
        var lines: [String] = []
        if expect.outcomes.count == 1 {
            lines.append("outcome: \(expect.outcomes[0])")
        } else if !expect.outcomes.isEmpty {
            lines.append("outcome: \(flowList(expect.outcomes))")
        }
        if let reason = expect.reason { lines.append("reason: \(scalar(reason))") }
        for (key, bounds) in [
            ("applied", expect.applied), ("elided", expect.elided), ("windows", expect.windows),
            ("unsettled", expect.unsettled), ("losses", expect.losses),
        ] {
            if let bounds { lines.append("\(key): \(bounds.text)") }
        }
        if !expect.found.isEmpty {
            lines.append("found: \(discrepancies(expect.found))")
        }
        if !expect.generations.isEmpty {
            let parts = expect.generations.sorted { $0.key < $1.key }.map { "\($0): \($1)" }
            lines.append("generation: \(flow(parts))")
        }
        return lines
    }
}

// MARK: YAML

/// `{a: 1, b: 2}`
private func flow(_ parts: [String]) -> String { "{\(parts.joined(separator: ", "))}" }

private func flowList(_ words: [String]) -> String {
    "[\(words.map(scalar).joined(separator: ", "))]"
}

/// `text` as a scalar: plain where it can be, in flow lists too, else in double quotes.
func scalar(_ text: String) -> String {
    isPlain(Array(text.utf8)) ? text : doubleQuoted(text)
}

private func isPlain(_ bytes: [UInt8]) -> Bool {
    func isWord(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
            || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "/")
    }
    guard let first = bytes.first, isWord(first), let last = bytes.last,
        last != UInt8(ascii: " "), last != UInt8(ascii: ":")
    else { return false }
    for (index, byte) in bytes.enumerated() where !isWord(byte) {
        switch byte {
        case UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "@"), UInt8(ascii: "'"),
            UInt8(ascii: " "):
            continue
        case UInt8(ascii: "#") where bytes[index - 1] != UInt8(ascii: " "): continue
        case UInt8(ascii: ":") where isWord(bytes[index + 1]): continue
        default: return false
        }
    }
    return true
}

private func doubleQuoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar.value {
        case 0x22, 0x5c: result += "\\\(scalar)"
        case 0x20...0x7e, 0xa1...0x2027, 0x2030...0xfefe, 0xff00...0xfffd:
            result.unicodeScalars.append(scalar)
        case 0x10000...0xeffff: result.unicodeScalars.append(scalar)
        default:
            let digits = String(scalar.value, radix: 16)
            result += "\\U" + String(repeating: "0", count: 8 - digits.count) + digits
        }
    }
    return result + "\""
}
