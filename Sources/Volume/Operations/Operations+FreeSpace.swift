// Free space, in two tables that hold the same runs: by place, to merge neighbours, and by
// length, to find a run that fits.

internal import Bytes
internal import LMDB
internal import VolumeFormat

extension Operations {
    /// Allocates up to `wanted` blocks in one piece: from the run that starts exactly at
    /// `near`, else from the shortest that is long enough, else the longest there is. What writes
    /// have reserved is left alone. What was freed since the last durable point is passed over
    /// while other blocks are found soon: a write to it waits for the next point.
    /// - Returns: nil where no block is free.
    mutating func takeFree(_ wanted: UInt64, near: UInt64?) throws -> FreeRecord? {
        guard let (run, part) = try findFree(wanted, near: near) else { return nil }
        let taken = BlockRange(start: part.start, end: part.start + min(wanted, part.length))
        try take(taken, of: run)
        return FreeRecord(start: taken.start, length: taken.length)
    }

    /// Allocates exactly these blocks, which are free.
    mutating func takeFree(_ blocks: BlockRange) throws {
        let (before, after) = try neighbours(of: blocks.start)
        guard let run = [before, after].compactMap({ $0 }).first(where: { $0.holds(blocks) })
        else {
            let object = "blocks \(blocks.start) to \(blocks.end - 1)"
            throw damaged(TableName.free, object, .field("start"))
        }
        try take(blocks, of: run)
    }

    /// Chooses up to `wanted` blocks in one piece, as `takeFree` does, and takes none.
    mutating func chooseFree(_ wanted: UInt64, near: UInt64?) throws -> BlockRange? {
        try findFree(wanted, near: near).map { _, part in
            BlockRange(start: part.start, end: part.start + min(wanted, part.length))
        }
    }

    private mutating func take(_ blocks: BlockRange, of run: FreeRecord) throws {
        precondition(run.holds(blocks) && blocks.length > 0, "a part of another run")
        hasChanged = true
        try deleteFree(run)
        for (start, end) in [(run.start, blocks.start), (blocks.end, run.end)] where start < end {
            try putFree(FreeRecord(start: start, length: end - start))
        }
        counters.freeBlocks &-= blocks.length
    }

    /// Frees blocks, merging them with their neighbours. Blocks that are free already, or
    /// beyond the volume, are damage: then nothing is changed.
    mutating func giveBack(start: UInt64, length: UInt64) throws {
        precondition(length > 0, "freeing nothing")
        let (before, after) = try neighbours(of: start)
        let (end, overflow) = start.addingReportingOverflow(length)
        let object = "blocks \(start) to \(overflow ? .max : end - 1)"
        guard !overflow, end <= core.geometry.blocks else {
            throw damaged(TableName.free, object, .field("end"))
        }
        if let before, before.end > start { throw damaged(TableName.free, object, .field("start")) }
        if let after, after.start < end { throw damaged(TableName.free, object, .field("length")) }
        hasChanged = true
        var merged = FreeRecord(start: start, length: length)
        if let before, before.end == start {
            try deleteFree(before)
            merged = FreeRecord(start: before.start, length: before.length + length)
        }
        if let after, after.start == end {
            try deleteFree(after)
            merged.length += after.length
        }
        try putFree(merged)
        counters.freeBlocks &+= length
    }

    /// A free run, and the part of it to take blocks from.
    private mutating func findFree(
        _ wanted: UInt64, near: UInt64?
    ) throws -> (run: FreeRecord, part: BlockRange)? {
        precondition(wanted > 0, "an allocation of nothing")
        do {
            let adjoining = try near.flatMap { try freeRun(at: $0) }
            guard let run = try adjoining ?? freeRun(of: wanted) else { return nil }
            let filter = filter()
            let found = filter.part(of: run.blocks, wanted)
            if let found, found.isSettled, adjoining == nil || found.part.start == run.start {
                return (run, found.part)
            }
            let other = try search(wanted, filter)
            if let other, other.isSettled { return (other.run, other.part) }
            if let found { return (run, found.part) }
            return other.map { ($0.run, $0.part) }
        } catch let error as RecordDamage {
            throw damaged(TableName.freeByLength, "free run of about \(wanted) blocks", error)
        }
    }

