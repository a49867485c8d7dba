// The stage that is a catalogue that nobody can lock. Several writers may be at work at once, each
// with the items of its operation locked; nothing waits: a lane that would wait for a lock can't be
// stepped.

internal import Bytes
internal import Catalogue
internal import Inspection
internal import Synchronization
internal import Tidemark

final class UnlockedStage: ExplorableStage {
    private(set) var faults: Faults
    let catalogue: UnlockedCatalogue
    private var steered: SteeredUnlockedOwner
    private let planned: [Fault]
    private let withheld, hidden: UInt64?
    private let prepared: UnlockedCatalogue.Image
    /// Operations under way, by writer.
    private var operations: [Int: UnlockedCatalogue.Operation] = [:]
    /// Keys of the live indexes that writers have touched since the setup.
    private(set) var touched: [Set<[UInt8]>]

    init(_ scenario: Scenario) throws {
        planned = scenario.faults
        faults = Faults(planned)
        let store = scenario.store
        withheld = store.withheld
        hidden = store.hidden
        catalogue = UnlockedCatalogue(
            buffers: store.buffers, capacity: store.room, knowsChanges: store.knowsChanges,
            knowsRecords: store.knowsRecords,
            pieces: 1, withheld: store.withheld.map { [$0] } ?? [])
        steered = SteeredUnlockedOwner(catalogue, faults)
        for operation in scenario.setup {
            catalogue.change([try UnlockedStage.change(operation)], buffer: 0)
        }
        prepared = catalogue.image
        touched = catalogue.indexes.map { _ in [] }
        steered.unreadable = try planned.compactMap(\.unreadable).map { place in
            (try tagging(of: place).primaryKey, CataloguePlace.words(place))
        }
    }

    var indexed: any Owner { steered }
    var unlockedOwner: any UnlockedOwner { steered }
    var owner: any ExactOwner { preconditionFailure("nobody can lock this store") }

    func makeSideStore(_ run: UInt64) throws -> any SideStore { FaultyStore(MemoryStore(), faults) }

    /// Whether it reads what others have locked, by mistake.
    var breaksLocks: Bool { catalogue.mistake.withLock { $0 == .readsWithoutLock } }

    // MARK: Writers

    private static func change(
        _ operation: Operation
    ) throws -> (tagging: Tagging, weight: UInt32?) {
        switch operation {
        case .set(let item, let tag, let weight):
            (Tagging(item: item, tag: Array(tag.utf8)), weight)
        case .remove(let item, let tag): (Tagging(item: item, tag: Array(tag.utf8)), nil)
        default: throw StageError.refused("names and files are of a tree, not of a catalogue")
        }
    }

    private func operation(
        _ transaction: Transaction, of writer: Int
    ) throws -> UnlockedCatalogue.Operation {
        guard !transaction.isAborted, !transaction.isSync, !transaction.isRollback else {
            throw StageError.refused("operations of a store that nobody can lock can't be undone")
        }
        return UnlockedCatalogue.Operation(
            try transaction.operations.map { try UnlockedStage.change($0) },
            buffer: writer % catalogue.bufferCount)
    }

    /// Whether a writer could lock what the transaction touches.
    func canBegin(_ transaction: Transaction, of writer: Int) -> Bool {
        // What is refused is refused when it begins.
        guard let operation = try? operation(transaction, of: writer) else { return true }
        return catalogue.canBegin(operation)
    }

    func begin(_ transaction: Transaction, of writer: Int) throws {
        let operation = try operation(transaction, of: writer)
        guard catalogue.begin(operation) else {
            throw StageError.refused("an item is locked by another writer")
        }
        operations[writer] = operation
    }

    private func operation(of writer: Int) -> UnlockedCatalogue.Operation {
        guard let operation = operations[writer] else {
            preconditionFailure("an operation begins before it goes on")
        }
        return operation
    }

    /// Whether the writer's operation has anything left to change.
    func hasMore(of writer: Int) -> Bool { operation(of: writer).hasMore }

    func stamp(of writer: Int) {
        let change = catalogue.stamp(operation(of: writer))
        for slot in touched.indices {
            touched[slot].insert(derive(slot, change.tagging, change.weight).key)
        }
    }

    func make(of writer: Int) { catalogue.make(operation(of: writer)) }

