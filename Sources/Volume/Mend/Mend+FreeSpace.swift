// Free space against itself: by start against by length, overlapping, beyond the end, not merged;
// and blocks that nobody has.
//
// Of the two tables the one by start is the master. What is only in the other is deleted there: if
// the blocks are nobody's, the next survey finds them leaked, and only then, with nobody claiming
// them, are they freed.

internal import Bytes
internal import LMDB
internal import VolumeFormat
internal import VolumeIndexes
internal import VolumeVerify

extension Operations {
    mutating func mendFreeSpace(
        _ kind: VolumeVerify.PrimaryDefect, _ finding: Finding, _ news: News
    ) throws -> Mend? {
        let block = finding.number("block") ?? 0
        switch kind {
        case .freeTables:
            return finding.object == TableName.free
                ? try mendMissingLength(block)
                : try mendStrayLength(finding.number("length") ?? 0, block)
        case .freeOverlap, .freeNotMerged: return try mendNeighbours(block)
        case .freeBeyondVolume: return try mendFreeEnd(block)
        case .leakedBlocks:
            return try mendLeak(block, block &+ (finding.number("length") ?? 0), news)
        default: return nil
        }
    }

    /// The free run that begins exactly there, or the last one that begins before.
    private func freeRecord(at start: UInt64) throws -> FreeRecord? {
        let key = FreeRecord.key(start: start)
        guard let value = try transaction.get(core.tables.free, key.span) else { return nil }
        return try? FreeRecord(key: key.span, value: value)
    }

    func freeRecord(before start: UInt64) throws -> FreeRecord? {
        guard start > 0 else { return nil }
        var cursor = try transaction.readCursor(core.tables.free)
        guard try cursor.seek(atOrBefore: FreeRecord.key(start: start - 1).span) else {
            return nil
        }
        return try? FreeRecord(key: cursor.key, value: cursor.value)
    }

    private mutating func mendMissingLength(_ block: UInt64) throws -> Mend {
        guard let run = try freeRecord(at: block) else { return .gone }
        let key = FreeRecord.lengthKey(length: run.length, start: run.start)
        guard try !isThere(core.tables.freeByLength, key.span) else { return .gone }
        hasChanged = true
        try transaction.put(core.tables.freeByLength, key.span, run.lengthValue.span)
        return .mended("the free run was entered by its length, too")
    }

    private mutating func mendStrayLength(_ length: UInt64, _ block: UInt64) throws -> Mend {
        guard try freeRecord(at: block)?.length != length else { return .gone }
        let key = FreeRecord.lengthKey(length: length, start: block)
        guard try transaction.delete(core.tables.freeByLength, key.span) else { return .gone }
        hasChanged = true
        return .mended("the free run by length was deleted: by its start there is none like it")
    }

    /// Makes one run of two that overlap or touch.
    private mutating func mendNeighbours(_ block: UInt64) throws -> Mend {
        guard let run = try freeRecord(at: block), let before = try freeRecord(before: block),
            before.end >= run.start
        else { return .gone }
        try deleteFree(before)
        try deleteFree(run)
        let whole = FreeRecord(
            start: before.start, length: max(before.end, run.end) - before.start)
        try putFree(whole)
        countFree(whole.length &- before.length &- run.length)
        return .mended("one free run was made of two")
    }

    private mutating func mendFreeEnd(_ block: UInt64) throws -> Mend {
        guard let run = try freeRecord(at: block), run.end > core.geometry.blocks
        else { return .gone }
        try deleteFree(run)
        var kept: UInt64 = 0
        if run.start < core.geometry.blocks {
            kept = core.geometry.blocks - run.start
            try putFree(FreeRecord(start: run.start, length: kept))
        }
        countFree(kept &- run.length)
        return .mended("the free run was cut at the end of the volume")
    }

    /// Takes blocks that a file has out of the free space.
    /// - Returns: how many there were.
    mutating func takeOutOfFree(_ start: UInt64, _ end: UInt64) throws -> UInt64 {
        var taken: UInt64 = 0
        while let run = try freeRecord(before: end), run.end > start {
            try deleteFree(run)
            if run.start < start {
                try putFree(FreeRecord(start: run.start, length: start - run.start))
            }
            if run.end > end { try putFree(FreeRecord(start: end, length: run.end - end)) }
            let part = min(run.end, end) - max(run.start, start)
            taken += part
            countFree(0 &- part)
        }
        return taken
    }

    // MARK: Blocks that nobody has

