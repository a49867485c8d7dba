// The same store as one that nobody can lock: an owner without commit lock and snapshots, whose
// writers wait for nobody but each other. It is the example of Docs/adopting.md for such a store,
// and what the protocol for unlocked owners is tried on.
//
// An item is an object with a lock of its own. A change of one of its tags is made with the lock
// held, in two parts: the event is stamped and put into a buffer, then record and live indexes are
// changed. Whoever reads records takes the lock of each item, a record at a time, and lets go of it
// in between. Events lie in several buffers, as of several processors, are fetched late, and are
// lost where a buffer is full.
//
// Beside the lock of the object, each change of the live indexes is made as if under a lock of the
// key range of the index: who reads an index waits for changes whose events are stamped and which
// are not made.

public import Bytes
package import Synchronization
internal import Threads
public import Tidemark

public final class UnlockedCatalogue: UnlockedOwner {
    /// One change of one record: what it derived is removed, or what it derives is added.
    struct Change: Hashable {
        let tagging: Tagging
        let weight: UInt32
        let isPresent: Bool
    }

    /// What stands in a buffer.
    enum Item: Hashable {
        case event(SequenceNumber, Change)
        case loss(from: SequenceNumber, to: SequenceNumber)
        case marker(SequenceNumber)
    }

    struct Buffer {
        var items: [Item] = []
        /// Of a loss that is not told yet: nothing has found room since.
        var lost: (from: SequenceNumber, to: SequenceNumber)?
        /// Items that take room.
        var taken = 0
    }

    struct State {
        var records: [Tagging: UInt32] = [:]
        /// Items that nobody may read, as long as they have a record.
        var withheld: Set<UInt64> = []
        /// The live indexes: key → value.
        var entries: [[[UInt8]: [UInt8]]] = [[:], [:]]
        /// Keys that a damaged index has where nobody who looks them up searches.
        var hidden: [Set<[UInt8]>] = [[], []]
        /// Items that somebody has locked, by the number of the operation.
        var locked: [UInt64: Int] = [:]
        /// Changes whose events are stamped and which are not made, by the number of the operation.
        var pending: [Int: Change] = [:]
        /// When each item was last changed: its event's stamp.
        var changed: [UInt64: SequenceNumber] = [:]
        var buffers: [Buffer]
        /// Whether there is anybody to fetch events.
        var subscriptions = 0
        var nextOperation = 0
    }

    let state: Monitor<State>
    public let indexes: [any SecondaryIndex] = [TagIndex(), WeightIndex()]
    public let label: String
    /// Items that a buffer has room for.
    let capacity: Int
    /// Whether it can say what has changed since a loss began.
    let knowsChanges: Bool
    /// Whether it says which records an entry can be derived from.
    let knowsRecords: Bool
    /// Records that are read in one hold of the lock of a catalogue.
    let pieces: Int
    /// Whether items may be withheld.
    private let withholds: Bool
    /// The time. It goes on by this much each time it is read: numbers in between are nobody's.
    private let clock = Atomic<UInt64>(UnlockedCatalogue.tick)
    static let tick: UInt64 = 16
    /// Promises that it is to break, for tests.
    package let mistake = Mutex<Mistake?>(nil)

    /// - Parameters:
    ///   - buffers: of events; writers say into which theirs go.
    ///   - capacity: events that one holds, before what follows is lost.
    ///   - knowsChanges: whether it says, after a loss, which items have changed since.
    ///   - knowsRecords: whether it says which records an entry can be derived from.
    ///   - pieces: records that one call of `read` returns at the most.
    ///   - withheld: items whose records nobody may read, as long as they have one.
    public init(
        label: String = "catalogue", buffers: Int = 2, capacity: Int = 1024,
        knowsChanges: Bool = false, knowsRecords: Bool = false, pieces: Int = .max,
        withheld: Set<UInt64> = []
    ) {
        precondition(buffers > 0 && capacity > 0 && pieces > 0, "each is one at least")
        self.label = label
        self.capacity = capacity
        self.knowsChanges = knowsChanges
        self.knowsRecords = knowsRecords
        self.pieces = pieces
        withholds = !withheld.isEmpty
        state = Monitor(
            State(withheld: withheld, buffers: Array(repeating: Buffer(), count: buffers)))
    }

