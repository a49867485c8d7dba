// Damage done on purpose, to a live index, so that checks and repairs can be tried: exactly
// as many discrepancies as asked for, never two at one key, the same ones for the same seed.
//
// Only entries that are right are chosen, and strays are put where no primary record
// derives an entry, so damage on top of damage is exact too. Neither primary records nor
// the generation's record nor any hook learns of it.

internal import Bytes
internal import LMDB
package import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

public enum DamageKind: String, Sendable, CaseIterable {
    /// Entries are deleted.
    case missing
    /// Entries are added that no primary record derives.
    case stray
    /// Entries get another value, with a good checksum.
    case wrong
    /// About as many of each.
    case mixed
}

public struct DamageDone: Hashable, Sendable {
    public var missing = 0
    public var stray = 0
    public var wrong = 0
}

extension Volume {
    /// Makes exactly `count` discrepancies in the live index of `name`.
    /// - Throws: `invalid` where the index has too few right entries for that; then nothing
    ///   is changed, or only what the error says.
    public func damage(
        index name: String, count: Int, kind: DamageKind, seed: UInt64
    ) throws -> DamageDone {
        guard let slot = VolumeCore.indexes.firstIndex(where: { $0.name == name }) else {
            throw VolumeError.invalid("index \(name): there is none of this name")
        }
        guard (0...mostDamage).contains(count) else {
            throw VolumeError.invalid("damage of \(count) entries: 0 to \(mostDamage)")
        }
        return try perform { operations in
            if IndexSlot(slot) == GroupState.quotaSlot {
                var vandal = UsageVandal(seed: seed)
                return try vandal.damage(&operations, count, kind)
            }
            if IndexSlot(slot) == GroupState.linksSlot {
                var vandal = LinkVandal(seed: seed)
                return try vandal.damage(&operations, count, kind)
            }
            var vandal = Vandal(slot: IndexSlot(slot), seed: seed)
            return try vandal.damage(&operations, count, kind)
        }
    }
}

extension Volume {
    /// Makes the live index hold `payload` at `key`, with a good checksum, or nothing where it
    /// is nil: one discrepancy, chosen by hand.
    /// - Returns: whether there was an entry.
    package func alter(_ slot: IndexSlot, key: [UInt8], payload: [UInt8]?) throws -> Bool {
        try perform { operations in
            try operations.begin(growing: payload != nil)
            operations.hasChanged = true
            if slot == GroupState.linksSlot || slot == GroupState.quotaSlot {
                if let wasThere = try operations.alterSummary(slot, key, payload) {
                    return wasThere
                }
            }
            let table = operations.state[slot].active.table
            guard let payload else {
                return try operations.transaction.delete(table, key.rawSpan)
            }
            let value = SealedValue(key: key.rawSpan, payload: payload.rawSpan)
            if try operations.transaction.insert(table, key.rawSpan, value.span) { return false }
            try operations.transaction.put(table, key.rawSpan, value.span)
            return true
        }
    }
}

/// Chooses the entries.
private struct Vandal {
    let slot: IndexSlot
    var random: SplitMix64
    /// Keys that have been damaged.
    var touched: Set<[UInt8]> = []
    /// Keys of right entries, shuffled, where the index is small enough to list them all.
    var listed: [[UInt8]]?

    init(slot: IndexSlot, seed: UInt64) {
        self.slot = slot
        random = SplitMix64(seed: seed)
    }

