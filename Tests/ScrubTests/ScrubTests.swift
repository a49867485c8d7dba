// A scrub of every ruin: found, mended, looked at again by the witness, and nothing else lost.

import Bytes
import Foundation
import Scrub
import TestSupport
import Testing
import Volume
import VolumeFormat
import VolumeVerify

@Suite(.temporaryDirectory) struct ScrubTests {
    @Test func `a scrub of a sound volume is one survey that finds nothing`() throws {
        let volume = try ScrubVolume(in: temporaryDirectory())
        let report = try volume.scrub()
        #expect(report.outcome == .clean)
        #expect(report.surveys == 1)
        #expect(report.runs.isEmpty)
        #expect(report.items.allSatisfy { $0.state == .clean })
    }

    @Test(arguments: Ruin.all)
    func `what is ruined is found, mended, and the rest is as it was`(_ ruin: Ruin) throws {
        let volume = try ScrubVolume(in: temporaryDirectory())
        let before = try volume.tree()
        let lacksRecord = try volume.edit { editor in
            ruin.body(&editor)
            return editor.lacksRecord
        }
        #expect(!lacksRecord)
        let witness = try volume.verify()
        for kind in ruin.kinds { #expect(witness.primaries[kind] ?? 0 > 0, "\(kind)") }
        let found = try volume.scrub { $0.mode = .check }
        #expect(found.outcome == (ruin.kinds == [.freeNotMerged] ? .optimisable : .corrupt))
        for kind in ruin.kinds { #expect(found.counts[kind] ?? 0 > 0, "\(kind)") }
        var log: [String] = []
        var observer = ScrubObserver()
        observer.onMend = { log.append("\($0): \($1.outcome): \($1.what)") }
        let report = try volume.scrub(observer: observer)
        // Opening the volume reclaims what is to be reclaimed.
        let isMended = report.outcome == .repaired || ruin.kinds == [.reclaimWithoutInode]
        #expect(
            isMended,
            "\(report.lines("", isVerbose: true).joined(separator: "\n"))\n\(log)")
        let after = try volume.verify()
        #expect(after.isClean, "\(after.examples)\n\(log.joined(separator: "\n"))")
        try compare(before, try volume.tree(), ruin, log)
        #expect(try volume.scrub().outcome == .clean)
    }

    private func compare(
        _ before: [String: String], _ after: [String: String], _ ruin: Ruin, _ log: [String]
    ) throws {
        for (path, was) in before where !ruin.cost.contains(path) {
            #expect(after[path] == was, "\(path)\n\(log.joined(separator: "\n"))")
        }
        for path in after.keys where before[path] == nil {
            let isGain = ruin.gain.contains { path.hasPrefix($0) }
            #expect(isGain, "\(path)\n\(log.joined(separator: "\n"))")
        }
    }

    /// They are too many to be freed one by one.
    @Test func `a number far above all others ends a scrub, which says what is left`() throws {
        let volume = try ScrubVolume(in: temporaryDirectory())
        let far: InodeNumber = 1 << 60
        try volume.edit { editor in
            editor.counters.nextInode = far + 1
            editor.put(
                TableName.freeInodes, InodeRecord.key(far).span.array,
                FreeInodeRecord.value(inode: far).span.array)
        }
        let report = try volume.scrub()
        #expect(report.surveys < 10)
        #expect(report.outcome == .corrupt)
        #expect(report.counts[.lostInodeNumbers] == 1, "\(report.counts)")
        #expect(report.left.contains { $0.mend?.what.contains("never used") ?? false })
    }

    @Test func `a check changes nothing, whatever it finds`() throws {
        let volume = try ScrubVolume(in: temporaryDirectory())
        try volume.edit { editor in
            for ruin in [Ruin.names[0], Ruin.space[1]] { ruin.body(&editor) }
        }
        let before = try Data(contentsOf: URL(fileURLWithPath: volume.path + "/meta.mdb"))
        #expect(try volume.scrub { $0.mode = .check }.outcome == .corrupt)
        #expect(
            try Data(contentsOf: URL(fileURLWithPath: volume.path + "/meta.mdb")) == before)
    }

