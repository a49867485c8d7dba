// The tree in memory at one commit. Immutable, so any number of readers may share it.

internal import Bytes
internal import Tidemark
internal import VolumeIndexes

final class MemorySnapshot: OwnerSnapshot {
    let state: MemoryState
    let fingerprint: UInt64
    /// See `MemoryTree.crashFingerprint`; nil before it is first asked for.
    var crashFingerprint: UInt64?
    /// Kept by `MemoryStage`, which is asked for the same again and again.
    var view: MemoryView?

    init(_ state: MemoryState) {
        self.state = state
        fingerprint = state.fingerprint
    }

    var commit: UInt64 { state.commit }

    func windowEnd(
        after key: KeyBytes, records: Int, wants: (IndexSlot) -> Bool
    ) throws -> KeyBytes? {
        precondition(records > 0, "an empty window")
        // As on a volume under a scenario's hand: inodes count where they are wanted.
        let countsInodes = wants(VolumeSlots.quota)
        var left = records
        for record in state.records[state.records.firstPlace(atOrAbove: key.span)...]
        where countsInodes || record.share == nil {
            if left == 0 { return record.keyBytes }
            left -= 1
        }
        return nil
    }

    func read(_ range: KeyRange, limit: Int, into sink: WindowSink) throws -> KeyBytes? {
        precondition(limit > 0, "a reading of nothing")
        var place = state.records.firstPlace(atOrAbove: range.lower.span)
        var end = state.records.count
        if let upper = range.upper { end = state.records.firstPlace(atOrAbove: upper.span) }
        var count = 0
        defer { sink.count(records: count) }
        while place < end {
            let record = state.records[place]
            place += 1
            // A kind that no index needs is as if there were none.
            let wantsLinks = record.target != nil && sink.wants(VolumeSlots.links)
            guard sink.wants(record.slot) || wantsLinks else { continue }
            if count == limit { return record.keyBytes }
            if sink.wants(record.slot) { sink.emit(record.slot, record.entry) }
            if wantsLinks { for entry in record.links { sink.emit(VolumeSlots.links, entry) } }
            count += 1
        }
        return nil
    }

    func audit(of index: IndexSlot, over range: KeyRange) -> (any EntryAudit)? { nil }

    func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes? {
        let table = state.servedEntries(of: index)
        var place = table.firstPlace(atOrAbove: key.span)
        var left = limit
        while place < table.count {
            let entry = table[place]
            if left == 0 { return entry.keyBytes }
            let key = entry.key, value = entry.value
            batch.append(key: key.rawSpan, value: value.rawSpan)
            left -= 1
            place += 1
        }
        return nil
    }

    /// There is always room: where there is to be none, a fault says so.
    func room(
        forEntries entries: Int, payload: Int, of index: IndexSlot
    ) throws -> (available: Int, needed: Int) {
        (available: .max, needed: payload)
    }
}

extension WindowSink {
    fileprivate func emit(_ index: IndexSlot, _ entry: MemoryEntry) {
        let key = entry.key, value = entry.value
        emit(index, key: key.rawSpan, value: value.rawSpan)
    }
}
