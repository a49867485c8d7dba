// Looking at the volume by plain code: the tables' raw records, decoded one by one. Nothing
// here is shared with the scan, the merge or the comparison that a run does.

internal import Bytes
internal import Tidemark
internal import Volume
internal import VolumeFormat
internal import VolumeIndexes
internal import VolumeVerify

/// The primary records of a volume, as a commit has them.
struct VolumePrimaries {
    var inodes: [InodeNumber: InodeRecord] = [:]
    var names: [DirentRecord] = []
    var extents: [ExtentRecord] = []

    init(_ snapshot: VolumeSnapshot) throws {
        try snapshot.dump(TableName.inodes) { key, value in
            inodes[key.integer(at: 0)] = try InodeRecord(key: key, value: value)
        }
        try snapshot.dump(TableName.dirents) { key, value in
            names.append(try DirentRecord(key: key, value: value))
        }
        try snapshot.dump(TableName.extents) { key, value in
            extents.append(try ExtentRecord(key: key, value: value))
        }
    }
}

extension VolumePrimaries {
    var summaries: PlainSummaries {
        PlainSummaries(
            inodes: inodes.map { number, inode in
                PlainSummaries.Inode(
                    number: number, share: QuotaShare(inode), stored: StoredLinks(inode))
            },
            names: names.map {
                PlainSummaries.Name(directory: $0.directory, name: $0.name, target: $0.target)
            })
    }
}

extension VolumeStage {
    // MARK: Places

    func end(of place: Place) throws -> KeyBytes {
        var key = try start(of: place)
        if place.part == .all {
            let inode: InodeNumber = key.span.integer(at: 0)
            key.removeAll()
            key.append(inode == .max ? inode : inode + 1)
        } else {
            key.append(0 as UInt8)
        }
        return key
    }

    /// The first primary key of the records of `place`.
    func start(of place: Place) throws -> KeyBytes {
        let snapshot = try volume.read()
        let inode = try inode(of: place, snapshot)
        switch place.part {
        case .all:
            var key = KeyBytes()
            key.append(inode)
            return key
        case .inode: return KeyBytes(PrimaryKey.inode(inode).span)
        case .entry(let name): return PrimaryKey.dirent(inode, Array(name.utf8).rawSpan)
        case .extent(let block):
            let extent =
                try extent(of: inode, at: block, snapshot) ?? TreeLayout.probe(inode, block)
            return KeyBytes(PrimaryKey.extent(extent).span)
        case .tagging: throw StageError.refused("items and tags are of a catalogue, not of a tree")
        }
    }

    func inode(of place: Place, _ snapshot: VolumeSnapshot) throws -> InodeNumber {
        do { return try snapshot.inode(at: place.path) } catch let error as VolumeError {
            throw StageError.refused("\(error)")
        }
    }

    /// The extent that covers a block of a file.
    func extent(
        of inode: InodeNumber, at block: UInt64, _ snapshot: VolumeSnapshot
    ) throws -> ExtentRecord? {
        var found: ExtentRecord?
        try snapshot.dump(TableName.extents) { key, value in
            let extent = try ExtentRecord(key: key, value: value)
            guard extent.inode == inode, extent.fork == .data else { return }
            if extent.offset <= block, block < extent.offsetEnd { found = extent }
        }
        return found
    }

    /// The records of a place, in words.
    func words(_ place: Place) throws -> String {
        let inode = try inode(of: place, try volume.read())
        switch place.part {
        case .all: return "records of inode \(inode)"
        case .inode: return "inode \(inode)"
        case .entry(let name): return "name \"\(name)\" in directory \(inode)"
        case .extent(let block): return "extent of inode \(inode), block \(block)"
        case .tagging(let item, let tag): return "tag \(tag) of item \(item)"
        }
    }

    // MARK: Indexes

    func expected(_ slot: IndexSlot, below cursor: KeyBytes?) throws -> [Entry] {
        let primaries = try VolumePrimaries(try volume.read())
        guard !VolumeSlots.isSummary(slot) else {
            return primaries.summaries.contributions(slot, below: cursor)
        }
        let isCovered = { (key: KeyBytes) in cursor.map { key < $0 } ?? true }
        var entries: [Entry] = []
        if slot == VolumeSlots.rmap {
            for extent in primaries.extents
            where isCovered(KeyBytes(PrimaryKey.extent(extent).span)) {
                entries.append(
                    Entry(
                        key: ReverseMap.key(extent).span.array,
                        value: ReverseMap.value(extent).span.array))
            }
        } else {
            for name in primaries.names
            where isCovered(PrimaryKey.dirent(name.directory, name.name.rawSpan)) {
                let key = ParentPointers.key(
                    child: name.target.child, parent: name.directory, name: name.name.rawSpan)
                let value = ParentPointers.value(generation: name.target.generation)
                entries.append(Entry(key: key.array, value: value.span.array))
            }
        }
        return entries.sorted { $0.key.precedes($1.key) }
    }

    func folded(_ slot: IndexSlot) throws -> [Entry] {
        guard VolumeSlots.isSummary(slot) else { return try expected(slot, below: nil) }
        return try VolumePrimaries(try volume.read()).summaries.folded(slot)
    }

    func live(_ slot: IndexSlot) throws -> [(key: [UInt8], value: [UInt8]?)] {
        guard slot != VolumeSlots.links else {
            let summaries = try VolumePrimaries(try volume.read()).summaries
            return summaries.stored.map { ($0.key, $0.value) }
        }
        let table = try table(slot, try activeGeneration(slot))
        return slot == VolumeSlots.quota ? [try ownUsage()] + table : table
    }

