// What a comparison finds wrong with primary records themselves. No index can be repaired into
// agreement with records that contradict each other: they are reported, never changed.

/// Primary records that contradict each other.
public struct PrimaryDefect: Hashable, Sendable {
    /// What kind of defect, in the owner's own word: `danglingEntry`.
    public let kind: String
    /// Which record, in words a user can look up: `name "a" in directory 5`.
    public let object: String
    /// What is wrong with it.
    public let problem: String
    /// What can't be right as long as it stands.
    public let blocks: String

    public init(kind: String, object: String, problem: String, blocks: String) {
        self.kind = kind
        self.object = object
        self.problem = problem
        self.blocks = blocks
    }
}

/// The defects that a run has found: all are counted, the first `limit` are remembered.
public struct PrimaryDefects: Sendable {
    public static let limit = 1000

    /// How many there are of each kind.
    public private(set) var counts: [String: Int] = [:]
    public private(set) var first: [PrimaryDefect] = []

    public init() {}

    public var total: Int { counts.values.reduce(0, +) }

    package mutating func add(_ defect: PrimaryDefect) {
        counts[defect.kind, default: 0] += 1
        if first.count < PrimaryDefects.limit { first.append(defect) }
    }

    package mutating func add(_ other: PrimaryDefects) {
        counts.merge(other.counts, uniquingKeysWith: +)
        first += other.first.prefix(PrimaryDefects.limit - first.count)
    }

    /// Adds those kinds of which nothing has been told yet.
    package mutating func addKinds(of other: PrimaryDefects) {
        let known = Set(counts.keys)
        counts.merge(other.counts) { mine, _ in mine }
        let new = other.first.filter { !known.contains($0.kind) }
        first += new.prefix(PrimaryDefects.limit - first.count)
    }

    /// Notes `count` more of `kind`, which are only counted.
    package mutating func count(_ kind: String, more count: Int) {
        guard count > 0 else { return }
        counts[kind, default: 0] += count
    }

    /// Forgets those of `kind`, which were mended.
    package mutating func remove(_ kind: String) {
        counts[kind] = nil
        first.removeAll { $0.kind == kind }
    }

    /// Takes back what others have added.
    package mutating func subtract(_ other: PrimaryDefects) {
        for (kind, count) in other.counts {
            let left = (counts[kind] ?? 0) - count
            precondition(left >= 0, "only what was added is taken back")
            counts[kind] = left > 0 ? left : nil
        }
        for defect in other.first {
            if let place = first.firstIndex(of: defect) { first.remove(at: place) }
        }
    }
}
