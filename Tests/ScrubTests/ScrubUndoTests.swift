// What a scrub has mended is undone: each record is what it was; what somebody has changed since is
// kept, and told; and the journal is bounded.

import Bytes
import Scrub
import TestSupport
import Testing
import Volume
import VolumeFormat
import VolumeVerify

@Suite(.temporaryDirectory) struct ScrubUndoTests {
    /// The primary records, by table and key.
    private static let tables = [
        TableName.inodes, TableName.dirents, TableName.extents, TableName.xattrs,
        TableName.symlinks, TableName.free, TableName.freeByLength, TableName.reclaim,
        TableName.freeInodes,
    ]

    private func records(_ fixture: ScrubVolume) throws -> [String: [[UInt8]: [UInt8]]] {
        try fixture.edit { editor in
            editor.records.filter { ScrubUndoTests.tables.contains($0.key) }
        }
    }

    private func rollBack(_ volume: Volume, _ scrub: UInt64) throws -> [UndoneMend] {
        var mends: [UndoneMend] = []
        try volume.rollBack(scrub: scrub) { mends.append($0) } goOn: {}
        return mends
    }

    @Test(arguments: Ruin.all)
    func `what a scrub has mended is as it was once it is undone`(_ ruin: Ruin) throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        try fixture.edit { ruin.body(&$0) }
        // What opening does, is done.
        try fixture.withVolume { _ in }
        let before = try records(fixture)
        let counters = try fixture.edit { $0.counters }
        let report = try fixture.scrub()
        guard let journal = report.journal, journal.mends > 0 else {
            // What only runs have mended they have derived.
            #expect(report.mended.isEmpty)
            return
        }
        #expect(journal.mends == report.mended.values.reduce(0, +) && journal.isWhole)
        let undone = try fixture.withVolume { try rollBack($0, journal.number) }
        #expect(undone.count == Int(journal.mends))
        // What was reclaimed is gone.
        if ruin.kinds == [.unlinkedNotInReclaim] {
            #expect(undone.contains { $0.keptFor?.contains("table reclaim") == true })
            return
        }
        for mend in undone { #expect(mend.keptFor == nil, "\(mend)") }
        let after = try records(fixture)
        for table in ScrubUndoTests.tables {
            var changed = Set(before[table]?.keys.map { $0 } ?? [])
                .union(after[table]?.keys.map { $0 } ?? [])
                .filter { before[table]?[$0] != after[table]?[$0] }
            // Link counts are set right by a run, which is no mend.
            if table == TableName.inodes {
                changed = changed.filter { key in
                    guard let old = before[table]?[key], let new = after[table]?[key],
                        let was = try? InodeRecord(key: key.rawSpan, value: old.rawSpan),
                        var now = try? InodeRecord(key: key.rawSpan, value: new.rawSpan)
                    else { return true }
                    now.links = was.links
                    return now != was
                }
            }
            #expect(changed.isEmpty, "\(table): \(changed)")
        }
        let last = try fixture.edit { $0.counters }
        #expect(last.inodes == counters.inodes)
        // The count of free blocks is set right by runs, too.
        if report.runs.isEmpty { #expect(last.freeBlocks == counters.freeBlocks) }
        // It is mended again as it was mended before. (Next numbers are not taken back.)
        let again = try fixture.scrub()
        let isNumber = !ruin.kinds.isDisjoint(with: [.counterNextInode, .lostInodeNumbers])
        #expect(
            again.outcome == .repaired || isNumber && again.outcome == .clean,
            "\(again.lines("", isVerbose: true))")
        #expect(try fixture.verify().isClean)
    }

    @Test func `a name that is undone is put back by the next scrub, by its parent pointer`() throws
    {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        let before = try fixture.tree()
        try fixture.edit { Ruin.names[0].body(&$0) }
        let scrub = try #require(try fixture.scrub().journal)
        _ = try fixture.withVolume { try rollBack($0, scrub.number) }
        #expect(try fixture.tree()[Ruin.file] == nil)
        #expect(try fixture.scrub().outcome == .repaired)
        #expect(try fixture.tree() == before)
    }

