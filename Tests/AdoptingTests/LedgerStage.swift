// The ledger as a stage: what an adopter writes to have scenarios played, and all their orders
// explored, on a store of their own (Docs/adopting.md).

import Bytes
import Catalogue
import Inspection
import Scenarios
import Tidemark

final class LedgerStage: ExplorableStage {
    private(set) var faults: Faults
    private let ledger: Ledger
    private let prepared: Ledger.State
    private var steered: SteeredOwner
    private let planned: [Fault]
    private var work: Work = .none

    private enum Work {
        case none, begun(Transaction), visible(Ledger.Visible), over
    }

    init(_ scenario: Scenario, _ mistake: Ledger.Mistake? = nil) throws {
        planned = scenario.faults
        faults = Faults(planned)
        ledger = Ledger(mistake)
        let setup = try scenario.setup.map(LedgerStage.change)
        _ = ledger.change(setup)
        prepared = ledger.state
        steered = SteeredOwner(ledger, faults: faults)
    }

    private static func change(_ operation: Scenarios.Operation) throws -> (Tagging, UInt32?) {
        switch operation {
        case .set(let item, let tag, let weight):
            (Tagging(item: item, tag: Array(tag.utf8)), weight)
        case .remove(let item, let tag): (Tagging(item: item, tag: Array(tag.utf8)), nil)
        default: throw StageError.refused("a ledger has items and tags")
        }
    }

    var indexed: any Owner { steered }
    var owner: any ExactOwner { steered }
    func makeSideStore(_ run: UInt64) throws -> any SideStore { FaultyStore(MemoryStore(), faults) }

    // MARK: Transactions

    func begin(_ transaction: Transaction) throws { work = .begun(transaction) }

    func commit() throws {
        guard case .begun(let transaction) = work else {
            work = .none
            throw StageError.refused("a transaction begins before it commits")
        }
        work = .over
        guard !transaction.isAborted, !transaction.operations.isEmpty else { return }
        work = .visible(ledger.change(try transaction.operations.map(LedgerStage.change)))
    }

    func report() throws {
        if case .visible(let visible) = work { ledger.report(visible) }
        work = .none
    }

    // MARK: Damage and crash

    func damage(_ damage: Damage) throws {
        guard let slot = ledger.indexes.firstIndex(where: { $0.name == damage.index }) else {
            throw StageError.refused("there is no index \(damage.index)")
        }
        let tagging = try tagging(damage.place)
        let entry = derive(slot, tagging, ledger.state.records[tagging] ?? 9999)
        switch damage.kind {
        case .missing: ledger.state.live[slot][entry.key] = nil
        case .stray: ledger.state.live[slot][entry.key] = entry.value
        case .wrong: ledger.state.live[slot][entry.key] = [0]
        }
    }

    /// All that is committed is there after any crash.
    func crash(isMachine: Bool) throws { begin(with: ledger.state) }

    private func begin(with state: Ledger.State) {
        ledger.reopen(state)
        work = .none
        steered = SteeredOwner(ledger, faults: faults)
    }

    // MARK: Looking

    private func tagging(_ place: Place) throws -> Tagging {
        guard case .tagging(let item, let tag) = place.part else {
            throw StageError.refused("a place in a ledger is ITEM:TAG")
        }
        return Tagging(item: item, tag: Array(tag.utf8))
    }

    func end(of place: Place) throws -> KeyBytes {
        var key = try tagging(place).primaryKey
        key.append(0 as UInt8)
        return key
    }

    func expected(_ slot: IndexSlot, below cursor: KeyBytes?) throws -> [Entry] {
        ledger.state.records
            .filter { record in cursor.map { record.key.primaryKey < $0 } ?? true }
            .map { derive(slot.rawValue, $0.key, $0.value) }
            .sorted { $0.key.lexicographicallyPrecedes($1.key) }
    }

    func activeGeneration(_ slot: IndexSlot) throws -> UInt32 { 1 }
    func generations(_ slot: IndexSlot) throws -> [UInt32] { [1] }
    func loadingGeneration(_ slot: IndexSlot) -> UInt32? { nil }

    func live(_ slot: IndexSlot) throws -> [(key: [UInt8], value: [UInt8]?)] {
        try entries(slot, generation: 1).map { (key: $0.key, value: .some($0.value)) }
    }

    func entries(_ slot: IndexSlot, generation: UInt32) throws -> [Entry] {
        ledger.state.live[slot.rawValue].map { Entry(key: $0.key, value: $0.value) }
            .sorted { $0.key.lexicographicallyPrecedes($1.key) }
    }

    func digest() throws -> String {
        ledger.state.records.map { "\($0.key.item):\($0.key.tag)=\($0.value)" }.sorted()
            .joined(separator: ",")
    }

    func close() throws -> [String] { [] }

    // MARK: Exploring

    func rewind() {
        faults = Faults(planned)
        begin(with: prepared)
    }

    var fingerprint: UInt64 { UInt64(bitPattern: Int64(ledger.state.hashValue)) }
    func crashFingerprint(isMachine: Bool) -> UInt64 { fingerprint }

    func fingerprint(of snapshot: any OwnerSnapshot) -> UInt64 {
        guard let seen = SteeredOwner.snapshot(in: snapshot) as? Ledger.Snapshot else { return 0 }
        return UInt64(bitPattern: Int64(seen.state.hashValue))
    }

    func beginStep() {}
    var commitsInStep: Int { 0 }

    func crash(afterCommits commits: Int) throws {
        throw StageError.refused("a ledger's steps are whole")
    }
}
