// A volume whose run was stopped in its scan, and goes on from its checkpoint: the files of the
// run, its record, and its log.

import Bytes
import Foundation
import LMDB
import RunService
import Synchronization
import TestSupport
import Testing
import Tidemark
import Volume
import VolumeFormat
import VolumeService

@testable import Shadow
@testable import SideFile

struct SuspendedVolume {
    /// The table of the side file that the campaign lies in.
    static let sortedRun = "run.1"
    static let sideFile = "runs/run-1.mdb"
    static let checkpoint = "runs/run-1.checkpoint"

    let path: String

    init(in directory: String) throws {
        path = directory + "/suspended"
        try Volume.create(path, options: CreateOptions(size: 4 << 20))
        let volume = try Volume.open(path)
        try volume.perform { operations in
            for number in 0..<60 {
                var new = NewInode(permissions: 0o644)
                new.uid = UInt32(number % 3)
                let file = try operations.create(.root, Array("file-\(number)".utf8), new)
                try operations.allocate(file.number, 0, 4096, .reserve(keepSize: false))
            }
        }
        try SuspendedVolume.stop(volume)
        // What is changed now stands in the log.
        try volume.perform { operations in
            _ = try operations.create(.root, Array("later".utf8), NewInode(permissions: 0o644))
            try operations.rename(
                .root, Array("file-1".utf8), to: .root, Array("other".utf8))
        }
        try volume.close()
        try addRanges()
    }

    /// A rebuild of two indexes that is stopped once it has read something.
    private static func stop(_ volume: Volume) throws {
        let registry = RunRegistry(volume, command: "campaign")
        var limits = RunLimits()
        limits.speedLimit = 100
        limits.window = 8
        let outcome = try registry.withHandle(limits) { handle -> RunReport.Outcome in
            var execution = RunExecution(handle, [IndexSlot(0), IndexSlot(1)])
            execution.options.strategy = .rebuild
            let hasRead = Mutex(false)
            execution.observer.onProgress = { progress in
                if progress.primaryRecords >= 16 { hasRead.withLock { $0 = true } }
            }
            execution.observer.stopRequest = { hasRead.withLock { $0 } ? "enough" : nil }
            return try execution.perform().outcome
        }
        try #require(outcome == .stopped)
        // It is to go on at full speed.
        try volume.atCommitBoundary { boundary in
            let journal = try boundary.requireJournal()
            var record = try #require(try journal.runs().first)
            record.limits = RunLimits()
            try journal.store(record)
        }
    }

    /// Ranges in the checkpoint, so that there is something to lie in: what they ask for is read
    /// again, or is void already, and changes nothing.
    private func addRanges() throws {
        let file = CheckpointFile(sideFile: path + "/" + SuspendedVolume.sideFile)
        let identity = try SuspendedVolume.identity(path)
        let contents = try file.read(identity)
        let old = contents.checkpoint
        let range = KeyRange(lower: KeyBytes([1]), upper: KeyBytes([2]))
        let checkpoint = Checkpoint(
            commit: old.commit,
            position: .init(
                cursor: old.scan.cursor, unread: old.scan.unread + [range],
                applied: old.scan.applied, elided: old.scan.elided),
            voids: old.voids + [VoidRange(range: range, sequence: .none)], runs: old.runs,
            nextRun: old.nextRun, primaryRecords: old.primaryRecords, windows: old.windows,
            damage: old.damage, damageCount: old.damageCount, scope: nil)
        try #require(old.scan.cursor != nil && !old.runs.joined().isEmpty)
        try file.write(.init(checkpoint: checkpoint, meta: contents.meta), identity)
    }

    private static func identity(_ volume: String) throws -> SideFile.Identity {
        let opened = try Volume.open(volume, options: OpenOptions(mode: .readOnly))
        defer { try? opened.close() }
        return SideFile.Identity(owner: opened.geometry.identity, run: 1)
    }

    /// Makes the checkpoint one of the side file's last commit.
    static func point(_ volume: String, at side: String) throws {
        let file = CheckpointFile(sideFile: side), identity = try identity(volume)
        let old = try file.read(identity)
        let metas = try MetaPage.read(side)
        let newest = try #require(
            [metas.first, metas.second].compactMap { $0 }.max { $0.commit < $1.commit })
        try file.write(.init(checkpoint: old.checkpoint, meta: newest), identity)
    }

    // MARK: Members of a run's record

    /// The record with another value of a member; nil where it has not got it.
    static func replacing(_ member: String, in record: [UInt8], _ lie: FieldLie) -> [UInt8]? {
        guard
            let object = try? JSONSerialization.jsonObject(with: Data(record)) as? [String: Any],
            let changed = replacing(member.split(separator: ".").map(String.init), in: object, lie),
            let bytes = try? JSONSerialization.data(
                withJSONObject: changed, options: [.sortedKeys])
        else { return nil }
        return Array(bytes)
    }

    private static func replacing(
        _ path: [String], in object: [String: Any], _ lie: FieldLie
    ) -> [String: Any]? {
        var object = object
        if path.count > 1 {
            let inner = object[path[0]] as? [String: Any] ?? [:]
            object[path[0]] = replacing(Array(path.dropFirst()), in: inner, lie)
            return object
        }
        let number = object[path[0]] as? NSNumber
        let new: Any? =
            switch lie {
            case .zero: 0
            case .ones: UInt64.max
            case .firstBit: -1
            case .middleBit: 1 << 62
            case .lastBit: 1e300
            case .plus: number.map { $0.int64Value &+ 1 } ?? "other"
            case .minus: number.map { $0.int64Value &- 1 } ?? ["other"]
            case .random: nil
            }
        object[path[0]] = new
        return object
    }
}

