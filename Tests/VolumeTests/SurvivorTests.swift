// One mistake each that no test had noticed: see "What the suite does not notice" in
// Docs/assurance.md.

import Bytes
import Foundation
import LMDB
import TestSupport
import Testing
import Tidemark
import VolumeFormat
import VolumeIndexes
import VolumeVerify

@testable import Volume

@Suite(.temporaryDirectory) struct SurvivorTests {
    // MARK: A patch that is not whole

    @Test func `an index is noted as mended when nothing of it is left, and not before`() throws {
        try withVolume { volume in
            var writer = SummaryWriter(seed: 31)
            try writer.write(volume, operations: 120)
            _ = try volume.damage(index: "parents", count: 12, kind: .mixed, seed: 31)
            let number = try volume.atCommitBoundary { try $0.requireJournal().newRunNumber() }
            let scope = try volume.read().scope(.subtree("/"))
            let record = RunRecord(
                number: number, indexes: ["parents"], strategy: .patch, scope: scope.label)
            var stepped = SteppedRun(
                volume, [VolumeSlots.parents], .patch, seed: 31, keeping: Keeping(new: record)
            ) {
                $0.patchEntries = 2
                $0.rememberedDiscrepancies = 3
                // What is limited is patched in parts.
                $0.scope = scope
            }
            var looks = 0
            let report = try stepped.finish { _ in
                let stored = try volume.read().runs().first { $0.number == number }
                guard stored?.results.contains(where: \.isMended) == true else { return }
                looks += 1
                let live = try volume.liveEntries("parents")
                let right = try volume.derived().parents
                #expect(live == right)
            }
            #expect(report.outcome == .repaired, "\(report)")
            #expect(looks > 0)
        }
    }

    // MARK: Durable points

