// An owner that nobody can lock, under the scenario's hand: a call fails, a record can't be read,
// the events of one buffer are fetched, the feed ends.

internal import Bytes
internal import Catalogue
internal import Synchronization
internal import Tidemark

final class SteeredUnlockedOwner: UnlockedOwner, @unchecked Sendable {
    private let inner: UnlockedCatalogue
    fileprivate let faults: Faults
    /// Records that can't be read as long as a fault says so: key, and what they are called.
    var unreadable: [(key: KeyBytes, object: String)] = []
    /// The buffer that polls look into; nil: all of them.
    var buffer: Int?
    private var feeds: [SteeredFeed] = []

    init(_ inner: UnlockedCatalogue, _ faults: Faults) {
        self.inner = inner
        self.faults = faults
    }

    var label: String { inner.label }
    var indexes: [any SecondaryIndex] { inner.indexes }
    func now() -> SequenceNumber { inner.now() }

    func windowEnd(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? {
        try faults.check(.lookahead)
        return try inner.windowEnd(after: key, records: records, wants: wants)
    }

    func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
        try faults.check(.windowRead)
        let next = try inner.read(range, limit: limit, into: sink)
        let read = KeyRange(lower: range.lower, upper: next ?? range.upper)
        guard faults.isArmed, faults.planned.contains(where: { $0.unreadable != nil }) else {
            return next
        }
        for record in unreadable where read.contains(record.key.span) {
            sink.skip(
                PrimaryDamage(object: record.object, problem: "unreadable, says the scenario"))
        }
        return next
    }

    func changed(in range: KeyRange, since: SequenceNumber) throws -> RecordRanges? {
        try inner.changed(in: range, since: since)
    }

    func records(of key: KeyBytes, in index: IndexSlot) -> KeyRange? {
        inner.records(of: key, in: index)
    }

    func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes? {
        try faults.check(.entriesRead)
        return try inner.entries(of: index, from: key, limit: limit, into: batch)
    }

    func lookUp(_ keys: [KeyBytes], of index: IndexSlot, into batch: EntryBatch) throws {
        try faults.check(.entriesRead)
        try inner.lookUp(keys, of: index, into: batch)
    }

    func mayWithhold(_ index: IndexSlot) -> Bool { inner.mayWithhold(index) }

    func standing(of keys: [KeyBytes], of index: IndexSlot) throws -> [RecordStanding] {
        try inner.standing(of: keys, of: index)
    }

    func subscribe(_ receiver: any ChangeReceiver) throws -> any ChangeFeed {
        try faults.check(.subscribe)
        let feed = SteeredFeed(try inner.subscribe(receiver), self)
        feeds.append(feed)
        return feed
    }

    func endFeeds(_ reason: String) {
        for feed in feeds { feed.fail(reason) }
    }

    fileprivate func drop(_ feed: SteeredFeed) { feeds.removeAll { $0 === feed } }
}

private final class SteeredFeed: ChangeFeed, @unchecked Sendable {
    private let inner: any ChangeFeed
    private let owner: SteeredUnlockedOwner

    init(_ inner: any ChangeFeed, _ owner: SteeredUnlockedOwner) {
        self.inner = inner
        self.owner = owner
    }

    var buffers: Int { inner.buffers }

    /// One item: each is a step.
    func poll(limit: Int) throws -> Bool {
        try owner.faults.check(.poll)
        (inner as? UnlockedCatalogue.Feed)?.only.withLock { $0 = owner.buffer }
        return try inner.poll(limit: 1)
    }

    func mark() throws -> SequenceNumber {
        try owner.faults.check(.mark)
        return try inner.mark()
    }

    func end() {
        inner.end()
        owner.drop(self)
    }

    func fail(_ reason: String) { (inner as? UnlockedCatalogue.Feed)?.fail(reason) }
}
