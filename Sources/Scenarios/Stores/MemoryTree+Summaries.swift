// Quota usage and link counts of the tree in memory: as Sources/Volume/Engine/LiveUsage.swift and
// Sources/Volume/Operations/Operations+CorrectLinks.swift have them. Counters change by
// increments, modulo the range of their integers, and one that is missing counts as zero.

internal import Bytes
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

// MARK: Counting

extension MemoryState {
    /// An inode that took `old` takes `new`.
    mutating func count(
        from old: QuotaShare?, to new: QuotaShare?, _ mutants: OwnerMutants = OwnerMutants()
    ) {
        if let old { count(old, .zero - QuotaUsage(blocks: old.blocks, inodes: 1), mutants) }
        if let new { count(new, QuotaUsage(blocks: new.blocks, inodes: 1), mutants) }
    }

    private mutating func count(
        _ share: QuotaShare, _ change: QuotaUsage, _ mutants: OwnerMutants
    ) {
        usage = usage + change
        let keys = [
            QuotaKey(.user, share.uid), QuotaKey(.group, share.gid),
            QuotaKey(.project, share.project),
        ]
        for key in keys { quota.count(key.bytes.span.array, change, mutants) }
    }

    /// Makes an entry what it should not be.
    /// - Returns: whether there was one.
    mutating func alter(_ slot: IndexSlot, key: [UInt8], value: [UInt8]?) -> Bool {
        if slot == VolumeSlots.links { return alterLinks(key, value) }
        if slot == VolumeSlots.quota, QuotaKey(key.rawSpan) == .volume {
            usage = value.flatMap { QuotaUsage($0.rawSpan) } ?? .zero
            return true
        }
        let old = self[slot].active.table.remove(key.rawSpan)
        if let value { self[slot].active.table.put(MemoryEntry(key: key, value: value)) }
        return old != nil
    }

    private mutating func alterLinks(_ key: [UInt8], _ value: [UInt8]?) -> Bool {
        guard let value, let stored = StoredLinks(value.rawSpan),
            var inode = inode(key.rawSpan.integer(at: 0))
        else { return false }
        inode.links = stored.links
        put(inode)
        return true
    }

    /// The entries that are served, where they stand in the records as elsewhere.
    func servedEntries(of slot: IndexSlot) -> MemoryTable<MemoryEntry> {
        switch slot {
        case VolumeSlots.quota:
            var table = quota.active.table
            guard usage != .zero else { return table }
            let key = QuotaKey.volume.bytes, value = usage.bytes
            table.put(MemoryEntry(key: key.span.array, value: value.span.array))
            return table
        case VolumeSlots.links:
            var table = MemoryTable<MemoryEntry>()
            for inode in inodes {
                let key = InodeRecord.key(inode.number), stored = inode.storedLinks.bytes
                table.put(MemoryEntry(key: key.span.array, value: stored.span.array))
            }
            return table
        default: return self[slot].active.table
        }
    }
}

extension MemoryInode {
    var storedLinks: StoredLinks {
        StoredLinks(links: links, type: type, generation: generation, parent: parent)
    }
}

extension MemoryTable<MemoryEntry> {
    fileprivate func usage(_ key: [UInt8]) -> QuotaUsage? {
        guard let value = find(key.rawSpan)?.value else { return nil }
        return QuotaUsage(value.rawSpan)
    }

    /// A counter that is zero is none.
    fileprivate mutating func store(_ usage: QuotaUsage, at key: [UInt8]) {
        let value = usage.bytes
        if usage == .zero {
            remove(key.rawSpan)
        } else {
            put(MemoryEntry(key: key, value: value.span.array))
        }
    }
}

extension QuotaUsage {
    /// Whether taking it in this direction has gone through zero.
    fileprivate func wraps(by change: QuotaUsage) -> Bool {
        func wraps(_ value: UInt64, _ change: UInt64) -> Bool {
            let signed = Int64(bitPattern: change)
            return signed < 0 && value < signed.magnitude
        }
        return wraps(blocks, change.blocks) || wraps(inodes, change.inodes)
    }
}

