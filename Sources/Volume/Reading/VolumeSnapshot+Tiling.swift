// The extents of a range of blocks without a pass over all extents, which are kept by inode.
//
// Where the entries that the reverse map has for the range, each confirmed by its own extent
// record, and the free space cover it exactly, block by block, there can be no other extent in
// it: it would lie over one of these extents or over free space. (That volumes have no such is
// what every check without a scope looks at.) Where they do not, something is wrong, with the
// map or with the records, and only the pass can tell what.

internal import Bytes
internal import LMDB
public import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

extension VolumeSnapshot {
    /// Extents that are collected before any of them counts, at the most.
    private static let tiles = 1 << 16

    public func readDirectly(
        _ indexRange: Scope.IndexRange, of index: IndexSlot, into sink: WindowSink
    ) throws -> Bool {
        guard index == VolumeSnapshot.rmapSlot, indexRange.lower.count == 8,
            indexRange.upper.count == 8
        else { return false }
        let start: UInt64 = indexRange.lower.rawSpan.integer(at: 0)
        let end: UInt64 = indexRange.upper.rawSpan.integer(at: 0)
        guard start < end, let extents = try tiling(start..<end) else { return false }
        for extent in extents {
            let key = ReverseMap.key(extent), value = ReverseMap.value(extent)
            sink.emit(index, key: key.span, value: value.span)
        }
        sink.count(records: extents.count)
        return true
    }

    /// The extents that overlap `blocks`, in order, where they and the free space cover them
    /// exactly; else nil.
    func tiling(_ blocks: Range<UInt64>) throws -> [ExtentRecord]? {
        let start = FreeRecord.key(start: blocks.lowerBound)
        var live = try transaction.cursor(try activeTable(of: VolumeSnapshot.rmapSlot))
        var isLive = try live.seek(atOrBefore: start.span)
        if !isLive { isLive = try live.first() }
        var free = try transaction.cursor(core.tables.free)
        var isFree = try free.seek(atOrBefore: start.span)
        if !isFree { isFree = try free.first() }
        var extents: [ExtentRecord] = []
        var place = blocks.lowerBound
        while place < blocks.upperBound {
            var extent: ExtentRecord?, run: FreeRecord?
            if isLive {
                guard let mapping = mapping(live.key, live.value) else { return nil }
                extent = mapping
            }
            if isFree {
                guard let record = try? FreeRecord(key: free.key, value: free.value)
                else { return nil }
                run = record
            }
            // What ends before the blocks.
            if let extent, extent.startEnd <= blocks.lowerBound {
                isLive = try live.next()
            } else if let run, run.end <= blocks.lowerBound {
                isFree = try free.next()
            } else if let extent, max(extent.start, blocks.lowerBound) == place {
                guard extents.count < VolumeSnapshot.tiles, try isConfirmed(extent)
                else { return nil }
                extents.append(extent)
                place = extent.startEnd
                isLive = try live.next()
            } else if let run, max(run.start, blocks.lowerBound) == place {
                place = run.end
                isFree = try free.next()
            } else {
                return nil
            }
        }
        // What begins in the blocks and was not used lies over something else.
        if isLive, begins(live.key, before: blocks.upperBound) { return nil }
        if isFree, begins(free.key, before: blocks.upperBound) { return nil }
        return extents
    }

    private func mapping(_ key: RawSpan, _ value: RawSpan) -> ExtentRecord? {
        guard let payload = try? value.verified(key: key),
            let extent = ReverseMap.extent(key: key, value: payload),
            !extent.start.addingReportingOverflow(UInt64(extent.length)).overflow
        else { return nil }
        return extent
    }

    private func begins(_ key: RawSpan, before block: UInt64) -> Bool {
        key.byteCount < 8 || key.integer(at: 0, as: UInt64.self) < block
    }

    /// Whether the extent record that the mapping names says the same.
    private func isConfirmed(_ mapping: ExtentRecord) throws -> Bool {
        let key = ExtentRecord.key(mapping.inode, mapping.fork, mapping.offset)
        do {
            let extent = try transaction.find(
                core.tables.extents, key.span, ExtentRecord.init(key:value:)
            ) { .damaged(table: TableName.extents, object: "the extent of a mapping", $0) }
            return extent == mapping
        } catch is VolumeError {
            // The pass tells which record it is.
            return false
        }
    }
}
