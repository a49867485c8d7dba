// Making a volume. It is built under another name and renamed when it is whole, so that no
// half of one is ever left under its own.

internal import Bytes
internal import LMDB
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes
#if canImport(Glibc)
internal import Glibc
#endif

extension Volume {
    /// Makes a volume at `path`, which must not exist, or be an empty directory.
    public static func create(
        _ path: String, options: CreateOptions = CreateOptions()
    ) throws {
        let path = path.withoutTrailingSlash
        try checkVacant(path)
        let geometry = try geometry(options)
        let building = "\(path).new-\(getpid())"
        guard unsafe mkdir(building.hostPath, 0o700) == 0 else {
            throw VolumeError.system("make", building)
        }
        do {
            try build(building, geometry, options)
            guard unsafe rename(building.hostPath, path.hostPath) == 0 else {
                let number = Glibc.errno
                if number == ENOTEMPTY || number == EEXIST { throw VolumeError.exists(path) }
                throw VolumeError.io(operation: "rename to", object: path, errno: number)
            }
        } catch {
            removeBuilding(building)
            throw error
        }
        syncDirectory(path.parentDirectory)
    }

    private static func checkVacant(_ path: String) throws {
        var status = stat()
        guard unsafe lstat(path.hostPath, &status) == 0 else {
            if Glibc.errno == ENOENT { return }
            throw VolumeError.system("look at", path)
        }
        guard status.st_mode & S_IFMT == S_IFDIR, let directory = unsafe opendir(path.hostPath)
        else { throw VolumeError.exists(path) }
        defer { unsafe closedir(directory) }
        var entries = 0
        while unsafe readdir(directory) != nil { entries += 1 }
        // `.` and `..` are always there.
        guard entries <= 2 else { throw VolumeError.exists(path) }
    }

    private static func geometry(_ options: CreateOptions) throws -> Geometry {
        let blockSize = UInt64(options.blockSize)
        guard blockSize.nonzeroBitCount == 1, (512...65536).contains(blockSize) else {
            throw VolumeError.invalid(
                "a block size of \(blockSize): a power of two from 512 to 65536")
        }
        guard options.reservedAtStart > 0 else {
            throw VolumeError.invalid("no reserved block at the start: the label needs one")
        }
        var size = options.size ?? CreateOptions.defaultSize
        if let device = options.device {
            let available = try DataFile(path: device, isReadOnly: true).size()
            size = min(options.size ?? available, available)
        }
        let blocks = size / blockSize
        let reserved = UInt64(options.reservedAtStart) + UInt64(options.reservedAtEnd)
        guard blocks > reserved, size <= UInt64(Int64.max) else {
            throw VolumeError.invalid(
                "a size of \(size) bytes: more than \(reserved) blocks of \(blockSize),"
                    + " below 8 EiB")
        }
        return Geometry(
            blockSize: options.blockSize, blocks: blocks, reservedAtStart: options.reservedAtStart,
            reservedAtEnd: options.reservedAtEnd,
            identity: (UInt64.random(in: 0 ... .max), UInt64.random(in: 0 ... .max)))
    }

    /// Fills the directory `path`, so that all of it is on the disk when this returns.
    private static func build(
        _ path: String, _ geometry: Geometry, _ options: CreateOptions
    ) throws {
        try makeData(path, geometry, options)
        let runs = path + "/runs"
        guard unsafe mkdir(runs.hostPath, 0o700) == 0 else {
            throw VolumeError.system("make", runs)
        }
        let lock = try VolumeLock(volume: path, exclusive: true)
        let metadata = path + "/meta.mdb"
        do {
            let environment = try Environment(path: metadata)
            try environment.write { transaction in
                try fill(&transaction, geometry, options)
            }
            try environment.sync()
        }
        let metas = try MetaPage.read(metadata)
        let whole = [metas.first, metas.second].compactMap { $0 }
        guard let meta = whole.max(by: { $0.commit < $1.commit }) else {
            throw VolumeError.notAVolume(path: metadata, why: "it has no meta page")
        }
        let point = DurablePoint(number: 1, isClean: true, boot: kernelBootIdentity(), meta: meta)
        try DurableFile(path: path + "/durable", isReadOnly: false).write(point)
        lock.release()
        syncDirectory(path)
    }

