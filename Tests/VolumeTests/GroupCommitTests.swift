// Changes that are answered before they are committed: seen at once by whoever asks, committed in
// the order of the answers, and spoilt by nobody.

import Bytes
import Dispatch
import Foundation
import LMDB
import Synchronization
import TestSupport
import Testing
import Threads
import Tidemark
import VolumeFormat
import VolumeIndexes
import VolumeVerify

@testable import Volume

/// Longer than any test takes: nothing is committed by the clock.
private let longTime = 3600.0

private func numbered(_ number: Int) -> [UInt8] { Array("n\(number)".utf8) }

extension Volume {
    /// The last commit, whatever waits.
    fileprivate var lastCommit: UInt64 { core.environment.lastCommit }

    /// Whether something was answered and is not committed.
    fileprivate var hasAnswered: Bool { core.hasAcknowledged.load(ordering: .relaxed) }
}

@Suite(.temporaryDirectory) struct GroupCommitTests {
    @Test func `changes are seen by whoever asks before they are committed`() throws {
        let small = try SmallVolume(commitDelay: longTime), volume = small.volume
        let before = volume.lastCommit
        let n = try small.create("a")
        #expect(try volume.attributes(n).record.links == 1)
        #expect(try volume.lookUp(.root, bytes("a").span.bytes)?.number == n)
        _ = try volume.perform { try $0.link(n, .root, bytes("b")) }
        #expect(try volume.attributes(n).record.links == 2)
        try volume.perform { try $0.unlink(.root, bytes("a")) }
        #expect(try volume.lookUp(.root, bytes("a").span.bytes) == nil)
        #expect(try volume.lookUp(.root, bytes("b").span.bytes)?.record.links == 1)
        #expect(try volume.attributes(.root).record.modified.seconds == small.now)
        #expect(volume.lastCommit == before)
        // Whatever else is asked waits for the commit.
        #expect(try volume.read().lookup(.root, bytes("b")) != nil)
        #expect(volume.lastCommit == before + 1)
        #expect(try volume.attributes(n).record.links == 1)
        #expect(volume.lastCommit == before + 1)
    }

    @Test func `what was not changed is read from the last commit, and commits nothing`() throws {
        let small = try SmallVolume(commitDelay: longTime), volume = small.volume
        let a = try small.create("a"), b = try small.create("b")
        try small.write(b, 0, [1, 2, 3])
        try volume.sync()
        let before = volume.lastCommit
        _ = try volume.perform { try $0.setAttributes(a, AttributeChanges(uid: 7)) }
        #expect(try volume.read(b, at: 0, 9) == [1, 2, 3])
        #expect(try volume.read(about: b).attributes(b).record.size == 3)
        #expect(try volume.lookUp(.root, bytes("b").span.bytes)?.record.uid == 0)
        #expect(volume.lastCommit == before)
        // By a name in a directory that was not touched.
        #expect(try volume.lookUp(.root, bytes("a").span.bytes)?.record.uid == 7)
        #expect(volume.lastCommit == before)
        #expect(try volume.read(about: a).attributes(a).record.uid == 7)
        #expect(volume.lastCommit == before + 1)
    }

    @Test func `the clock commits, and so do a boundary, a sync and the end`() throws {
        let small = try SmallVolume(commitDelay: 0.05), volume = small.volume
        let before = volume.lastCommit
        try small.create("a")
        try until { volume.lastCommit > before }
        #expect(volume.lastCommit == before + 1)
        let slow = try SmallVolume(commitDelay: longTime)
        try slow.create("a")
        try slow.volume.atCommitBoundary { boundary in
            let snapshot = try boundary.snapshot() as? VolumeSnapshot
            #expect(try snapshot?.lookup(.root, bytes("a")) != nil)
        }
        try slow.create("b")
        try slow.volume.sync()
        #expect(slow.volume.durableCommit == slow.volume.lastCommit)
        #expect(!slow.volume.hasAnswered)
        #expect(try slow.snapshot().lookup(.root, bytes("b")) != nil)
        try slow.create("c")
        try slow.reopen()
        #expect(try slow.snapshot().lookup(.root, bytes("c")) != nil)
    }

    @Test func `many changes are few commits, and a large group ends by itself`() throws {
        let small = try SmallVolume(commitDelay: longTime), volume = small.volume
        let before = volume.lastCommit
        for number in 0..<100 { _ = try volume.perform { try $0.create(.root, numbered(number)) } }
        #expect(volume.lastCommit == before)
        for number in 100..<4000 {
            _ = try volume.perform { try $0.create(.root, numbered(number)) }
        }
        #expect(try small.snapshot().list(.root).count == 4000)
        #expect((4...6).contains(volume.lastCommit - before))
    }

