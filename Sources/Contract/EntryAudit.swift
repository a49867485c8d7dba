// Audits: what the owner can tell of its primary records when it sees the entries that they
// derive in the order of an index, beside what else it holds. The framework shows it the
// entries that a comparison expects; what is judged, it does not know.
//
// A comparison is made in parts, side by side, and what is wrong may reach from one part into
// the next. So an audit goes on beyond the end of its part, in two states: the one in which it
// came there, and the one in which the next part's audit has begun. What only the first finds
// nobody has found: it is added. What only the second finds was found for want of knowing what
// came before: it is taken back. Once the two states can't be told apart any more, nothing that
// follows is either, and the audit is done; as a rule at once.
//
// So part p tells all that a sweep from its start finds, less what one from its end finds, and
// the sum over all parts is what one sweep over everything finds: each defect once, over however
// many parts it reaches.

public import Entries

/// The judgement of one part of a comparison. Used by one thread at a time.
public protocol EntryAudit: AnyObject {
    /// The next expected entries in key order: first those of the part, then those beyond it,
    /// as long as `isDone` is false.
    func take(_ entries: EntryBatch) throws

    /// There are no more entries.
    func end() throws

    /// Whether entries that follow make no difference any more. Never before the end of the part.
    var isDone: Bool { get }

    var findings: AuditFindings { get }
}

/// What the audit of one part has found.
public struct AuditFindings: Sendable {
    package private(set) var added = PrimaryDefects()
    package private(set) var takenBack = PrimaryDefects()

    public init() {}

    public mutating func add(_ defect: PrimaryDefect) { added.add(defect) }

    /// The audit of a later part tells of `defect`, which is none.
    public mutating func takeBack(_ defect: PrimaryDefect) { takenBack.add(defect) }
}
