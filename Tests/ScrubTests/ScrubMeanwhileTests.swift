// Each mend against programs that use the very objects between the survey and the mend (rename,
// write, unlink, make again), and against a failure of each kind of call in its middle.

import Bytes
import LMDB
import Scrub
import TestSupport
import Testing
import Volume
import VolumeFormat
import VolumeVerify

@Suite(.temporaryDirectory) struct ScrubMeanwhileTests {
    private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    /// What a program has done, as far as the damage let it.
    private struct Done {
        var isMoved = false, isWritten = false, isFresh = false
    }

    private static let written = [UInt8](repeating: 7, count: 5000)

    /// Uses `/dir0/file1`, its other name, what is beside them, and their directory.
    private func use(_ volume: Volume, _ dir: InodeNumber, _ n: InodeNumber) -> Done {
        typealias Tests = ScrubMeanwhileTests
        func isDone(_ body: () throws -> Void) -> Bool { (try? body()) != nil }
        var done = Done()
        done.isWritten = isDone { try volume.write(n, at: 3000, Tests.written.rawSpan) }
        done.isMoved = isDone {
            try volume.perform {
                try $0.rename(dir, Tests.bytes("file1"), to: dir, Tests.bytes("moved"))
            }
        }
        done.isFresh = isDone {
            let made = try volume.perform { try $0.create(dir, Tests.bytes("file1")).number }
            try volume.write(made, at: 0, Tests.written.rawSpan)
        }
        guard let below = try? volume.read().lookup(dir, Tests.bytes("below"))?.child else {
            return done
        }
        for name in ["hard1", "pipe", "link1"] {
            _ = try? volume.perform { try $0.unlink(below, Tests.bytes(name)) }
        }
        _ = try? volume.perform { try $0.makeNode(below, Tests.bytes("pipe"), .fifo) }
        _ = try? volume.perform { try $0.symlink(below, Tests.bytes("link1"), to: [120]) }
        return done
    }

    @Test(arguments: Ruin.all)
    func `what programs have done since the survey is not undone by a mend`(_ ruin: Ruin) throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        let (dir, n) = try fixture.edit { editor in
            let places = (editor.inode("/dir0"), editor.inode(Ruin.file))
            ruin.body(&editor)
            return places
        }
        try fixture.withVolume { volume in
            let survey = try volume.survey { _, _, _ in }
            let done = use(volume, dir, n)
            var left = survey.findings[...]
            while !left.isEmpty {
                left = left.dropFirst(try volume.mend(left, of: survey, Preferences()).count)
            }
            volume.end(survey)
            let report = try ScrubVolume.scrub(volume)
            #expect(
                report.outcome == .clean || report.outcome == .repaired,
                "\(report.lines("", isVerbose: true).joined(separator: "\n"))")
            let tree = try ScrubVolume.nodes(volume)
            // With a link too few the last but one name takes the inode with it.
            let isThere = ruin.kinds != [.linkCount] || tree["/dir0/moved"] != nil
            if done.isMoved, isThere { #expect(tree["/dir0/moved"]?.inode == n) }
            // What was written to blocks that another file has, or to one of two extents for an
            // offset, is where the wrong extent leads.
            let isElsewhere = !ruin.kinds.isDisjoint(with: [.extentOffsetOverlap, .extentOverlap])
            if done.isWritten, done.isMoved, isThere, !isElsewhere {
                #expect(try volume.read(n, at: 3000, 5000) == ScrubMeanwhileTests.written)
            }
            if done.isFresh {
                let fresh = try #require(tree[Ruin.file]?.inode)
                #expect(try volume.read(fresh, at: 0, 5000) == ScrubMeanwhileTests.written)
            }
        }
        let witness = try fixture.verify()
        #expect(witness.isClean, "\(witness.examples)")
    }

    // MARK: Ended in the middle

    #if TIDEMARK_MUTANTS
    /// A volume with damage, the same for the same seed, which `body` works on while the call of
    /// a number fails; then it is opened again, scrubbed, and compared where it was not hit.
    private func interrupt(
        _ call: CallFailures.Call, _ number: Int, seed: UInt64,
        _ body: (Volume, () -> Void) throws -> Void
    ) throws {
        let directory = try temporaryDirectory()
        let fixture = try ScrubVolume(in: directory, directories: 4, files: 4)
        let failures = CallFailures()
        CallFailures.register(failures, below: directory)
        defer { CallFailures.register(nil, below: directory) }
        var before: [String: (inode: InodeNumber, text: String)] = [:]
        var hit: Set<InodeNumber> = []
        // Whether closing it fails too depends on the call.
        _ = try? fixture.withVolume { volume in
            before = try ScrubVolume.nodes(volume)
            hit = Set(try volume.damageMixed(count: 22, seed: seed).map(\.inode))
            try volume.sync()
            try? body(volume) {
                failures.begin(.init(call, number: number, code: .system(5)))
            }
            failures.end()
        }
        failures.end()
        #expect(!before.isEmpty && !hit.isEmpty)
        try fixture.withVolume { volume in
            let report = try ScrubVolume.scrub(volume)
            #expect(
                report.outcome == .clean || report.outcome == .repaired,
                "SEED=\(seed) \(report.lines("", isVerbose: true).joined(separator: "\n"))")
            let after = try ScrubVolume.nodes(volume)
            let lost = before.filter { path, was in
                !hit.contains(was.inode) && after[path]?.text != was.text
            }
            #expect(lost.isEmpty, "SEED=\(seed) \(lost)")
        }
        let witness = try fixture.verify()
        #expect(witness.isClean, "SEED=\(seed) \(witness.examples)")
    }

    @Test(arguments: CallFailures.Call.writing, [1, 9, 40])
    func `a scrub that is ended by a failure in the middle of a mend is gone on with`(
        _ call: CallFailures.Call, _ number: Int
    ) throws {
        try interrupt(call, number, seed: UInt64(number)) { volume, begin in
            begin()
            _ = try ScrubVolume.scrub(volume)
        }
    }

    @Test(arguments: CallFailures.Call.writing, [1, 9, 40])
    func `a rollback that is ended by a failure in the middle of a mend leaves what is mended`(
        _ call: CallFailures.Call, _ number: Int
    ) throws {
        try interrupt(call, number, seed: UInt64(number)) { volume, begin in
            let scrub = try #require(try ScrubVolume.scrub(volume).journal)
            begin()
            try volume.rollBack(scrub: scrub.number) { _ in } goOn: {}
        }
    }
    #endif
}
