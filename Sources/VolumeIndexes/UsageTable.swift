// Quota usage added up in memory.

public import VolumeFormat

/// Counters by the numbers of their keys: open addressing, no allocation for each.
public struct UsageTable: Sendable {
    private struct Slot {
        /// One more than the key's number; 0: nothing here.
        var mark: UInt64 = 0
        var usage = QuotaUsage.zero
    }

    /// Empty, or a power of two of them, half of them free at least.
    private var slots: [Slot] = []
    public private(set) var count = 0

    public init() {}

    /// Adds what an inode takes to those of the counters of its owners whose keys lie in
    /// `bounds`. The volume's own, to which all add, is the caller's.
    @inline(__always)
    mutating func add(_ share: QuotaShare, within bounds: Range<UInt64>) {
        let usage = QuotaUsage(blocks: share.blocks, inodes: 1)
        let numbers = (
            QuotaKey(.user, share.uid).number, QuotaKey(.group, share.gid).number,
            QuotaKey(.project, share.project).number
        )
        if bounds.contains(numbers.0) { add(numbers.0, usage) }
        if bounds.contains(numbers.1) { add(numbers.1, usage) }
        if bounds.contains(numbers.2) { add(numbers.2, usage) }
    }

    public mutating func add(_ number: UInt64, _ usage: QuotaUsage) {
        if slots.isEmpty { slots = [Slot](repeating: Slot(), count: 16) }
        let place = find(number)
        if slots[place].mark == 0 {
            slots[place].mark = number + 1
            count += 1
        }
        slots[place].usage = slots[place].usage + usage
        if count * 2 > slots.count { rebuild(size: slots.count * 2) { _ in true } }
    }

    private func find(_ number: UInt64) -> Int {
        let mask = slots.count - 1
        var place = Int(truncatingIfNeeded: (number &* 0x9e37_79b9_7f4a_7c15) >> 32) & mask
        while slots[place].mark != 0, slots[place].mark != number + 1 {
            place = (place + 1) & mask
        }
        return place
    }

    private mutating func rebuild(size: Int, keeping isKept: (UInt64) -> Bool) {
        let old = slots
        slots = [Slot](repeating: Slot(), count: size)
        count = 0
        for slot in old where slot.mark != 0 && isKept(slot.mark - 1) {
            slots[find(slot.mark - 1)] = slot
            count += 1
        }
    }

    /// Drops the upper half of the keys.
    /// - Returns: the lowest that was dropped.
    mutating func keepLowerHalf() -> UInt64 {
        let keys = slots.filter { $0.mark != 0 }.map { $0.mark - 1 }.sorted()
        let bound = keys[keys.count / 2]
        rebuild(size: slots.count) { $0 < bound }
        return bound
    }

    public func sorted() -> [(key: QuotaKey, usage: QuotaUsage)] {
        slots.filter { $0.mark != 0 }.map { (QuotaKey(number: $0.mark - 1), $0.usage) }
            .sorted { $0.0 < $1.0 }
    }

    /// What it has of each counter, in any order.
    public func forEach<E>(_ body: (QuotaKey, QuotaUsage) throws(E) -> Void) throws(E) {
        for slot in slots where slot.mark != 0 {
            try body(QuotaKey(number: slot.mark - 1), slot.usage)
        }
    }
}