    mutating func damage(
        _ operations: inout Operations, _ count: Int, _ kind: DamageKind
    ) throws -> DamageDone {
        try operations.begin(growing: kind != .missing)
        var plan: [DamageKind] = []
        for number in 0..<count {
            plan.append(kind == .mixed ? [.missing, .stray, .wrong][number % 3] : kind)
        }
        let needed = plan.reduce(0) { $0 + ($1 == .stray ? 0 : 1) }
        let table = operations.state[slot].active.table
        let entries = try operations.transaction.statistics(table).entries
        // Where few are left over, seeking at random would hit the same ones again and again.
        if entries < 4 * count + 64 {
            listed = try listRight(operations).shuffled(using: &random)
            guard listed?.count ?? 0 >= needed else {
                throw VolumeError.invalid(
                    "damaging \(needed) entries of \(operations.state[slot].name):"
                        + " it has \(listed?.count ?? 0) that are right")
            }
        }
        if count > 0, entries == 0 {
            throw VolumeError.invalid(
                "damaging \(operations.state[slot].name): it has no entry to go by")
        }
        plan.shuffle(using: &random)
        var done = DamageDone()
        for kind in plan {
            try operations.begin(growing: kind != .missing)
            switch kind {
            case .stray:
                try addStray(&operations)
                done.stray += 1
            case .missing:
                let (key, _) = try chooseRight(operations)
                operations.hasChanged = true
                _ = try operations.transaction.delete(table, key.rawSpan)
                done.missing += 1
            default:
                let (key, payload) = try chooseRight(operations)
                operations.hasChanged = true
                let other = alter(payload)
                let value = SealedValue(key: key.rawSpan, payload: other.rawSpan)
                try operations.transaction.put(table, key.rawSpan, value.span)
                done.wrong += 1
            }
        }
        return done
    }

    // MARK: Choosing

    /// A right entry that was not chosen before.
    private mutating func chooseRight(
        _ operations: borrowing Operations
    ) throws -> (key: [UInt8], payload: [UInt8]) {
        while let key = listed?.popLast() {
            if let payload = try rightPayload(key.rawSpan, operations),
                touched.insert(key).inserted
            {
                return (key, payload)
            }
        }
        var cursor = try operations.transaction.readCursor(operations.state[slot].active.table)
        try seekRandom(&cursor)
        // From there on to the next that will do, around the end if need be.
        var hasWrapped = false
        while true {
            let key = cursor.key.array
            if !touched.contains(key), let payload = try rightPayload(cursor.key, operations) {
                touched.insert(key)
                return (key, payload)
            }
            if try cursor.next() { continue }
            guard !hasWrapped, try cursor.first() else {
                throw VolumeError.invalid(
                    "damaging another entry of \(operations.state[slot].name): none is right"
                        + " any more; \(touched.count) were damaged")
            }
            hasWrapped = true
        }
    }

    /// Stands on an entry somewhere between the first and the last.
    private mutating func seekRandom(_ cursor: inout Cursor) throws {
        guard try cursor.first() else { preconditionFailure("the index has entries") }
        let first = leading(cursor.key)
        _ = try cursor.last()
        let last = max(first, leading(cursor.key))
        var place = KeyBytes()
        place.append(UInt64.random(in: first...last, using: &random))
        place.append(UInt64.random(in: 0 ... .max, using: &random))
        if try cursor.seek(place.span) { return }
        _ = try cursor.last()
    }

    /// The first number of a key: a block, or an inode.
    private func leading(_ key: RawSpan) -> UInt64 {
        key.byteCount >= 8 ? key.integer(at: 0) : 0
    }

    private func listRight(_ operations: borrowing Operations) throws -> [[UInt8]] {
        var keys: [[UInt8]] = []
        var cursor = try operations.transaction.readCursor(operations.state[slot].active.table)
        var isThere = try cursor.first()
        while isThere {
            if try rightPayload(cursor.key, operations) != nil { keys.append(cursor.key.array) }
            isThere = try cursor.next()
        }
        return keys
    }

    /// The payload of an entry that is as its primary record derives it, else nil.
    private func rightPayload(
        _ key: RawSpan, _ operations: borrowing Operations
    ) throws -> [UInt8]? {
        guard let expected = try derivedPayload(key, operations),
            let stored = try operations.transaction.get(operations.state[slot].active.table, key)
        else { return nil }
        let value = SealedValue(key: key, payload: expected.rawSpan)
        return compareBytes(stored, value.span) == 0 ? expected : nil
    }

