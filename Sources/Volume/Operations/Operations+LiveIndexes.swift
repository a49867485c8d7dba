// What the primitives derive from primary records: entries of the reverse map and of the
// parent pointers, in the live generations and, where a hook wants them, as deltas.

package import Bytes
internal import Tidemark
package import VolumeFormat
internal import VolumeIndexes

// MARK: Parent pointers

extension Operations {
    mutating func addParent(_ dir: InodeNumber, _ name: RawSpan, _ target: DirentTarget) throws {
        let key = ParentPointers.key(child: target.child, parent: dir, name: name)
        let payload = ParentPointers.value(generation: target.generation)
        try state.parents.add(key.span, payload.span, in: &transaction)
        if wantsParents {
            deltas.add(
                GroupState.parentsSlot, primary: PrimaryKey.dirent(dir, name).span, key: key.span,
                value: payload.span)
        }
        if wantsLinks { addLinkDeltas(dir, name, target) }
    }

    mutating func removeParent(_ dir: InodeNumber, _ name: RawSpan, _ target: DirentTarget) throws {
        let key = ParentPointers.key(child: target.child, parent: dir, name: name)
        let payload = ParentPointers.value(generation: target.generation)
        try state.parents.remove(key.span, payload.span, in: &transaction)
        if wantsParents {
            deltas.remove(
                GroupState.parentsSlot, primary: PrimaryKey.dirent(dir, name).span, key: key.span)
        }
        if wantsLinks { removeLinkDeltas(dir, name, target) }
    }

    mutating func replaceParent(
        _ dir: InodeNumber, _ name: RawSpan, old: DirentTarget, new: DirentTarget
    ) throws {
        guard old.child == new.child else {
            try removeParent(dir, name, old)
            try addParent(dir, name, new)
            return
        }
        if wantsLinks, old.type != new.type {
            removeLinkDeltas(dir, name, old)
            addLinkDeltas(dir, name, new)
        }
        guard old.generation != new.generation else { return }
        let key = ParentPointers.key(child: new.child, parent: dir, name: name)
        let before = ParentPointers.value(generation: old.generation)
        let after = ParentPointers.value(generation: new.generation)
        try state.parents.change(key.span, from: before.span, to: after.span, in: &transaction)
        if wantsParents {
            deltas.add(
                GroupState.parentsSlot, primary: PrimaryKey.dirent(dir, name).span, key: key.span,
                value: after.span)
        }
    }
}

// MARK: Link counts

/// They stand in the inodes, which the operations change themselves; what is reported here is
/// what the counts are folded from.
extension Operations {
    private mutating func addLinkDeltas(
        _ dir: InodeNumber, _ name: RawSpan, _ target: DirentTarget
    ) {
        guard target.type != .regular else { return }
        let primary = PrimaryKey.dirent(dir, name)
        let key = LinkIndex.typeKey(child: target.child, parent: dir, name: name)
        let type = LinkIndex.typeValue(target.type)
        deltas.add(
            GroupState.linksSlot, primary: primary.span, key: key.span, value: type.span)
        guard target.type == .directory else { return }
        let back = LinkIndex.childKey(parent: dir, name: name)
        let child = LinkIndex.childValue(target.child)
        deltas.add(
            GroupState.linksSlot, primary: primary.span, key: back.span, value: child.span)
    }

    private mutating func removeLinkDeltas(
        _ dir: InodeNumber, _ name: RawSpan, _ target: DirentTarget
    ) {
        guard target.type != .regular else { return }
        let primary = PrimaryKey.dirent(dir, name)
        let key = LinkIndex.typeKey(child: target.child, parent: dir, name: name)
        deltas.remove(GroupState.linksSlot, primary: primary.span, key: key.span)
        guard target.type == .directory else { return }
        let back = LinkIndex.childKey(parent: dir, name: name)
        deltas.remove(GroupState.linksSlot, primary: primary.span, key: back.span)
    }
}

// MARK: Quota usage

extension Operations {
    /// The transaction makes of an inode that took `old` one that takes `new`.
    mutating func noteUsage(_ n: InodeNumber, old: QuotaShare?, new: QuotaShare?) {
        guard old != new else { return }
        state.usage.change(from: old, to: new)
        guard wantsQuota else { return }
        let primary = PrimaryKey.inode(n), key = InodeRecord.key(n)
        if let new {
            let share = new.bytes
            deltas.add(
                GroupState.quotaSlot, primary: primary.span, key: key.span, value: share.span)
        } else {
            deltas.remove(GroupState.quotaSlot, primary: primary.span, key: key.span)
        }
    }
}

// MARK: Reverse map

extension Operations {
    mutating func mapExtent(_ e: ExtentRecord, replacing old: ExtentRecord?) throws {
        let key = ReverseMap.key(e)
        let payload = ReverseMap.value(e)
        if let old {
            let oldKey = ReverseMap.key(old)
            if compareBytes(oldKey.span, key.span) == 0 {
                let before = ReverseMap.value(old)
                try state.rmap.change(
                    key.span, from: before.span, to: payload.span, in: &transaction)
                if wantsReverseMap { addReverseMapDelta(e, key.span, payload.span) }
                return
            }
            try unmapExtent(old)
        }
        try state.rmap.add(key.span, payload.span, in: &transaction)
        if wantsReverseMap { addReverseMapDelta(e, key.span, payload.span) }
    }

    mutating func unmapExtent(_ e: ExtentRecord) throws {
        let key = ReverseMap.key(e)
        let payload = ReverseMap.value(e)
        try state.rmap.remove(key.span, payload.span, in: &transaction)
        if wantsReverseMap {
            let primary = PrimaryKey.extent(e)
            deltas.remove(GroupState.rmapSlot, primary: primary.span, key: key.span)
        }
    }

    private mutating func addReverseMapDelta(
        _ e: ExtentRecord, _ key: RawSpan, _ payload: RawSpan
    ) {
        let primary = PrimaryKey.extent(e)
        deltas.add(GroupState.rmapSlot, primary: primary.span, key: key, value: payload)
    }
}

/// The keys of primary records in the order of a scan: inode u64, kind u8, subkey.
package enum PrimaryKey {
    package static let prefixSize = 9

    package static func inode(_ n: InodeNumber) -> FixedBytes<9> {
        var key = FixedBytes<9>()
        key.store(n, at: 0)
        key.store(RecordKind.inode.rawValue, at: 8)
        return key
    }

    package static func dirent(_ directory: InodeNumber, _ name: RawSpan) -> KeyBytes {
        var key = KeyBytes()
        key.append(directory)
        key.append(RecordKind.dirent.rawValue)
        key.append(name)
        return key
    }

    package static func extent(_ e: ExtentRecord) -> FixedBytes<18> {
        var key = FixedBytes<18>()
        key.store(e.inode, at: 0)
        key.store(RecordKind.extent.rawValue, at: 8)
        key.store(e.fork.rawValue, at: 9)
        key.store(e.offset, at: 10)
        return key
    }
}
