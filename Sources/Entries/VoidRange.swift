// Ranges whose derived entries are void.

/// "What was derived from these primary keys, up to this sequence, does not count."
package struct VoidRange: Sendable, Equatable {
    package let range: KeyRange
    package let sequence: SequenceNumber

    package init(range: KeyRange, sequence: SequenceNumber) {
        self.range = range
        self.sequence = sequence
    }
}