    @Test func `a long job of one caller ends the group of all, on the thread that began it`()
        throws
    {
        let small = try SmallVolume(commitDelay: longTime), volume = small.volume
        try small.create("first")
        try volume.perform { operations in
            for number in 0..<5000 { _ = try operations.create(.root, numbered(number)) }
        }
        try small.create("last")
        #expect(try small.snapshot().list(.root).count == 5002)
        #expect(try Verifier.verify(volume.metadata).isClean)
    }

    @Test func `a long job that comes to where room is short has committed when it is answered`()
        throws
    {
        // Room for a group that stays open, and not after the first thousand names.
        let pages = GroupLimits.openGroupPages + 100
        let small = try SmallVolume(metadataLimit: pages * 4096, commitDelay: longTime)
        let volume = small.volume
        try small.create("first")
        #expect(volume.hasAnswered)
        let before = volume.lastCommit
        try volume.perform { operations in
            for number in 0..<3000 { _ = try operations.create(.root, numbered(number)) }
        }
        #expect(!volume.hasAnswered)
        #expect(volume.lastCommit >= before + 3)
        #expect(try small.snapshot().list(.root).count == 3001)
    }

    // MARK: Jobs that fail

    @Test(arguments: UInt64(1)...12)
    func `a job that fails takes nobody with it, and hooks hear nothing of it`(seed: UInt64) throws
    {
        let open: (inout OpenOptions) -> Void = {
            $0.passesOverUnsettled = false
            $0.clock = { Timestamp(seconds: 7, nanoseconds: 0) }
        }
        // What nothing has failed in.
        let right = try withVolume(open: open) { volume in
            var writer = SummaryWriter(seed: seed)
            try writer.write(volume, operations: 150)
            return try volume.contents()
        }
        let hook = NotingHook(), cause = LMDBError(code: .corrupted, operation: "put", object: "")
        try withVolume(open: {
            open(&$0)
            $0.groupCommitSeconds = longTime
            // A durable point ends the open group: none is to come by itself.
            $0.durableSeconds = longTime
        }) { volume in
            try volume.atCommitBoundary { $0.attach(hook) }
            var random = SplitMix64(seed: seed), writer = SummaryWriter(seed: seed)
            for _ in 0..<150 {
                if Int.random(in: 0..<4, using: &random) == 0 {
                    var lost = writer
                    #expect(throws: VolumeError.groupAborted(cause)) {
                        try volume.perform { operations in
                            for _ in 0..<3 { try? lost.operate(&operations) }
                            throw cause
                        }
                    }
                }
                try writer.write(volume)
            }
            #expect(hook.commits.isEmpty)
            let report = try Verifier.verify(volume.metadata), all = try volume.contents()
            #expect(report.isClean, "SEED=\(seed) \(report.examples)")
            // Hooks are told after a commit can be seen, and before the next boundary.
            try volume.atCommitBoundary { _ in }
            #expect(hook.commits.count == 1)
            for table in right.keys where table != TableName.superblock {
                // The root knows when it was made.
                let root = InodeRecord.key(.root).span.array
                let done = all[table]?.filter { table != TableName.inodes || $0.key != root }
                let other = right[table]?.filter { table != TableName.inodes || $0.key != root }
                #expect(done == other, "SEED=\(seed) \(table)")
            }
            var told: Set<[UInt8]> = []
            for delta in hook.notes.withLock({ $0.deltas }) where delta.slot == 1 {
                if delta.value == nil { told.remove(delta.key) } else { told.insert(delta.key) }
            }
            #expect(told == Set(try volume.liveEntries("parents").keys), "SEED=\(seed)")
        }
    }

    @Test func `damage that is met in the middle of a change fails that change alone`() throws {
        let small = try SmallVolume(commitDelay: longTime), volume = small.volume
        let a = try small.create("a")
        try small.write(a, 0, [UInt8](repeating: 1, count: 3000))
        // The free space claims its blocks: to give them back is refused half way.
        let extent = try #require(small.snapshot().extents(a).first)
        try volume.perform { operations in
            try operations.giveBack(start: extent.start, length: UInt64(extent.length))
        }
        try small.create("before")
        let commit = volume.lastCommit
        _ = try? volume.perform { try $0.unlink(.root, bytes("a")) }
        try small.create("after")
        #expect(volume.lastCommit == commit)
        let names = try small.snapshot().list(.root).map {
            String(decoding: $0.name, as: UTF8.self)
        }
        #expect(Set(names).isSuperset(of: ["before", "after"]))
    }

    @Test func `where room is short changes are committed before they are answered`() throws {
        let small = try SmallVolume(metadataLimit: 8 << 20, commitDelay: longTime)
        let before = small.volume.lastCommit
        try small.create("a")
        #expect(small.volume.lastCommit == before + 1)
        #expect(!small.volume.hasAnswered)
    }

    // MARK: Blocks that change hands

    @Test(arguments: [false, true])
    func `an overwrite that was planned in an open group never touches blocks of another file`(
        touching: Bool
    ) throws {
        let small = try SmallVolume(blocks: 40, commitDelay: longTime), volume = small.volume
        let a = try small.create("a"), size = 37 * 512
        try small.write(a, 0, [UInt8](repeating: 1, count: size))
        try volume.sync()
        let blocks = try small.snapshot().extents(a).map(\.blocks)
        // The open group has changed the file's inode: it is where the write looks.
        _ = try volume.perform { try $0.setAttributes(a, AttributeChanges(uid: 7)) }
        let lock = volume.core.blockGuard.lock(blocks, exclusive: true)
        let write = ThreadTask {
            let bytes = [UInt8](repeating: 9, count: 3000)
            _ = try? volume.write(a, at: 0, bytes.span.bytes, touching: touching)
        }
        try until { volume.core.blockGuard.locks.awaited == 1 }
        try volume.perform { _ = try $0.truncate(a, to: 0) }
        // Commits the group of the plan, and makes it durable that the blocks are free.
        try volume.sync()
        let b = try small.create("b")
        try volume.perform {
            try $0.reserve(b, [0..<UInt64(size)], .written, size: UInt64(size))
        }
        for block in blocks {
            let bytes = [UInt8](repeating: 2, count: Int(block.length) * 512)
            try volume.core.data.write(bytes.span.bytes, at: block.start * 512)
        }
        volume.core.blockGuard.unlock(lock)
        try write.value()
        #expect(try volume.read(b, at: 0, 99999) == [UInt8](repeating: 2, count: size))
    }

    // MARK: Side by side

    @Test func `who reads waits for a commit, and not for the long job that made it`() throws {
        let small = try SmallVolume(commitDelay: longTime), volume = small.volume
        try small.create("a")
        let isIn = Gate(), go = Gate(), rolled = Gate(), end = Gate()
        let job = ThreadTask {
            try volume.perform { operations in
                isIn.open()
                try go.wait()
                for number in 0..<1500 { _ = try operations.create(.root, numbered(number)) }
                rolled.open()
                try end.wait()
            }
        }
        try isIn.wait()
        let readers = (0..<2).map { _ in ThreadTask { _ = try volume.read() } }
        try until { volume.core.inbox.groupWaiters == 2 }
        go.open()
        try rolled.wait()
        for reader in readers { try reader.value() }
        #expect(!job.isEnded)
        end.open()
        try job.value()
    }

    @Test func `a closed volume is not looked into`() throws {
        let small = try SmallVolume(commitDelay: longTime)
        let n = try small.create("a")
        try small.volume.close()
        #expect(throws: VolumeError.self) {
            _ = try small.volume.lookUp(.root, bytes("a").span.bytes)
        }
        #expect(throws: VolumeError.self) { _ = try small.volume.attributes(n) }
    }

    @Test func `who watches is told of all changes from the beginning to the end`() throws {
        let small = try SmallVolume(commitDelay: longTime), volume = small.volume
        let told = Atomic<Int>(0)
        try small.create("before")
        try volume.watchChanges { changes, _ in told.add(changes.count, ordering: .relaxed) }
        for number in 0..<5 { _ = try volume.perform { try $0.create(.root, numbered(number)) } }
        try volume.watchChanges(nil)
        try small.create("after")
        try volume.sync()
        let count = told.load(ordering: .relaxed)
        #expect(count == 5)
    }

    @Test(arguments: UInt64(1)...4)
    func `threads see what they were answered, whatever others do`(seed: UInt64) throws {
        let small = try SmallVolume(blocks: 4096, commitDelay: 0.001), volume = small.volume
        let problems = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            var worker = Worker(volume, thread, ModelRandom(state: seed &* 100 &+ UInt64(thread)))
            do {
                for _ in 0..<600 { try worker.step() }
            } catch {
                problems.withLock { $0.append("thread \(thread): \(error)") }
            }
        }
        #expect(problems.withLock { $0 } == [], "SEED=\(seed)")
        let report = try Verifier.verify(volume.metadata)
        #expect(report.isClean, "SEED=\(seed) \(report.examples)")
    }

    /// Has files of its own in the directory of all, and knows what they are.
    private struct Worker {
        private struct File {
            let number: InodeNumber
            var uid: UInt32 = 0
            var contents: [UInt8] = []
        }

        private struct Strange: Error { let text: String }

        let volume: Volume
        let thread: Int
        var random: ModelRandom
        private var files: [[UInt8]: File] = [:]

        init(_ volume: Volume, _ thread: Int, _ random: ModelRandom) {
            self.volume = volume
            self.thread = thread
            self.random = random
        }

        private mutating func pick(_ count: Int) -> Int {
            Int.random(in: 0..<count, using: &random)
        }

        mutating func step() throws {
            let name = Array("\(thread)-\(pick(8))".utf8),
                other = Array("\(thread)-\(pick(8))".utf8)
            guard var file = files[name] else {
                let made = try volume.perform { try $0.create(.root, name) }
                files[name] = File(number: made.number)
                return try look(name)
            }
            switch pick(6) {
            case 0:
                try volume.perform { try $0.unlink(.root, name) }
                files[name] = nil
            case 1 where other != name:
                try volume.perform { try $0.rename(.root, name, to: .root, other, .replace) }
                files[other] = files.removeValue(forKey: name)
                try look(other)
            case 2:
                file.uid = UInt32(pick(1000))
                let changes = AttributeChanges(uid: file.uid)
                _ = try volume.perform { try $0.setAttributes(file.number, changes) }
                files[name] = file
            case 3, 4:
                let offset = pick(1500), byte = UInt8(pick(255) + 1), count = pick(700) + 1
                let missing = max(0, offset + count - file.contents.count)
                file.contents += [UInt8](repeating: 0, count: missing)
                let bytes = [UInt8](repeating: byte, count: count)
                file.contents.replaceSubrange(offset..<(offset + count), with: bytes)
                try volume.write(file.number, at: UInt64(offset), bytes.span.bytes)
                files[name] = file
            default: break
            }
            try look(name)
        }

        private func look(_ name: [UInt8]) throws {
            let found = try volume.lookUp(.root, name.span.bytes)
            if let found { volume.forget(found.number) }
            let file = files[name]
            guard found?.number == file?.number else {
                throw Strange(text: "\(name) leads to \(found?.number ?? 0)")
            }
            guard let file, let record = found?.record else { return }
            let asked = try volume.attributes(file.number).record
            guard record.uid == file.uid, asked.uid == file.uid,
                asked.size == UInt64(file.contents.count)
            else { throw Strange(text: "\(name): \(asked)") }
            let read = try volume.read(file.number, at: 0, 5000)
            guard read == file.contents else { throw Strange(text: "contents of \(name)") }
        }
    }

    @Test(arguments: UInt64(1)...6)
    func `a repair beside writers whose jobs fail now and then ends exact`(seed: UInt64) throws {
        let small = try SmallVolume(blocks: 4096, commitDelay: 0.001), volume = small.volume
        var first = SummaryWriter(seed: seed)
        first.unlinks = false
        try first.write(volume, operations: 300)
        let begun = first
        _ = try volume.damage(index: "rmap", count: 20, kind: .mixed, seed: seed)
        _ = try volume.damage(index: "parents", count: 20, kind: .mixed, seed: seed)
        let end = Gate()
        let writing = ThreadTask {
            var writer = begun
            while !end.isOpen {
                try? writer.write(volume)
                try? volume.perform { operations in
                    var lost = writer
                    try? lost.operate(&operations)
                    throw LMDBError(code: .corrupted, operation: "put", object: "inodes")
                }
            }
        }
        var options = RunOptions()
        options.patience = patience
        options.strategy = seed % 2 == 0 ? .rebuild : .patch
        let run = Run(
            owner: volume, indexes: [VolumeSlots.rmap, VolumeSlots.parents], store: MemoryStore(),
            options: options, clock: .system)
        let report = RunDriver(run).drive()
        end.open()
        try writing.value()
        #expect(report.outcome == .repaired, "SEED=\(seed) \(report)")
        let found = try Verifier.verify(volume.metadata)
        #expect(found.isClean, "SEED=\(seed) \(found.examples)")
    }
}

