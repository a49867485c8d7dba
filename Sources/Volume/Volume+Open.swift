// Opening a volume. Nothing is touched before it is clear that it is one, of a format that
// is known, and that nobody else has it.

internal import Bytes
internal import LMDB
internal import LMDBPages
internal import Logging
internal import Synchronization
internal import Threads
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes
#if canImport(Glibc)
internal import Glibc
#endif

extension Volume {
    public static func open(
        _ path: String, options: OpenOptions = OpenOptions()
    ) throws -> Volume {
        let path = path.withoutTrailingSlash
        let isReadOnly = options.mode == .readOnly
        try checkFiles(path)
        let lock = try VolumeLock(volume: path, exclusive: !isReadOnly)
        let durable = try DurableFile(path: path + "/durable", isReadOnly: isReadOnly)
        let point = try recover(path, durable, options)
        try checkPages(path, wasClosed: point.isClean, options)
        let environment = try openEnvironment(path, options)
        let core = try readCore(path, environment, options)
        var records = try readRecords(core)
        guard !isReadOnly else {
            for record in records.generations.records {
                let name = TableName.generation(record.index, record.number)
                if let table = try environment.table(name, create: false) {
                    core.generations.add(table)
                }
            }
            core.lastDurable.store(point.meta.commit, ordering: .releasing)
            return Volume(core, lock, nil, nil)
        }
        lock.writeHolder()
        // It may be missing where the volume was copied or unpacked: nothing in it has to be there.
        if unsafe mkdir((path + "/runs").hostPath, 0o700) != 0, Glibc.errno != EEXIST {
            throw VolumeError.system("make", path + "/runs")
        }
        let keeper = DurableKeeper(core, durable, lastNumber: point.number, options)
        // Before the first change: from here on the newest durable point is pinned.
        try keeper.makePointAlone(isClean: false)
        try settle(&records, core)
        let state = try prepare(core, records)
        SideFiles.removeAll(
            in: path + "/runs",
            except: state.runs.filter { $0.logFrom != nil }.map(\.number))
        core.keeper.withLock { $0 = keeper }
        let writer = Writer(core, state: state)
        writer.start()
        keeper.start()
        _ = core.inbox.add(ReclaimJob(core, after: 0))
        return Volume(core, lock, writer, keeper)
    }

    /// Waits until no process writes the volume.
    /// - Returns: false where one still does after so many seconds.
    public static func waitUntilFree(_ path: String, seconds: Double) throws -> Bool {
        try VolumeLock.waitUntilFree(volume: path.withoutTrailingSlash, seconds: seconds)
    }

    /// Throws where `path` is no volume's directory; nothing is opened.
    public static func checkIsVolume(_ path: String) throws {
        try checkFiles(path.withoutTrailingSlash)
    }

    // MARK: Steps

    private static func checkFiles(_ path: String) throws {
        var status = stat()
        guard unsafe stat(path.hostPath, &status) == 0 else {
            guard Glibc.errno == ENOENT else { throw VolumeError.system("look at", path) }
            throw VolumeError.notAVolume(path: path, why: "it does not exist")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw VolumeError.notAVolume(path: path, why: "it is not a directory")
        }
        for name in ["meta.mdb", "data", "durable"] {
            guard unsafe stat((path + "/" + name).hostPath, &status) != 0 else { continue }
            guard Glibc.errno == ENOENT else {
                throw VolumeError.system("look at", path + "/" + name)
            }
            throw VolumeError.notAVolume(path: path, why: "it has no file \(name)")
        }
    }

