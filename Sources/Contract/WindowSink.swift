// Where the reader of a window puts what it finds.

internal import Bytes
package import Entries

/// A primary record that could not be read.
public struct PrimaryDamage: Hashable, Sendable {
    /// Which record, in words a user can look up: `extents of inode 17, offset 4`.
    public let object: String
    /// What is wrong with it.
    public let problem: String

    public init(object: String, problem: String) {
        self.object = object
        self.problem = problem
    }
}

/// Collects the entries derived from one window. One thread at a time.
@safe
public final class WindowSink {
    /// One batch for each index; nil for those that the run does not want.
    package let batches: [EntryBatch?]
    /// The same, kept alive by them: no retain and release for each entry.
    private let targets: [Unmanaged<EntryBatch>?]
    package let sequence: SequenceNumber
    /// Primary records read so far.
    public package(set) var records = 0
    public private(set) var damage: [PrimaryDamage] = []
    /// What the owner has emitted that can't be taken, in words.
    package private(set) var violation: String?
    /// Of what is emitted only this is kept; nil: all.
    private let indexRange: Scope.IndexRange?
    private let indexes: [any SecondaryIndex]

    package init(
        batches: [EntryBatch?], sequence: SequenceNumber, indexRange: Scope.IndexRange? = nil,
        of indexes: [any SecondaryIndex] = []
    ) {
        self.indexRange = indexRange
        self.indexes = indexes
        self.batches = batches
        unsafe targets = unsafe batches.map { batch in
            unsafe batch.map { unsafe Unmanaged.passUnretained($0) }
        }
        self.sequence = sequence
    }

    /// Bytes of all entries so far.
    package var byteCount: Int { batches.reduce(0) { $0 + ($1?.byteCount ?? 0) } }

    /// An owner may have more indexes than the run knows of.
    public func wants(_ index: IndexSlot) -> Bool {
        index.rawValue < batches.count && batches[index.rawValue] != nil
    }

    /// An entry of `index`, derived from a record of the window. One longer than an entry may
    /// be (`EntryBatch.canHold`), or of an index that there is not, ends the run with a reason.
    public func emit(_ index: IndexSlot, key: RawSpan, value: RawSpan) {
        guard batches.indices.contains(index.rawValue) else {
            violation = "an entry of index \(index.rawValue), of \(batches.count)"
            return
        }
        guard EntryBatch.canHold(keySize: key.byteCount, valueSize: value.byteCount) else {
            violation = "an entry of \(key.byteCount) + \(value.byteCount) bytes"
            return
        }
        if let indexRange, !indexRange.holds(indexes[index.rawValue], key: key, value: value) {
            return
        }
        unsafe targets[index.rawValue]?._withUnsafeGuaranteedRef {
            $0.append(key: key, value: value, sequence: sequence, isPresent: true)
        }
    }

    /// Counts primary records that were read, whether or not they derived anything.
    public func count(records: Int) { self.records += records }

    /// A record is skipped: the run will be incomplete.
    public func skip(_ damage: PrimaryDamage) { self.damage.append(damage) }
}
