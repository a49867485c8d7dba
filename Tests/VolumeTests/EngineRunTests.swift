// Whole runs on a volume whose storage runs out: nothing is lost, and it is said what happened.

import Bytes
import Tidemark
import TestSupport
import Testing
import VolumeFormat

@testable import Volume

@Suite(.temporaryDirectory) struct EngineRunTests {
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
            #expect(report.indexes[0].generation == nil)
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

    /// A repair of `parents` that was stopped in the middle of its load.
    private func stopInLoad(_ volume: Volume) throws -> (MemoryStore, Keeping) {
        try fill(volume, files: 100)
        _ = try volume.damage(index: "parents", count: 5, kind: .mixed, seed: 1)
        let store = MemoryStore()
        var first = SteppedRun(
            volume, [parents], .rebuild, seed: 1, store: store,
            keeping: Keeping(
                new: RunRecord(number: 1, indexes: ["parents"], strategy: .rebuild)))
        var batches = 0
        #expect(throws: Stop.self) {
            _ = try first.finish { [run = first.run] step in
                if run.state == .loading, step == .load { batches += 1 }
                if batches == 3 {
                    run.suspend(.stopped, "the test")
                    throw Stop()
                }
            }
        }
        #expect(try loading(volume) == 1)
        let (survivor, checkpoint) = try #require(store.survivor())
        let record = try #require(try volume.runs().last)
        return (survivor, Keeping(record, from: checkpoint))
    }

    private func loading(_ volume: Volume) throws -> Int {
        try volume.statistics().generations.count { $0.record.state == .loading }
    }

    @Test func `a load that a run never came to go on with is given up at its end`() throws {
        try withVolume { volume in
            let (survivor, keeping) = try stopInLoad(volume)
            let second = SteppedRun(
                volume, [parents], .rebuild, seed: 2, store: survivor, keeping: keeping)
            try second.run.prepare()
            #expect(try loading(volume) == 1)
            #expect(second.run.finish(AbortReason("no room for the side file")) == nil)
            #expect(try loading(volume) == 0)
            #expect(try volume.runs().last?.state == .aborted)
        }
    }

    @Test(arguments: [false, true])
    func `a run that only looks, or patches a part, leaves an interrupted load as it is`(
        isScoped: Bool
    ) throws {
        try withVolume { volume in
            let (survivor, keeping) = try stopInLoad(volume)
            let scope = isScoped ? try volume.read().scope(.inode(1)) : nil
            var other = SteppedRun(
                volume, [parents], isScoped ? .patch : .check, seed: 3,
                keeping: Keeping(
                    new: RunRecord(
                        number: 2, indexes: ["parents"], strategy: isScoped ? .patch : .check,
                        scope: scope?.label))
            ) { $0.scope = scope }
            let found = try other.finish { _ in
                _ = try volume.perform {
                    try $0.rename(
                        .root, Array("file number 3".utf8), to: .root, Array("moved".utf8))
                    try $0.rename(
                        .root, Array("moved".utf8), to: .root, Array("file number 3".utf8))
                }
            }
            #expect(found.outcome == (isScoped ? .repaired : .corrupt))
            #expect(try loading(volume) == 1)
            #expect(try volume.runs().map(\.state) == [.stopped, .completed])
            var second = SteppedRun(
                volume, [parents], .rebuild, seed: 2, store: survivor, keeping: keeping)
            let report = try second.finish { _ in }
            #expect(report.outcome == .repaired, "\(report.reason ?? "")")
            #expect(try volume.liveEntries("parents") == volume.derived().parents)
        }
    }
}