    @Test func `every kind of defect is an item's, and every item waits for items that exist`() {
        let owned = ScrubItem.all.flatMap(\.kinds)
        #expect(Set(owned) == Set(PrimaryDefect.allCases))
        #expect(owned.count == Set(owned).count)
        var earlier: Set<String> = []
        for item in ScrubItem.all {
            for other in item.needs + item.after { #expect(earlier.contains(other), "\(item)") }
            earlier.insert(item.name)
        }
        #expect(ScrubItem.all.map(\.phase) == ScrubItem.all.map(\.phase).sorted())
    }

    @Test func `where nothing decides nothing is changed, and a preference decides`() throws {
        let volume = try ScrubVolume(in: temporaryDirectory())
        // An empty fifo and an entry that says socket: neither has anything else to show.
        try volume.edit { editor in
            let (key, target) = editor.entry("/dir0/below/pipe")
            var wrong = target
            wrong.type = .socket
            editor.put(TableName.dirents, key, wrong.value(key: key.rawSpan).span.array)
        }
        let left = try volume.scrub()
        #expect(left.outcome == .corrupt)
        #expect(left["types"]?.state == .undecided)
        let choices = left.left.first?.mend?.choices.map(\.name)
        #expect(choices == ["entry", "inode"])
        #expect(try volume.verify().primaries[.entryType] == 1)
        let mended = try volume.scrub { _ = $0.preferences.prefer("inode", for: .entryType) }
        #expect(mended.outcome == .repaired)
        #expect(try volume.tree()["/dir0/below/pipe"]?.hasPrefix("fifo") == true)
    }

    @Test func `what is to be reported only is left alone`() throws {
        let volume = try ScrubVolume(in: temporaryDirectory())
        try volume.edit { editor in
            editor.putEntry(
                .root, "ghost",
                DirentTarget(child: editor.freeNumbers[0], generation: 3, type: .regular))
        }
        let left = try volume.scrub { _ = $0.preferences.prefer("report", for: .danglingEntry) }
        #expect(left.outcome == .corrupt)
        #expect(try volume.verify().primaries[.danglingEntry] == 1)
        #expect(try volume.scrub().outcome == .repaired)
    }

    @Test func `the blocks of an inode that is lost, too, wait until it is made again`() throws {
        let volume = try ScrubVolume(in: temporaryDirectory())
        let before = try volume.withVolume(.readOnly) { volume in
            let dir = try #require(try volume.read().lookup(.root, Array("dir0".utf8))).child
            let file = try #require(try volume.read().lookup(dir, Array("file1".utf8))).child
            return (file, try volume.read(file, at: 0, 8192))
        }
        try volume.edit { editor in
            let extent = editor.extents(before.0)[0]
            #expect(extent.offset == 0)
            editor.remove(TableName.extents, extent.key.span.array)
            editor.remove(TableName.inodes, InodeRecord.key(before.0).span.array)
        }
        #expect(try volume.scrub().outcome == .repaired)
        #expect(try volume.verify().isClean)
        let after = try volume.withVolume(.readOnly) { try $0.read(before.0, at: 0, 8192) }
        #expect(after == before.1)
    }

    @Test(arguments: 1..<6 as Range<UInt64>)
    func `many ruins at once end clean, and what none concerns is as it was`(
        _ seed: UInt64
    ) throws {
        var random = SplitMix64(seed: seed)
        let volume = try ScrubVolume(in: temporaryDirectory(), directories: 4, files: 6)
        let before = try volume.tree()
        var chosen: [Ruin] = []
        for ruin in Ruin.all.shuffled(using: &random).prefix(12) { chosen.append(ruin) }
        try volume.edit { editor in
            // Two ruins of one record would be another one.
            var touched: Set<[UInt8]> = []
            for ruin in chosen {
                var trial = editor
                trial.changes = []
                guard ruin.isPossible(trial), !trial.freeNumbers.isEmpty else { continue }
                ruin.body(&trial)
                guard !trial.lacksRecord,
                    trial.changes.allSatisfy({ !touched.contains($0.key) })
                else { continue }
                for change in trial.changes { touched.insert(change.key) }
                editor.records = trial.records
                editor.changes += trial.changes
            }
        }
        let report = try volume.scrub()
        let after = try volume.verify()
        let names = chosen.map(\.testDescription)
        #expect(
            after.isClean,
            "SEED=\(seed) \(names) \(report.lines("", isVerbose: true)) \(after.examples)")
        let now = try volume.tree()
        // Only what the ruins are about may be different.
        for (path, was) in before where path.hasPrefix("/dir3") {
            #expect(now[path] == was, "SEED=\(seed) \(path)")
        }
    }
}

extension Ruin {
    /// Whether what it is about is there still: the paths lead there.
    func isPossible(_ editor: Editor) -> Bool {
        let paths = ["/dir0", "/dir0/below", "/dir0/below/pipe", Ruin.file, "/dir0/below/hard1"]
        return paths.allSatisfy { path in
            var dir = InodeNumber.root
            for name in path.split(separator: "/") {
                let key = DirentRecord.key(dir, Array(name.utf8).rawSpan).span.array
                guard let value = editor.records[TableName.dirents]?[key],
                    let target = try? DirentTarget(key: key.rawSpan, value: value.rawSpan),
                    let inode = editor.records[TableName.inodes]?[
                        InodeRecord.key(target.child).span.array],
                    (try? InodeRecord(
                        key: InodeRecord.key(target.child).span, value: inode.rawSpan)) != nil
                else { return false }
                dir = target.child
            }
            return true
        }
    }
}
