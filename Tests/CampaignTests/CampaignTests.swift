// The campaign: each field of each record, each kind of lie, with a right and with a wrong
// checksum, and what each verb makes of it. A sample in every run of the tests; the whole with
// `Scripts/campaign`, which sets TIDEMARK_CAMPAIGN to the file that the results go to.

import Bytes
import Foundation
import LMDB
import TestSupport
import Testing
import Tidemark
import Volume
import VolumeFormat
import VolumeVerify

@Suite(.temporaryDirectory, .serialized) struct CampaignTests {
    static let cases: [CampaignCase] = CampaignFields.all.flatMap { field in
        FieldLie.allCases.flatMap { lie in
            [true, false].map { CampaignCase(field: field, lie: lie, isSealed: $0) }
        }
    }

    static let results = ProcessInfo.processInfo.environment["TIDEMARK_CAMPAIGN"]

    /// Every case with `Scripts/campaign`, else every 37th: a prime, so that fields, lies and
    /// checksums all change.
    static let chosen: [CampaignCase] =
        results != nil ? cases : stride(from: 0, to: cases.count, by: 37).map { cases[$0] }

    @Test func `fields cover all bytes of every record`() throws {
        let base = try CampaignVolume(in: temporaryDirectory())
        let environment = try Environment(
            path: base.path + "/meta.mdb", options: .init(mapSize: 1 << 30, isReadOnly: true))
        let fields = CampaignFields.all.filter { !$0.isFile }
        let tables = Set(fields.map(\.table))
        for name in PrimaryTablesOfFormat.names + ["rmap.g1", "parents.g1", "quota.g1"] {
            #expect(tables.contains(name), "\(name) has no field")
        }
        for name in tables {
            let table = try #require(try environment.table(name, create: false), "\(name)")
            let transaction = try environment.beginRead()
            var cursor = try transaction.cursor(table)
            var uncovered: [String] = []
            var count = 0
            var isThere = try cursor.first()
            while isThere {
                count += 1
                let key = cursor.key.array, value = cursor.value.array
                let own = fields.filter { $0.table == name && $0.record(key, value) }
                let isWhole =
                    covers(own, false, value.count - checksumSize)
                    && (name == TableName.superblock || covers(own, true, key.count))
                if own.isEmpty || !isWhole { uncovered.append(escapedName(key)) }
                isThere = try cursor.next()
            }
            #expect(count > uncovered.count, "\(name): \(uncovered)")
            let mayBe = name == TableName.freeInodes || name == TableName.freeByLength
            if !mayBe { #expect(count > 0, "\(name) is empty") }
        }
    }

    private func covers(_ fields: [CampaignField], _ isInKey: Bool, _ count: Int) -> Bool {
        var place = 0
        let sorted = fields.filter { $0.isInKey == isInKey }.sorted { $0.offset < $1.offset }
        for field in sorted {
            guard field.offset <= place else { return false }
            place = field.size == 0 ? count : max(place, field.offset + field.size)
        }
        return place >= count
    }

    @Test func `a lie is found and named, or refused, and no repair makes it worse`() throws {
        let directory = try temporaryDirectory()
        let base = try CampaignVolume(in: directory)
        let untold = CampaignVerbs.verify(base.path)
        #expect(untold.verdict == .clean, "\(untold)")
        var tried = 0
        for one in CampaignTests.chosen {
            let watchdog = Watchdog(seconds: 20, "\(one)")
            defer { watchdog.end() }
            CampaignTests.note("trying\t\(one.testDescription)\n")
            let folder = directory + "/case"
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: false)
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let lied = folder + "/v"
            try base.copy(to: lied)
            guard try one.tell(lied) else { continue }
            tried += 1
            try CampaignTests.judge(one, lied, folder)
        }
        #expect(tried > CampaignTests.chosen.count / 2)
        CampaignTests.note("done\n")
    }

