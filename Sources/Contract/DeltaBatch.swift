// The changes of one transaction, collected while it runs and reported when it commits.
//
// An owner keeps one of these, clears it when a transaction begins, or aborts (I2), and
// hands it to its hooks after the commit.

public import Bytes
public import Entries

public struct DeltaBatch: ~Copyable, Sendable {
    @usableFromInline var arena: ByteArena
    public private(set) var count = 0

    public init() { arena = ByteArena(capacity: 1 << 16) }

    /// What they take in memory, and in a hook log.
    public var byteCount: Int { arena.count }

    /// The transaction removes the entry that `primary` derived.
    public mutating func remove(_ index: IndexSlot, primary: RawSpan, key: RawSpan) {
        append(.removed, index, primary, key, RawSpan())
    }

    /// The transaction adds an entry, or replaces its value.
    public mutating func add(
        _ index: IndexSlot, primary: RawSpan, key: RawSpan, value: RawSpan
    ) {
        append(.added, index, primary, key, value)
    }

    /// The transaction changed records of `range` in a way that can't be told exactly: what
    /// was derived from them up to here no longer counts, read them again.
    public mutating func void(_ range: KeyRange) {
        if let upper = range.upper {
            append(.void, IndexSlot(0), range.lower.span, upper.span, RawSpan())
        } else {
            append(.voidToEnd, IndexSlot(0), range.lower.span, RawSpan(), RawSpan())
        }
    }

    public mutating func removeAll() {
        arena.removeAll()
        count = 0
    }

    /// A place between two deltas.
    public struct Position: Sendable {
        fileprivate let count, bytes: Int
    }

    /// Behind the last delta so far.
    public var end: Position { Position(count: count, bytes: arena.count) }

    /// Forgets what was appended after `position`.
    public mutating func cut(to position: Position) {
        precondition(position.count <= count, "a place that is not reached yet")
        arena.cut(to: position.bytes)
        count = position.count
    }

    // MARK: In a hook log

    /// Hands `body` the deltas as bytes, in pieces of up to `limit` bytes or of one delta, each
    /// with the ordinal of its first delta: what a hook log stores.
    public func encode(
        limit: Int, _ body: (_ ordinal: Int, _ bytes: RawSpan) throws -> Void
    ) rethrows {
        var start = 0, end = 0, first = 0
        for ordinal in 0..<count {
            let next = delta(at: end).end
            if next - start > limit, end > start {
                try body(first, arena.bytes(at: start, end - start))
                start = end
                first = ordinal
            }
            end = next
        }
        if end > start { try body(first, arena.bytes(at: start, end - start)) }
    }

    /// Takes over what `encode` gave, in place of all that is here.
    /// - Returns: false, and nothing is here, where the bytes are no deltas.
    public mutating func decode(_ bytes: RawSpan) -> Bool {
        removeAll()
        arena.append(bytes)
        var position = 0
        while position < arena.count {
            guard let next = end(ofDeltaAt: position) else {
                removeAll()
                return false
            }
            position = next
            count += 1
        }
        return true
    }

    private func end(ofDeltaAt position: Int) -> Int? {
        guard position + Delta.headerSize <= arena.count,
            Delta.Kind(rawValue: arena.load(at: position)) != nil
        else { return nil }
        var end = position + Delta.headerSize
        for field in [2, 4, 6] { end += Int(arena.load(at: position + field, as: UInt16.self)) }
        return end <= arena.count ? end : nil
    }

    private mutating func append(
        _ kind: Delta.Kind, _ index: IndexSlot, _ primary: RawSpan, _ key: RawSpan,
        _ value: RawSpan
    ) {
        arena.append(native: kind.rawValue)
        arena.append(native: UInt8(index.rawValue))
        arena.append(native: UInt16(primary.byteCount))
        arena.append(native: UInt16(key.byteCount))
        arena.append(native: UInt16(value.byteCount))
        arena.append(primary)
        arena.append(key)
        arena.append(value)
        count += 1
    }

    /// The delta at `position`; the next one is at its `end`.
    @inlinable
    @_lifetime(borrow self)
    package func delta(at position: Int) -> Delta {
        guard let kind = Delta.Kind(rawValue: arena.load(at: position)) else {
            preconditionFailure("deltas are read where one begins")
        }
        let primary = Int(arena.load(at: position + 2, as: UInt16.self))
        let key = Int(arena.load(at: position + 4, as: UInt16.self))
        let value = Int(arena.load(at: position + 6, as: UInt16.self))
        let start = position + Delta.headerSize
        return Delta(
            kind: kind, slot: Int(arena.load(at: position + 1, as: UInt8.self)),
            end: start + primary + key + value, primary: arena.bytes(at: start, primary),
            key: arena.bytes(at: start + primary, key),
            value: arena.bytes(at: start + primary + key, value))
    }
}

/// One delta in place. In the arena: kind u8, slot u8, primary key length u16, key length
/// u16, value length u16, then the three byte strings.
@usableFromInline
package struct Delta: ~Escapable {
    @usableFromInline
    package enum Kind: UInt8 {
        case removed = 0, added = 1
        /// The primary key is the lower end of a range, the key its upper end.
        case void = 2
        /// A void without an upper end.
        case voidToEnd = 3
    }

    @usableFromInline package static var headerSize: Int { @inlinable get { 8 } }

    @usableFromInline package let kind: Kind
    @usableFromInline package let slot: Int
    @usableFromInline package let end: Int
    @usableFromInline package let primary, key, value: RawSpan

    @inlinable
    @_lifetime(copy primary, copy key, copy value)
    package init(kind: Kind, slot: Int, end: Int, primary: RawSpan, key: RawSpan, value: RawSpan) {
        self.kind = kind
        self.slot = slot
        self.end = end
        self.primary = primary
        self.key = key
        self.value = value
    }
}
