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

    /// Every case with `Scripts/campaign`, or as many as it says, else every 61st: a prime, so that
    /// fields, lies and checksums all change.
    static let chosen: [CampaignCase] = {
        let environment = ProcessInfo.processInfo.environment["TIDEMARK_CAMPAIGN_EVERY"]
        let step = results == nil ? 61 : max(environment.flatMap { Int($0) } ?? 1, 1)
        let table = ProcessInfo.processInfo.environment["TIDEMARK_CAMPAIGN_TABLE"]
        let wanted = cases.filter { table == nil || $0.field.table == table }
        return stride(from: 0, to: wanted.count, by: step).map { wanted[$0] }
    }()

    @Test func `fields cover all bytes of every record`() throws {
        let base = try CampaignVolume(in: temporaryDirectory())
        let environment = try Environment(
            path: base.path + "/meta.mdb", options: .init(mapSize: 1 << 30, isReadOnly: true))
        let fields = CampaignFields.all.filter { !$0.isFile && $0.volume == .closed }
        let tables = Set(fields.map(\.table))
        for name in Set(try environment.tableNames() + PrimaryTablesOfFormat.names) {
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

    @Test func `fields cover every file of a volume, and all bytes of what is no table`() throws {
        let directory = try temporaryDirectory()
        let volumes = [
            try CampaignVolume(in: directory).path, try SuspendedVolume(in: directory).path,
        ]
        let fields = CampaignFields.all.filter(\.isFile)
        for volume in volumes {
            let files = try FileManager.default.subpathsOfDirectory(atPath: volume)
            for file in files where file != "runs" {
                // What liblmdb makes anew each time that it opens its file.
                guard !file.hasSuffix("-lock") else { continue }
                let own = fields.filter { $0.file == file }
                #expect(!own.isEmpty, "\(file)")
                guard file != "data", file != "meta.mdb", !file.hasSuffix(".mdb") else { continue }
                let bytes = [UInt8](try Data(contentsOf: URL(filePath: volume + "/" + file)))
                var covered = Set(own.flatMap { field in
                    field.place.map { Array($0(bytes) ?? 0..<0) }
                        ?? Array(field.offset..<field.offset + max(field.size, 1))
                })
                if let sealed = own[0].sealed(bytes.count) {
                    covered.formUnion(sealed.upperBound..<sealed.upperBound + checksumSize)
                }
                // The second slot is as the first; the process's number has several digits.
                let end = file == "durable" ? 220 : file == "lock" ? 1 : bytes.count
                // Of lists the first element.
                let isList = file == SuspendedVolume.checkpoint
                let missing = Set(0..<min(end, bytes.count)).subtracting(covered)
                if isList {
                    #expect(CheckpointPlaces(bytes).end == bytes.count - checksumSize)
                    let places = CheckpointPlaces(bytes).places
                    #expect(Set(places.keys) == Set(CheckpointPlaces.names))
                } else {
                    #expect(missing.isEmpty, "\(file): \(missing.sorted())")
                }
            }
        }
    }

    @Test func `every member of a run's record is lied in, and described`() throws {
        var record = RunRecord(number: 1, indexes: ["rmap"], strategy: .auto)
        (record.scope, record.reason, record.ended, record.logFrom) = ("x", "x", 1, 1)
        record.ownerCommit = 1
        record.loading = .init(index: "rmap", generation: 1)
        record.outcome = .clean
        var limits = RunLimits(), costs = PlanCosts()
        (limits.speedLimit, limits.stopAfter, limits.maximumSeconds) = (1, 1, 1)
        (costs.compare, costs.load, costs.patch) = (1, 1, 1)
        (record.limits, record.costs) = (limits, costs)
        func names(_ value: Any, _ prefix: String) -> [String] {
            guard let object = value as? [String: Any] else { return [] }
            return object.flatMap { [prefix + $0] + names($1, prefix + $0 + ".") }
        }
        let written = try JSONSerialization.jsonObject(with: JSONEncoder().encode(record))
        #expect(Set(names(written, "")) == Set(CampaignFields.members))
        let page = try String(
            contentsOf: URL(filePath: #filePath).deletingLastPathComponent()
                .deletingLastPathComponent().deletingLastPathComponent()
                .appendingPathComponent("Docs/format.md"), encoding: .utf8)
        for member in CampaignFields.members {
            let name = member.split(separator: ".").last!
            #expect(page.contains("`\(name)`"), "\(member)")
        }
    }

    @Test func `the table of answers has a row for each field, and no empty cell`() throws {
        let page = try String(
            contentsOf: URL(filePath: #filePath).deletingLastPathComponent()
                .deletingLastPathComponent().deletingLastPathComponent()
                .appendingPathComponent("Docs/assurance.md"), encoding: .utf8)
        let rows = page.split(separator: "\n").filter { $0.hasPrefix("| ") }
        let fields =
            CampaignFields.all.map { ($0.table, $0.name) }
            + IndexFileCampaignTests.all.map { ("index file \($0.table)", $0.name) }
        for (table, name) in fields {
            let row = rows.first { $0.hasPrefix("| \(table) | \(name) | ") }
            #expect(row != nil, "\(table), \(name)")
            let cells = row?.split(separator: "|", omittingEmptySubsequences: false) ?? []
            let isFull = cells.dropFirst().dropLast().allSatisfy {
                !$0.allSatisfy { $0 == " " || $0 == "?" }
            }
            #expect(isFull, "\(row ?? "")")
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
        let bases: [CampaignVolumeKind: String] = [
            .closed: try CampaignVolume(in: directory).path,
            .suspended: try SuspendedVolume(in: directory).path,
        ]
        for base in bases.values {
            let untold = CampaignVerbs.verify(base)
            #expect(untold.verdict == .clean, "\(untold)")
        }
        var tried = 0, told: [String: Int] = [:]
        for one in CampaignTests.chosen {
            CampaignTests.note("trying\t\(one.testDescription)\n")
            let folder = directory + "/case"
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: false)
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let lied = folder + "/v"
            let base = try #require(bases[one.field.volume])
            try FileManager.default.copyItem(atPath: base, toPath: lied)
            guard try one.tell(lied) else { continue }
            tried += 1
            let number = told[one.field.testDescription, default: 0]
            told[one.field.testDescription] = number + 1
            // A mount takes a second: one for each field, of the sample few.
            let isMounted =
                CampaignTests.results != nil
                ? number == 0 : tried % 24 == 0
            // Twenty more for each command of a mount, which are bounded themselves.
            let watchdog = Watchdog(seconds: isMounted ? 80 : 20, "\(one)")
            defer { watchdog.end() }
            try CampaignTests.judge(one, lied, folder, isMounted: isMounted)
        }
        #expect(tried > CampaignTests.chosen.count / 2)
        CampaignTests.note("done\n")
    }

    private static func judge(
        _ one: CampaignCase, _ lied: String, _ folder: String, isMounted: Bool
    ) throws {
        let verified = CampaignVerbs.verify(lied)
        let mayBeClean =
            one.field.isFree && (one.isSealed || one.field.isFile)
            || [TableName.runs, TableName.hookLog, TableName.quarantine, TableName.mends]
                .contains(one.field.table)
            || one.field.volume == .suspended
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
        try judgeScrub(one, lied, folder, verified)
        if one.field.volume == .suspended { try judgeResume(one, lied, folder) }
        if isMounted, CampaignVerbs.canMount { try judgeMount(one, lied, folder, verified) }
    }

    private static func judgeScrub(
        _ one: CampaignCase, _ lied: String, _ folder: String, _ verified: Answer
    ) throws {
        let other = folder + "/scrub"
        try FileManager.default.copyItem(atPath: lied, toPath: other)
        let scrubbed = CampaignVerbs.scrub(other)
        note(one, "scrub", scrubbed)
        let after = CampaignVerbs.verify(other)
        note(one, "verify after scrub", after)
        if [.clean, .repaired].contains(scrubbed.verdict) {
            problem(after.verdict == .clean, one, "scrub: \(scrubbed), then", after)
        } else if scrubbed.verdict == .refused {
            problem(verified.verdict != .clean, one, "verify: clean, scrub:", scrubbed)
        }
    }

    private static func judgeResume(
        _ one: CampaignCase, _ lied: String, _ folder: String
    ) throws {
        let other = folder + "/resume"
        try FileManager.default.copyItem(atPath: lied, toPath: other)
        let resumed = CampaignVerbs.resume(other)
        note(one, "resume", resumed)
        let after = CampaignVerbs.verify(other)
        note(one, "verify after resume", after)
        // What has a right checksum, and could have been written so, is believed.
        if !one.isSealed {
            problem(after.verdict == .clean, one, "resume: \(resumed), then", after)
        }
    }

    private static func judgeMount(
        _ one: CampaignCase, _ lied: String, _ folder: String, _ verified: Answer
    ) throws {
        let other = folder + "/mount"
        try FileManager.default.copyItem(atPath: lied, toPath: other)
        do {
            let mounted = try CampaignVerbs.mount(other)
            note(one, "mount, use", mounted)
            let after = CampaignVerbs.verify(other)
            note(one, "verify after mount", after)
            if verified.verdict == .clean, mounted.verdict == .clean {
                problem(after.verdict == .clean, one, "mount:", after)
            }
        } catch let ended as CampaignVerbs.MountEnded {
            problem(false, one, "\(ended)", verified)
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
