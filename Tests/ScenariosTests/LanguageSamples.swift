// Random scenarios, as wild as the language allows.

import Bytes
import Tidemark

@testable import Scenarios

struct ScenarioSampler {
    var random: SplitMix64
    private var kind = StoreDescription.Kind.tree

    init(seed: Int) {
        // A number of the generator's, for its streams of neighbouring seeds may be one stream.
        var seeds = SplitMix64(seed: UInt64(bitPattern: Int64(seed)))
        random = SplitMix64(seed: seeds.next())
    }

    mutating func number(_ range: ClosedRange<Int>) -> Int { .random(in: range, using: &random) }

    mutating func chance(_ percent: Int) -> Bool { number(1...100) <= percent }

    mutating func pick<Element>(_ list: [Element]) -> Element { list[number(0...list.count - 1)] }

    mutating func some<Element>(
        _ range: ClosedRange<Int>, _ make: (inout ScenarioSampler) -> Element
    ) -> [Element] {
        (0..<number(range)).map { _ in make(&self) }
    }

    mutating func scenario() -> Scenario {
        var scenario = Scenario()
        scenario.title = some(0...3) { $0.pick(["Why", "", " it is: hard", "# 'a' \"b\" {", "ü"]) }
        scenario.store = store()
        kind = scenario.store.kind
        scenario.setup = some(0...5) { $0.operation() }
        scenario.damage = some(0...3) {
            Damage(
                kind: $0.pick(Discrepancy.Kind.allCases), index: $0.pick($0.kind.indexes),
                place: $0.place())
        }
        if chance(50) { scenario.runs = runs() }
        let names = ["a", "b", "w-1", "longer-name"]
        scenario.writers = names.prefix(number(0...4)).map { name in
            Writer(name: name, transactions: some(0...4) { $0.transaction() })
        }
        scenario.faults = some(0...3) { $0.fault() }
        scenario.order = some(0...8) { $0.turn(scenario) }
        if chance(60) { scenario.expect = expectations() }
        return scenario
    }

    private mutating func store() -> StoreDescription {
        var store = StoreDescription()
        store.kind = pick(StoreDescription.Kind.allCases)
        if store.kind == .tree, chance(30) { store.blocks = number(1...1 << 24) }
        if store.kind == .tree, chance(30) { store.log = number(1...1 << 40) }
        if chance(30) { store.voidEvery = number(0...1000) }
        return store
    }

    // MARK: Operations

    mutating func name() -> String {
        if chance(60) {
            return pick(["a", "b", "file", "low", "x.y", "-", "~", "null", "1", "..."])
        }
        let scalars: [Unicode.Scalar] = [
            "a", " ", "'", "\"", "\\", ":", "@", "#", "-", ",", "[", "}", "\t", "\n", "\r", "\u{7}",
            "ü", "\u{301}", "\u{85}", "\u{2028}", "\u{feff}", "\u{1f980}", "%", "&", "*", "!", "|",
            ">", "?", "\u{fffe}", "\u{10ffff}", "\u{a0}",
        ]
        return string(some(1...6) { $0.pick(scalars) })
    }

    private mutating func path(isEntry: Bool = false) -> Path {
        let names = some((isEntry ? 1 : 0)...3) { $0.name() }
        return Path(base: chance(15) ? UInt64(number(1...1 << 62)) : nil, names: names)
    }

    private mutating func blocks(_ lower: Int) -> UInt64 { UInt64(number(lower...1 << 40)) }

    mutating func operation() -> Operation {
        guard kind == .tree else {
            let item = random.next()
            return chance(60)
                ? .set(item: item, tag: name(), weight: UInt32(number(0...0xffff_ffff)))
                : .remove(item: item, tag: name())
        }
        switch number(0...9) {
        case 0, 1: return .make(pick(Operation.Making.allCases), path(isEntry: true))
        case 2: return .link(path(), path(isEntry: true))
        case 3: return .unlink(path(isEntry: true))
        case 4: return .rmdir(path(isEntry: true))
        case 5:
            return .rename(
                pick(Operation.Renaming.allCases), path(isEntry: true), path(isEntry: true))
        case 6:
            return .map(
                pick(Operation.Mapping.allCases), path(), offset: blocks(0), length: blocks(1))
        case 7: return .truncate(path(), blocks(0))
        case 8: return chance(50) ? .open(path()) : .close(path())
        default:
            guard chance(50) else { return .chmod(path(), UInt16(number(0...0o7777))) }
            let ids = some(3...3) { UInt32($0.number(0...0xffff_ffff)) }
            return .chown(path(), uid: ids[0], gid: ids[1], project: ids[2])
        }
    }

    private mutating func place() -> Place {
        guard kind == .tree else {
            let part = Place.Part.tagging(item: random.next(), tag: name())
            return Place(path: Path(names: []), part: part)
        }
        let parts: [Place.Part] = [.all, .inode, .entry(name()), .extent(blocks(0))]
        return Place(path: path(), part: pick(parts))
    }

    private mutating func transaction() -> Transaction {
        if chance(10) { return Transaction([], isSync: true) }
        return Transaction(some(1...3) { $0.operation() }, isAborted: chance(20))
    }

