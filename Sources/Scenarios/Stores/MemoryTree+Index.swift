// A secondary index of the tree in memory: the active generation, at most one that a run is
// loading, which below the load cursor is maintained by every transaction, and at most one that
// was replaced and is kept, and maintained as the active one is.

internal import Bytes
internal import GenerationLife
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

/// One complete copy of an index.
struct MemoryGeneration: IndexGeneration {
    let number: UInt32
    var table = MemoryTable<MemoryEntry>()

    func add(to hash: inout StateHash) {
        hash.add(UInt64(number))
        hash.add(table.sum)
    }
}

/// The generation that a run is loading.
struct MemoryLoad: GenerationLoad {
    var generation: MemoryGeneration
    /// The load cursor; nil: beyond every key.
    var end: [UInt8]? = []
    /// Entries that the generation must hold by the changes that were made.
    var expected = 0
    /// Of quota usage: what the store's own counter lacks. Added when the generation becomes
    /// active.
    var usageCorrection = QuotaUsage.zero
    /// Why the generation can't be used, once that is so. Never cleared.
    private(set) var invalidity: String?

    var isWhole: Bool { end == nil }

    func covers(_ entry: MemoryEntry) -> Bool { covers(entry.key) }

    func covers(_ key: [UInt8]) -> Bool {
        guard let end else { return true }
        return compareBytes(key.rawSpan, end.rawSpan) < 0
    }

    mutating func spoil(_ reason: String) {
        if invalidity == nil { invalidity = reason }
    }

    func add(to hash: inout StateHash) {
        generation.add(to: &hash)
        hash.add(
            UInt64(bitPattern: Int64(expected)) << 2 | (end == nil ? 2 : 0)
                | (invalidity == nil ? 0 : 1))
        if let end { hash.add(end) }
        hash.add(usageCorrection.blocks)
        hash.add(usageCorrection.inodes)
    }
}

/// As with a volume's live index, no change fails because the active generation is damaged: an
/// addition replaces what is there, a removal need not find anything. In the generation that
/// is being loaded either spoils it.
struct MemoryIndex: IndexGenerations {
    let name: String
    var active = MemoryGeneration(number: 1)
    var load: MemoryLoad?
    var previous: MemoryGeneration?

    init(_ slot: IndexSlot) { name = VolumeSlots.all[slot.rawValue].name }

    mutating func add(_ entry: MemoryEntry, _ mutants: OwnerMutants = OwnerMutants()) {
        active.table.put(entry)
        if !mutants.have(.previousNotMaintained) { previous?.table.put(entry) }
        guard load != nil, load!.covers(entry), !mutants.have(.loadNotMaintained) else { return }
        if let found = load!.generation.table.put(entry) {
            load!.generation.table.put(found)
            load!.spoil("an entry that was added was there already")
        }
        load!.expected += 1
    }

    mutating func remove(_ entry: MemoryEntry, _ mutants: OwnerMutants) {
        let key = entry.key
        active.table.remove(key.rawSpan)
        if !mutants.have(.previousNotMaintained) { previous?.table.remove(key.rawSpan) }
        guard load != nil, load!.covers(entry), !mutants.have(.loadNotMaintained) else { return }
        if load!.generation.table.remove(key.rawSpan) == nil {
            load!.spoil("an entry that was removed was not there")
        }
        load!.expected -= 1
    }

    /// Gives an entry another value.
    mutating func change(_ entry: MemoryEntry, _ mutants: OwnerMutants) {
        active.table.put(entry)
        if !mutants.have(.previousNotMaintained) { previous?.table.put(entry) }
        guard load != nil, load!.covers(entry), !mutants.have(.loadNotMaintained) else { return }
        if load!.generation.table.put(entry) == nil {
            load!.spoil("an entry that was changed was not there")
        }
    }

    func add(to hash: inout StateHash) {
        active.add(to: &hash)
        hash.add(load == nil ? 0 : 1)
        load?.add(to: &hash)
        hash.add(previous == nil ? 0 : 1)
        previous?.add(to: &hash)
    }
}
