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
        let key = index == VolumeSnapshot.quotaSlot ? try tableKey(from: key, into: batch) : key
        let table = try activeTable(of: index)
        var cursor = try transaction.cursor(table)
        var isThere = key.count == 0 ? try cursor.first() : try cursor.seek(key.span)
        var left = limit
        while isThere, left > 0 {
            guard cursor.key.byteCount <= KeyBytes.capacity else { break }
            appendEntry(cursor.key, cursor.value, to: batch)
            left -= 1
            isThere = try cursor.next()
        }
        guard isThere else { return nil }
        guard cursor.key.byteCount <= KeyBytes.capacity else {
            throw VolumeError.damaged(table: table.name, object: "entry with a long key", .length)
        }
        return KeyBytes(cursor.key)
    }

    /// The volume's own usage stands in its counters, and comes before all that a quota table
    /// has.
    /// - Returns: the key from which on the table goes on.
    private func tableKey(from key: KeyBytes, into batch: EntryBatch) throws -> KeyBytes {
        let place = QuotaKey.volume.bytes
        guard compareBytes(key.span, place.span) <= 0 else { return key }
        let usage = core.geometry.usage(try counters())
        let payload = usage.bytes
        if usage != .zero { batch.append(key: place.span, value: payload.span) }
        var behind = KeyBytes(place.span)
        behind.append(0 as UInt8)
        return behind
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
        return KeyBytes(cursor.key.extracting(first: min(cursor.key.byteCount, KeyBytes.capacity)))
    }

    @inline(__always)
    private func appendEntry(_ key: RawSpan, _ value: RawSpan, to batch: EntryBatch) {
        do throws(RecordDamage) {
            let payload = try value.verified(key: key)
            // No entry is so long; and a batch has a bound.
            guard payload.byteCount <= 1024 else { throw .length }
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
