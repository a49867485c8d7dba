// A scrub beside other scrubs, repairs, readers and limits: nothing is settled twice, what is in
// use just now is tried again, and the time is kept.

import Bytes
import RunService
import Scrub
import TestSupport
import Testing
import Threads
import Tidemark
import Volume
import VolumeFormat
import VolumeService
import VolumeVerify

@Suite(.temporaryDirectory) struct ScrubTogetherTests {
    private func survey(_ volume: Volume) throws -> Survey { try volume.survey { _, _, _ in } }

    private func mend(
        _ kind: VolumeVerify.PrimaryDefect, of survey: Survey, _ volume: Volume
    ) throws -> Mend {
        let finding = try #require(survey.findings.first { $0.kind == .defect(kind) })
        return try #require(
            try volume.mend([finding][...], of: survey, Preferences()).first)
    }

    @Test func `of two scrubs that found the same count wrong one settles it`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        try fixture.edit { $0.counters.freeBlocks -= 3 }
        try fixture.withVolume { volume in
            let one = try survey(volume), other = try survey(volume)
            defer {
                volume.end(one)
                volume.end(other)
            }
            #expect(try mend(.counterFreeBlocks, of: one, volume).outcome == .mended)
            #expect(try mend(.counterFreeBlocks, of: other, volume).outcome == .changed)
        }
        #expect(try fixture.verify().isClean)
    }

    @Test func `a count that a repair has settled since the survey is left alone`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        try fixture.edit { $0.counters.freeBlocks -= 3 }
        try fixture.withVolume { volume in
            let survey = try survey(volume)
            defer { volume.end(survey) }
            let registry = RunRegistry(volume, command: "test")
            let repair = try registry.withHandle(RunLimits()) { handle in
                var execution = RunExecution(handle, volume.indexes.indices.map { .init($0) })
                execution.options.strategy = .auto
                return try execution.perform()
            }
            #expect(repair.outcome == .repaired)
            #expect(try mend(.counterFreeBlocks, of: survey, volume).outcome == .changed)
        }
        #expect(try fixture.verify().isClean)
    }

    @Test func `blocks that are read for three rounds are copied in the fourth`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        let ruin = try #require(
            Ruin.owners.first {
                $0.testDescription == "two files have the same blocks, and mappings too"
            })
        let n = try fixture.edit { editor in
            ruin.body(&editor)
            return editor.inode("/dir1/file1")
        }
        try fixture.withVolume { volume in
            let isRead = Monitor(false), isEnough = Monitor(false)
            let reader = DedicatedThread(name: "reader") {
                _ = try? volume.withContents(n, at: 0, 100) { _ in
                    isRead.withLock(notify: true) { $0 = true }
                    _ = isEnough.wait(seconds: 30) { $0 ? true : nil }
                }
                isRead.withLock(notify: true) { $0 = false }
            }
            defer {
                isEnough.withLock(notify: true) { $0 = true }
                reader.join()
            }
            #expect(isRead.wait(seconds: 30) { $0 ? true : nil } == true)
            var refusals = 0
            var observer = ScrubObserver()
            observer.onMend = { _, mend in
                guard mend.outcome == .changed else { return }
                refusals += 1
                guard refusals == 3 else { return }
                isEnough.withLock(notify: true) { $0 = true }
                _ = isRead.wait(seconds: 30) { $0 ? nil : true }
            }
            let report = try ScrubVolume.scrub(volume, ScrubOptions(), observer)
            #expect(refusals == 3)
            #expect(
                report.outcome == .repaired, "\(report.lines("", isVerbose: true))")
        }
        #expect(try fixture.verify().isClean)
    }

    @Test func `a scrub whose time is over ends in its survey`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        try fixture.edit { Ruin.names[0].body(&$0) }
        try fixture.withVolume { volume in
            var limits = RunLimits()
            limits.maximumSeconds = 1e-6
            let registry = RunRegistry(volume, command: "test")
            let report = try registry.withHandle(limits) { handle in
                try Scrub.perform(volume, handle)
            }
            #expect(report.outcome == .stopped)
            #expect(report.reason?.contains("seconds at the most") == true)
            #expect(report.surveys == 0 && report.mended.isEmpty)
        }
    }

    @Test func `a scrub whose time is over while it mends does not look again`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        try fixture.edit { Ruin.names[0].body(&$0) }
        try fixture.withVolume { volume in
            let registry = RunRegistry(volume, command: "test")
            let report = try registry.withHandle(RunLimits()) { handle in
                var observer = ScrubObserver()
                observer.onMend = { _, _ in
                    var change = LimitChange()
                    change.maximumSeconds = 1e-6
                    _ = try? handle.controls.change(change)
                }
                return try Scrub.perform(volume, handle, ScrubOptions(), observer)
            }
            #expect(report.outcome == .stopped)
            #expect(report.reason?.contains("seconds at the most") == true)
            #expect(report.surveys == 1 && !report.mended.isEmpty)
            #expect(try ScrubVolume.scrub(volume).outcome != .corrupt)
        }
        #expect(try fixture.verify().isClean)
    }

    @Test func `what a file has lost is put back around what was written there since`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        let (n, block) = try fixture.edit { editor in
            let extent = editor.extents(editor.inode(Ruin.file))[0]
            editor.remove(TableName.extents, extent.key.span.array)
            return (extent.inode, extent)
        }
        #expect(block.offset == 0 && block.length == 2)
        let size = Int(ScrubVolume.blockSize)
        let new = [UInt8](repeating: 9, count: size)
        try fixture.withVolume { volume in
            try volume.write(n, at: UInt64(size), new.rawSpan)
            let report = try ScrubVolume.scrub(volume)
            #expect(report.outcome == .repaired, "\(report.lines("", isVerbose: true))")
            let bytes = try volume.read(n, at: 0, 2 * size)
            // As `fill` has written it: directory 0, file 1, piece 0.
            let old = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
            #expect(bytes == old + new)
        }
        #expect(try fixture.verify().isClean)
    }
}