    package var bufferCount: Int { state.withLock { $0.buffers.count } }

    public func now() -> SequenceNumber {
        let time = clock.add(UnlockedCatalogue.tick, ordering: .acquiringAndReleasing).newValue
        return SequenceNumber(raw: time)
    }

    var time: UInt64 {
        get { clock.load(ordering: .acquiring) }
        set { clock.store(newValue, ordering: .releasing) }
    }

    // MARK: Writers

    /// Makes the changes as one operation, with all items that it touches locked from its beginning
    /// to its end; nil removes. Its events go into `buffer`.
    public func change(_ changes: [(tagging: Tagging, weight: UInt32?)], buffer: Int) {
        let operation = Operation(changes, buffer: buffer)
        while !begin(operation) {
            _ = state.wait { $0.canLock(operation.items) ? true : nil }
        }
        while operation.hasMore {
            stamp(operation)
            make(operation)
        }
        end(operation)
    }

    /// All records, for comparing.
    public var records: [Tagging: UInt32] { state.withLock { $0.records } }

    /// The live index, for comparing.
    public func entries(of index: IndexSlot) -> [[UInt8]: [UInt8]] {
        state.withLock { $0.entries[index.rawValue] }
    }

    /// Changes a live index behind everybody's back: damage.
    public func damage(_ index: IndexSlot, _ body: (inout [[UInt8]: [UInt8]]) -> Void) {
        state.withLock { body(&$0.entries[index.rawValue]) }
    }

    /// Damages how an index is searched: an entry of this key is there for those who read the index
    /// in order, and not for those who look it up.
    public func hide(_ key: [UInt8], of index: IndexSlot) {
        state.withLock { _ = $0.hidden[index.rawValue].insert(key) }
    }

    // MARK: Reading

    public func windowEnd(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? {
        state.withLock { state in
            let keys = state.records.keys.filter { !state.withheld.contains($0.item) }
                .map(\.primaryKey).filter { !($0 < key) }.sorted()
            return records < keys.count ? keys[records] : nil
        }
    }

    public func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
        var next: KeyBytes? = range.lower
        for _ in 0..<min(limit, pieces) {
            guard let from = next else { return nil }
            next = readRecord(KeyRange(lower: from, upper: range.upper), into: sink)
        }
        return next
    }

    /// Reads the first record of `range`, once nobody has locked it or an item before it.
    /// - Returns: where to go on; nil at the end.
    private func readRecord(_ range: KeyRange, into sink: WindowSink) -> KeyBytes? {
        let takesLocks = takesLocks
        return state.wait { state -> KeyBytes?? in
            if takesLocks, state.isLocked(upToFirstOf: range) { return .none }
            guard let (tagging, weight) = state.first(of: range) else { return .some(nil) }
            sink.count(records: 1)
            for slot in state.entries.indices where sink.wants(IndexSlot(slot)) {
                let entry = derive(slot, tagging, weight)
                let key = KeyBytes(entry.key), value = KeyBytes(entry.value)
                sink.emit(IndexSlot(slot), key: key.span, value: value.span)
            }
            guard let end = tagging.range.upper, range.contains(end.span) else {
                return .some(nil)
            }
            return .some(end)
        }
    }

    public func changed(in range: KeyRange, since: SequenceNumber) throws -> RecordRanges? {
        guard knowsChanges else { return nil }
        return state.withLock { state in
            var ranges = RecordRanges()
            for item in state.changed.filter({ $0.value >= since }).keys.sorted() {
                ranges.append(UnlockedCatalogue.records(of: item))
            }
            return ranges
        }
    }

    public func records(of key: KeyBytes, in index: IndexSlot) -> KeyRange? {
        guard knowsRecords else { return nil }
        return item(of: key, index).map(UnlockedCatalogue.records)
    }