    private mutating func mendLeak(
        _ start: UInt64, _ end: UInt64, _ news: News
    ) throws -> Mend {
        guard start < end, end <= core.geometry.blocks else { return .gone }
        guard !news.concerns(start, end) else { return .changed("the blocks were used meanwhile") }
        let (mappings, hasOthers) = try mappings(start, end)
        var restored: [ExtentRecord] = [], contested: String?
        for extent in mappings {
            guard try extent.inode == .volume || hasInode(extent.inode) else {
                // Its contents would be lost with it, should it be made again.
                guard try isFreeNumber(extent.inode) else {
                    return .waiting("inode \(extent.inode), which had them, comes first")
                }
                continue
            }
            switch try restore(extent, start, end) {
            case .stray: continue
            case .restored: restored.append(extent)
            case .contested(let why): contested = contested ?? why
            }
        }
        if let first = restored.first {
            return .mended(
                (restored.count == 1
                    ? "the extent of inode \(first.inode) at offset \(first.offset) was"
                    : "\(restored.count) extents, the first of inode \(first.inode), were")
                    + " put back: the reverse mapping has it, and nobody else has the blocks")
        }
        // While a mapping claims them they are not free. A repair of the reverse map, which comes
        // when nothing else can be mended, takes away what no record proves.
        if let contested { return .waiting(contested) }
        if hasOthers { return .waiting("a reverse mapping that can't be read may claim them") }
        do {
            try giveBack(start: start, length: end - start)
        } catch VolumeError.damaged {
            return .changed("free space there has changed, or contradicts itself")
        }
        core.blockGuard.noteFreed(
            BlockRange(start: start, end: end), commit: transaction.commit)
        return .mended("\(end - start) blocks were freed: nobody has them")
    }

    /// Reverse mappings of one mend at the most.
    private static var mappings: Int { 1024 }

    /// The reverse mappings that reach into a range, and whether there are more, or some that can't
    /// be decoded.
    private func mappings(
        _ start: UInt64, _ end: UInt64
    ) throws -> (extents: [ExtentRecord], hasOthers: Bool) {
        var result: [ExtentRecord] = [], hasOthers = false
        var cursor = try transaction.readCursor(state.rmap.active.table)
        let key = FreeRecord.key(start: start)
        var isThere = try cursor.seek(atOrBefore: key.span)
        if !isThere { isThere = try cursor.first() }
        while isThere, result.count < Operations.mappings, cursor.key.byteCount >= 8,
            cursor.key.integer(at: 0, as: UInt64.self) < end
        {
            if let payload = try? cursor.value.verified(key: cursor.key),
                let extent = ReverseMap.extent(key: cursor.key, value: payload)
            {
                if extent.startEnd > start { result.append(extent) }
            } else if cursor.key.integer(at: 0, as: UInt64.self) >= start {
                hasOthers = true
            }
            isThere = try cursor.next()
        }
        return (result, hasOthers || result.count == Operations.mappings)
    }

    /// Extents that one mend looks between.
    private static var pieces: Int { 64 }

    private enum Restoring {
        case restored
        /// Nothing else speaks for the mapping.
        case stray
        /// It may be right, and can't be put back as it is.
        case contested(String)
    }

    /// Puts back an extent whose record is lost, or says other blocks than its mapping: the
    /// mapping, and that nobody else has the blocks, against the record.
    private mutating func restore(
        _ mapping: ExtentRecord, _ start: UInt64, _ end: UInt64
    ) throws -> Restoring {
        guard mapping.inode != .volume else { return .stray }
        guard var inode = try readable(mapping.inode) else {
            return .contested("inode \(mapping.inode), which had them, comes first")
        }
        guard inode.links > 0, mapping.fork == .attributes || inode.type == .regular else {
            return .stray
        }
        // What another has of its blocks is decided elsewhere.
        let first = max(mapping.start, start), last = min(mapping.startEnd, end)
        let offset = mapping.offset + (first - mapping.start)
        guard let extent = mapping.clipped(to: offset..<offset + (last - first)) else {
            return .stray
        }
        let key = extent.key
        var claim: ExtentRecord?
        if let value = try transaction.get(core.tables.extents, key.span) {
            // A damaged one goes to quarantine first.
            guard let old = try? ExtentRecord(key: key.span, value: value) else {
                return .contested("the record of the extent there is damaged: that comes first")
            }
            let key = ReverseMap.key(old)
            // It is elsewhere, by two witnesses.
            guard try !isThere(state.rmap.active.table, key.span) else { return .stray }
            claim = old
        }
        // What the file has at some of the offsets it keeps; the others are put back.
        let others = try extents(
            extent.inode, extent.fork, from: extent.offset, to: extent.offsetEnd,
            limit: Operations.pieces)
        var from = extent.offset, parts: [ExtentRecord] = []
        for other in others where other != claim {
            if from < other.offset, let part = extent.clipped(to: from..<other.offset) {
                parts.append(part)
            }
            from = max(from, other.offsetEnd)
        }
        if others.count < Operations.pieces, from < extent.offsetEnd,
            let part = extent.clipped(to: from..<extent.offsetEnd)
        {
            parts.append(part)
        }
        guard !parts.isEmpty else {
            return .contested("the file has other blocks at all of the offsets")
        }
        if let claim {
            inode.blocks -= min(inode.blocks, UInt64(claim.length))
            try quarantine(TableName.extents, key.span.array, claim.value.span.array)
            try removeExtent(claim)
        }
        for part in parts {
            try putExtent(part, replacing: nil)
            inode.blocks += UInt64(part.length)
        }
        try put(inode, extent.inode)
        isMending(extent.inode)
        return .restored
    }
}