    /// Puts the metadata back to the last durable point where the system has come down
    /// since, with the volume open.
    private static func recover(
        _ path: String, _ file: DurableFile, _ options: OpenOptions
    ) throws -> DurablePoint {
        guard let point = try file.newest() else {
            throw VolumeError.damaged(table: "durable", object: "\(path)/durable", .checksum)
        }
        let boot = options.bootIdentity ?? kernelBootIdentity()
        if !point.isClean, point.boot != boot {
            guard options.mode == .readWrite else { throw VolumeError.needsRecovery(path: path) }
            try point.meta.restore(path + "/meta.mdb")
            options.logger.info(
                "the system came down with the volume open: back to the last durable point",
                metadata: ["path": "\(path)", "commit": "\(point.meta.commit)"])
        }
        let metas = try MetaPage.read(path + "/meta.mdb")
        guard metas.first != nil || metas.second != nil else {
            throw VolumeError.notAVolume(path: path, why: "meta.mdb is not of LMDB 0.9")
        }
        return point
    }

    /// Looks at the pages before liblmdb does. Nobody writes meanwhile: the volume is locked.
    private static func checkPages(
        _ path: String, wasClosed: Bool, _ options: OpenOptions
    ) throws {
        let file = path + "/meta.mdb"
        let hasTime = options.checksAllPages || !wasClosed
        let end = monotonicNanoseconds() + UInt64(max(0, options.pageSeconds) * 1e9)
        var report = try PageCheck.check(file) { hasTime || monotonicNanoseconds() < end }
        if report.isSound, !report.isComplete {
            options.logger.info(
                "not all pages of the metadata were looked at in the time there was",
                metadata: ["path": "\(path)", "pages": "\(report.pagesRead)"])
            report = try PageCheck.check(file, scope: .branches)
        }
        guard report.isSound else {
            throw VolumeError.damagedPages(path: file, report)
        }
    }

    private static func openEnvironment(
        _ path: String, _ options: OpenOptions
    ) throws -> Environment {
        do throws(LMDBError) {
            return try Environment(
                path: path + "/meta.mdb",
                options: Environment.Options(
                    mapSize: options.metadataLimit, maximumTables: 64, maximumReaders: 510,
                    isReadOnly: options.mode == .readOnly, isUnsynced: true))
        } catch {
            switch error.code {
            case .invalid, .versionMismatch, .corrupted:
                throw VolumeError.notAVolume(path: path, why: "meta.mdb: \(error.reason)")
            case .system(let number):
                throw VolumeError.io(
                    operation: error.operation, object: path + "/meta.mdb", errno: number)
            default: throw error
            }
        }
    }

    private static func readCore(
        _ path: String, _ environment: Environment, _ options: OpenOptions
    ) throws -> VolumeCore {
        guard let superblock = try environment.table(TableName.superblock, create: false) else {
            throw VolumeError.notAVolume(path: path, why: "meta.mdb has no table super")
        }
        let geometry = try readGeometry(path, environment, superblock)
        let tables = try Tables {
            guard let table = try environment.table($0, create: false) else {
                throw VolumeError.damaged(table: $0, object: "table \($0)", .length)
            }
            return table
        }
        let data = try DataFile(path: path + "/data", isReadOnly: options.mode == .readOnly)
        try checkLabel(data, geometry)
        let core = VolumeCore(
            path: path, environment: environment, tables: tables, geometry: geometry, data: data,
            options: options)
        for name in [TableName.quarantine, TableName.mends] {
            if let table = try environment.table(name, create: false) {
                core.generations.add(table)
            }
        }
        return core
    }

    private static func readGeometry(
        _ path: String, _ environment: Environment, _ superblock: Table
    ) throws -> Geometry {
        let transaction = try environment.beginRead()
        let key = Geometry.key
        guard let value = try transaction.get(superblock, key.rawSpan) else {
            throw VolumeError.notAVolume(path: path, why: "meta.mdb has no geometry")
        }
        let geometry: Geometry
        do {
            geometry = try Geometry(value: value)
        } catch {
            throw VolumeError.damaged(
                table: TableName.superblock, object: "the geometry of \(path)", error)
        }
        guard geometry.version <= Geometry.currentVersion else {
            throw VolumeError.newerFormat(path: path, version: geometry.version)
        }
        guard geometry.version == Geometry.currentVersion else {
            throw VolumeError.olderFormat(path: path, version: geometry.version)
        }
        return geometry
    }

