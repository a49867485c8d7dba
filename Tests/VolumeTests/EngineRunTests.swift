// Whole runs on a volume whose storage runs out: nothing is lost, and it is said what happened.

import Bytes
import Tidemark
import Testing
import VolumeFormat

@testable import Volume

@Suite struct EngineRunTests {
    private let parents = IndexSlot(1)

    private func fill(_ volume: Volume, files: Int) throws {
        try volume.perform { operations in
            for number in 0..<files {
                _ = try operations.create(.root, Array("file number \(number)".utf8), NewInode())
            }
        }
    }

    private func rebuild(_ volume: Volume, _ store: any SideStore) -> RunReport {
        var options = RunOptions()
        options.strategy = .rebuild
        let run = Run(
            owner: volume, indexes: [parents], store: store, options: options, clock: .system)
        return RunDriver(run).drive()
    }

    @Test func `no room for a new generation is found before the load`() throws {
        try withVolume(open: { $0.metadataLimit = 8 << 20 }) { volume in
            #expect(throws: VolumeError.self) { try fill(volume, files: 100_000) }
            let before = try volume.contents()
            let report = rebuild(volume, MemoryStore())
            #expect(report.outcome == .aborted)
            #expect(
                report.reason?.contains("no space for a new generation of parents") == true,
                "\(report.reason ?? "")")
            #expect(report.seconds.load < 1 && report.indexes[0].generation == nil)
            #expect(try volume.contents() == before)
            // It stays usable.
            try volume.perform { operations in
                _ = try operations.unlink(.root, Array("file number 0".utf8))
            }
        }
    }

    @Test func `a full side file ends the run and leaves the volume as it was`() throws {
        try withVolume { volume in
            try fill(volume, files: 20_000)
            let before = try volume.contents()
            let path = volume.runsDirectory + "/run-test.mdb"
            let report = rebuild(volume, try SideFile(path: path, limit: 256 << 10))
            #expect(report.outcome == .aborted)
            #expect(report.reason?.contains("MDB_MAP_FULL") == true, "\(report.reason ?? "")")
            #expect(try volume.contents() == before)
        }
    }

    /// Thrown between two steps.
    private struct Stop: Error {}

    @Test func `a load that a run never came to go on with is given up at its end`() throws {
        try withVolume { volume in
            try fill(volume, files: 100)
            _ = try volume.damage(index: "parents", count: 5, kind: .mixed, seed: 1)
            let store = MemoryStore()
            var first = SteppedRun(
                volume, [parents], .rebuild, seed: 1, store: store,
                keeping: Keeping(
                    new: RunRecord(number: 1, indexes: ["parents"], strategy: .rebuild)))
            var stretches = 0
            #expect(throws: Stop.self) {
                _ = try first.finish { [run = first.run] step in
                    if run.state == .loading, step == .load { stretches += 1 }
                    if stretches == 3 {
                        run.suspend(.stopped, "the test")
                        throw Stop()
                    }
                }
            }
            func loading() throws -> Int {
                try volume.statistics().generations.count { $0.record.state == .loading }
            }
            #expect(try loading() == 1)
            let (survivor, checkpoint) = try #require(store.survivor())
            let record = try #require(try volume.runs().last)
            let second = SteppedRun(
                volume, [parents], .rebuild, seed: 2, store: survivor,
                keeping: Keeping(record, from: checkpoint))
            try second.run.prepare()
            #expect(try loading() == 1)
            #expect(second.run.finish(AbortReason("no room for the side file")) == nil)
            #expect(try loading() == 0)
            #expect(try volume.runs().last?.state == .aborted)
        }
    }
}
