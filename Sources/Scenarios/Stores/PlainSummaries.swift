// What summaries are folded from, and what they must hold, by plain code over all records of a
// tree: for checks, on a tree in memory and on a volume alike. Nothing here is shared with the
// scan, the deltas or the folds that a run relies on.

internal import Bytes
internal import Tidemark
internal import Volume
internal import VolumeFormat
internal import VolumeIndexes

struct PlainSummaries {
    struct Inode {
        let number: InodeNumber
        let share: QuotaShare
        let stored: StoredLinks
    }

    struct Name {
        let directory: InodeNumber
        let name: [UInt8]
        let target: DirentTarget
    }

    private let inodes: [Inode]
    private let names: [Name]

    init(inodes: [Inode], names: [Name]) {
        self.inodes = inodes.sorted { $0.number < $1.number }
        self.names = names
    }

    // MARK: Contributions

    /// What the records below `cursor` (nil: all) contribute, in key order.
    func contributions(_ slot: IndexSlot, below cursor: KeyBytes?) -> [Entry] {
        func isCovered(_ key: RawSpan) -> Bool {
            cursor.map { compareBytes(key, $0.span) < 0 } ?? true
        }
        if slot == VolumeSlots.quota {
            return inodes.filter { isCovered(PrimaryKey.inode($0.number).span) }.map {
                let key = InodeRecord.key($0.number), value = $0.share.bytes
                return Entry(key: key.span.array, value: value.span.array)
            }
        }
        return names.filter { isCovered(PrimaryKey.dirent($0.directory, $0.name.rawSpan).span) }
            .flatMap(PlainSummaries.links).sorted { $0.key.precedes($1.key) }
    }

    private static func links(_ name: Name) -> [Entry] {
        let target = name.target
        guard target.type != .regular else { return [] }
        let own = LinkIndex.typeKey(
            child: target.child, parent: name.directory, name: name.name.rawSpan)
        let type = LinkIndex.typeValue(target.type)
        let typed = Entry(key: own.span.array, value: type.span.array)
        guard target.type == .directory else { return [typed] }
        let back = LinkIndex.childKey(parent: name.directory, name: name.name.rawSpan)
        let child = LinkIndex.childValue(target.child)
        return [typed, Entry(key: back.span.array, value: child.span.array)]
    }

    // MARK: Folded

    /// What the summary must hold, in key order.
    func folded(_ slot: IndexSlot) -> [Entry] {
        slot == VolumeSlots.quota ? usage : links.map(PlainSummaries.entry)
    }

    private var usage: [Entry] {
        var sums: [QuotaKey: QuotaUsage] = [:]
        for inode in inodes {
            let taken = QuotaUsage(blocks: inode.share.blocks, inodes: 1)
            for key in [
                .volume, QuotaKey(.user, inode.share.uid), QuotaKey(.group, inode.share.gid),
                QuotaKey(.project, inode.share.project),
            ] { sums[key] = (sums[key] ?? .zero) + taken }
        }
        return sums.sorted { $0.key < $1.key }.map { key, usage in
            Entry(key: key.bytes.span.array, value: usage.bytes.span.array)
        }
    }

    /// What the inodes say of their links, as they are.
    var stored: [Entry] { inodes.map { PlainSummaries.entry($0.number, $0.stored) } }

    private static func entry(_ number: InodeNumber, _ links: StoredLinks) -> Entry {
        let key = InodeRecord.key(number), value = links.bytes
        return Entry(key: key.span.array, value: value.span.array)
    }

    /// The same with right counts. One that has links and lost all its names is orphaned, and
    /// keeps what it has.
    private var links: [(InodeNumber, StoredLinks)] {
        var names: [InodeNumber: UInt32] = [:], children: [InodeNumber: UInt32] = [:]
        for name in self.names {
            names[name.target.child, default: 0] += 1
            if name.target.type == .directory { children[name.directory, default: 0] += 1 }
        }
        return inodes.map { inode in
            var right = inode.stored
            let own = names[inode.number] ?? 0
            if right.type != .directory {
                if own > 0 { right.links = own }
            } else if right.links > 0 || own > 0 || inode.number == .root {
                right.links = 2 + (children[inode.number] ?? 0)
            }
            return (inode.number, right)
        }
    }
}

// MARK: Damage

extension PlainSummaries {
    /// The entry that `damage` of a summary is done to, with the value that makes it wrong.
    func entry(of damage: Damage, inode: (Place) throws -> InodeNumber) throws -> Entry {
        if damage.index == "links" {
            guard damage.kind == .wrong, damage.place.part == .all else {
                throw StageError.refused(
                    "damage of links is `wrong links PATH`: the count stands in the inode")
            }
            let number = try inode(damage.place)
            guard var stored = inodes.first(where: { $0.number == number })?.stored else {
                throw StageError.refused("inode \(number) does not exist")
            }
            // Never too low: an inode would be freed that has a name.
            stored.links &+= 1
            return PlainSummaries.entry(number, stored)
        }
        let key = try counter(damage.place)
        let right = usage.first { $0.key == key.bytes.span.array }
            .flatMap { QuotaUsage($0.value.rawSpan) }
        if key == .volume, damage.kind != .wrong {
            throw StageError.refused("the volume's own counter can only be wrong")
        }
        // How many blocks are free decides what writers are given: that is left as it is.
        let more = QuotaUsage(blocks: key == .volume ? 0 : 3, inodes: 1)
        let usage = (right ?? .zero) + more
        return Entry(key: key.bytes.span.array, value: usage.bytes.span.array)
    }

    /// `user:17`: a place that names a counter of quota usage.
    private func counter(_ place: Place) throws -> QuotaKey {
        let types: [String: QuotaType] = [
            "volume": .volume, "user": .user, "group": .group, "project": .project,
        ]
        guard case .entry(let text) = place.part, place.path.base == nil,
            place.path.names.count == 1, let type = types[place.path.names[0]],
            let id = UInt32(text), type != .volume || id == 0
        else {
            throw StageError.refused(
                "damage of quota is done to a counter: user:ID, group:ID, project:ID, volume:0")
        }
        return QuotaKey(type, id)
    }
}