// MARK: Fields

extension CampaignFields {
    /// Members of `RunRecord`, which are those of Docs/format.md.
    static let members = [
        "number", "state", "indexes", "strategy", "isDryRun", "keepsOld", "scope", "started",
        "updated", "ended", "resumes", "ownerCommit", "logFrom", "loading", "loading.index",
        "loading.generation", "reason", "outcome", "results", "progress",
        "progress.primaryRecords", "progress.windows", "progress.applied", "progress.elided",
        "progress.seconds", "costs", "costs.compare", "costs.load", "costs.patch", "limits",
        "limits.recordsPerSecond", "limits.windowRecords", "limits.share", "limits.sortBytes",
        "limits.queueBytes", "limits.stopAfter", "limits.maximumSeconds", "limits.isBackground",
        "limits.isPaused",
    ]

    static let suspended: [CampaignField] = {
        let records = members.map { member in
            var field = CampaignField(
                table: TableName.runs, name: "member \(member)", isInKey: false, offset: 0,
                size: 0, isFree: true, record: { _, _ in true })
            field.member = member
            return field
        }
        let log = fields(
            TableName.hookLog, key: [("commit", 8, true), ("ordinal", 4, true)],
            value: hookLogValue, prefix: "of a run ")
        return (records + log + chunk + sideFile + checkpoint).map {
            var field = $0
            field.volume = .suspended
            return field
        }
    }()

    /// The first record of a chunk in a side file.
    private static let chunk: [CampaignField] = fields(
        "side file chunk", key: [("first key", 0, true)],
        value: [
            ("sequence", 8, true), ("length of the key", 2, true), ("length of the value", 2, true),
            ("records", 0, true),
        ]
    ).map {
        var field = $0
        field.environment = SuspendedVolume.sideFile
        return field
    }

    /// Its meta page is that of the checkpoint.
    private static let sideFile: [CampaignField] =
        places(SuspendedVolume.sideFile, metaPageLayout.map { ($0.0, $0.1, true) }, .meta)
        + places(SuspendedVolume.sideFile, rootPageLayout.map { ($0.0, $0.1, true) }, .root)

    private static let checkpoint: [CampaignField] = {
        let head: Layout = [
            ("magic", 8, true), ("version", 4, true), ("zero", 4, true),
            ("identity of the volume", 16, true), ("run", 8, true),
        ]
        var result = places(
            SuspendedVolume.checkpoint, head + metaPageLayout.map { ($0.0, $0.1, true) })
        result += CheckpointPlaces.names.map { name in
            var field = CampaignField(
                table: SuspendedVolume.checkpoint, name: name, isInKey: false, offset: 0, size: 0,
                isFree: true, record: { _, _ in true })
            field.isFile = true
            field.place = { CheckpointPlaces($0).places[name] }
            return field
        }
        return result.map {
            var field = $0
            field.isSealedWhole = true
            return field
        }
    }()
}

/// Where the fields of a position lie in a checkpoint file, by Docs/format.md.
struct CheckpointPlaces {
    static let names = [
        "position version", "position commit", "has cursor", "length of cursor", "cursor",
        "unread ranges", "unread lower length", "unread lower", "unread has upper",
        "unread upper length", "unread upper", "voids", "void lower length", "void lower",
        "void has upper", "void upper length", "void upper", "void sequence", "indexes",
        "sorted runs of the first", "run number", "run entries", "run bytes", "other sorted runs",
        "next run", "primary records", "windows", "damage count", "applied", "elided",
        "damaged records", "scope",
    ]
    private(set) var places: [String: Range<Int>] = [:]
    private(set) var end = 0
    private let bytes: [UInt8]

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        end = 40 + 152
        take("position version", 4)
        take("position commit", 8)
        takeOptionalKey("has cursor", "length of cursor", "cursor")
        let unread = take("unread ranges", 8)
        for _ in 0..<unread { takeRange("unread") }
        let voids = take("voids", 8)
        for _ in 0..<voids {
            takeRange("void")
            take("void sequence", 8)
        }
        let slots = take("indexes", 8)
        for slot in 0..<slots {
            let runs = take(slot == 0 ? "sorted runs of the first" : "other sorted runs", 8)
            for _ in 0..<runs {
                take("run number", 4)
                take("run entries", 8)
                take("run bytes", 8)
            }
        }
        take("next run", 4)
        for name in ["primary records", "windows", "damage count", "applied", "elided"] {
            take(name, 8)
        }
        take("damaged records", 8)
        take("scope", 1)
    }

    /// - Returns: the number that stands there, 1,000 at the most.
    @discardableResult
    private mutating func take(_ name: String, _ size: Int) -> Int {
        let range = end..<min(end + size, bytes.count)
        if places[name] == nil { places[name] = range }
        end = range.upperBound
        return range.reversed().reduce(0) { min($0 << 8 | Int(bytes[$1]), 1000) }
    }

    private mutating func takeRange(_ name: String) {
        let count = take("\(name) lower length", 8)
        take("\(name) lower", count)
        takeOptionalKey("\(name) has upper", "\(name) upper length", "\(name) upper")
    }

    private mutating func takeOptionalKey(_ has: String, _ length: String, _ key: String) {
        guard take(has, 1) == 1 else { return }
        take(key, take(length, 8))
    }
}
