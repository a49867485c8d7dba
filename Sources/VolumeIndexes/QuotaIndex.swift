// Quota usage: blocks and inodes by user, group and project, and of the volume as a whole.
// A summary: each inode, unlinked ones too, contributes what it takes to four counters.
//
// Contribution: key inode u64; value uid u32, gid u32, project u32, blocks u64. Entry: see
// `QuotaKey` and `QuotaUsage`. An entry whose counters are both 0 does not exist.

public import Bytes
public import Tidemark
internal import VolumeFormat

public struct QuotaIndex: SecondaryIndex {
    public let name = "quota"

    public init() {}

    public func primaryKey(of key: RawSpan, value: RawSpan) -> KeyBytes {
        guard key.byteCount == InodeRecord.keySize else { return KeyBytes() }
        var primary = KeyBytes(key)
        primary.append(RecordKind.inode.rawValue)
        return primary
    }

    public func fields(key: RawSpan, value: RawSpan) -> [(name: String, value: String)] {
        guard let place = QuotaKey(key) else { return undecodable(key, value) }
        let fields = [("type", "\(place.type)"), ("id", "\(place.id)")]
        guard let usage = QuotaUsage(value) else { return fields + [("value", hexadecimal(value))] }
        return fields + [("blocks", "\(usage.blocks)"), ("inodes", "\(usage.inodes)")]
    }

    public func isWellFormed(key: RawSpan, value: RawSpan) -> Bool {
        QuotaKey(key) != nil && QuotaUsage(value) != nil
    }

    public var summary: (any Summary)? { QuotaSummary() }
}

struct QuotaSummary: Summary {
    let sources = [VolumeSlots.quota]
    let hasGenerations = true
    /// Every part of the inodes contributes to the same counters.
    func divider(near key: RawSpan) -> KeyBytes? { nil }
    func makeFold(_ part: SummaryPart) -> any SummaryFold { QuotaFold(part) }
}

/// Adds up contributions in a table in memory. Where there are more counters than it may hold,
/// it keeps the lower half of their keys, and another pass goes on where they end.
public final class QuotaFold: SummaryFold {
    private let part: SummaryPart
    private let limit: Int
    private var sums: UsageTable?
    private var contributions: EntryFeed?
    /// Keys of the pass, by their numbers: from `lower` on, below `upper`.
    private var lower: UInt64 = 0
    private var upper = UInt64.max
    /// What the pass has found, while it is compared.
    private var expected: [(key: QuotaKey, usage: QuotaUsage)]?
    private var place = 0
    private lazy var live = part.liveEntries()
    public private(set) var passes = 0

    /// - Parameter limit: counters in memory at the most.
    public init(_ part: SummaryPart, limit: Int = 1 << 18) {
        self.part = part
        self.limit = limit
    }

    public func step(_ limit: Int) throws -> Bool {
        if expected != nil { return try compare(limit) }
        let feed = try contributions ?? beginPass()
        // Taken out of the class, and put back: not every addition is checked for exclusive use.
        var sums = sums.take() ?? UsageTable()
        defer { self.sums = sums }
        var bounds = lower..<upper
        for _ in 0..<limit {
            guard try feed.isThere() else {
                endPass(sums)
                sums = UsageTable()
                return true
            }
            guard let share = QuotaShare(feed.value) else {
                throw AbortReason("the shadow of quota holds what can't be: a damaged side file")
            }
            feed.advance()
            sums.add(share, within: bounds)
            guard sums.count > self.limit else { continue }
            upper = sums.keepLowerHalf()
            bounds = lower..<upper
        }
        return true
    }

    private func beginPass() throws -> EntryFeed {
        passes += 1
        let feed = try part.contributions(0)
        contributions = feed
        return feed
    }

    private func endPass(_ sums: UsageTable) {
        expected = sums.sorted().filter { $0.usage != .zero }
        place = 0
        contributions = nil
    }

    // MARK: Comparing

    private func compare(_ limit: Int) throws -> Bool {
        guard let expected else { preconditionFailure("a pass comes before its comparison") }
        for _ in 0..<limit {
            let wanted = place < expected.count ? expected[place] : nil
            let hasLive = try live.isThere() && isBelowUpper(live.key)
            if wanted == nil, !hasLive { return nextPass() }
            try compare(wanted, hasLive)
        }
        return true
    }

    private func compare(
        _ wanted: (key: QuotaKey, usage: QuotaUsage)?, _ hasLive: Bool
    ) throws {
        guard let wanted else { return try takeStray() }
        let bytes = wanted.key.bytes
        let order = hasLive ? compareBytes(bytes.span, live.key) : -1
        if order > 0 { return try takeStray() }
        place += 1
        part.expect(keySize: QuotaKey.size, valueSize: QuotaUsage.size)
        let payload = wanted.usage.bytes
        guard order == 0 else {
            return try part.differ(
                .missing, key: bytes.span, found: nil, expected: payload.span,
                correction: payload.span)
        }
        defer { live.advance() }
        if !live.isDamaged, compareBytes(live.value, payload.span) == 0 {
            return try part.agree(bytes.span)
        }
        let correction = (wanted.usage - foundUsage).bytes
        try part.differ(
            .wrong, key: bytes.span, found: live.decoded,
            expected: payload.span, correction: correction.span)
    }

    private func takeStray() throws {
        let correction = (QuotaUsage.zero - foundUsage).bytes
        try part.differ(
            .stray, key: live.key, found: live.decoded, expected: nil,
            correction: correction.span)
        live.advance()
    }

    /// As the owner counts it: what can't be decoded is zero.
    private var foundUsage: QuotaUsage {
        guard !live.isDamaged, QuotaKey(live.key) != nil else { return .zero }
        return QuotaUsage(live.value) ?? .zero
    }

    private func isBelowUpper(_ key: RawSpan) -> Bool {
        guard upper != .max else { return true }
        let bound = QuotaKey(number: upper).bytes
        return compareBytes(key, bound.span) < 0
    }

    /// - Returns: whether there is one.
    private func nextPass() -> Bool {
        expected = nil
        guard upper != .max else { return false }
        lower = upper
        upper = .max
        return true
    }
}

/// Counters by the numbers of their keys: open addressing, no allocation for each.
struct UsageTable {
    private struct Slot {
        /// One more than the key's number; 0: nothing here.
        var mark: UInt64 = 0
        var usage = QuotaUsage.zero
    }

    private var slots = [Slot](repeating: Slot(), count: 256)
    private(set) var count = 0

    /// Adds what an inode takes to those of its counters whose keys lie in `bounds`.
    @inline(__always)
    mutating func add(_ share: QuotaShare, within bounds: Range<UInt64>) {
        let usage = QuotaUsage(blocks: share.blocks, inodes: 1)
        let numbers = (
            QuotaKey.volume.number, QuotaKey(.user, share.uid).number,
            QuotaKey(.group, share.gid).number, QuotaKey(.project, share.project).number
        )
        if bounds.contains(numbers.0) { add(numbers.0, usage) }
        if bounds.contains(numbers.1) { add(numbers.1, usage) }
        if bounds.contains(numbers.2) { add(numbers.2, usage) }
        if bounds.contains(numbers.3) { add(numbers.3, usage) }
    }

    private mutating func add(_ number: UInt64, _ usage: QuotaUsage) {
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

    func sorted() -> [(key: QuotaKey, usage: QuotaUsage)] {
        slots.filter { $0.mark != 0 }.map { (QuotaKey(number: $0.mark - 1), $0.usage) }
            .sorted { $0.0 < $1.0 }
    }
}