    /// What the primary record that the key names derives for it, or nil.
    private func derivedPayload(
        _ key: RawSpan, _ operations: borrowing Operations
    ) throws -> [UInt8]? {
        if slot == GroupState.rmapSlot {
            guard key.byteCount == ReverseMap.keySize else { return nil }
            let primary = key.extracting(droppingFirst: 8)
            let table = operations.core.tables.extents
            guard let value = try operations.transaction.get(table, primary),
                let extent = try? ExtentRecord(key: primary, value: value),
                extent.start == key.integer(at: 0, as: UInt64.self)
            else { return nil }
            let payload = ReverseMap.value(extent)
            return payload.span.array
        }
        guard key.byteCount > ParentPointers.keyPrefixSize else { return nil }
        let primary = key.extracting(droppingFirst: 8)
        guard let value = try operations.transaction.get(operations.core.tables.dirents, primary),
            let target = try? DirentTarget(key: primary, value: value),
            target.child == key.integer(at: 0, as: UInt64.self)
        else { return nil }
        let payload = ParentPointers.value(generation: target.generation)
        return payload.span.array
    }

    // MARK: Making

    /// Another length or state of a mapping, another generation of a parent pointer.
    private mutating func alter(_ payload: [UInt8]) -> [UInt8] {
        var payload = payload
        if slot == GroupState.rmapSlot, Bool.random(using: &random) {
            payload[4] = payload[4] == 0 ? 1 : 0
            return payload
        }
        var number: UInt32 = payload.rawSpan.integer(at: 0)
        number = number &+ UInt32.random(in: 1...1000, using: &random)
        // A length is never 0.
        if number == 0 { number = 1001 }
        var bytes = FixedBytes<4>()
        bytes.store(number, at: 0)
        payload.replaceSubrange(0..<4, with: bytes.span.array)
        return payload
    }

    /// An entry like those around it, at a key that no primary record derives.
    private mutating func addStray(_ operations: inout Operations) throws {
        let table = operations.state[slot].active.table
        while true {
            let (key, payload) = try inventStray(operations)
            guard !touched.contains(key),
                try derivedPayload(key.rawSpan, operations) == nil,
                try operations.transaction.get(table, key.rawSpan) == nil
            else { continue }
            operations.hasChanged = true
            let value = SealedValue(key: key.rawSpan, payload: payload.rawSpan)
            try operations.transaction.put(table, key.rawSpan, value.span)
            touched.insert(key)
            return
        }
    }

    private mutating func inventStray(
        _ operations: borrowing Operations
    ) throws -> (key: [UInt8], payload: [UInt8]) {
        var cursor = try operations.transaction.readCursor(operations.state[slot].active.table)
        try seekRandom(&cursor)
        let model = cursor.key
        if slot == GroupState.rmapSlot {
            let owner: UInt64 =
                model.byteCount == ReverseMap.keySize ? model.integer(at: 8) : .root
            let blocks = operations.core.geometry.blocks
            let start = UInt64.random(in: 0..<blocks, using: &random)
            let extent = ExtentRecord(
                inode: owner, fork: .data, offset: UInt64.random(in: 0..<1 << 40, using: &random),
                start: start,
                length: UInt32(min(blocks - start, UInt64.random(in: 1...64, using: &random))),
                state: .written)
            let key = ReverseMap.key(extent), payload = ReverseMap.value(extent)
            return (key.span.array, payload.span.array)
        }
        let child: UInt64 = model.byteCount >= 16 ? model.integer(at: 0) : .root
        let parent: UInt64 = model.byteCount >= 16 ? model.integer(at: 8) : .root
        let name = Array("stray-\(UInt32.random(in: 0 ... .max, using: &random))".utf8)
        let key = ParentPointers.key(child: child, parent: parent, name: name.rawSpan)
        let generation = UInt32.random(in: 1...1_000_000, using: &random)
        let payload = ParentPointers.value(generation: generation)
        return (key.span.array, payload.span.array)
    }
}
