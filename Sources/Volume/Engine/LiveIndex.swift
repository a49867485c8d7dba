// One secondary index as the writer keeps it up: the active generation, at most one that
// a run is loading, and at most one previous one.
//
// The cursor rule in index-key order: an entry below the load cursor is changed in both
// generations, in the same transaction; one at or above it only in the active one, because
// the next batch that is loaded has it.
//
// The active generation may be damaged, and no operation fails because of that: adding an
// entry that is there already replaces it, removing one that is missing does nothing, and
// both are counted. Its `entries` and `sum` follow what the primary records say, so they
// are those of the right index, whatever the table holds. The loading generation, by
// contrast, must be right: there, each of these marks it as invalid.
//
// A previous generation is changed as the active one is, so that the two can change places: it
// differs from the right index where it did when it was replaced, less what writers have
// touched since. Whatever it lacks or has too much was counted while it was active.

internal import Bytes
internal import GenerationLife
internal import LMDB
internal import Tidemark
internal import VolumeFormat

/// One complete copy of an index.
struct Generation: IndexGeneration, Sendable {
    let number: UInt32
    let table: Table
    /// See `GenerationRecord`. Written by the writer only.
    var entries: UInt64
    var sum: UInt64
    /// Whether `entries` or `sum` differ from what is stored.
    var isChanged = false

    mutating func count(added checksum: UInt32) {
        entries &+= 1
        sum &+= GenerationRecord.mix(checksum)
        isChanged = true
    }

    mutating func count(removed checksum: UInt32) {
        entries &-= 1
        sum &-= GenerationRecord.mix(checksum)
        isChanged = true
    }
}

/// The generation that a run is loading.
struct Load: GenerationLoad, Sendable {
    var generation: Generation
    /// The load cursor. What lies below it is maintained by every transaction.
    var end: KeyBytes
    /// Whether the load cursor is beyond every key.
    var isWhole = false
    /// Of a summary: entries that the table must hold.
    var rows: UInt64 = 0
    /// Of quota usage: what the volume's own counters lack. Added when it becomes active.
    var volumeCorrection = QuotaUsage.zero
    /// Why the generation can't be used, once that is so. Never cleared.
    var invalidity: String?

    func covers(_ key: RawSpan) -> Bool {
        isWhole || compareBytes(key, end.span) < 0
    }

    mutating func spoil(_ reason: String) {
        if invalidity == nil { invalidity = reason }
    }

    /// What is stored of it besides the generation.
    var cursor: GenerationRecord.LoadCursor {
        .init(key: end.array, isWhole: isWhole, isInvalid: invalidity != nil)
    }
}

struct LiveIndex: IndexGenerations, Sendable {
    let slot: IndexSlot
    let name: String
    var active: Generation
    var load: Load?
    var previous: Generation?
    /// Additions that found an entry, and removals that found none.
    var anomalies: UInt64 = 0

    /// The transaction adds an entry that no record derived before.
    mutating func add(
        _ key: RawSpan, _ payload: RawSpan, in transaction: inout WriteTransaction
    ) throws(LMDBError) {
        let value = SealedValue(key: key, payload: payload)
        if try !transaction.insert(active.table, key, value.span) {
            try transaction.put(active.table, key, value.span)
            anomalies += 1
        }
        active.count(added: value.checksum)
        if let previous {
            try transaction.put(previous.table, key, value.span)
            self.previous?.count(added: value.checksum)
        }
        guard load != nil, load!.covers(key) else { return }
        if try !transaction.insert(load!.generation.table, key, value.span) {
            load!.spoil("an entry that was added was there already")
        }
        load!.generation.count(added: value.checksum)
    }

    /// The transaction removes an entry.
    mutating func remove(
        _ key: RawSpan, _ payload: RawSpan, in transaction: inout WriteTransaction
    ) throws(LMDBError) {
        let checksum = CRC32C.checksum(key, payload)
        if try !transaction.delete(active.table, key) { anomalies += 1 }
        active.count(removed: checksum)
        if let previous {
            _ = try transaction.delete(previous.table, key)
            self.previous?.count(removed: checksum)
        }
        guard load != nil, load!.covers(key) else { return }
        if try !transaction.delete(load!.generation.table, key) {
            load!.spoil("an entry that was removed was not there")
        }
        load!.generation.count(removed: checksum)
    }

    /// The transaction gives an entry another value.
    mutating func change(
        _ key: RawSpan, from old: RawSpan, to new: RawSpan,
        in transaction: inout WriteTransaction
    ) throws(LMDBError) {
        let value = SealedValue(key: key, payload: new)
        let before = CRC32C.checksum(key, old)
        try transaction.put(active.table, key, value.span)
        active.count(removed: before)
        active.count(added: value.checksum)
        if let previous {
            try transaction.put(previous.table, key, value.span)
            self.previous?.count(removed: before)
            self.previous?.count(added: value.checksum)
        }
        guard load != nil, load!.covers(key) else { return }
        if try transaction.insert(load!.generation.table, key, value.span) {
            load!.spoil("an entry that was changed was not there")
        } else {
            try transaction.put(load!.generation.table, key, value.span)
        }
        load!.generation.count(removed: before)
        load!.generation.count(added: value.checksum)
    }
}

/// The value of an entry as a generation's table holds it: the payload and a checksum of
/// key and payload.
struct SealedValue {
    static let maximumPayload = 60
    private var bytes = FixedBytes<64>()
    private let count: Int
    let checksum: UInt32

    init(key: RawSpan, payload: RawSpan) {
        precondition(payload.byteCount <= SealedValue.maximumPayload, "payload beyond its bound")
        bytes.store(payload, at: 0)
        checksum = CRC32C.checksum(key, payload)
        bytes.store(checksum, at: payload.byteCount)
        count = payload.byteCount + checksumSize
    }

    var span: RawSpan {
        @_lifetime(borrow self)
        get { bytes.span.extracting(first: count) }
    }
}
