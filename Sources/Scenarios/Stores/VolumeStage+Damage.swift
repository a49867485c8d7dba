// Discrepancies made on purpose: at the entry that a record derives, or would derive.

internal import Bytes
internal import Tidemark
internal import Volume
internal import VolumeFormat
internal import VolumeIndexes

extension VolumeStage {
    func damage(_ damage: Damage) throws {
        guard let slot = volume.indexes.firstIndex(where: { $0.name == damage.index }) else {
            throw StageError.refused("damage of \(damage.index): the store has no such index")
        }
        let entry =
            switch IndexSlot(slot) {
            case VolumeSlots.rmap: try mapping(damage)
            case VolumeSlots.parents: try parentPointer(damage)
            default: try summary(damage)
            }
        let payload = damage.kind == .missing ? nil : entry.value
        let wasThere = try volume.alter(IndexSlot(slot), key: entry.key, payload: payload)
        guard wasThere == (damage.kind != .stray) else {
            throw StageError.refused(
                "\(damage.kind.rawValue) \(damage.index): the live index "
                    + (wasThere ? "has this entry already" : "has no such entry"))
        }
        // It is part of what the store is at the start, whatever comes down later.
        try volume.sync()
    }

    private func summary(_ damage: Damage) throws -> Entry {
        let snapshot = try volume.read()
        return try VolumePrimaries(snapshot).summaries.entry(of: damage) {
            try inode(of: $0, snapshot)
        }
    }

    private func parentPointer(_ damage: Damage) throws -> Entry {
        guard case .entry(let name) = damage.place.part else {
            throw StageError.refused("damage of parents is done to an entry: DIRECTORY:NAME")
        }
        let snapshot = try volume.read()
        let directory = try inode(of: damage.place, snapshot)
        let bytes = Array(name.utf8)
        var child = TreeLayout.strayChild, generation = TreeLayout.strayGeneration
        if damage.kind != .stray {
            guard let target = try snapshot.lookup(directory, bytes) else {
                throw StageError.refused("\(damage.place.path.words):\(name) does not exist")
            }
            child = target.child
            generation =
                damage.kind == .wrong
                ? TreeLayout.wrong(generation: target.generation) : target.generation
        }
        let key = ParentPointers.key(child: child, parent: directory, name: bytes.rawSpan)
        return Entry(
            key: key.array, value: ParentPointers.value(generation: generation).span.array)
    }

    private func mapping(_ damage: Damage) throws -> Entry {
        guard case .extent(let block) = damage.place.part else {
            throw StageError.refused("damage of rmap is done to an extent: PATH@BLOCK")
        }
        let snapshot = try volume.read()
        let inode = try inode(of: damage.place, snapshot)
        var extent = TreeLayout.strayExtent(inode, block)
        if damage.kind != .stray {
            guard let found = try self.extent(of: inode, at: block, snapshot) else {
                throw StageError.refused("\(damage.place.path.words)@\(block) has no extent")
            }
            extent = damage.kind == .wrong ? TreeLayout.wrong(found) : found
        }
        return Entry(
            key: ReverseMap.key(extent).span.array, value: ReverseMap.value(extent).span.array)
    }
}