    private static func judge(_ one: CampaignCase, _ lied: String, _ folder: String) throws {
        let verified = CampaignVerbs.verify(lied)
        let mayBeClean =
            one.field.isFree && (one.isSealed || one.field.isFile)
            || [TableName.runs, TableName.hookLog].contains(one.field.table)
        if !mayBeClean { problem(verified.verdict != .clean, one, "verify: clean", verified) }
        note(one, "verify", verified)
        let checked = CampaignVerbs.run(lied, .check)
        note(one, "check", checked)
        problem(
            (verified.verdict == .clean) == (checked.verdict == .clean)
                || verified.verdict == .clean && checked.verdict == .refused && mayBeClean,
            one, "check: \(checked), verify:", verified)
        note(one, "stat, dump", CampaignVerbs.look(lied))
        let isReadable = one.field.page == nil
        let before = isReadable ? try CampaignVolume.primaries(lied) : [:]
        for strategy in [Strategy.patch, .rebuild] {
            let other = folder + "/" + strategy.rawValue
            try FileManager.default.copyItem(atPath: lied, toPath: other)
            let repaired = CampaignVerbs.run(other, strategy)
            note(one, "repair \(strategy.rawValue)", repaired)
            let after = CampaignVerbs.verify(other)
            note(one, "verify after \(strategy.rawValue)", after)
            if [.clean, .repaired].contains(repaired.verdict) {
                problem(after.verdict == .clean, one, "\(strategy): \(repaired), then", after)
            } else if verified.verdict == .found, after.verdict == .found {
                let new = after.kinds.subtracting(verified.kinds)
                problem(new.isEmpty, one, "\(strategy) made \(new) of \(verified),", after)
            }
            guard isReadable else { continue }
            let left = try CampaignVolume.primaries(other)
            for (table, records) in before {
                // An unlinked file is reclaimed meanwhile, which changes more than one record.
                let same = left[table] == records
                if verified.verdict == .found, repaired.verdict != .repaired, !same {
                    continue
                }
                problem(same || mayReclaim(one), one, "\(strategy) changed \(table)", after)
            }
        }
        let used = folder + "/use"
        try FileManager.default.copyItem(atPath: lied, toPath: used)
        let use = CampaignVerbs.use(used)
        note(one, "use", use)
        let after = CampaignVerbs.verify(used)
        note(one, "verify after use", after)
        if verified.verdict == .clean, use.verdict == .clean {
            problem(after.verdict == .clean, one, "use:", after)
        }
    }

    /// Where the lie makes somebody else's work of reclaiming begin when the volume is opened.
    private static func mayReclaim(_ one: CampaignCase) -> Bool {
        one.field.table == TableName.reclaim || one.field.name.contains("links")
            || one.field.name == "file key offset"
    }

    private static func problem(
        _ isRight: Bool, _ one: CampaignCase, _ words: String, _ answer: Answer
    ) {
        guard !isRight else { return }
        note("problem\t\(one.testDescription)\t\(words)\t\(answer)\n")
        Issue.record("\(one.testDescription): \(words) \(answer)")
    }

    private static func note(_ one: CampaignCase, _ verb: String, _ answer: Answer) {
        note(
            "\(one.field.table)\t\(one.field.name)\t\(one.lie.rawValue)\t"
                + "\(one.isSealed ? "right" : "wrong")\t\(verb)\t\(answer.verdict.rawValue)\n")
        if answer.verdict == .refused, answer.words.isEmpty {
            problem(false, one, "\(verb) refused without a word", answer)
        }
    }

    private static func note(_ line: String) {
        guard let results else { return }
        let file = open(results, O_WRONLY | O_APPEND | O_CREAT, 0o644)
        let bytes = Array(line.utf8)
        _ = write(file, bytes, bytes.count)
        close(file)
    }
}

/// The tables of Docs/format.md.
enum PrimaryTablesOfFormat {
    static let names = [
        TableName.superblock, TableName.inodes, TableName.dirents, TableName.extents,
        TableName.xattrs, TableName.symlinks, TableName.free, TableName.freeByLength,
        TableName.reclaim, TableName.freeInodes, TableName.runs, TableName.hookLog,
    ]
}
