// What a scanner reads at once.

public import Entries

/// One half-open range of primary keys, opened at a commit boundary. Everything that is
/// read from it carries `sequence`, however much later it is read.
public struct Window: Sendable, Equatable {
    public var range: KeyRange
    public let sequence: SequenceNumber
    /// Tells the windows of one run from each other.
    public let number: Int

    public init(range: KeyRange, sequence: SequenceNumber, number: Int = 0) {
        self.range = range
        self.sequence = sequence
        self.number = number
    }
}