    fileprivate static func records(of item: UInt64) -> KeyRange {
        var lower = KeyBytes(), upper: KeyBytes?
        lower.append(item)
        if item < .max {
            var end = KeyBytes()
            end.append(item + 1)
            upper = end
        }
        return KeyRange(lower: lower, upper: upper)
    }

    public func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes? {
        readIndex { state -> KeyBytes? in
            let all = state.entries[index.rawValue]
                .map { (key: KeyBytes($0.key), value: $0.value) }
                .filter { !($0.key < key) }
                .sorted { $0.key < $1.key }
            for entry in all.prefix(limit) {
                let value = KeyBytes(entry.value)
                batch.append(key: entry.key.span, value: value.span)
            }
            return all.count > limit ? all[limit].key : nil
        }
    }

    public func lookUp(_ keys: [KeyBytes], of index: IndexSlot, into batch: EntryBatch) throws {
        for key in keys {
            readIndex { state in
                guard !state.hidden[index.rawValue].contains(key.array),
                    let bytes = state.entries[index.rawValue][key.array]
                else { return }
                let value = KeyBytes(bytes)
                batch.append(key: key.span, value: value.span)
            }
        }
    }

    /// The item whose record an entry is derived from.
    package func item(of key: KeyBytes, _ index: IndexSlot) -> UInt64? {
        let value = [UInt8]()
        let primary = indexes[index.rawValue].primaryKey(of: key.span, value: value.rawSpan)
        return primary.span.byteCount >= 8 ? primary.span.integer(at: 0) : nil
    }

    public func mayWithhold(_ index: IndexSlot) -> Bool { withholds }

    public func standing(of keys: [KeyBytes], of index: IndexSlot) throws -> [RecordStanding] {
        state.withLock { state in
            keys.map { key in
                item(of: key, index).map(state.withheld.contains) ?? true ? .withheld : .open
            }
        }
    }

    /// Runs `body` once every change is made whose event is stamped.
    private func readIndex<R>(_ body: (State) -> R) -> R {
        let takesLocks = takesLocks
        return state.wait { state in
            takesLocks && !state.pending.isEmpty ? nil : body(state)
        }
    }

    private var takesLocks: Bool { mistake.withLock { $0 != .readsWithoutLock } }

    public func subscribe(_ receiver: any ChangeReceiver) throws -> any ChangeFeed {
        try state.withLock { state in
            // The buffers are emptied by reading.
            guard state.subscriptions == 0 else { throw EventsAreRead(label: label) }
            state.subscriptions = 1
        }
        return Feed(self, receiver)
    }
}

/// Somebody else reads the events.
struct EventsAreRead: Error, CustomStringConvertible {
    let label: String
    var description: String { "the events of \(label) are read by somebody else" }
}

// MARK: Operations

extension UnlockedCatalogue {
    /// An operation under way: what it is to do, and how far it is. Used by one thread.
    package final class Operation {
        let changes: [(tagging: Tagging, weight: UInt32?)]
        let buffer: Int
        /// The objects that it locks.
        package let items: Set<UInt64>
        fileprivate(set) var number = 0
        /// The change that is next: its place, and whether what is there is removed by now.
        private(set) var place = 0
        fileprivate var isRemoved = false

        package init(_ changes: [(tagging: Tagging, weight: UInt32?)], buffer: Int) {
            self.changes = changes
            self.buffer = buffer
            items = Set(changes.map(\.tagging.item))
        }

        /// Whether anything is left to be changed.
        package var hasMore: Bool { place < changes.count }
        /// What tells two moments of it apart.
        package var progress: Int { 2 * place + (isRemoved ? 1 : 0) }

        fileprivate func skip() {
            place += 1
            isRemoved = false
        }
    }

    /// Locks what the operation touches.
    /// - Returns: false, and nothing is locked, where somebody else has some of it.
    package func begin(_ operation: Operation) -> Bool {
        state.withLock { state in
            guard state.canLock(operation.items) else { return false }
            operation.number = state.nextOperation
            state.nextOperation += 1
            for item in operation.items { state.locked[item] = operation.number }
            state.skip(operation)
            return true
        }
    }

