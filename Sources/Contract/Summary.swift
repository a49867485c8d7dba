// Summaries: indexes whose entries are counters. The shadow of a summary holds contributions,
// one or a few for each primary record, kept by the same rule as every entry; an entry of the
// summary is the fold of many of them.
//
// A comparison folds the contributions and finds, at the cut c, for each key what is expected
// and what is found. The owner keeps its counters up by increments, modulo the range of their
// integers: so the *correction* expected(c) - found(c) is right at every later commit t too,
// whatever writers do meanwhile: found(t) + correction = expected(t). Hence nothing has to be
// drained, looked up again or laid over to mend a summary.
//
// What breaks otherwise: an owner that sets a counter instead of adding to it, that stops at
// zero, or that forgets the increments of a counter that it can't decode (which counts as
// zero), makes corrections wrong.

public import Bytes

/// What the framework must know of an index that is a summary.
public protocol Summary: Sendable {
    /// The indexes whose shadows are folded: its own contributions, and those that other
    /// indexes hold anyway. A run about the summary alone collects them all.
    var sources: [IndexSlot] { get }

    /// Whether the owner holds it in generations. If not, its counters stand in primary
    /// records, and are corrected in place, in as many transactions as it takes.
    var hasGenerations: Bool { get }

    /// The key at which a comparison may be divided near `key` of the first source: all that
    /// is folded into an entry lies on one side of it. nil: it can't be divided.
    func divider(near key: RawSpan) -> KeyBytes?

    /// A fold over one part of a comparison.
    func makeFold(_ part: any SummaryPart) -> any SummaryFold
}

extension SecondaryIndex {
    /// Most indexes are none: their shadow holds the entries themselves.
    public var summary: (any Summary)? { nil }
}

/// Folds one part, and compares it with the live side. Used by one thread at a time.
public protocol SummaryFold: AnyObject {
    /// Takes about `limit` contributions or entries. Returns false at the end of the part.
    func step(_ limit: Int) throws -> Bool
}

/// One part of the comparison of a summary, as its fold sees it: where contributions and live
/// entries come from, and where what is found goes.
public protocol SummaryPart: AnyObject {
    /// The contributions of source `number`, in key order, from the start of the part. Asked
    /// for again, it starts again.
    func contributions(_ number: Int) throws -> EntryFeed

    /// The entries of the live side, in key order.
    func liveEntries() -> EntryFeed

    /// An entry that the summary should have: for the report, and for the room it takes.
    func expect(keySize: Int, valueSize: Int)

    /// The entry of `key` is as it should be: the next ones may go above it.
    func agree(_ key: RawSpan) throws

    /// A counter is not as it should be, by `correction`. Keys ascend.
    func differ(
        _ kind: Discrepancy.Kind, key: RawSpan, found: RawSpan?, expected: RawSpan?,
        correction: RawSpan
    ) throws

    func defect(_ defect: PrimaryDefect)
}
