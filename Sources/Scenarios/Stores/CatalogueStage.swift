// The stage that is a catalogue (Docs/adopting.md): what an adopter's store goes through. It
// lies in memory; what a crash leaves is a copy.

internal import Bytes
internal import Catalogue
internal import Tidemark

final class CatalogueStage: ExplorableStage {
    private(set) var faults: Faults
    private let catalogue: Catalogue
    private var steered: SteeredOwner
    private let planned: [Fault]
    private var unreadable: [SteeredOwner.Unreadable] = []
    /// What survives a failure of the machine.
    private var durable: Catalogue.Image
    /// After the setup.
    private let prepared: Catalogue.Image
    private var work: Work?

    private enum Work {
        case begun(Transaction)
        case visible(Catalogue.Visible)
        /// There is nothing to be told.
        case over
    }

    /// Thrown out of a transaction it takes everything back.
    private struct TakenBack: Error {}

    init(_ scenario: Scenario) throws {
        planned = scenario.faults
        faults = Faults(planned)
        catalogue = Catalogue(voidEvery: scenario.store.voidEvery)
        steered = SteeredOwner(catalogue, faults: faults)
        for operation in scenario.setup {
            try catalogue.transaction { try CatalogueStage.perform(operation, &$0) }
        }
        durable = catalogue.image
        prepared = durable
        unreadable = try planned.compactMap(\.unreadable).map { place in
            let range = KeyRange(lower: try start(of: place), upper: try end(of: place))
            return SteeredOwner.Unreadable(range, object: words(place))
        }.sorted { $0.range.lower < $1.range.lower }
        steered.unreadable = unreadable
        steered.madeDurable = { [unowned self] in durable = catalogue.image }
    }

    /// Whoever holds the owner from before holds one that nobody looks at any more.
    private func steer() {
        steered = SteeredOwner(catalogue, faults: faults)
        steered.unreadable = unreadable
        steered.madeDurable = { [unowned self] in durable = catalogue.image }
    }

    var indexed: any Owner { steered }
    var owner: any ExactOwner { steered }

    func makeSideStore(_ run: UInt64) throws -> any SideStore { FaultyStore(MemoryStore(), faults) }

    // MARK: Transactions

    func begin(_ transaction: Transaction) throws {
        precondition(work == nil, "one transaction at a time")
        work = .begun(transaction)
    }

    func commit() throws {
        guard case .begun(let transaction) = work else {
            preconditionFailure("a transaction begins before it commits")
        }
        work = .over
        if transaction.isSync { durable = catalogue.image }
        guard !transaction.operations.isEmpty else { return }
        do {
            work = .visible(
                try catalogue.makeVisible { changes in
                    for operation in transaction.operations {
                        try CatalogueStage.perform(operation, &changes)
                    }
                    if transaction.isAborted { throw TakenBack() }
                })
        } catch is TakenBack {
            // As if it had never begun.
        } catch {
            work = nil
            throw error
        }
    }

    func report() throws {
        if case .visible(let visible) = work { catalogue.report(visible) }
        work = nil
    }

    private static func perform(
        _ operation: Operation, _ changes: inout Catalogue.Transaction
    ) throws {
        switch operation {
        case .set(let item, let tag, let weight):
            changes.set(Tagging(item: item, tag: Array(tag.utf8)), weight: weight)
        case .remove(let item, let tag):
            changes.remove(Tagging(item: item, tag: Array(tag.utf8)))
        default: throw StageError.refused("names and files are of a tree, not of a catalogue")
        }
    }

    // MARK: Damage and crash

    func damage(_ damage: Damage) throws {
        guard let slot = catalogue.indexes.firstIndex(where: { $0.name == damage.index }) else {
            throw StageError.refused("damage of \(damage.index): the store has no such index")
        }
        var entries = catalogue.entries(of: IndexSlot(slot))
        try CataloguePlace.damage(
            damage, slot, records: catalogue.records, entries: &entries)
        catalogue.damage(IndexSlot(slot)) { $0 = entries }
        durable = catalogue.image
    }

    func crash(isMachine: Bool) throws {
        catalogue.reopen(isMachine ? durable : catalogue.image)
        durable = catalogue.image
        work = nil
        steer()
    }

    // MARK: Looking

    private func tagging(of place: Place) throws -> Tagging { try CataloguePlace.tagging(place) }
    private func words(_ place: Place) -> String { CataloguePlace.words(place) }

    private func start(of place: Place) throws -> KeyBytes { try tagging(of: place).primaryKey }

    func end(of place: Place) throws -> KeyBytes {
        var key = try start(of: place)
        key.append(0 as UInt8)
        return key
    }

    func expected(_ slot: IndexSlot, below cursor: KeyBytes?) throws -> [Entry] {
        var entries: [Entry] = []
        for (tagging, weight) in catalogue.records {
            if let cursor, !(tagging.primaryKey < cursor) { continue }
            entries.append(derive(slot.rawValue, tagging, weight))
        }
        return entries.sorted { $0.key.precedes($1.key) }
    }

    func activeGeneration(_ slot: IndexSlot) throws -> UInt32 {
        catalogue.activeGeneration(of: slot)
    }

    func live(_ slot: IndexSlot) throws -> [(key: [UInt8], value: [UInt8]?)] {
        catalogue.entries(of: slot).sorted { $0.key.precedes($1.key) }
            .map { (key: $0.key, value: .some($0.value)) }
    }

    func entries(_ slot: IndexSlot, generation: UInt32) throws -> [Entry] {
        catalogue.entries(of: slot, generation: generation)
            .map { Entry(key: $0.key, value: $0.value) }.sorted { $0.key.precedes($1.key) }
    }

    func generations(_ slot: IndexSlot) throws -> [UInt32] { catalogue.generations(of: slot) }

    func digest() throws -> String { CataloguePlace.digest(catalogue.records) }

    func close() throws -> [String] { [] }

    // MARK: Exploring

    func rewind() {
        catalogue.reopen(prepared)
        durable = prepared
        work = nil
        faults = Faults(planned)
        steer()
    }

    var fingerprint: UInt64 {
        catalogue.image.fingerprint &+ durable.fingerprint &* 0x9e37_79b9_7f4a_7c15
    }

    func crashFingerprint(isMachine: Bool) -> UInt64 {
        isMachine ? durable.fingerprint : catalogue.image.fingerprint
    }

    func loadingGeneration(_ slot: IndexSlot) -> UInt32? {
        catalogue.loadingGeneration(of: slot)
    }

    /// What a catalogue does at a boundary is seen as a whole or not at all.
    func beginStep() {}
    var commitsInStep: Int { 0 }

    func crash(afterCommits commits: Int) throws {
        throw StageError.refused("a catalogue's steps are whole")
    }

    func fingerprint(of snapshot: any OwnerSnapshot) -> UInt64 {
        let real = SteeredOwner.snapshot(in: snapshot)
        guard let fingerprint = Catalogue.fingerprint(of: real) else {
            preconditionFailure("a catalogue's snapshot is one of its own")
        }
        return fingerprint
    }
}
