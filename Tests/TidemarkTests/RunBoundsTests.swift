// What a run's record and its position have to be to be believed.

import Catalogue
import Testing

@testable import Tidemark

@Suite struct RunBoundsTests {
    private static func record(
        _ change: (inout RunRecord) -> Void = { _ in }
    ) -> RunRecord {
        var record = RunRecord(number: 5, indexes: ["tags"], strategy: .auto)
        record.state = .stopped
        record.logFrom = 800
        record.ownerCommit = 900
        change(&record)
        return record
    }

    private static func checkpoint(_ commit: UInt64) -> Checkpoint {
        Checkpoint(
            commit: commit,
            position: HookPoint.Position(cursor: nil, unread: [], applied: 0, elided: 0),
            voids: [], runs: [[]], nextRun: 0, primaryRecords: 0, windows: 0, damage: [],
            damageCount: 0, scope: nil)
    }

    @Test(arguments: [
        (800, 900, nil), (850, 900, nil), (900, 1100, nil),
        (799, 1100, "the side file is older than the hook log"),
        (950, 940, "the side file is newer than the volume"),
        // An older copy of the owner was put back, and has gone on beyond the position.
        (
            990, 1100,
            "the side file is of another history: an older copy of the volume was put back"
        ),
    ] as [(UInt64, UInt64, String?)])
    func `a position is of the history that the record is of`(
        commit: UInt64, owner: UInt64, refusal: String?
    ) {
        let said = Keeping.refusal(
            Self.record(), Self.checkpoint(commit), lastCommit: owner, indexes: [TagIndex()])
        #expect(said == refusal)
    }

    @Test func `a record of a version that noted no commit is believed as before`() {
        let record = Self.record { $0.ownerCommit = nil }
        let said = Keeping.refusal(
            record, Self.checkpoint(990), lastCommit: 1100, indexes: [TagIndex()])
        #expect(said == nil)
    }

    private static let wrong: [(String, @Sendable (inout RunRecord) -> Void)] = [
        ("resumes", { $0.resumes = .max }),
        ("fewer than no resumes", { $0.resumes = -1 }),
        ("started", { $0.started = .infinity }),
        ("ended", { $0.ended = -1 }),
        ("a share of nothing", { $0.limits = limits { $0.share = 0 } }),
        ("a window of nothing", { $0.limits = limits { $0.window = 0 } }),
        ("the queue", { $0.limits = limits { $0.queueBytes = -1 } }),
        ("sorting", { $0.limits = limits { $0.sortBytes = .max } }),
        ("the duration", { $0.limits = limits { $0.maximumSeconds = .infinity } }),
        ("what it stops after", { $0.limits = limits { $0.stopAfter = -5 } }),
        ("what an entry costs", { $0.costs = costs(1e205) }),
        ("what an entry gives back", { $0.costs = costs(-1) }),
        ("records", { $0.progress.primaryRecords = .max }),
        ("windows", { $0.progress.windows = -1 }),
        ("what was found", { $0.results = [result { $0.found.stray = .max }] }),
        ("entries", { $0.results = [result { $0.entries = .min }] }),
        ("a recheck", { $0.results = [result { $0.recheck = counts(.max) }] }),
    ]

    private static func limits(_ change: (inout RunLimits) -> Void) -> RunLimits {
        var limits = RunLimits()
        change(&limits)
        return limits
    }

    private static func costs(_ load: Double) -> PlanCosts {
        var costs = PlanCosts()
        costs.load = load
        return costs
    }

    private static func counts(_ missing: Int) -> DiscrepancyCounts {
        var counts = DiscrepancyCounts()
        counts.missing = missing
        return counts
    }

    private static func result(
        _ change: (inout RunRecord.IndexResult) -> Void
    ) -> RunRecord.IndexResult {
        var result = RunRecord.IndexResult(name: "tags")
        change(&result)
        return result
    }

    @Test func `a record with a number that no run can have is none`() {
        #expect(Self.record().isWithinBounds)
        #expect(Self.record { $0.limits = RunLimits() }.isWithinBounds)
        #expect(Self.record { $0.costs = Self.costs(1.2e-5) }.isWithinBounds)
        for (what, change) in Self.wrong {
            #expect(!Self.record(change).isWithinBounds, "\(what)")
        }
    }
}