#if TIDEMARK_MUTANTS
/// Calls of liblmdb that fail below a group with answers.
@Suite(.temporaryDirectory) struct GroupCommitFailureTests {
    private func withFailures(_ body: (Volume, CallFailures) throws -> Void) throws {
        try withDirectory { directory in
            let failures = CallFailures()
            CallFailures.register(failures, below: directory)
            defer { CallFailures.register(nil, below: directory) }
            try Volume.create(directory + "/volume", options: CreateOptions(size: 64 << 20))
            let open: (inout OpenOptions) -> Void = {
                $0.groupCommitSeconds = longTime
                $0.durableSeconds = longTime
            }
            try withOpen(directory + "/volume", open) { try body($0, failures) }
        }
    }

    private func create(_ volume: Volume, _ name: String) throws {
        _ = try volume.perform { try $0.create(.root, Array(name.utf8)) }
    }

    @Test(arguments: [CallFailures.Call.put, .delete], 1...12)
    func `a call that fails fails one change`(call: CallFailures.Call, number: Int) throws {
        try withFailures { volume, failures in
            for file in 0..<10 { try create(volume, "f\(file)") }
            failures.begin(.init(call, number: number, code: .system(EIO)))
            var failed = 0
            for file in 0..<10 {
                do {
                    try volume.perform {
                        try $0.rename(
                            .root, Array("f\(file)".utf8), to: .root, Array("g\(file)".utf8),
                            .replace)
                    }
                } catch { failed += 1 }
            }
            failures.end()
            #expect(failed == 1)
            let names = try volume.read().list(.root).map(\.name[0])
            #expect(names.count { $0 == UInt8(ascii: "g") } == 9 && names.count == 10)
            #expect(try Verifier.verify(volume.metadata).isClean)
        }
    }

