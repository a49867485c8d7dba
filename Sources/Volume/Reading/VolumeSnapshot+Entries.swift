// The live side of a comparison: the entries of an index as the volume serves them.

public import Bytes
internal import LMDB
public import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

extension VolumeSnapshot {
    public func entries(
        of index: IndexSlot, from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes? {
        if index == VolumeSnapshot.linksSlot {
            return try storedLinks(from: key, limit: limit, into: batch)
        }
        // Of an index that is lost all entries are missing.
        guard let table = try servedTable(of: index) else {
            if index == VolumeSnapshot.quotaSlot, key.count == 0 { try appendVolume(to: batch) }
            return nil
        }
        var cursor = try transaction.cursor(table)
        var isThere = key.count == 0 ? try cursor.first() : try cursor.seek(key.span)
        let place = QuotaKey.volume.bytes
        var isVolumeDue =
            index == VolumeSnapshot.quotaSlot && compareBytes(key.span, place.span) <= 0
        var left = limit
        while isThere {
            if isVolumeDue, case let order = compareBytes(cursor.key, place.span), order >= 0 {
                isVolumeDue = false
                try appendVolume(to: batch)
                // Nothing of the table belongs there.
                if order == 0 {
                    batch.append(key: place.span, value: RawSpan(), isDamaged: true)
                    isThere = try cursor.next()
                    continue
                }
            }
            // No key of an index is so long, and none can be gone on from that is.
            guard left > 0 || cursor.key.byteCount > KeyBytes.capacity else {
                return KeyBytes(cursor.key)
            }
            appendEntry(cursor.key, cursor.value, to: batch)
            left -= 1
            isThere = try cursor.next()
        }
        if isVolumeDue { try appendVolume(to: batch) }
        return nil
    }

    /// The volume's own usage stands in its counters, and has its place among the entries of quota.
    private func appendVolume(to batch: EntryBatch) throws {
        let usage = core.geometry.usage(try counters())
        guard usage != .zero else { return }
        let place = QuotaKey.volume.bytes, payload = usage.bytes
        batch.append(key: place.span, value: payload.span)
    }

    /// What the inode records say of their links.
    private func storedLinks(
        from key: KeyBytes, limit: Int, into batch: EntryBatch
    ) throws -> KeyBytes? {
        var cursor = try transaction.cursor(core.tables.inodes)
        var isThere = key.count == 0 ? try cursor.first() : try cursor.seek(key.span)
        var left = limit
        while isThere, left > 0 {
            // A key that is none is left to the scan of the inodes.
            if cursor.key.byteCount == InodeRecord.keySize {
                do throws(RecordDamage) {
                    let inode = try InodeRecord(key: cursor.key, value: cursor.value)
                    let stored = StoredLinks(inode).bytes
                    batch.append(key: cursor.key, value: stored.span)
                } catch {
                    batch.append(key: cursor.key, value: RawSpan(), isDamaged: true)
                }
            }
            left -= 1
            isThere = try cursor.next()
        }
        guard isThere else { return nil }
        return KeyBytes(cut: cursor.key)
    }

    @inline(__always)
    private func appendEntry(_ key: RawSpan, _ value: RawSpan, to batch: EntryBatch) {
        do throws(RecordDamage) {
            let payload = try value.verified(key: key)
            // No entry is so long; and a batch has a bound.
            guard payload.byteCount <= 1024, key.byteCount <= KeyBytes.capacity else {
                throw .length
            }
            batch.append(key: key, value: payload)
        } catch {
            let size = value.byteCount
            let kept = min(size < checksumSize ? size : size - checksumSize, 1024)
            batch.append(key: key, value: value.extracting(first: kept), isDamaged: true)
        }
    }

    public func audit(of index: IndexSlot, over range: KeyRange) throws -> (any EntryAudit)? {
        guard index == VolumeSnapshot.rmapSlot else { return nil }
        return try SpaceAudit(self, over: range)
    }

    public func room(
        forEntries entries: Int, payload: Int, of index: IndexSlot
    ) throws -> (available: Int, needed: Int) {
        let pageSize = core.environment.statistics.pageSize
        let available = try transaction.freePages() * pageSize
        // An entry takes its bytes, a checksum, liblmdb's node of 8 bytes and its place in
        // the page, 2; some more for the pages' headers, the branches, and the splits that
        // changes make meanwhile.
        let bytes = payload + entries * (checksumSize + 10)
        // And room is left for the operations that go on meanwhile.
        let margin = min(64 << 20, core.environment.statistics.mapSize / 32)
        return (available, bytes + bytes / 6 + 4 * GroupLimits.reservedPages * pageSize + margin)
    }
}
