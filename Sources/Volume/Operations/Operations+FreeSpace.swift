// Free space, in two tables that hold the same runs: by place, to merge neighbours, and by
// length, to find a run that fits.

internal import Bytes
internal import LMDB
internal import VolumeFormat

extension Operations {
    /// Allocates up to `wanted` blocks in one piece: from the run that starts exactly at
    /// `near`, else from the shortest that is long enough, else the longest there is.
    /// - Returns: nil where no block is free.
    mutating func takeFree(_ wanted: UInt64, near: UInt64?) throws -> FreeRecord? {
        precondition(wanted > 0, "an allocation of nothing")
        guard let run = try findFree(wanted, near: near) else { return nil }
        let taken = FreeRecord(start: run.start, length: min(wanted, run.length))
        hasChanged = true
        try deleteFree(run)
        if taken.length < run.length {
            try putFree(FreeRecord(start: taken.end, length: run.length - taken.length))
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

    private mutating func findFree(_ wanted: UInt64, near: UInt64?) throws -> FreeRecord? {
        do {
            if let near, let run = try freeRun(at: near) { return run }
            return try freeRun(of: wanted)
        } catch let error as RecordDamage {
            throw damaged(TableName.freeByLength, "free run of about \(wanted) blocks", error)
        }
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