    @Test func `a commit that fails once is made again with all that was answered`() throws {
        try withFailures { volume, failures in
            for file in 0..<10 { try create(volume, "f\(file)") }
            failures.begin(.init(.commit, number: 1, code: .system(EIO)))
            #expect(try volume.read().list(.root).count == 10)
            #expect(failures.counts[.commit] == 2)
            try create(volume, "more")
            #expect(try Verifier.verify(volume.metadata).isClean)
        }
    }

    @Test func `what was answered and can't be committed ends all changes, and says so`() throws {
        try withFailures { volume, failures in
            try create(volume, "kept")
            try volume.sync()
            try create(volume, "lost")
            let isIn = Gate(), go = Gate()
            let cause = LMDBError(code: .corrupted, operation: "", object: "")
            // In one turn, behind one who has it: a job that fails, and one that came after it.
            let first = ThreadTask {
                try volume.perform { _ in
                    isIn.open()
                    try go.wait()
                }
            }
            try isIn.wait()
            let failing = ThreadTask { _ = try? volume.perform { _ in throw cause } }
            try until { volume.core.inbox.waiting == 1 }
            let later = ThreadTask {
                #expect(throws: VolumeError.self) {
                    _ = try volume.perform { try $0.create(.root, bytes("later")) }
                }
            }
            try until { volume.core.inbox.waiting == 2 }
            failures.begin(.init(.begin, number: 1, code: .system(EIO)))
            go.open()
            _ = try? first.value()
            try failing.value()
            try later.value()
            failures.end()
            let error = #expect(throws: VolumeError.self) { try create(volume, "more") }
            #expect("\(error, default: "")".contains("acknowledged changes could not be committed"))
            #expect(try volume.read().list(.root).map(\.name) == [bytes("kept")])
            #expect(throws: VolumeError.self) { try volume.close() }
        }
    }

    @Test func `what nobody waits for is given up where it can't be committed, and that is all`()
        throws
    {
        try withFailures { volume, failures in
            try create(volume, "kept")
            try volume.sync()
            failures.begin(.init(.commit, number: 1, code: .system(ENOSPC)))
            volume.noteAccess(.root, at: Timestamp(seconds: 1 << 40, nanoseconds: 0))
            try volume.perform { _ in }
            try volume.atCommitBoundary { _ in }
            #expect(failures.counts[.commit, default: 0] > 0)
            failures.end()
            #expect(!volume.hasAnswered)
            try create(volume, "more")
            #expect(try volume.read().list(.root).count == 2)
        }
    }
}
#endif
