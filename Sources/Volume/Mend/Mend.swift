// What a mend of one defect is, and who decides.
//
// A defect is two records that contradict each other. Which one is believed is decided by
// witnesses: other records that say the same as one side and were not derived from it today. Two
// against one decide: an entry and its parent pointer against a missing inode; an inode and its
// parent pointer against a missing entry; an extent and its reverse mapping against another
// extent. What loses nothing of what anybody has written needs no witness. Where nothing decides,
// nothing is changed: the mend tells what could be done, and what each would lose, and the
// administrator's preference decides.
//
// Each mend is one short transaction at a commit boundary. It looks again before it writes: what
// is dead, removed, made again or changed meanwhile is left alone.

internal import Bytes
internal import LMDB
internal import Threads
internal import Tidemark
internal import VolumeFormat
public import VolumeVerify

/// What became of one defect.
public struct Mend: Hashable, Sendable {
    public enum Outcome: String, Sendable, CaseIterable {
        /// It is mended, or a part of it is and the next survey sees the rest.
        case mended
        /// It is there no longer.
        case gone
        /// What it is about was changed since the survey, or is in use just now: look again.
        case changed
        /// It can't be mended before something else is.
        case waiting
        /// Nothing decides between the choices.
        case undecided
        /// There is no mend.
        case hopeless
    }

    public let outcome: Outcome
    /// What was done, and which witnesses have decided it; or why nothing was.
    public let what: String
    /// What is lost by it; nil: nothing that anybody has written.
    public let loses: String?
    public let choices: [Choice]

    /// A way to mend it, for a preference.
    public struct Choice: Hashable, Sendable {
        public let name: String
        public let loses: String

        init(_ name: String, loses: String) {
            self.name = name
            self.loses = loses
        }
    }

    static func mended(_ what: String, loses: String? = nil) -> Mend {
        Mend(outcome: .mended, what: what, loses: loses, choices: [])
    }

    static let gone = Mend(
        outcome: .gone, what: "it is there no longer", loses: nil, choices: [])

    static func changed(_ what: String) -> Mend {
        Mend(outcome: .changed, what: what, loses: nil, choices: [])
    }

    static func waiting(_ what: String) -> Mend {
        Mend(outcome: .waiting, what: what, loses: nil, choices: [])
    }

    static func undecided(_ what: String, _ choices: [Choice]) -> Mend {
        Mend(outcome: .undecided, what: what, loses: nil, choices: choices)
    }

    static func hopeless(_ what: String) -> Mend {
        Mend(outcome: .hopeless, what: what, loses: nil, choices: [])
    }
}

/// What the administrator prefers where nothing decides: the name of a choice, by kind of defect.
/// `report` leaves all defects of the kind alone.
public struct Preferences: Hashable, Sendable {
    public private(set) var choices: [VolumeVerify.PrimaryDefect: String] = [:]

    public static let report = "report"

    public init() {}

    /// Choices of each kind that has any, besides `report`.
    public static func choices(for kind: VolumeVerify.PrimaryDefect) -> [String] {
        switch kind {
        case .danglingEntry: ["remove", "recreate"]
        case .entryType: ["entry", "inode"]
        case .directoryNames: ["first"]
        case .extentOffsetOverlap: ["first", "second"]
        case .extentOverlap: ["hole"]
        case .attributeOverlap: ["remove"]
        default: []
        }
    }

    /// - Returns: false, and nothing changes, where `kind` has no such choice.
    public mutating func prefer(_ choice: String, for kind: VolumeVerify.PrimaryDefect) -> Bool {
        guard choice == Preferences.report || Preferences.choices(for: kind).contains(choice)
        else { return false }
        choices[kind] = choice
        return true
    }

    subscript(kind: VolumeVerify.PrimaryDefect) -> String? { choices[kind] }
}

extension Volume {
    /// Nanoseconds for which mends hold the commit boundary in one go.
    private static let holdTarget: UInt64 = 1_500_000

    /// Mends some of `findings`, from the first one on, while it holds the commit boundary for a
    /// millisecond or so: each in a transaction of its own.
    /// - Parameter scrub: the number in whose journal it is written down; nil: it can't be undone.
    /// - Returns: what became of them: of one at least.
    public func mend(
        _ findings: ArraySlice<Finding>, of survey: Survey, _ preferences: Preferences,
        scrub: UInt64? = nil
    ) throws -> [Mend] {
        guard !isReadOnly else { throw VolumeError.readOnly("volume \(path)") }
        return try core.atBoundary { operations in
            let end = monotonicNanoseconds() + Volume.holdTarget
            var done: [Mend] = []
            try operations.openMendTables()
            for finding in findings {
                done.append(
                    try operations.mendAlone(finding, survey.news, preferences, scrub))
                if monotonicNanoseconds() >= end { break }
            }
            return done
        }
    }
}

