// When an item was true: the owner's commit and the place within it.

/// A commit number and an ordinal within the commit, as one integer, so that "newer" is
/// one comparison. The commit has the upper 44 bits, the ordinal the lower 20.
public struct SequenceNumber: Hashable, Comparable, Sendable {
    public let raw: UInt64

    public static var maximumOrdinal: Int { @inlinable get { (1 << 20) - 1 } }
    /// Older than anything that happens.
    public static var none: SequenceNumber { @inlinable get { SequenceNumber(raw: 0) } }

    @inlinable
    public init(raw: UInt64) { self.raw = raw }

    @inlinable
    public init(commit: UInt64, ordinal: Int) {
        precondition(
            SequenceNumber.canHold(commit: commit, ordinal: ordinal),
            "commit number beyond its 44 bits, or ordinal beyond its 20")
        raw = commit << 20 | UInt64(ordinal)
    }

    /// Whether both fit: what comes from an owner is asked first.
    @inlinable
    public static func canHold(commit: UInt64, ordinal: Int = maximumOrdinal) -> Bool {
        commit < 1 << 44 && ordinal >= 0 && ordinal <= maximumOrdinal
    }

    /// The state after all of a commit: what a window opened behind it sees.
    @inlinable
    public static func end(of commit: UInt64) -> SequenceNumber {
        SequenceNumber(commit: commit, ordinal: maximumOrdinal)
    }

    @inlinable
    public var commit: UInt64 { raw >> 20 }
    @inlinable
    public var ordinal: Int { Int(raw & UInt64(SequenceNumber.maximumOrdinal)) }

    @inlinable
    public static func < (a: SequenceNumber, b: SequenceNumber) -> Bool { a.raw < b.raw }
}