    #if TIDEMARK_MUTANTS
    @Test func `a durable point is told of when it has been synced, and not before`() throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 16 << 20))
            let failures = CallFailures()
            CallFailures.register(failures, below: path)
            defer { CallFailures.register(nil, below: path) }
            let volume = try Volume.open(path, options: {
                var options = OpenOptions()
                options.metadataLimit = 1 << 30
                options.durableSeconds = 1000
                return options
            }())
            try volume.perform { _ = try $0.create(.root, name(1)) }
            try volume.sync()
            let durable = volume.durableCommit, last = try volume.read().commit
            #expect(durable == last)
            try volume.perform { _ = try $0.create(.root, name(2)) }
            failures.begin(.init(.sync, number: 1, code: .system(EIO)))
            #expect(throws: (any Error).self) { try volume.sync() }
            failures.end()
            #expect(volume.durableCommit == durable)
            // Nobody knows what is on the disk: nothing is changed any more.
            #expect(throws: (any Error).self) {
                try volume.perform { _ = try $0.create(.root, name(3)) }
            }
            try? volume.close()
        }
    }

    // MARK: Reads that fail

    @Test func `no failure of a cursor is taken for the end of a table`() throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 16 << 20))
            try withOpen(path) { volume in
                var writer = SummaryWriter(seed: 5)
                try writer.write(volume, operations: 60)
            }
            let failures = CallFailures()
            CallFailures.register(failures, below: path)
            defer { CallFailures.register(nil, below: path) }
            failures.begin(nil)
            #expect(try Verifier.verify(metadata: path + "/meta.mdb").isClean)
            let count = failures.counts[.next] ?? 0
            failures.end()
            #expect(count > 100)
            for number in stride(from: 1, through: count, by: max(1, count / 60)) {
                failures.begin(.init(.next, number: number, code: .system(EIO)))
                #expect(throws: LMDBError.self, "read \(number) of \(count)") {
                    _ = try Verifier.verify(metadata: path + "/meta.mdb")
                }
                failures.end()
            }
        }
    }

    @Test(arguments: [Strategy.check, .patch, .rebuild])
    func `a run of which a read fails ends with an error, and changes no index`(
        strategy: Strategy
    ) throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 16 << 20))
            let failures = CallFailures()
            CallFailures.register(failures, below: path)
            defer { CallFailures.register(nil, below: path) }
            try withOpen(path, { $0.durableSeconds = 1000 }) { volume in
                var writer = SummaryWriter(seed: 6)
                try writer.write(volume, operations: 60)
                func run() -> RunReport {
                    var options = RunOptions()
                    options.strategy = strategy
                    let run = Run(
                        owner: volume, indexes: volume.indexes.indices.map { IndexSlot($0) },
                        store: MemoryStore(), options: options, clock: .system)
                    return RunDriver(run).drive()
                }
                failures.begin(nil)
                #expect(run().outcome == .clean)
                let count = failures.counts[.next] ?? 0
                failures.end()
                #expect(count > 100)
                for number in stride(from: 1, through: count, by: max(1, count / 40)) {
                    failures.begin(.init(.next, number: number, code: .system(EIO)))
                    let report = run()
                    let hasFailed = (failures.counts[.next] ?? 0) >= number
                    failures.end()
                    guard hasFailed else { continue }
                    #expect(report.outcome == .aborted, "read \(number): \(report)")
                    #expect(try Verifier.verify(volume.metadata).isClean, "read \(number)")
                }
            }
        }
    }
    #endif

    // MARK: Opens that are counted

    @Test func `an inode stays until as many are forgotten as were handed out`() {
        let opens = OpenInodes()
        for _ in 0..<5 { opens.add(9) }
        #expect(opens.markOrphan(9))
        #expect(!opens.remove(9, 2))
        #expect(opens.isOpen(9))
        #expect(opens.remove(9, 3))
        #expect(!opens.isOpen(9))
        opens.add(9)
        #expect(opens.markOrphan(9))
        // More than there are: the number comes from outside.
        #expect(opens.remove(9, .max))
        #expect(!opens.remove(9, 1))
    }

    @Test func `a volume ends as many holds of an inode as it is told of`() throws {
        let small = try SmallVolume()
        let file = try small.volume.perform { try $0.create(.root, bytes("f")).number }
        for _ in 0..<3 { small.volume.hold(file) }
        try small.volume.perform { try $0.unlink(.root, bytes("f")) }
        small.volume.forget(file, 2)
        #expect(try small.inode(file)?.links == 0)
        small.volume.forget(file, 1)
        try until("the inode is gone") { try small.inode(file) == nil }
    }

    // MARK: The limit of links

    @Test func `an exchange is refused by the directory that gains a link, and by no other`()
        throws
    {
        let small = try SmallVolume()
        let full = try small.makeDirectory("full"), other = try small.makeDirectory("other")
        try small.volume.perform { operations in
            _ = try operations.makeDirectory(full, bytes("d"))
            _ = try operations.create(full, bytes("f"))
            _ = try operations.makeDirectory(other, bytes("d"))
            _ = try operations.create(other, bytes("f"))
            var record = try #require(try operations.inode(full))
            record.links = InodeRecord.maximumLinks
            try operations.put(record, full)
        }
        func exchange(_ from: InodeNumber, _ a: String, _ to: InodeNumber, _ b: String) throws
            -> Int32?
        {
            try errnoOf {
                try small.volume.perform {
                    try $0.rename(from, bytes(a), to: to, bytes(b), .exchange)
                }
            }
        }
        // A directory would come into the full one, from either side.
        #expect(try exchange(other, "d", full, "f") == EMLINK)
        #expect(try exchange(full, "f", other, "d") == EMLINK)
        // One leaves it.
        #expect(try exchange(full, "d", other, "f") == nil)
        #expect(try small.inode(full)?.links == InodeRecord.maximumLinks - 1)
        #expect(try exchange(other, "f", full, "f") == nil)
        #expect(try exchange(other, "d", full, "d") == EMLINK)
    }
}
