// The verifier: every secondary index recomputed from the primary records by plain code of
// its own, and compared with the live one; and the primary records compared with each other.
//
// It shares the format's codecs and the LMDB wrapper with the rest, and nothing else: no
// derive, no merge, no comparison. What both got wrong they would have to get wrong twice.
//
// What must hold:
// - It sees one commit: all is read from one snapshot.
// - Whatever is damaged is a finding. An error means that it could not check.
// - A record that can't be decoded counts as absent, with what follows from that (its
//   index entry is stray, its blocks are leaked), but nothing that refers to a damaged
//   inode dangles: the inode is there.
// - Memory: the budget of one slice (see Buckets.swift), 16 bytes for each directory, and some
//   30 for each user, group and project that owns anything.

internal import Bytes
public import LMDB
internal import LMDBPages
internal import VolumeFormat

public struct Verifier {
    public struct Options: Sendable {
        /// Findings of each kind, and each table, that the report keeps.
        public var examples = 20
        /// Records of a slice: about 60 bytes each.
        public var recordsInMemory = 4 << 20

        public init() {}
    }

    public struct Step: Sendable {
        /// `inodes`, `names`, `space`.
        public let phase: String
        public let done, total: UInt64
    }

    private let environment: Environment
    private let options: Options
    private let progress: ((Step) throws -> Void)?
    private let findings: Findings
    /// Where the data area is; nil: it is not looked at.
    private let data: String?

    /// - Parameters:
    ///   - list: called with every finding, as it is found.
    ///   - progress: called now and then.
    private init(
        _ environment: Environment, data: String?, _ options: Options,
        list: ((Finding) -> Void)?, progress: ((Step) throws -> Void)?
    ) {
        self.data = data
        self.environment = environment
        self.options = options
        self.progress = progress
        findings = Findings(exampleLimit: options.examples, list: list)
    }

    /// Verifies the last commit of the volume whose metadata `environment` is. Nothing may
    /// create or delete tables meanwhile; other changes do no harm, they are not seen.
    ///
    /// - Parameters:
    ///   - data: the path of the data area, whose label and length are looked at; nil: they are
    ///     not.
    ///   - list: called with every finding, as it is found.
    ///   - progress: called now and then.
    public static func verify(
        _ environment: Environment, data: String? = nil, options: Options = Options(),
        list: ((Finding) -> Void)? = nil, progress: ((Step) -> Void)? = nil
    ) throws -> VerifyReport {
        let pages = try checkPages(environment)
        guard pages.isSound else { return VerifyReport(pages: pages) }
        let verifier = Verifier(environment, data: data, options, list: list, progress: progress)
        var report = try verifier.run()
        report.pages = pages
        return report
    }

    /// Verifies the commit that `transaction` sees of a volume that this process uses, and whose
    /// pages were looked at before. Nothing is opened: that can't be done beside a writer.
    /// - Parameters:
    ///   - tables: those that every volume has, and those of the active generations.
    ///   - progress: called now and then; what it throws ends the verification.
    public static func verify(
        _ transaction: borrowing ReadTransaction, of environment: Environment, tables: [Table],
        data: String?, list: ((Finding) -> Void)?, progress: ((Step) throws -> Void)?
    ) throws -> VerifyReport {
        let verifier = Verifier(environment, data: data, Options(), list: list, progress: progress)
        let named = Dictionary(tables.map { ($0.name, $0) }) { first, _ in first }
        guard let primary = PrimaryTables(named) else {
            throw VerifyError.notAVolume(path: environment.path)
        }
        return try verifier.verify(transaction, primary, named)
    }

    /// Checks every page of the last commit, which a reader holds meanwhile.
    private static func checkPages(_ environment: Environment) throws -> PageReport {
        var attempts = 0
        while true {
            let reader = try environment.beginRead()
            do {
                return try PageCheck.check(environment.path, commit: reader.commit)
            } catch {
                // Others may have committed twice since the reader began: the commit's meta page
                // is gone then.
                attempts += 1
                if attempts == 16 { throw error }
            }
        }
    }

    /// Verifies the volume whose metadata is the file `path`, which this process must not
    /// have open.
    public static func verify(
        metadata path: String, data: String? = nil, options: Options = Options(),
        list: ((Finding) -> Void)? = nil, progress: ((Step) -> Void)? = nil
    ) throws -> VerifyReport {
        // Without sound meta pages there is no commit that a reader could hold.
        // What can't be read at all the environment tells of.
        if let pages = try? PageCheck.check(path, scope: .metas) {
            guard pages.commit != nil else { throw VerifyError.notAVolume(path: path) }
            guard pages.isSound else { return VerifyReport(pages: pages) }
        }
        let environment = try Environment(
            path: path, options: .init(mapSize: 1 << 40, isReadOnly: true))
        return try verify(
            environment, data: data, options: options, list: list, progress: progress)
    }