    private static func checkLabel(_ data: DataFile, _ geometry: Geometry) throws {
        guard try data.read(DataLabel.size, at: 0) == DataLabel.bytes(of: geometry) else {
            throw VolumeError.damaged(
                table: "data", object: "the label at the start of \(data.path)", .field("identity"))
        }
        let needed = geometry.blocks * UInt64(geometry.blockSize)
        guard try data.size() >= needed else {
            throw VolumeError.damaged(
                table: "data", object: "\(data.path), shorter than \(needed) bytes", .length)
        }
    }

    // MARK: What goes with the last commit

    private struct Records {
        var counters: Counters
        var generations: GenerationCensus
    }

    private static func readRecords(_ core: VolumeCore) throws -> Records {
        let transaction = try core.environment.beginRead()
        let key = Counters.key
        guard let value = try transaction.get(core.tables.superblock, key.rawSpan) else {
            throw VolumeError.damaged(
                table: TableName.superblock, object: "the counters", .length)
        }
        let counters: Counters
        do {
            counters = try Counters(value: value)
        } catch {
            throw VolumeError.damaged(table: TableName.superblock, object: "the counters", error)
        }
        let generations = try GenerationCensus(try transaction.cursor(core.tables.superblock))
        return Records(counters: counters, generations: generations)
    }

    private static func settle(_ records: inout Records, _ core: VolumeCore) throws {
        let settled = try records.generations.settle(core)
        guard !settled.isEmpty else { return }
        core.settledIndexes.withLock { $0 = settled }
        core.logger.error(
            "the record or the table of an index's generation was damaged: repair it",
            metadata: ["path": "\(core.path)", "indexes": "\(settled)"])
    }

    /// Opens the generations' tables. What a crash has left half loaded is to be reaped, unless
    /// its run can go on with it.
    private static func prepare(_ core: VolumeCore, _ records: Records) throws -> GroupState {
        let runs = try Runs.opened(core)
        var live: [String: Generation] = [:]
        var loads: [String: Load] = [:]
        var previous: [String: Generation] = [:]
        var reaping: [GroupState.Retired] = []
        for record in records.generations.records {
            let name = TableName.generation(record.index, record.number)
            // A table that was to be deleted anyway may be gone.
            let mayBeGone = record.state == .reaping || record.state == .loading
            guard let table = try core.environment.table(name, create: mayBeGone) else {
                throw VolumeError.damaged(
                    table: TableName.superblock, object: "table \(name)", .field("number"))
            }
            core.generations.add(table)
            let generation = Generation(
                number: record.number, table: table, entries: record.entries, sum: record.sum)
            switch record.state {
            case .active: live[record.index] = generation
            case .previous: previous[record.index] = generation
            case .loading, .reaping:
                if let load = runs.resumableLoad(record, generation) {
                    loads[record.index] = load
                    continue
                }
                reaping.append(.init(index: record.index, generation: generation, since: 0))
            }
        }
        let interrupted = records.generations.records.filter {
            $0.state == .loading && loads[$0.index] == nil
        }
        if !interrupted.isEmpty {
            try core.environment.write { transaction in
                for var record in interrupted {
                    record.state = .reaping
                    let key = record.key, value = record.value
                    try transaction.put(core.tables.superblock, key.rawSpan, value.rawSpan)
                }
            }
        }
        let indexes = VolumeSlots.withGenerations.map { index in
            guard let generation = live[index.name] else {
                preconditionFailure("an index was found active before")
            }
            return LiveIndex(
                slot: index.slot, name: index.name, active: generation,
                load: loads[index.name], previous: previous[index.name])
        }
        return GroupState(
            counters: records.counters, storedCounters: records.counters,
            rmap: indexes[GroupState.rmapSlot.rawValue],
            parents: indexes[GroupState.parentsSlot.rawValue],
            quota: indexes[GroupState.quotaSlot.rawValue], reaping: reaping,
            runs: runs.records, log: HookLog(of: runs.records))
    }
}