extension MemoryIndex {
    /// A counter changes by the same in every generation that is maintained.
    fileprivate mutating func count(
        _ key: [UInt8], _ change: QuotaUsage, _ mutants: OwnerMutants
    ) {
        active.table.store((active.table.usage(key) ?? .zero) + change, at: key)
        if previous != nil, !mutants.have(.previousNotMaintained) {
            previous!.table.store((previous!.table.usage(key) ?? .zero) + change, at: key)
        }
        guard load != nil, load!.covers(key), !mutants.have(.loadNotMaintained),
            !mutants.have(.usageNotLoaded)
        else { return }
        let loaded = load!.generation.table.usage(key)
        let new = (loaded ?? .zero) + change
        if (loaded ?? .zero).wraps(by: change) { load!.spoil("a counter fell below zero") }
        load!.generation.table.store(new, at: key)
        load!.expected += (new == .zero ? 0 : 1) - (loaded == nil ? 0 : 1)
    }
}

// MARK: Corrections

extension MemoryOperations {
    mutating func correctUsage(_ corrections: [(key: [UInt8], value: [UInt8])]) -> Int {
        for (key, value) in corrections {
            let correction = QuotaUsage(value.rawSpan) ?? .zero
            hasChanged = true
            if QuotaKey(key.rawSpan) == .volume {
                state.usage = state.usage + correction
            } else {
                let found = mutants.have(.usageSet) ? nil : state.quota.active.table.usage(key)
                state.quota.active.table.store((found ?? .zero) + correction, at: key)
            }
        }
        return corrections.count
    }

    /// The load with the active generation's counters from its cursor to `end`, each with its
    /// correction in `batch`, and with the corrections that find none.
    func loadUsage(_ batch: EntryBatch, into load: MemoryLoad, end: [UInt8]?) -> MemoryLoad {
        var load = load
        var corrected = MemoryTable<MemoryEntry>()
        for entry in state.quota.active.table where !load.covers(entry) {
            if let end, entry.compare(end.rawSpan) >= 0 { continue }
            corrected.put(entry)
        }
        var position = batch.startPosition
        while position < batch.endPosition {
            let key = batch.key(at: position).array
            let correction = QuotaUsage(batch.value(at: position)) ?? .zero
            if QuotaKey(key.rawSpan) == .volume {
                load.usageCorrection = load.usageCorrection + correction
            } else {
                let found = mutants.have(.usageSet) ? nil : corrected.usage(key)
                corrected.store((found ?? .zero) + correction, at: key)
            }
            position = batch.position(after: position)
        }
        for entry in corrected {
            let isAbove = load.generation.table.append(entry)
            precondition(isAbove, "a batch of counters lies above those before it")
        }
        load.expected += corrected.count
        load.end = end
        return load
    }

    /// A correction is for one inode of one generation. What has 0 links and no name goes.
    mutating func correctLinks(_ corrections: [(key: [UInt8], value: [UInt8])]) -> Int {
        var corrected = 0
        for (key, value) in corrections {
            let number: InodeNumber = key.rawSpan.integer(at: 0)
            guard let correction = LinkCorrection(value.rawSpan),
                var inode = state.inode(number), inode.generation == correction.generation,
                // A directory that was removed got 0 links at once.
                inode.links > 0 || inode.type != .directory
            else { continue }
            inode.links &+= correction.links
            if inode.links == 0, inode.type == .directory || hasName(number) { continue }
            put(inode)
            corrected += 1
        }
        return corrected
    }

    private func hasName(_ number: InodeNumber) -> Bool {
        state.records.contains { $0.target?.child == number }
    }

    /// Inodes that nobody has open, without links and names, are given back.
    mutating func reclaimUnlinked() {
        let opened = state.opens.map(\.inode)
        for inode in state.inodes where inode.links == 0 && !opened.contains(inode.number) {
            reclaim(inode)
        }
    }
}