    @Test func `what was changed since its mend is kept, and the rest is undone`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        let n = try fixture.edit { editor in
            editor.remove(TableName.dirents, editor.entry("/dir1/below").key)
            editor.change("/dir2/file1") { $0.blocks += 7 }
            return editor.inode("/dir2/file1")
        }
        try fixture.withVolume { volume in
            let scrub = try #require(try ScrubVolume.scrub(volume).journal)
            #expect(scrub.mends == 3)
            // The file is written; the directory gets a name more beside the one that goes again.
            try volume.write(n, at: 0, [1, 2, 3].rawSpan)
            let dir = try #require(try volume.read().lookup(.root, Array("dir1".utf8))).child
            _ = try volume.perform { try $0.makeDirectory(dir, Array("new".utf8)) }
            let undone = try rollBack(volume, scrub.number)
            #expect(
                undone.filter { $0.keptFor == nil }.map(\.kind)
                    == ["directorySize", "orphanInode"])
            let kept = undone.filter { $0.keptFor != nil }
            #expect(kept.map(\.kind) == ["inodeBlocks"])
            #expect(
                kept.first?.keptFor == "a record of inode \(n) in table inodes has changed since")
            let tree = try ScrubVolume.tree(volume)
            #expect(tree["/dir1/new"] != nil && tree["/dir1/below"] == nil)
            #expect(tree["/dir1/below/hard0"] == nil && tree["/dir1/file0"] != nil)
            // What is kept is in the journal still.
            #expect(try volume.scrubs().last?.mends == 1)
            #expect(try ScrubVolume.scrub(volume).outcome == .repaired)
        }
        #expect(try fixture.verify().isClean)
    }

    @Test func `a rollback that was ended in the middle goes on when it is called again`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory(), directories: 6, files: 6)
        struct End: Error {}
        try fixture.withVolume { volume in
            _ = try volume.damageMixed(count: 40, seed: 3)
            let scrub = try #require(try ScrubVolume.scrub(volume).journal)
            var done: [UndoneMend] = []
            #expect(throws: End.self) {
                try volume.rollBack(scrub: scrub.number) { done.append($0) } goOn: {
                    if !done.isEmpty { throw End() }
                }
            }
            #expect(!done.isEmpty && done.count < Int(scrub.mends))
            done += try rollBack(volume, scrub.number)
            #expect(done.count == Int(scrub.mends))
            #expect(try ScrubVolume.scrub(volume).outcome == .repaired)
        }
        #expect(try fixture.verify().isClean)
    }

    @Test func `scrubs are undone the last one first, and a forgotten one not at all`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        var numbers: [UInt64] = []
        for path in ["/dir0", "/dir1"] {
            try fixture.edit { $0.change(path) { $0.size += 3 } }
            numbers.append(try #require(try fixture.scrub().journal).number)
        }
        #expect(numbers[0] < numbers[1])
        try fixture.withVolume { (volume: Volume) throws in
            let refusal = #expect(throws: VolumeError.self) { try rollBack(volume, numbers[0]) }
            #expect(refusal.map { "\($0)".contains("scrub \(numbers[1]) came later") } == true)
            #expect(try volume.forget(scrub: numbers[1]) == 1)
            let none = #expect(throws: VolumeError.self) { try rollBack(volume, numbers[1]) }
            #expect(none.map { "\($0)".contains("the journal has none of its mends") } == true)
            let unknown = #expect(throws: VolumeError.self) { try volume.forget(scrub: 99) }
            #expect(unknown.map { "\($0)".contains("no such scrub") } == true)
            #expect(try rollBack(volume, numbers[0]).count == 1)
            // A number is not used again.
            #expect(try volume.beginScrub() == numbers[1] + 1)
        }
    }

    @Test func `a journal without room is bounded, and its scrub can't be undone`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory(), directories: 6, files: 6)
        var options = OpenOptions(mode: .readWrite)
        options.metadataLimit = 1 << 30
        options.mendJournalBytes = 4096
        let volume = try Volume.open(fixture.path, options: options)
        defer { try? volume.close() }
        _ = try volume.damageMixed(count: 40, seed: 5)
        let report = try ScrubVolume.scrub(volume)
        #expect(report.outcome == .repaired)
        let scrub = try #require(report.journal)
        #expect(!scrub.isWhole && scrub.mends > 0 && scrub.bytes <= 4096)
        #expect(report.lines("v", isVerbose: false).contains { $0.contains("can't be undone") })
        let refusal = #expect(throws: VolumeError.self) { try rollBack(volume, scrub.number) }
        #expect(refusal.map { "\($0)".contains("no room for all of its mends") } == true)
        // The next one has room: the oldest goes.
        _ = try volume.damageMixed(count: 1, seed: 6)
        let next = try #require(try ScrubVolume.scrub(volume).journal)
        #expect(try volume.scrubs().map(\.number) == [next.number])
        #expect(next.number > scrub.number)
    }

    @Test func `a damaged record of the journal is kept, and told`() throws {
        let fixture = try ScrubVolume(in: temporaryDirectory())
        try fixture.edit { $0.change("/dir0") { $0.size += 3 } }
        let scrub = try #require(try fixture.scrub().journal)
        try fixture.edit { editor in
            editor.spoil(
                TableName.mends, MendRecord.key(scrub: scrub.number, mend: 1).span.array)
        }
        let undone = try fixture.withVolume { try rollBack($0, scrub.number) }
        #expect(undone.map(\.keptFor) == ["its record is damaged: wrong checksum"])
        #expect(try fixture.verify().isClean)
    }

    @Test func `a mend's record is decoded as it was, and no piece of one is`() throws {
        let mend = MendRecord(
            time: Timestamp(seconds: 5, nanoseconds: 7), kind: "orphanInode", inodes: 1,
            freeBlocks: 0 &- 3,
            changes: [
                RecordChange(table: "inodes", key: [1, 2, 3], before: nil, after: [4]),
                RecordChange(table: "free", key: [], before: [5, 6], after: nil),
            ])
        let key = MendRecord.key(scrub: 3, mend: 4)
        let value = mend.value(key: key.span)
        #expect(try MendRecord(key: key.span, value: value.rawSpan) == mend)
        for count in 0..<value.count - 4 {
            let piece = sealedValue(key: key.span, body: Array(value[..<count]))
            #expect(throws: RecordDamage.self) {
                try MendRecord(key: key.span, value: piece.rawSpan)
            }
        }
        var scrub = ScrubRecord(number: 3, began: mend.time)
        (scrub.mends, scrub.bytes, scrub.isWhole) = (7, 8, false)
        let place = scrub.key, stored = scrub.value
        #expect(try ScrubRecord(key: place.span, value: stored.span) == scrub)
    }
}