    func end(of writer: Int) {
        catalogue.end(operation(of: writer))
        operations[writer] = nil
    }

    // MARK: Feed

    /// Whether there is anything to be fetched from a buffer.
    func hasItems(in buffer: Int) -> Bool { catalogue.hasItems(in: buffer) }
    var buffers: Int { catalogue.bufferCount }

    /// The next polls look into this buffer only; nil: into all.
    func choose(buffer: Int?) { steered.buffer = buffer }

    /// Whoever reads events is told that there are no more.
    func endFeeds(_ reason: String) { steered.endFeeds(reason) }

    // MARK: Damage

    func damage(_ damage: Damage) throws {
        guard let slot = catalogue.indexes.firstIndex(where: { $0.name == damage.index }) else {
            throw StageError.refused("damage of \(damage.index): the store has no such index")
        }
        var entries = catalogue.entries(of: IndexSlot(slot))
        let key = try CataloguePlace.damage(
            damage, slot, records: catalogue.records, entries: &entries)
        catalogue.damage(IndexSlot(slot)) { $0 = entries }
        // The image that exploring goes back to was taken before: it is damaged anew each time.
        if damage.kind == .stray, hidden != nil,
            catalogue.item(of: KeyBytes(key), IndexSlot(slot)) == hidden
        {
            catalogue.hide(key, of: IndexSlot(slot))
        }
    }

    // MARK: Looking

    private func tagging(of place: Place) throws -> Tagging { try CataloguePlace.tagging(place) }

    func end(of place: Place) throws -> KeyBytes {
        var key = try tagging(of: place).primaryKey
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

    /// Whether the entry is of an item that was withheld when the scenario began.
    func mayBeWithheld(_ key: [UInt8], of slot: IndexSlot) -> Bool {
        withheld.map { catalogue.item(of: KeyBytes(key), slot) == $0 } ?? false
    }

    /// There is one, always.
    func activeGeneration(_ slot: IndexSlot) -> UInt32 { 1 }
    func generations(_ slot: IndexSlot) -> [UInt32] { [1] }
    func entries(_ slot: IndexSlot, generation: UInt32) throws -> [Entry] { [] }
    func loadingGeneration(_ slot: IndexSlot) -> UInt32? { nil }

    func live(_ slot: IndexSlot) throws -> [(key: [UInt8], value: [UInt8]?)] {
        catalogue.entries(of: slot).sorted { $0.key.precedes($1.key) }
            .map { (key: $0.key, value: .some($0.value)) }
    }

    func digest() throws -> String { CataloguePlace.digest(catalogue.records) }

    func close() throws -> [String] { [] }

    // MARK: What a stage of another kind does

    func begin(_ transaction: Transaction) throws { throw UnlockedStage.foreign }
    func commit() throws { throw UnlockedStage.foreign }
    func report() throws { throw UnlockedStage.foreign }
    func crash(isMachine: Bool) throws { throw UnlockedStage.foreign }
    func crash(afterCommits commits: Int) throws { throw UnlockedStage.foreign }

    private static var foreign: StageError {
        .refused("a store that nobody can lock does not come down, and has no commits")
    }

    // MARK: Exploring

    func rewind() {
        catalogue.restore(prepared)
        operations = [:]
        touched = catalogue.indexes.map { _ in [] }
        faults = Faults(planned)
        let unreadable = steered.unreadable
        steered = SteeredUnlockedOwner(catalogue, faults)
        steered.unreadable = unreadable
    }

    var fingerprint: UInt64 { catalogue.fingerprint }
    func crashFingerprint(isMachine: Bool) -> UInt64 { 0 }
    func fingerprint(of snapshot: any OwnerSnapshot) -> UInt64 { 0 }
    func beginStep() {}
    var commitsInStep: Int { 0 }

    func describe(into digest: inout StateDigest) {
        for buffer in 0..<buffers {
            let (words, times) = catalogue.contents(of: buffer)
            digest.add(words.count)
            for word in words { digest.add(word) }
            for time in times { digest.add(commit: time.raw) }
        }
        for (item, time) in catalogue.changeTimes {
            digest.add(item)
            digest.add(commit: time.raw)
        }
        for (writer, operation) in operations.sorted(by: { $0.key < $1.key }) {
            digest.add(writer)
            digest.add(operation.progress)
        }
    }
}
