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
        case .entry(let name): return "name \"\(name)\" in directory \(inode)"
        case .extent(let block): return "extent of inode \(inode), block \(block)"
        case .tagging(let item, let tag): return "tag \(tag) of item \(item)"
        }
    }

    // MARK: Indexes

    func expected(_ slot: IndexSlot, below cursor: KeyBytes?) throws -> [Entry] {
        let primaries = try VolumePrimaries(try volume.read())
        let isCovered = { (key: KeyBytes) in cursor.map { key < $0 } ?? true }
        var entries: [Entry] = []
        if slot == IndexSlot(0) {
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

    func live(_ slot: IndexSlot) throws -> [(key: [UInt8], value: [UInt8]?)] {
        try table(slot, try activeGeneration(slot))
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

    func activeGeneration(_ slot: IndexSlot) throws -> UInt32 {
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
        try sizes(slot).filter { $0.record.state != .reaping || $0.entries > 0 }
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
        var sentences = report.examples.filter {
            if case .defect = $0.kind { return true }
            return false
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
