// What the framework must know of an index: very little. Its entries are byte strings,
// ordered by their keys.

public import Bytes

/// The position of an index in `Owner.indexes`.
public struct IndexSlot: Hashable, Sendable, Comparable, Codable {
    public let rawValue: Int
    public init(_ rawValue: Int) { self.rawValue = rawValue }
    public static func < (a: IndexSlot, b: IndexSlot) -> Bool { a.rawValue < b.rawValue }
}

/// An index derived from primary records.
///
/// The rule: an entry's key and value together name the primary record that it was derived
/// from, and two primary records never derive the same key. What breaks otherwise: a void
/// could not find what it covers, and "the newest wins" would let one record's change
/// hide another's entry.
public protocol SecondaryIndex: Sendable {
    /// The name users give: `rmap`.
    var name: String { get }

    /// The key of the primary record that the entry was derived from.
    func primaryKey(of key: RawSpan, value: RawSpan) -> KeyBytes

    /// The entry as fields for people and for JSON, in the order to be shown. Bytes that
    /// can't be decoded are shown in hexadecimal; it must not trap.
    func fields(key: RawSpan, value: RawSpan) -> [(name: String, value: String)]

    /// Whether the bytes can be an entry at all: the last check before a commit.
    func isWellFormed(key: RawSpan, value: RawSpan) -> Bool

    /// The key near `key`, at or below it, at which a comparison may be divided.
    func divider(near key: RawSpan) -> KeyBytes

    /// Whether the entry, whose key lies below `position`, reaches to it or beyond it.
    func reaches(_ position: RawSpan, key: RawSpan, value: RawSpan) -> Bool

    /// How its entries are folded, where it is a summary; nil: its shadow holds its entries.
    var summary: (any Summary)? { get }
}

extension SecondaryIndex {
    /// Entries that have nothing to do with each other may be divided anywhere.
    public func divider(near key: RawSpan) -> KeyBytes { KeyBytes(key) }

    /// Entries that stand for their key alone reach nowhere.
    public func reaches(_ position: RawSpan, key: RawSpan, value: RawSpan) -> Bool { false }
}

/// One index entry with its value, for cold paths.
public struct Entry: Hashable, Sendable {
    public var key: [UInt8]
    public var value: [UInt8]

    public init(key: [UInt8], value: [UInt8]) {
        self.key = key
        self.value = value
    }
}