    private func run() throws -> VerifyReport {
        guard let tables = try PrimaryTables.open(environment, findings) else {
            return report(commit: environment.statistics.lastTransaction, 0, [])
        }
        // A table is seen only by transactions that begin after it was opened, and which
        // ones to open stands in a record: read it once for that, and again to be sure.
        var opened: [String: Table] = [:]
        // Of a previous generation, which may be as damaged as it was when it was replaced, no
        // more is asked than that its table is there.
        var looked: Set<String> = []
        var lost: Set<String> = []
        while true {
            let transaction = try environment.beginRead()
            let records = try SuperRecords(
                transaction, tables.superblock, path: environment.path, nil)
            var wanted: [String] = []
            for index in IndexName.allCases {
                guard let record = records.active(index.rawValue, nil) else { continue }
                wanted.append(TableName.generation(record.index, record.number))
            }
            let previous = records.generations.filter { $0.state == .previous }
                .map { TableName.generation($0.index, $0.number) }.filter { !looked.contains($0) }
            wanted.removeAll { opened[$0] != nil || lost.contains($0) }
            if wanted.isEmpty, previous.isEmpty {
                return try verify(transaction, tables, opened)
            }
            _ = consume transaction
            for name in previous {
                looked.insert(name)
                guard try environment.table(name, create: false) == nil else { continue }
                findings.defect(.missingTable, in: name, key: [], found: nil, expected: "a table")
            }
            for name in wanted {
                opened[name] = try environment.table(name, create: false)
                if opened[name] == nil { lost.insert(name) }
            }
        }
    }

    private func verify(
        _ transaction: borrowing ReadTransaction, _ tables: PrimaryTables,
        _ generations: [String: Table]
    ) throws -> VerifyReport {
        let records = try SuperRecords(
            transaction, tables.superblock, path: environment.path, findings)
        if let data, let geometry = records.geometry { try verifyData(data, geometry, findings) }
        let rmap = try live(.rmap, records, transaction, generations)
        let parents = try live(.parents, records, transaction, generations)
        let quota = try live(.quota, records, transaction, generations)
        var primaryRecords: UInt64 = 0
        for table in tables.all {
            primaryRecords += UInt64(try transaction.statistics(table).entries)
        }
        let dirents = UInt64(try transaction.statistics(tables.dirents).entries)
        let extents = UInt64(try transaction.statistics(tables.extents).entries)

        var inodes = try InodePass(transaction, tables, records, findings)
        var step = Progress(phase: "inodes", total: primaryRecords, progress)
        try inodes.run(&step)
        if let quota { try inodes.usage.compare(quota, records, findings) }

        var names = try NamePass(transaction, tables, parents, findings)
        step = Progress(phase: "names", total: dirents, progress)
        try names.run(
            transaction, tables.dirents, inodes.children, budget: options.recordsInMemory, &step)

        var space = try SpacePass(transaction, tables, rmap, records, findings)
        step = Progress(phase: "space", total: extents, progress)
        try space.run(
            transaction, tables.extents, inodes.blocks, records.counters,
            budget: options.recordsInMemory, &step)

        try FreeTables(tables: tables, findings: findings).run(transaction)
        for index in [rmap, parents, quota] { judgeCounts(index?.report) }
        var result = report(
            commit: transaction.commit, primaryRecords,
            [
                rmap?.report ?? IndexReport(name: "rmap"),
                parents?.report ?? IndexReport(name: "parents"),
                quota?.report ?? IndexReport(name: "quota"),
                links(inodes.readableInodes),
            ])
        let areUnsound: [PrimaryDefect] = [
            .freeOverlap, .freeBeyondVolume, .extentOverFree, .leakedBlocks,
        ]
        if let counters = records.counters, findings.damagedRecords[TableName.free] == nil,
            areUnsound.allSatisfy({ findings.defects[$0] == nil })
        {
            result.freeBlockDifference = space.freeBlocks &- counters.freeBlocks
        }
        return result
    }

    /// Where entries are wrong their counts can't be right: that is no defect of its own then.
    private func judgeCounts(_ index: IndexReport?) {
        guard let index, index.discrepancies == 0, !index.countAgrees || !index.sumAgrees
        else { return }
        findings.defect(
            .generationCounts, in: TableName.superblock,
            key: [.init("index", index.name), .init("generation", "\(index.generation ?? 0)")],
            found: "\(index.recordedEntries) entries, sum \(index.recordedSum)",
            expected: "\(index.countedEntries) entries, sum \(index.sum)")
    }

    /// Link counts, which are stored in the inodes: each wrong one is a defect of its inode too.
    private func links(_ inodes: UInt64) -> IndexReport {
        var report = IndexReport(name: IndexName.links)
        report.hasGenerations = false
        report.entries = inodes
        report.expected = inodes
        report.wrong = findings.defects[.linkCount] ?? 0
        return report
    }

    /// The active generation of `index`; nil where there is not exactly one.
    private func live(
        _ index: IndexName, _ records: SuperRecords, _ transaction: borrowing ReadTransaction,
        _ generations: [String: Table]
    ) throws -> LiveIndex? {
        guard let record = records.active(index.rawValue, findings) else { return nil }
        let name = TableName.generation(record.index, record.number)
        guard let table = generations[name] else {
            findings.defect(.missingTable, in: name, key: [], found: nil, expected: "a table")
            return nil
        }
        return try LiveIndex(transaction, table, record, findings, index)
    }

    private func report(
        commit: UInt64, _ primaryRecords: UInt64, _ indexes: [IndexReport]
    ) -> VerifyReport {
        VerifyReport(
            commit: commit, indexes: indexes, primaries: findings.defects,
            damagedRecords: findings.damagedRecords, primaryRecords: primaryRecords,
            examples: findings.examples)
    }
}

/// Reports the progress of a phase, at bounded intervals.
struct Progress {
    private let phase: String
    private let total: UInt64
    private let report: ((Verifier.Step) throws -> Void)?
    private var next: UInt64 = 0

    init(phase: String, total: UInt64, _ report: ((Verifier.Step) throws -> Void)?) {
        self.phase = phase
        self.total = total
        self.report = report
    }

    mutating func report(done: UInt64) throws {
        guard let report, done >= next else { return }
        next = done + 65536
        try report(Verifier.Step(phase: phase, done: done, total: max(done, total)))
    }
}
