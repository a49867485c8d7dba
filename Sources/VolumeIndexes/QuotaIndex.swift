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
    func makeFold(_ part: any SummaryPart) -> any SummaryFold { QuotaFold(part) }
}

/// Adds up contributions in a table in memory. Where there are more counters than it may hold,
/// it keeps the lower half of their keys, and another pass continues where they end.
public final class QuotaFold: SummaryFold {
    private let part: any SummaryPart
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
    public init(_ part: any SummaryPart, limit: Int = 1 << 18) {
        self.part = part
        self.limit = limit
    }

    public func step(_ limit: Int) throws -> Bool {
        if expected != nil { return try compare(limit) }
        let feed = try contributions ?? beginPass()
        // Taken out of the class, and put back: not every addition is checked for exclusive use.
        var sums = sums.take() ?? UsageTable()
        defer { self.sums = sums }
        if try !add(limit, of: feed, to: &sums) {
            endPass(sums)
            sums = UsageTable()
        }
        return true
    }

    /// Adds up to `limit` contributions. Returns false at their end.
    private func add(_ limit: Int, of feed: EntryFeed, to sums: inout UsageTable) throws -> Bool {
        var bounds = lower..<upper
        // All inodes add to the counter of the volume, the lowest of all: it is added once.
        var volume = QuotaUsage.zero
        defer { if lower == 0 { sums.add(QuotaKey.volume.number, volume) } }
        for _ in 0..<limit {
            guard try feed.isThere() else { return false }
            guard let share = QuotaShare(feed.value) else {
                throw AbortReason("the shadow of quota holds what can't be: a damaged side file")
            }
            feed.advance()
            volume = volume + QuotaUsage(blocks: share.blocks, inodes: 1)
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
        if !live.isDamaged, compareBytes(live.value, payload.span) == 0 {
            live.advance()
            guard try passSecond(bytes.span) else { return try part.agree(bytes.span) }
            // To correct it is to have nothing but the right one.
            let none = QuotaUsage.zero.bytes
            return try part.differ(
                .stray, key: bytes.span, found: nil, expected: nil, correction: none.span)
        }
        let correction = (wanted.usage - foundUsage).bytes
        try part.differ(
            .wrong, key: bytes.span, found: live.decoded,
            expected: payload.span, correction: correction.span)
        live.advance()
        _ = try passSecond(bytes.span)
    }

    /// Passes by an entry under a key that was taken: the volume's own usage stands in its
    /// counters, and a damaged table may have an entry there too.
    /// - Returns: whether there is one.
    private func passSecond(_ key: RawSpan) throws -> Bool {
        guard try live.isThere(), compareBytes(live.key, key) == 0 else { return false }
        live.advance()
        return true
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
