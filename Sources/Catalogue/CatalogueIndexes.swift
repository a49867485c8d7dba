// The two indexes of a catalogue: what they derive from a record, and how to find the record
// of an entry.

public import Bytes
public import Tidemark

/// tag, 0, item u64 → weight u32.
public struct TagIndex: SecondaryIndex {
    public let name = "tags"
    public init() {}

    public static func entry(_ tagging: Tagging, _ weight: UInt32) -> Entry {
        var key = KeyBytes(tagging.tag)
        key.append(0 as UInt8)
        key.append(tagging.item)
        var value = KeyBytes()
        value.append(weight)
        return Entry(key: key.array, value: value.array)
    }

    public func primaryKey(of key: RawSpan, value: RawSpan) -> KeyBytes {
        guard key.byteCount >= 9 else { return KeyBytes() }
        var primary = KeyBytes()
        primary.append(key.extracting(droppingFirst: key.byteCount - 8))
        primary.append(key.extracting(first: key.byteCount - 9))
        return primary
    }

    public func fields(key: RawSpan, value: RawSpan) -> [(name: String, value: String)] {
        guard isWellFormed(key: key, value: value) else { return [("key", "\(key.array)")] }
        let item: UInt64 = key.integer(at: key.byteCount - 8)
        let tag = key.extracting(first: key.byteCount - 9).array
        return [
            ("tag", String(decoding: tag, as: UTF8.self)), ("item", "\(item)"),
            ("weight", "\(value.integer(at: 0, as: UInt32.self))"),
        ]
    }

    public func isWellFormed(key: RawSpan, value: RawSpan) -> Bool {
        key.byteCount >= 9 && value.byteCount == 4
    }
}

/// weight u32, item u64, tag → nothing.
public struct WeightIndex: SecondaryIndex {
    public let name = "weights"
    public init() {}

    public static func entry(_ tagging: Tagging, _ weight: UInt32) -> Entry {
        var key = KeyBytes()
        key.append(weight)
        key.append(tagging.item)
        for byte in tagging.tag { key.append(byte) }
        return Entry(key: key.array, value: [])
    }

    public func primaryKey(of key: RawSpan, value: RawSpan) -> KeyBytes {
        guard key.byteCount >= 12 else { return KeyBytes() }
        return KeyBytes(key.extracting(droppingFirst: 4))
    }

    public func fields(key: RawSpan, value: RawSpan) -> [(name: String, value: String)] {
        guard isWellFormed(key: key, value: value) else { return [("key", "\(key.array)")] }
        let tag = key.extracting(droppingFirst: 12).array
        return [
            ("weight", "\(key.integer(at: 0, as: UInt32.self))"),
            ("item", "\(key.integer(at: 4, as: UInt64.self))"),
            ("tag", String(decoding: tag, as: UTF8.self)),
        ]
    }

    public func isWellFormed(key: RawSpan, value: RawSpan) -> Bool {
        key.byteCount >= 12 && value.byteCount == 0
    }
}

/// What each index derives from one record: `derive`.
public func derive(_ slot: Int, _ tagging: Tagging, _ weight: UInt32) -> Entry {
    slot == 0 ? TagIndex.entry(tagging, weight) : WeightIndex.entry(tagging, weight)
}

/// How one change of a record changes one index.
struct EntryChange {
    let slot: Int
    let tagging: Tagging
    let removed: Entry?
    let added: Entry?

    init(slot: Int, _ tagging: Tagging, old: UInt32?, new: UInt32?) {
        self.slot = slot
        self.tagging = tagging
        removed = old == new ? nil : old.map { derive(slot, tagging, $0) }
        added = old == new ? nil : new.map { derive(slot, tagging, $0) }
    }

    /// Whether the entry stays where it is and only its value changes.
    var isReplacement: Bool { removed?.key == added?.key }

    func report(to deltas: inout DeltaBatch) {
        let primary = tagging.primaryKey
        if let removed, !isReplacement {
            let key = KeyBytes(removed.key)
            deltas.remove(IndexSlot(slot), primary: primary.span, key: key.span)
        }
        if let added {
            let key = KeyBytes(added.key)
            let value = KeyBytes(added.value)
            deltas.add(IndexSlot(slot), primary: primary.span, key: key.span, value: value.span)
        }
    }
}

extension Catalogue.State {
    /// Makes the change in the active generation, and in a loading one below its cursor.
    mutating func apply(_ change: EntryChange) {
        indexes[change.slot].active.apply(change)
        indexes[change.slot].previous?.apply(change)
        indexes[change.slot].load?.apply(change)
    }
}

extension Catalogue.Generation {
    /// A live index may be damaged: a miss there is no one's fault. In a generation that is
    /// being loaded it is a mistake of the protocol.
    mutating func apply(_ change: EntryChange) {
        if let removed = change.removed, !change.isReplacement, covers(removed.key) {
            if entries.removeValue(forKey: removed.key) == nil, loadCursor != nil {
                invalidity = "a removal did not find its entry \(removed.key)"
            }
            expectedCount -= 1
        }
        if let added = change.added, covers(added.key) {
            let old = entries.updateValue(added.value, forKey: added.key)
            if loadCursor != nil, (old != nil) != change.isReplacement {
                invalidity = "an addition found the entry \(added.key) there"
            }
            if !change.isReplacement { expectedCount += 1 }
        }
    }

    private func covers(_ key: [UInt8]) -> Bool {
        guard let loadCursor else { return true }
        let bytes = KeyBytes(key)
        return loadCursor.covers(bytes.span)
    }
}
