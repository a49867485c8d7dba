// A scenario of a store that nobody can lock, as a seed chooses it: few items, little room for
// events, so that much is lost, and writers that meet on the same records.

internal import Tidemark

extension ScenarioGenerator {
    mutating func generateUnlocked() -> Scenario {
        var scenario = Scenario()
        scenario.title = ["Chosen by a seed."]
        scenario.store.kind = .unlocked
        scenario.store.buffers = number(1...3)
        scenario.store.room = pick([1, 2, 3, 3, 8, 64])
        scenario.store.knowsChanges = chance(30)
        scenario.store.knowsRecords = chance(50)
        let items = UInt64(number(1...4)), tags = ["a", "b", "c"]
        if chance(30) { scenario.store.withheld = UInt64(number(1...Int(items))) }
        var records: [(item: UInt64, tag: String)] = []
        for item in 1...items {
            for tag in tags where chance(50) {
                records.append((item, tag))
                scenario.setup.append(
                    .set(item: item, tag: tag, weight: UInt32(number(0...2))))
            }
        }
        scenario.runs = [unlockedRun()]
        scenario.damage = damage(of: records)
        scenario.writers = (1...number(1...3)).map { Writer(name: "w\($0)", transactions: []) }
        for _ in 0..<number(1...30) {
            let writer = number(0...(scenario.writers.count - 1))
            let operations = (0..<number(1...2)).map { _ -> Operation in
                let item = UInt64(number(1...Int(items))), tag = pick(tags)
                guard chance(65) else { return .remove(item: item, tag: tag) }
                return .set(item: item, tag: tag, weight: UInt32(number(0...2)))
            }
            scenario.writers[writer].transactions.append(Transaction(operations))
        }
        scenario.writers.removeAll { $0.transactions.isEmpty }
        if chance(50) { scenario.store.hidden = UInt64(number(1...4)) }
        return scenario
    }

    private mutating func unlockedRun() -> RunDescription {
        var run = RunDescription(of: .unlocked)
        run.scanners = number(1...2)
        run.window = number(1...4)
        run.spill = pick([1, 64, 300, 1 << 20])
        run.parts = number(1...2)
        run.compare = number(1...5)
        run.queue = pick([1, 200, 1 << 20, 1 << 20])
        run.candidates = pick([1, 2, 64])
        run.looks = pick([2, 4, 8])
        if chance(30) { run.indexes = [pick(StoreDescription.Kind.unlocked.indexes)] }
        return run
    }

    private mutating func damage(of records: [(item: UInt64, tag: String)]) -> [Damage] {
        var damage: [Damage] = []
        for record in records where chance(12) {
            let place = Place(
                path: Path(names: []), part: .tagging(item: record.item, tag: record.tag))
            let index = pick(StoreDescription.Kind.unlocked.indexes)
            damage.append(Damage(kind: pick([.missing, .wrong]), index: index, place: place))
        }
        if chance(25) {
            let place = Place(
                path: Path(names: []), part: .tagging(item: UInt64(number(1...4)), tag: "x"))
            let index = pick(StoreDescription.Kind.unlocked.indexes)
            damage.append(Damage(kind: .stray, index: index, place: place))
        }
        return damage
    }
}