    private static func makeData(
        _ path: String, _ geometry: Geometry, _ options: CreateOptions
    ) throws {
        let data = path + "/data"
        if let device = options.device {
            guard unsafe symlink(device.hostPath, data.hostPath) == 0 else {
                throw VolumeError.system("link", data)
            }
        } else {
            let file = unsafe Glibc.open(
                data.hostPath, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard file >= 0 else { throw VolumeError.system("make", data) }
            defer { Glibc.close(file) }
            guard ftruncate(file, Int(geometry.blocks) * Int(geometry.blockSize)) == 0 else {
                throw VolumeError.system("size", data)
            }
        }
        let area = try DataFile(path: data, isReadOnly: false)
        let label = DataLabel.bytes(of: geometry)
        try area.write(label.rawSpan, at: 0)
        try area.sync()
    }

    /// The records of an empty volume: the root directory, and every block either free or
    /// the volume's own.
    private static func fill(
        _ transaction: inout WriteTransaction, _ geometry: Geometry, _ options: CreateOptions
    ) throws {
        let tables = try Tables { try transaction.create($0) }
        let geometryKey = Geometry.key, countersKey = Counters.key
        let geometryValue = geometry.value
        try transaction.put(tables.superblock, geometryKey.rawSpan, geometryValue.span)
        let reserved = UInt64(geometry.reservedAtStart) + UInt64(geometry.reservedAtEnd)
        let free = FreeRecord(
            start: UInt64(geometry.reservedAtStart), length: geometry.blocks - reserved)
        let counters = Counters(
            nextInode: .root + 1, nextGeneration: 2, inodes: 1, freeBlocks: free.length)
        let countersValue = counters.value
        try transaction.put(tables.superblock, countersKey.rawSpan, countersValue.span)
        let freeKey = FreeRecord.key(start: free.start), freeValue = free.value
        try transaction.put(tables.free, freeKey.span, freeValue.span)
        let lengthKey = FreeRecord.lengthKey(length: free.length, start: free.start)
        let lengthValue = free.lengthValue
        try transaction.put(tables.freeByLength, lengthKey.span, lengthValue.span)

        var root = InodeRecord(type: .directory, now: systemClock())
        root.permissions = 0o755
        root.uid = options.uid ?? getuid()
        root.gid = options.gid ?? getgid()
        root.links = 2
        root.generation = 1
        root.parent = .root
        let rootKey = InodeRecord.key(.root)
        let rootValue = root.value(key: rootKey.span)
        try transaction.put(tables.inodes, rootKey.span, rootValue.span)

        var indexes = VolumeSlots.withGenerations.makeIterator()
        while let (slot, name) = indexes.next() {
            let table = try transaction.create(TableName.generation(name, 1))
            var live = LiveIndex(
                slot: slot, name: name,
                active: Generation(number: 1, table: table, entries: 0, sum: 0))
            if slot == GroupState.rmapSlot {
                for extent in geometry.reservedExtents {
                    let key = extent.key, value = extent.value
                    try transaction.put(tables.extents, key.span, value.span)
                    let entryKey = ReverseMap.key(extent), payload = ReverseMap.value(extent)
                    try live.add(entryKey.span, payload.span, in: &transaction)
                }
            }
            if slot == GroupState.quotaSlot {
                var usage = UsageChanges()
                usage.change(from: nil, to: QuotaShare(root))
                for (key, change) in usage.table.sorted() {
                    try live.count(key, change, in: &transaction)
                }
            }
            let record = GenerationRecord(
                index: name, number: 1, state: .active, entries: live.active.entries,
                sum: live.active.sum)
            let key = record.key, value = record.value
            try transaction.put(tables.superblock, key.rawSpan, value.rawSpan)
        }
    }

    /// What `build` may have made; the names are all its own.
    private static func removeBuilding(_ path: String) {
        for name in ["meta.mdb", "meta.mdb-lock", "data", "durable", "lock"] {
            unsafe unlink((path + "/" + name).hostPath)
        }
        unsafe rmdir((path + "/runs").hostPath)
        unsafe rmdir(path.hostPath)
    }

    private static func syncDirectory(_ path: String) {
        let directory = unsafe Glibc.open(path.hostPath, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { return }
        fsync(directory)
        Glibc.close(directory)
    }
}

extension WriteTransaction {
    /// The table, made where it isn't there.
    mutating func create(_ name: String) throws -> Table {
        guard let table = try table(name, create: true) else {
            preconditionFailure("a table that is created exists")
        }
        return table
    }
}

/// The start of the data area: magic u64 (`TIDEDATA`), identity 16 bytes, checksum u32. It
/// tells the data area of one volume from that of another.
enum DataLabel {
    static let magic: UInt64 = 0x5449_4445_4441_5441
    static let size = 28

    static func bytes(of geometry: Geometry) -> [UInt8] {
        var label = FixedBytes<28>()
        label.store(magic, at: 0)
        label.store(geometry.identity.0, at: 8)
        label.store(geometry.identity.1, at: 16)
        label.seal(key: RawSpan())
        return label.span.array
    }
}

extension String {
    var withoutTrailingSlash: String {
        var path = self[...]
        while path.count > 1, path.last == "/" { path.removeLast() }
        return String(path)
    }

    var parentDirectory: String {
        guard let slash = lastIndex(of: "/") else { return "." }
        return slash == startIndex ? "/" : String(self[..<slash])
    }
}
