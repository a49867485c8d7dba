// What a comparison finds.

/// How the live index differs from the shadow at one key.
public struct Discrepancy: Hashable, Sendable, Codable {
    public enum Kind: String, Sendable, CaseIterable, Codable {
        /// The live index lacks the entry.
        case missing
        /// The live index has an entry that no primary record derives.
        case stray
        /// The live entry has another value, or can't be decoded.
        case wrong
    }

    public let index: IndexSlot
    public let kind: Kind
    public let key: [UInt8]
    /// The live index's value; nil where it has none or it can't be decoded.
    public let found: [UInt8]?
    /// The shadow's value; nil where it has none.
    public let expected: [UInt8]?

    public init(
        index: IndexSlot, kind: Kind, key: [UInt8], found: [UInt8]?, expected: [UInt8]?
    ) {
        self.index = index
        self.kind = kind
        self.key = key
        self.found = found
        self.expected = expected
    }
}

public struct DiscrepancyCounts: Hashable, Sendable, Codable {
    public var missing = 0
    public var stray = 0
    public var wrong = 0

    public init() {}
    public var total: Int { missing + stray + wrong }

    package mutating func add(_ kind: Discrepancy.Kind) {
        switch kind {
        case .missing: missing += 1
        case .stray: stray += 1
        case .wrong: wrong += 1
        }
    }

    package mutating func add(_ other: DiscrepancyCounts) {
        missing += other.missing
        stray += other.stray
        wrong += other.wrong
    }
}
