// Free space, in two tables that hold the same runs: by place, to merge neighbours, and by
// length, to find a run that fits.

internal import Bytes
internal import LMDB
internal import VolumeFormat

extension Operations {
    /// Allocates up to `wanted` blocks in one piece: from the run that starts exactly at
    /// `near`, else from the shortest that is long enough, else the longest there is. What was
    /// freed since the last durable point is passed over while other blocks are found soon: a write
    /// to it waits for the next point.
    /// - Returns: nil where no block is free.
    mutating func takeFree(_ wanted: UInt64, near: UInt64?) throws -> FreeRecord? {
        guard let (run, part) = try findFree(wanted, near: near) else { return nil }
        let taken = FreeRecord(start: part.start, length: min(wanted, part.length))
        hasChanged = true
        try deleteFree(run)
        for (start, end) in [(run.start, taken.start), (taken.end, run.end)] where start < end {
            try putFree(FreeRecord(start: start, length: end - start))
        }
        counters.freeBlocks &-= taken.length
        return taken
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
            guard let unsettled = unsettled() else { return (run, run.blocks) }
            let part = unsettled.worthwhilePart(of: run.blocks, wanted)
            if let part, adjoining == nil || part.start == run.start { return (run, part) }
            return try search(wanted, unsettled) ?? (run, part ?? run.blocks)
        } catch let error as RecordDamage {
            throw damaged(TableName.freeByLength, "free run of about \(wanted) blocks", error)
        }
    }

    /// What is to be passed over; nil: nothing.
    private func unsettled() -> UnsettledBlocks? {
        guard core.passesOverUnsettled else { return nil }
        let unsettled = core.blockGuard.unsettled(durable: core.durableCommit)
        // Where any block may be one of them, none is passed over.
        if unsettled.isAnything { askForPoint() }
        return unsettled.isEmpty || unsettled.isAnything ? nil : unsettled
    }

    /// Looks at some runs that are long enough, and at the longest ones, for blocks that may be
    /// written without waiting.
    private func search(
        _ wanted: UInt64, _ unsettled: UnsettledBlocks
    ) throws -> (run: FreeRecord, part: BlockRange)? {
        var cursor = try transaction.readCursor(core.tables.freeByLength)
        let key = FreeRecord.lengthKey(length: wanted, start: 0)
        let isLongEnough = try cursor.seek(key.span)
        var isThere = try isLongEnough || cursor.last()
        var looked = 0, isBackwards = !isLongEnough
        // A damaged run ends the search: it is not the one that has to be taken.
        while isThere, looked < SettledSearch.runs,
            let run = try? FreeRecord(lengthKey: cursor.key, value: cursor.value)
        {
            if let part = unsettled.worthwhilePart(of: run.blocks, wanted) { return (run, part) }
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
        return nil
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
}