    private mutating func fault() -> Fault {
        if chance(25) {
            return Fault(.windowRead, call: 0, cause: .damaged, unreadable: place())
        }
        return Fault(
            pick(Fault.Point.allCases), call: pick([0, 1, 2, 1_000_000]),
            cause: pick(Fault.Cause.allCases))
    }

    // MARK: Runs and their order

    private mutating func runs() -> [RunDescription] {
        let names = chance(40) ? ["run"] : ["x", "y", "run"].prefix(number(1...3)).map { $0 }
        return names.map { name in
            var run = RunDescription()
            run.name = name
            run.indexes = kind.indexes.filter { _ in chance(30) }.shuffled(using: &random)
            run.strategy = pick(Strategy.allCases)
            if kind == .tree, chance(20) { run.scope = scope(&run) }
            let paths: [WritableKeyPath<RunDescription, Int>] = [
                \.window, \.spill, \.loadBatch, \.overlay, \.compare, \.patch, \.reap, \.queue,
            ]
            for path in paths where chance(30) { run[keyPath: path] = number(1...1 << 40) }
            if chance(30) { run.scanners = number(1...16) }
            if chance(30) { run.parts = number(1...16) }
            if kind == .tree { run.isResumable = chance(50) }
            if chance(30) { run.checkpoints = number(0...16) }
            if chance(30) { run.replay = number(1...1 << 40) }
            run.isPatient = chance(80)
            if chance(30) { run.expect = runExpectations() }
            return run
        }
    }

    /// A scope, of a run that may have one.
    private mutating func scope(_ run: inout RunDescription) -> ScopeDescription {
        run.strategy = pick([.check, .auto, .patch])
        run.indexes.removeAll { ["quota", "links"].contains($0) }
        switch number(0...2) {
        case 0: return .inode(path())
        case 1: return .subtree(Path(names: some(0...3) { $0.name() }))
        default:
            run.indexes = ["rmap"]
            return .blocks(start: blocks(0), count: blocks(1))
        }
    }

    private mutating func turn(_ scenario: Scenario) -> Turn {
        let run = pick(scenario.runs)
        let count = Turn.Until.steps(number(1...1_000_000))
        switch number(0...11) {
        case 8:
            guard run.isResumable else {
                return Turn(.stop(run: run.name, isPause: chance(50)), .steps(1))
            }
            let steps = Turn.checkpointSteps.map { Turn.Until.step($0) }
            return Turn(.checkpoint(run: run.name), pick(steps + [.end, count]))
        case 9: return Turn(.stop(run: run.name, isPause: chance(50)), .steps(1))
        case 10: return Turn(.resume(run: run.name), .steps(1))
        case 11: return Turn(.sideFile(run: run.name, isLost: chance(50)), .steps(1))
        case 0:
            guard !scenario.writers.isEmpty else { return Turn(.crash(isMachine: true), .steps(1)) }
            let steps = Turn.writerSteps.map { Turn.Until.step($0) }
            return Turn(.writer(pick(scenario.writers).name), pick(steps + [.end, count]))
        case 1:
            let untils = [.end, count, .opened(place()), .read(place())]
            return Turn(
                .scanner(run: run.name, number: number(1...run.scanners)), pick(untils))
        case 2: return Turn(.assistant(run: run.name), pick([.end, count, .step("spill")]))
        case 3:
            return Turn(
                .compare(run: run.name, number: number(1...run.parts)), pick([.end, count]))
        case 4: return Turn(.merger(run: run.name), pick([.end, count]))
        case 5:
            let steps = Turn.coordinatorSteps.map { Turn.Until.step($0) }
            return Turn(.coordinator(run: run.name), pick(steps + [.end, count]))
        case 6: return Turn(.crash(isMachine: chance(50)), .steps(1))
        default: return Turn(.restart(run: run.name), .steps(1))
        }
    }

    // MARK: Expectations

    /// Words that don't begin with U+FEFF, which YAML's decoder takes for a mark of byte order.
    private mutating func words() -> String { "w" + name() }

    private mutating func bounds() -> Bounds {
        let lower = number(0...100)
        return Bounds(lower, pick([lower, lower + 1, .max]))
    }

    private mutating func runExpectations() -> RunExpectations {
        var expect = RunExpectations()
        expect.outcomes = ScenarioReading.outcomes.filter { _ in chance(20) }
        if chance(30) { expect.reason = words() }
        if chance(30) { expect.applied = bounds() }
        if chance(30) { expect.elided = bounds() }
        if chance(30) { expect.windows = bounds() }
        for index in kind.indexes where chance(30) {
            var counts: [Discrepancy.Kind: Bounds] = [:]
            for kind in Discrepancy.Kind.allCases where chance(50) { counts[kind] = bounds() }
            expect.found[index] = counts
        }
        for index in kind.indexes where chance(20) {
            expect.generations[index] = UInt32(number(1...0xffff_ffff))
        }
        return expect
    }

    private mutating func expectations() -> Expectations {
        var expect = Expectations()
        expect.run = runExpectations()
        expect.isExact = chance(80)
        if chance(30) {
            expect.longestHold = Double(number(1...100_000)) / pick([1, 7, 1000, 1e9])
        }
        if chance(30) { expect.meets = some(1...3) { $0.pick(Situation.allCases).rawValue } }
        if chance(30) { expect.digest = words() }
        return expect
    }
}