    /// Stamps the event of the next change, and puts it into the buffer, or loses it.
    /// - Returns: the record that changes, with the weight that it loses or gets.
    @discardableResult
    package func stamp(_ operation: Operation) -> (tagging: Tagging, weight: UInt32) {
        state.withLock { state in
            guard let change = state.next(operation) else {
                preconditionFailure("an operation that has something left")
            }
            // Within the lock: the stamps of a buffer ascend.
            let stamp = now()
            state.pending[operation.number] = change
            state.changed[change.tagging.item] = stamp
            if state.subscriptions > 0 {
                state.put(.event(stamp, change), stamp, into: operation.buffer, room: capacity)
            }
            return (change.tagging, change.weight)
        }
    }

    /// Makes the change whose event is stamped, in record and live indexes.
    package func make(_ operation: Operation) {
        state.withLock(notify: true) { state in
            guard let change = state.pending.removeValue(forKey: operation.number) else {
                preconditionFailure("an event comes before its change")
            }
            state.records[change.tagging] = change.isPresent ? change.weight : nil
            let item = change.tagging.item
            if state.withheld.contains(item),
                !state.records.keys.contains(where: { $0.item == item })
            {
                state.withheld.remove(item)
            }
            for slot in state.entries.indices {
                let entry = derive(slot, change.tagging, change.weight)
                state.entries[slot][entry.key] = change.isPresent ? entry.value : nil
            }
            operation.isRemoved = !change.isPresent
            if change.isPresent || operation.changes[operation.place].weight == nil {
                operation.skip()
            }
            state.skip(operation)
        }
    }

    /// Lets go of what it has locked.
    package func end(_ operation: Operation) {
        state.withLock(notify: true) { state in
            for item in operation.items { state.locked[item] = nil }
        }
    }
}

extension UnlockedCatalogue.State {
    func canLock(_ items: Set<UInt64>) -> Bool { items.allSatisfy { locked[$0] == nil } }

    /// The next change of the operation; nil where nothing of the present one is left.
    func next(_ operation: UnlockedCatalogue.Operation) -> UnlockedCatalogue.Change? {
        guard operation.hasMore else { return nil }
        let (tagging, weight) = operation.changes[operation.place]
        if let old = records[tagging] {
            guard old != weight else { return nil }
            return .init(tagging: tagging, weight: old, isPresent: false)
        }
        return weight.map { .init(tagging: tagging, weight: $0, isPresent: true) }
    }

    /// Passes over what changes nothing.
    func skip(_ operation: UnlockedCatalogue.Operation) {
        while operation.hasMore, next(operation) == nil { operation.skip() }
    }

    /// The first record of `range`.
    func first(of range: KeyRange) -> (Tagging, UInt32)? {
        let found = records.keys.filter {
            !withheld.contains($0.item) && range.contains($0.primaryKey.span)
        }.min()
        return found.flatMap { tagging in records[tagging].map { (tagging, $0) } }
    }

    /// Whether somebody has locked an item that lies in `range`, its first record's or one before.
    func isLocked(upToFirstOf range: KeyRange) -> Bool {
        let last = first(of: range)?.0.item
        return locked.keys.contains { item in
            if let last { guard item <= last else { return false } }
            return UnlockedCatalogue.records(of: item).intersection(range) != nil
        }
    }

    /// Puts `item` into a buffer, behind the loss that may stand at its end; or it is lost.
    mutating func put(
        _ item: UnlockedCatalogue.Item, _ stamp: SequenceNumber, into buffer: Int, room: Int,
        tellsLoss: Bool = true
    ) {
        guard buffers[buffer].taken < room else {
            buffers[buffer].lost = (buffers[buffer].lost?.from ?? stamp, stamp)
            return
        }
        if tellsLoss, let lost = buffers[buffer].lost.take() {
            buffers[buffer].items.append(.loss(from: lost.from, to: lost.to))
        }
        buffers[buffer].items.append(item)
        buffers[buffer].taken += 1
    }
}
