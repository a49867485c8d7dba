// Makes a large volume in a short time: a volume that was just created is filled by writing
// its tables directly, each in key order. The result is a volume like any other, and
// `verify` says so.

internal import Bytes
internal import LMDB
internal import VolumeFormat
internal import VolumeIndexes

public struct VolumeGenerator: Sendable {
    private let names: NamePlan
    private let extents: ExtentPlan

    /// Plans a volume of `entries` extents and as many directory entries.
    /// - Parameter reserved: blocks at the start that belong to the volume.
    public init(entries: Int, seed: UInt64, reserved: UInt64) {
        names = NamePlan(entries: entries, seed: seed)
        extents = ExtentPlan(extents: entries, names: names, first: reserved)
    }

    /// Blocks that the volume should have: some of them free, and room for writers.
    public var blocks: UInt64 { extents.end + extents.end / 8 + (4 << 20) }

    /// Fills the volume whose metadata is the file `metadata`, which no process has open.
    public func fill(metadata: String) throws {
        let environment = try Environment(
            path: metadata, options: .init(mapSize: 1 << 40, isUnsynced: true))
        guard let superblock = try environment.table(TableName.superblock, create: false) else {
            throw GeneratorError("\(metadata) holds no volume")
        }
        let (geometry, generations) = try read(superblock, environment)
        precondition(extents.end < geometry.blocks - UInt64(geometry.reservedAtEnd))
        let filler = TableFiller(environment: environment)
        let free = freeRuns(geometry)
        try fillPrimaries(filler, geometry, free)
        for var generation in generations {
            let sum = GenerationSum()
            let table = TableName.generation(generation.index, generation.number)
            switch generation.index {
            case ReverseMap().name: try filler.fill(table, reverseMap(geometry, sum))
            case ParentPointers().name: try filler.fill(table, ParentSource(names, sum))
            default: try filler.fill(table, usage(environment, sum))
            }
            generation.entries = sum.entries
            generation.sum = sum.sum
            let key = generation.key, value = generation.value
            try environment.write { transaction in
                try transaction.put(superblock, key.rawSpan, value.rawSpan)
            }
        }
        let counters = Counters(
            nextInode: InodeNumber(names.inodes + 1), nextGeneration: UInt32(names.inodes + 1),
            inodes: UInt64(names.inodes), freeBlocks: free.reduce(0) { $0 + $1.length })
        let key = Counters.key
        try environment.write { transaction in
            try transaction.put(superblock, key.rawSpan, counters.value.span)
        }
        try environment.sync()
    }

    private func read(
        _ superblock: Table, _ environment: Environment
    ) throws -> (Geometry, [GenerationRecord]) {
        let transaction = try environment.beginRead()
        let geometryKey = Geometry.key
        guard let value = try transaction.get(superblock, geometryKey.rawSpan) else {
            throw GeneratorError("\(environment.path) has no geometry")
        }
        let geometry = try Geometry(value: value)
        var generations: [GenerationRecord] = []
        var cursor = try transaction.cursor(superblock)
        let prefix = GenerationRecord.keyPrefix
        var isThere = try cursor.seek(prefix.rawSpan)
        while isThere, cursor.key.array.starts(with: prefix) {
            generations.append(try GenerationRecord(key: cursor.key, value: cursor.value))
            isThere = try cursor.next()
        }
        return (geometry, generations)
    }

    private func freeRuns(_ geometry: Geometry) -> [FreeRecord] {
        let end = geometry.blocks - UInt64(geometry.reservedAtEnd)
        return extents.gaps + [FreeRecord(start: extents.end, length: end - extents.end)]
    }

    // MARK: Tables

    private func fillPrimaries(
        _ filler: TableFiller, _ geometry: Geometry, _ free: [FreeRecord]
    ) throws {
        let dirents = DirentSource(names)
        try filler.fill(TableName.inodes, inodes(dirents))
        try filler.fill(TableName.dirents, dirents)
        let extents = extents, reserved = geometry.reservedExtents
        try filler.fill(
            TableName.extents,
            IndexedSource(reserved.count + extents.count) { i, put in
                let record = i < reserved.count ? reserved[i] : extents.record(i - reserved.count)
                try put(record.key.span, record.value.span)
            })
        try filler.fill(
            TableName.free,
            IndexedSource(free.count) { i, put in
                try put(FreeRecord.key(start: free[i].start).span, free[i].value.span)
            })
        let byLength = free.sorted { ($0.length, $0.start) < ($1.length, $1.start) }
        try filler.fill(
            TableName.freeByLength,
            IndexedSource(free.count) { i, put in
                let run = byLength[i]
                let key = FreeRecord.lengthKey(length: run.length, start: run.start)
                try put(key.span, run.lengthValue.span)
            })
        try fillSmall(filler)
    }

