// Patch or rebuild: by what the work costs.

import Bytes
import Catalogue
import Foundation
import Testing

import Tidemark

@Suite struct PlanTests {
    /// A catalogue of which `damage` entries of the first index are gone.
    private func damaged(_ records: Int, _ damage: Int) throws -> Catalogue {
        let catalogue = Catalogue()
        try catalogue.transaction { transaction in
            for number in 0..<records {
                let tag = [UInt8(ascii: "a") + UInt8(number % 10)]
                transaction.set(Tagging(item: UInt64(number / 10), tag: tag), weight: 7)
            }
        }
        catalogue.damage(slots[0]) { entries in
            for key in Array(entries.keys.prefix(damage)) { entries[key] = nil }
        }
        return catalogue
    }

    private func report(
        _ catalogue: Catalogue, load: Double?, patch: Double?, isDryRun: Bool = false,
        clock: RunClock = RunClock { 0 }
    ) -> RunReport {
        var options = RunOptions()
        options.strategy = .auto
        options.isDryRun = isDryRun
        options.costs.load = load
        options.costs.patch = patch
        let run = Run(
            owner: catalogue, indexes: [slots[0]], store: MemoryStore(), options: options,
            clock: clock)
        return RunDriver(run).drive()
    }

    @Test(arguments: [(1e-3, 1e-6, "patch"), (1e-6, 1e-3, "rebuild"), (1e-6, 1e-5, "patch")])
    func `what costs less by earlier runs is done`(
        load: Double, patch: Double, action: String
    ) throws {
        let report = report(try damaged(2000, 100), load: load, patch: patch)
        #expect(report.indexes[0].action.rawValue == action)
        let expected = action == "patch" ? 100 * patch : 2000 * load
        let estimate = try #require(report.indexes[0].estimatedSeconds)
        #expect(abs(estimate - expected) < expected / 1000)
        #expect(report.outcome == .repaired)
    }

    @Test func `the reason is given in numbers`() throws {
        let report = report(try damaged(2000, 100), load: 1e-3, patch: 5e-4)
        #expect(
            report.indexes[0].reason
                == "patching 100 entries takes about 0.050 s, rebuilding 2,000 about 2.0 s")
    }

    @Test(arguments: [
        (0.0, "1 µs"), (4.4e-5, "44 µs"), (0.000_999_4, "999 µs"), (0.000_999_6, "0.001 s"),
        (0.0994, "0.099 s"), (0.0996, "0.10 s"), (0.994, "0.99 s"), (0.9949, "0.99 s"),
        (0.995, "1.0 s"), (0.9996, "1.0 s"), (99.96, "100.0 s"), (5999, "99 min"), (6000, "1 h"),
        (3.6e9, "1,000,000 h"), (1e300, "an unknown time"), (-1, "an unknown time"),
        (.nan, "an unknown time"), (.infinity, "an unknown time"),
    ])
    func `every duration has a text`(seconds: Double, text: String) {
        #expect(roughly(seconds) == text)
    }

    @Test func `a dry run says what would be done, and how long it would take`() throws {
        let catalogue = try damaged(2000, 100)
        let before = catalogue.entries(of: slots[0])
        let report = report(catalogue, load: 1e-6, patch: 1, isDryRun: true)
        #expect(report.indexes[0].action == .rebuild)
        #expect(abs(try #require(report.indexes[0].estimatedSeconds) - 0.002) < 1e-6)
        #expect(catalogue.entries(of: slots[0]) == before)
    }

    @Test func `nothing to do takes no time`() throws {
        let report = report(try damaged(2000, 0), load: 1, patch: 1, isDryRun: true)
        #expect(report.indexes[0].action == .none)
        #expect(report.indexes[0].estimatedSeconds == nil)
    }

    @Test func `a run measures what its work has cost, for the next one`() throws {
        let patched = report(try damaged(2000, 100), load: 1, patch: nil, clock: .system)
        #expect(patched.indexes[0].action == .patch)
        #expect(try #require(patched.costs.patch) > 0)
        #expect(try #require(patched.costs.compare) > 0)
        #expect(patched.costs.load == 1, "nothing was loaded")
        let rebuilt = report(try damaged(2000, 100), load: nil, patch: 1, clock: .system)
        #expect(rebuilt.indexes[0].action == .rebuild)
        #expect(try #require(rebuilt.costs.load) < 1)
    }

    @Test func `where the clock stands still the plan is the same every time`() throws {
        for (damage, action) in [(3, IndexReport.Action.patch), (300, .rebuild)] {
            let report = report(try damaged(2000, damage), load: nil, patch: nil)
            #expect(report.indexes[0].action == action)
            #expect(report.costs.compare == nil)
        }
    }

    @Test func `too few entries tell nothing about what one costs`() {
        var costs = PlanCosts()
        costs.note(compared: 10, 1, loaded: 10, 1, patched: 2, 1)
        #expect(costs == PlanCosts())
        costs.note(compared: 2000, 1, loaded: 4000, 1, patched: 100, 1)
        #expect(costs.compare == 1 / 2000 && costs.load == 1 / 4000 && costs.patch == 0.01)
    }
}

@Suite struct RunRecordTests {
    @Test func `a result that the first version has stored is read, by its names`() throws {
        let stored = """
            {"name": "rmap", "entries": 3, "found": {"missing": 1, "stray": 0, "wrong": 0},
             "action": "rebuild", "reason": "", "generation": 5, "kept": 4, "patched": 0,
             "isMended": true}
            """
        let result = try JSONDecoder().decode(
            RunRecord.IndexResult.self, from: Data(stored.utf8))
        #expect(result.previous == 4 && result.generation == 5 && result.found.missing == 1)
        let again = String(decoding: try JSONEncoder().encode(result), as: UTF8.self)
        #expect(again.contains("\"kept\":4"))
    }
}
