// Mends beside those who use the very objects: what has changed since the survey is left alone, and
// writers, damage and scrubs together end in a clean volume.

import Bytes
import Scrub
import Synchronization
import TestSupport
import Testing
import Threads
import Volume
import VolumeFormat
import VolumeVerify

@Suite(.temporaryDirectory) struct ScrubRaceTests {
    /// Surveys the volume, has `meanwhile` change it, and mends the first defect of the kind.
    private func mend(
        _ kind: PrimaryDefect, _ volume: Volume, _ meanwhile: (Volume, Finding) throws -> Void
    ) throws -> Mend {
        let survey = try volume.survey { _, _, _ in }
        defer { volume.end(survey) }
        let finding = try #require(survey.findings.first { $0.kind == .defect(kind) })
        try meanwhile(volume, finding)
        return try #require(
            try volume.mend([finding][...], of: survey, Preferences()).first)
    }

    @Test func `an orphan that somebody has named since the survey is left alone`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        let n = try fixture.edit { editor in
            let n = editor.inode(Ruin.file)
            for path in Ruin.file1 { editor.remove(TableName.dirents, editor.entry(path).key) }
            return n
        }
        try fixture.withVolume { volume in
            let mend = try mend(.orphanInode, volume) { volume, _ in
                _ = try volume.perform { try $0.link(n, .root, Array("found".utf8)) }
            }
            #expect(mend.outcome == .changed, "\(mend)")
            #expect(try ScrubVolume.tree(volume)["/found"] != nil)
            #expect(try ScrubVolume.tree(volume)[Ruin.file] == nil)
            #expect(try ScrubVolume.scrub(volume).outcome == .repaired)
        }
        #expect(try fixture.verify().isClean)
    }

    @Test func `a name whose inode was made since the survey is no longer dangling`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        let n = try fixture.edit { editor in
            let n = editor.freeNumbers[0]
            editor.putEntry(
                editor.inode("/dir0"), "ghost",
                DirentTarget(child: n, generation: 1 << 20, type: .regular))
            return n
        }
        try fixture.withVolume { volume in
            let mend = try mend(.danglingEntry, volume) { volume, _ in
                // The lowest free number comes first.
                let made = try volume.perform { try $0.create(.root, Array("new".utf8)).number }
                #expect(made == n)
            }
            #expect(mend.outcome == .gone, "\(mend)")
            let report = try ScrubVolume.scrub(volume)
            #expect(report.outcome == .repaired)
            let tree = try ScrubVolume.tree(volume)
            #expect(tree["/new"] != nil && tree["/dir0/ghost"] == nil)
        }
        #expect(try fixture.verify().isClean)
    }

    @Test func `a directory that was removed since the survey has no size to be mended`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        try fixture.withVolume { volume in
            _ = try volume.perform { try $0.makeDirectory(.root, Array("empty".utf8)) }
        }
        try fixture.edit { $0.change("/empty") { $0.size = 9 } }
        try fixture.withVolume { volume in
            let mend = try mend(.directorySize, volume) { volume, _ in
                try volume.perform { try $0.removeDirectory(.root, Array("empty".utf8)) }
            }
            #expect(mend.outcome == .gone, "\(mend)")
        }
        #expect(try fixture.verify().isClean)
    }

    @Test func `blocks of which a part is read just now are copied later`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        let before = try fixture.tree()
        let n = try fixture.edit { editor in
            let file = editor.extents(editor.inode("/dir1/file1"))[0]
            var extent = editor.extents(editor.inode(Ruin.file))[0]
            extent.start = file.start
            editor.put(extent)
            return file.inode
        }
        try fixture.withVolume { volume in
            let outcome = try volume.withContents(n, at: 0, 100) { _ in
                try mend(.extentOverlap, volume) { _, _ in }.outcome
            }
            #expect(outcome == .changed)
            #expect(try ScrubVolume.scrub(volume).outcome == .repaired)
        }
        #expect(try fixture.verify().isClean)
        #expect(try fixture.tree() == before)
    }

    @Test(arguments: 1..<5 as Range<UInt64>)
    func `writers, damage and scrubs together end in a clean volume`(_ seed: UInt64) throws {
        let fixture = try ScrubVolume(in: temporaryDirectory(), directories: 6, files: 8)
        try fixture.withVolume { volume in
            let isOver = Atomic(false)
            let done = Atomic(0)
            let threads = (0..<2).map { number in
                DedicatedThread(name: "writer-\(number)") {
                    var random = SplitMix64(seed: seed &* 16 &+ UInt64(number))
                    while !isOver.load(ordering: .acquiring) {
                        try? use(volume, &random)
                        done.add(1, ordering: .relaxed)
                    }
                }
            }
            // Whatever ends the rounds ends the writers.
            defer { isOver.store(true, ordering: .releasing) }
            for round in 0..<4 as Range<UInt64> {
                _ = try volume.damageMixed(count: 15, seed: seed &* 64 &+ round)
                _ = try ScrubVolume.scrub(volume)
            }
            isOver.store(true, ordering: .releasing)
            for thread in threads { thread.join() }
            #expect(done.load(ordering: .acquiring) > 0)
            let report = try ScrubVolume.scrub(volume)
            #expect(
                report.outcome == .clean || report.outcome == .repaired,
                "SEED=\(seed) \(report.lines("", isVerbose: true).joined(separator: "\n"))")
        }
        let report = try fixture.verify()
        #expect(report.isClean, "SEED=\(seed) \(report.examples)")
    }

    @Test(arguments: 1..<4 as Range<UInt64>)
    func `a scrub undone beside writers and another scrub ends in a clean volume`(
        _ seed: UInt64
    ) throws {
        let fixture = try ScrubVolume(in: temporaryDirectory(), directories: 6, files: 8)
        try fixture.withVolume { volume in
            let isOver = Atomic(false)
            _ = try volume.damageMixed(count: 40, seed: seed)
            let first = try #require(try ScrubVolume.scrub(volume).journal)
            let threads =
                (0..<2).map { number in
                    DedicatedThread(name: "writer-\(number)") {
                        var random = SplitMix64(seed: seed &* 16 &+ UInt64(number))
                        while !isOver.load(ordering: .acquiring) { try? use(volume, &random) }
                    }
                } + [
                    DedicatedThread(name: "scrub") {
                        _ = try? ScrubVolume.scrub(volume)
                    }
                ]
            defer {
                isOver.store(true, ordering: .releasing)
                for thread in threads { thread.join() }
            }
            var undone = 0
            do {
                try volume.rollBack(scrub: first.number) { mend in
                    undone += mend.keptFor == nil ? 1 : 0
                } goOn: {}
                #expect(undone > 0)
            } catch VolumeError.invalid {
                // The other scrub has mended something before.
            }
        }
        try fixture.withVolume { volume in
            let report = try ScrubVolume.scrub(volume)
            #expect(
                report.outcome == .clean || report.outcome == .repaired,
                "SEED=\(seed) \(report.lines("", isVerbose: true).joined(separator: "\n"))")
        }
        let report = try fixture.verify()
        #expect(report.isClean, "SEED=\(seed) \(report.examples)")
    }

    /// One operation on whatever is there. What is damaged just now refuses it.
    private func use(_ volume: Volume, _ random: inout SplitMix64) throws {
        let snapshot = try volume.read()
        let directories = try snapshot.list(.root).compactMap(\.target)
            .filter { $0.type == .directory }.map(\.child)
        guard let dir = directories.randomElement(using: &random),
            let other = directories.randomElement(using: &random)
        else { return }
        let names = try snapshot.list(dir).map(\.name)
        let new = Array("new\(random.next() % 20)".utf8)
        guard let name = names.randomElement(using: &random) else { return }
        switch random.next() % 6 {
        case 0: try volume.perform { try $0.rename(dir, name, to: other, new) }
        case 1: try volume.perform { try $0.unlink(dir, name) }
        case 2: _ = try volume.perform { try $0.create(dir, new) }
        case 3: _ = try volume.perform { try $0.makeDirectory(dir, new) }
        case 4:
            guard let target = try snapshot.lookup(dir, name) else { return }
            _ = try volume.perform { try $0.link(target.child, other, new) }
        default:
            guard let target = try snapshot.lookup(dir, name), target.type == .regular else {
                return
            }
            let bytes = [UInt8](repeating: 7, count: 5000)
            try volume.write(
                target.child, generation: target.generation, at: random.next() % 100_000,
                bytes.rawSpan)
        }
    }
}