extension Operations {
    /// One mend in one transaction. What other damage keeps it from is no error.
    fileprivate mutating func mendAlone(
        _ finding: Finding, _ news: News, _ preferences: Preferences, _ scrub: UInt64?
    ) throws -> Mend {
        guard case .defect(let kind) = finding.kind else { return .gone }
        if preferences[kind] == Preferences.report { return .undecided("to be reported only", []) }
        // Until what was copied is committed whoever writes to the blocks waits.
        defer {
            if let lock = mendLock { core.blockGuard.unlock(lock) }
            mendLock = nil
        }
        do {
            let before = try core.environment.beginRead()
            return try atBoundary { operations in
                operations.now = operations.core.clock()
                guard let scrub else {
                    return try operations.mend(kind, finding, news, preferences)
                }
                let log = RedoLog(), counters = operations.counters
                operations.transaction.note(in: log)
                let mend = try operations.mend(kind, finding, news, preferences)
                guard mend.outcome == .mended else { return mend }
                try operations.note(kind.rawValue, of: scrub, log, before: before, counters)
                return mend
            }
        } catch let error as VolumeError {
            switch error {
            case .damaged, .groupAborted: return .waiting("another defect is in the way: \(error)")
            case .noSpace: return .waiting("there is no room: \(error)")
            case .stopped, .io, .readOnly: throw error
            default: return .hopeless("\(error)")
            }
        }
    }

    private mutating func mend(
        _ kind: VolumeVerify.PrimaryDefect, _ finding: Finding, _ news: News,
        _ preferences: Preferences
    ) throws -> Mend {
        if let mend = try mendRecord(kind, finding) { return mend }
        if let mend = try mendName(kind, finding, news, preferences) { return mend }
        if let mend = try mendDirectory(kind, finding, news, preferences) { return mend }
        if let mend = try mendFreeSpace(kind, finding, news) { return mend }
        if let mend = try mendExtent(kind, finding, news, preferences) { return mend }
        if let mend = try mendSmallRecord(kind, finding, news, preferences) { return mend }
        if let mend = try mendNumber(kind, finding, news) { return mend }
        return .hopeless(kind.mend)
    }

    // MARK: What mends look up

    /// Whether the table has a record under this key, which may be damaged.
    func isThere(_ table: Table, _ key: RawSpan) throws -> Bool {
        try transaction.get(table, key) != nil
    }

    func hasInode(_ n: InodeNumber) throws -> Bool {
        try isThere(core.tables.inodes, InodeRecord.key(n).span)
    }

    /// Whether the number is free, or was never used: two tables that agree that no such inode is.
    func isFreeNumber(_ n: InodeNumber) throws -> Bool {
        if n >= counters.nextInode { return true }
        return try isThere(core.tables.freeInodes, InodeRecord.key(n).span)
    }

    /// Whether the table has a record whose key begins with the number.
    func hasAny(_ table: Table, _ n: InodeNumber) throws -> Bool {
        var cursor = try transaction.readCursor(table)
        guard try cursor.seek(InodeRecord.key(n).span), cursor.key.byteCount >= 8 else {
            return false
        }
        return cursor.key.integer(at: 0, as: UInt64.self) == n
    }

    /// Adds to the count of free blocks, modulo 2^64. What is added may follow a record that lies:
    /// a count that no volume can have would keep this one from being opened again. Where the
    /// count is not what is free afterwards, the next survey finds by how much.
    mutating func countFree(_ change: UInt64) {
        let free = counters.freeBlocks &+ change
        let isNegative = Int64(bitPattern: change) < 0
        counters.freeBlocks =
            free <= core.geometry.blocks ? free : isNegative ? 0 : core.geometry.blocks
    }

    /// The mount and its kernel are to forget what they know of an inode.
    mutating func isMending(_ n: InodeNumber) { corrected.append(n) }

    mutating func isMending(_ dir: InodeNumber, _ name: [UInt8]) {
        corrected.append(dir)
        correctedNames.append(VolumeName(directory: dir, name: name))
    }
}