    private func filter() -> FreeBlockFilter {
        let reserved = core.reserved.ranges
        guard core.passesOverUnsettled else {
            return FreeBlockFilter(reserved: reserved, unsettled: nil)
        }
        let unsettled = core.blockGuard.unsettled(durable: core.durableCommit)
        // Where any block may be one of them, none is passed over.
        if unsettled.isAnything { askForPoint() }
        let isTold = !unsettled.isEmpty && !unsettled.isAnything
        return FreeBlockFilter(reserved: reserved, unsettled: isTold ? unsettled : nil)
    }

    /// Looks at runs that are long enough, and at the longest ones, for blocks that may be written
    /// without waiting; at all of them where everything else is reserved.
    private func search(
        _ wanted: UInt64, _ filter: FreeBlockFilter
    ) throws -> (run: FreeRecord, part: BlockRange, isSettled: Bool)? {
        var cursor = try transaction.readCursor(core.tables.freeByLength)
        let key = FreeRecord.lengthKey(length: wanted, start: 0)
        let isLongEnough = try cursor.seek(key.span)
        var isThere = try isLongEnough || cursor.last()
        var looked = 0, isBackwards = !isLongEnough
        var other: (run: FreeRecord, part: BlockRange, isSettled: Bool)?
        // A damaged run ends the search: it is not the one that has to be taken.
        while isThere, looked < SettledSearch.runs || other == nil,
            let run = try? FreeRecord(lengthKey: cursor.key, value: cursor.value)
        {
            if let (part, isSettled) = filter.part(of: run.blocks, wanted) {
                if isSettled { return (run, part, true) }
                if other == nil { other = (run, part, false) }
            }
            looked += 1
            if !isBackwards {
                isThere = try looked < SettledSearch.runs - 1 && cursor.next()
                // No more that are long enough, or enough of them: the longest ones.
                isBackwards = !isThere
                if isBackwards { isThere = try cursor.last() }
            } else {
                isThere = try cursor.previous()
            }
        }
        return other
    }

    private func freeRun(at start: UInt64) throws -> FreeRecord? {
        let key = FreeRecord.key(start: start)
        guard let value = try transaction.get(core.tables.free, key.span) else { return nil }
        return try FreeRecord(key: key.span, value: value)
    }

    /// The shortest run that is long enough, else the longest.
    private func freeRun(of wanted: UInt64) throws -> FreeRecord? {
        var cursor = try transaction.readCursor(core.tables.freeByLength)
        let key = FreeRecord.lengthKey(length: wanted, start: 0)
        var isThere = try cursor.seek(key.span)
        if !isThere { isThere = try cursor.last() }
        guard isThere else { return nil }
        return try FreeRecord(lengthKey: cursor.key, value: cursor.value)
    }

    /// The free runs that start before `start`, and at or after it.
    private mutating func neighbours(
        of start: UInt64
    ) throws -> (before: FreeRecord?, after: FreeRecord?) {
        var before: FreeRecord?
        var after: FreeRecord?
        var problem: RecordDamage?
        do {
            var cursor = try transaction.readCursor(core.tables.free)
            let key = FreeRecord.key(start: start)
            let isAfter = try cursor.seek(key.span)
            do throws(RecordDamage) {
                if isAfter { after = try FreeRecord(key: cursor.key, value: cursor.value) }
            } catch { problem = error }
            let isBefore = isAfter ? try cursor.previous() : try cursor.last()
            do throws(RecordDamage) {
                if isBefore { before = try FreeRecord(key: cursor.key, value: cursor.value) }
            } catch { problem = error }
        }
        if let problem { throw damaged(TableName.free, "free run near block \(start)", problem) }
        return (before, after)
    }

    mutating func putFree(_ run: FreeRecord) throws {
        try transaction.put(core.tables.free, FreeRecord.key(start: run.start).span, run.value.span)
        let key = FreeRecord.lengthKey(length: run.length, start: run.start)
        try transaction.put(core.tables.freeByLength, key.span, run.lengthValue.span)
    }

    mutating func deleteFree(_ run: FreeRecord) throws {
        _ = try transaction.delete(core.tables.free, FreeRecord.key(start: run.start).span)
        let key = FreeRecord.lengthKey(length: run.length, start: run.start)
        _ = try transaction.delete(core.tables.freeByLength, key.span)
    }
}

/// How far to look for blocks that may be written without waiting.
private enum SettledSearch {
    /// Free runs to look at: some of the fitting length, and the longest.
    static let runs = 8
}

extension FreeRecord {
    fileprivate var blocks: BlockRange { BlockRange(start: start, end: end) }
    fileprivate func holds(_ blocks: BlockRange) -> Bool {
        start <= blocks.start && blocks.end <= end
    }
}