    /// What the volume counts for itself.
    private func ownUsage() throws -> (key: [UInt8], value: [UInt8]?) {
        let counters = try volume.statistics().counters, geometry = volume.geometry
        let reserved = UInt64(geometry.reservedAtStart) + UInt64(geometry.reservedAtEnd)
        let usage = QuotaUsage(
            blocks: geometry.blocks - reserved - counters.freeBlocks, inodes: counters.inodes)
        return (QuotaKey.volume.bytes.span.array, usage.bytes.span.array)
    }

    func entries(_ slot: IndexSlot, generation: UInt32) throws -> [Entry] {
        try table(slot, generation).map { Entry(key: $0.key, value: $0.value ?? []) }
    }

    /// The entries of a generation, each without its checksum, or without a value where that
    /// is wrong.
    private func table(
        _ slot: IndexSlot, _ generation: UInt32
    ) throws -> [(key: [UInt8], value: [UInt8]?)] {
        var entries: [(key: [UInt8], value: [UInt8]?)] = []
        let name = TableName.generation(indexName(slot), generation)
        try volume.read().dump(name) { key, value in
            entries.append((key.array, try? value.verified(key: key).array))
        }
        return entries
    }

    func indexName(_ slot: IndexSlot) -> String { volume.indexes[slot.rawValue].name }

    /// Of link counts there is one for good: they stand in the inodes.
    func activeGeneration(_ slot: IndexSlot) throws -> UInt32 {
        guard slot != VolumeSlots.links else { return 1 }
        let active = try sizes(slot).filter { $0.record.state == .active }
        guard active.count == 1 else {
            throw VolumeError.damaged(
                table: TableName.superblock,
                object: "\(active.count) active generations of \(indexName(slot))", .field("state"))
        }
        return active[0].record.number
    }

    /// One that is empty and to be reaped takes up none: its table goes when no snapshot knows
    /// it any more.
    func generations(_ slot: IndexSlot) throws -> [UInt32] {
        guard slot != VolumeSlots.links else { return [1] }
        return try sizes(slot).filter { $0.record.state != .reaping || $0.entries > 0 }
            .map(\.record.number).sorted()
    }

    private func sizes(_ slot: IndexSlot) throws -> [VolumeStatistics.GenerationSize] {
        let name = indexName(slot)
        return try volume.statistics().generations.filter { $0.record.index == name }
    }

    // MARK: Contents

    func digest() throws -> String { try VolumeStage.contents(of: volume).digest }

    static func contents(of volume: Volume) throws -> TreeContents {
        let primaries = try VolumePrimaries(try volume.read())
        let names = Dictionary(grouping: primaries.names, by: \.directory)
        let extents = Dictionary(grouping: primaries.extents, by: \.inode)
        var contents = TreeContents()
        func add(_ inode: InodeNumber, _ path: [UInt8]) throws {
            guard let record = primaries.inodes[inode] else {
                throw VolumeError.damaged(
                    table: TableName.inodes, object: "inode \(inode)", .length)
            }
            contents.items.append(
                TreeContents.Item(
                    path: path, type: record.type, links: record.links,
                    extents: (extents[inode] ?? []).filter { $0.fork == .data }))
        }
        let slash = UInt8(ascii: "/")
        try add(.root, [slash])
        // A stack, not recursion: a tree may be deep. No directory has two names.
        var pending: [(inode: InodeNumber, path: [UInt8])] = [(.root, [])]
        while let directory = pending.popLast() {
            for name in names[directory.inode] ?? [] {
                let path = directory.path + [slash] + name.name
                try add(name.target.child, path)
                if name.target.type == .directory { pending.append((name.target.child, path)) }
            }
        }
        return contents
    }

    // MARK: The end

    /// How the live indexes differ from the primary records, by index.
    func indexStates() throws -> [DiscrepancyCounts] {
        try owner.indexes.indices.map { slot in
            var counts = DiscrepancyCounts()
            for difference in try Player.differences(self, IndexSlot(slot)) {
                counts.add(difference.kind)
            }
            return counts
        }
    }

    /// What the witness finds in the closed volume that can't be the scenario's doing: a
    /// defect of primary records, and indexes that are not as they were seen just before.
    /// - Parameter copy: a path for a copy of its own: whoever holds a snapshot still has the
    ///   metadata open.
    func verify(_ seen: [DiscrepancyCounts], copy: String) throws -> [String] {
        try copyFile(path + "/meta.mdb", to: copy)
        let report = try Verifier.verify(metadata: copy)
        let damaged = Set(scenario.damage.map(\.index))
        var sentences = report.examples.filter {
            guard case .defect(let defect) = $0.kind else { return false }
            return !defect.follows(from: damaged)
        }.map(\.description)
        for (slot, counts) in seen.enumerated() {
            let name = indexName(IndexSlot(slot))
            guard let index = report.indexes.first(where: { $0.name == name }) else {
                sentences.append("verify did not look at \(name)")
                continue
            }
            let found = [index.missing, index.stray, index.wrong]
            if found != [counts.missing, counts.stray, counts.wrong].map({ UInt64($0) }) {
                sentences.append(
                    "verify finds \(found) missing, stray, wrong in \(name), where "
                        + "\(counts.text) are")
            }
            if counts.total == 0, !index.isClean {
                sentences.append(
                    "the record of \(name) says \(index.recordedEntries) entries, sum "
                        + "\(index.recordedSum): it holds \(index.entries), sum \(index.sum)")
            }
        }
        return sentences
    }
}

extension VolumeVerify.PrimaryDefect {
    /// Whether what is damaged on purpose stands in the records, and this is what comes of it.
    fileprivate func follows(from damaged: Set<String>) -> Bool {
        switch self {
        case .linkCount, .orphanInode: damaged.contains("links")
        case .counterInodes: damaged.contains("quota")
        default: false
        }
    }
}