    private func fillSmall(_ filler: TableFiller) throws {
        let extents = extents, names = names
        let attributes = (0..<extents.count).filter { extents.isAttribute($0) }
        try filler.fill(
            TableName.xattrs,
            IndexedSource(attributes.count) { i, put in
                let extent = extents.record(attributes[i])
                let record = AttributeRecord(
                    inode: extent.inode, name: Array("user.data".utf8),
                    content: .remote(offset: extent.offset, length: extent.length * 4096 - 1000))
                let key = AttributeRecord.key(record.inode, record.name.rawSpan)
                try put(key.span, record.value.rawSpan)
            })
        let symlinks = (1...names.inodes).filter { names.types[$0] == .symlink }
        try filler.fill(
            TableName.symlinks,
            IndexedSource(symlinks.count) { i, put in
                let inode = InodeNumber(symlinks[i])
                let value = SymlinkRecord.value(inode: inode, target: VolumeGenerator.target(inode))
                try put(InodeRecord.key(inode).span, value.rawSpan)
            })
    }

    private static func target(_ inode: InodeNumber) -> [UInt8] { Array("../target/\(inode)".utf8) }

    private func reverseMap(_ geometry: Geometry, _ sum: GenerationSum) -> IndexedSource {
        let extents = extents, reserved = geometry.reservedExtents
        let head = reserved.filter { $0.start < extents.end }
        let tail = reserved.filter { $0.start >= extents.end }
        return IndexedSource(reserved.count + extents.count) { i, put in
            let record: ExtentRecord
            if i < head.count {
                record = head[i]
            } else if i < head.count + extents.count {
                record = extents.record(Int(extents.byStart[i - head.count]))
            } else {
                record = tail[i - head.count - extents.count]
            }
            let key = ReverseMap.key(record)
            var value = FixedBytes<9>()
            value.store(record.length, at: 0)
            value.store(record.state.rawValue, at: 4)
            value.seal(key: key.span)
            sum.add(value.span.integer(at: 5))
            try put(key.span, value.span)
        }
    }

    /// Quota usage, added up from the inodes that were filled before.
    private func usage(_ environment: Environment, _ sum: GenerationSum) throws -> IndexedSource {
        var usage: [UInt64: QuotaUsage] = [:]
        guard let table = try environment.table(TableName.inodes, create: false) else {
            throw GeneratorError("\(environment.path) has no inodes")
        }
        var cursor = try environment.beginRead().cursor(table)
        var isThere = try cursor.first()
        while isThere {
            let inode = try InodeRecord(key: cursor.key, value: cursor.value)
            let share = QuotaUsage(blocks: inode.blocks, inodes: 1)
            let keys = [
                QuotaKey(.user, inode.uid), QuotaKey(.group, inode.gid),
                QuotaKey(.project, inode.project),
            ]
            for key in keys { usage[key.number] = (usage[key.number] ?? .zero) + share }
            isThere = try cursor.next()
        }
        let counters = usage.sorted { $0.key < $1.key }
        return IndexedSource(counters.count) { i, put in
            let key = QuotaKey(number: counters[i].key), bytes = key.bytes
            var value = FixedBytes<20>()
            value.store(counters[i].value.bytes.span, at: 0)
            value.seal(key: bytes.span)
            sum.add(counters[i].value, of: key)
            try put(bytes.span, value.span)
        }
    }

    /// Inodes, with the counts that follow from names and extents.
    private func inodes(_ dirents: DirentSource) -> IndexedSource {
        let names = names, extents = extents, seed = names.seed
        var links = [UInt32](repeating: 0, count: names.inodes + 1)
        var blocks = [UInt32](repeating: 0, count: names.inodes + 1)
        var ends = [UInt32](repeating: 0, count: names.inodes + 1)
        for entry in 0..<names.entries {
            let child = names.child(entry)
            links[child] += 1
            if names.types[child] == .directory { links[Int(names.directory[entry])] += 1 }
        }
        for inode in 1...names.inodes where names.types[inode] == .directory { links[inode] += 1 }
        links[1] += 1
        for extent in 0..<extents.count {
            let owner = Int(extents.owner[extent])
            blocks[owner] += UInt32(extents.length[extent])
            if !extents.isAttribute(extent) {
                ends[owner] = extents.offset[extent] + UInt32(extents.length[extent])
            }
        }
        return IndexedSource(names.inodes) { i, put in
            let inode = i + 1
            var random = Random(seed: seed &+ 1, object: inode)
            let seconds = 1_500_000_000 + Int64(random.below(200_000_000))
            var record = InodeRecord(
                type: names.types[inode],
                now: Timestamp(seconds: seconds, nanoseconds: UInt32(random.below(1_000_000_000))))
            record.permissions = record.type == .directory ? 0o755 : 0o644
            record.uid = UInt32(1000 + random.below(50))
            record.gid = record.uid
            record.links = links[inode]
            record.generation = names.generation(inode)
            record.blocks = UInt64(blocks[inode])
            switch record.type {
            case .directory:
                record.parent = inode == 1 ? 1 : InodeNumber(names.directory[inode - 2])
                record.size = UInt64(dirents.count(inode))
            case .symlink: record.size = UInt64(VolumeGenerator.target(UInt64(inode)).count)
            default: record.size = UInt64(ends[inode]) * 4096
            }
            let key = InodeRecord.key(InodeNumber(inode))
            try put(key.span, record.value(key: key.span).span)
        }
    }
}

public struct GeneratorError: Error, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}
