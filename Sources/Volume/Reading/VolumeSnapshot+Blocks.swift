// Reading maps of files, and from a block to its owner by the live reverse map.

internal import Bytes
internal import LMDB
public import VolumeFormat
internal import VolumeIndexes

// MARK: From file to blocks

extension VolumeSnapshot {
    /// Up to `limit` extents of a fork, in order, that overlap the blocks `[from, to)` of the
    /// file.
    public func extents(
        _ n: InodeNumber, _ fork: Fork = .data, from: UInt64 = 0, to: UInt64 = .max,
        limit: Int = .max
    ) throws -> [ExtentRecord] {
        var result: [ExtentRecord] = []
        guard from < to else { return result }
        var cursor = try transaction.cursor(core.tables.extents)
        var isThere = try cursor.seek(atOrBefore: ExtentRecord.key(n, fork, from).span)
        if !isThere { isThere = try cursor.first() }
        let last = ExtentRecord.key(n, fork, to - 1)
        while isThere, result.count < limit, compareBytes(cursor.key, last.span) <= 0 {
            if cursor.key.byteCount == ExtentRecord.keySize,
                cursor.key.integer(at: 0, as: UInt64.self) == n,
                cursor.key.integer(at: 8, as: UInt8.self) == fork.rawValue
            {
                let extent = try decoded(cursor.key, cursor.value)
                if extent.offsetEnd > from { result.append(extent) }
            }
            isThere = try cursor.next()
        }
        return result
    }

    private func decoded(_ key: RawSpan, _ value: RawSpan) throws(VolumeError) -> ExtentRecord {
        do {
            let extent = try ExtentRecord(key: key, value: value)
            try core.geometry.check(extent)
            return extent
        } catch {
            let n: UInt64 = key.integer(at: 0)
            let offset: UInt64 = key.integer(at: 9)
            throw .damaged(
                table: TableName.extents, object: "extent of inode \(n), offset \(offset)", error)
        }
    }

    /// The extents of `range`, clipped to it, neighbours joined.
    func map(_ n: InodeNumber, _ fork: Fork, _ range: Range<UInt64>) throws -> [ExtentRecord] {
        let found = try extents(n, fork, from: range.lowerBound, to: range.upperBound)
        return FileMap.normalized(FileMap.inside(found, range))
    }

    /// lseek(2) with `SEEK_DATA`: the first byte at or after `offset` that is written.
    /// - Throws: `noSuchOffset` where there is none before the end of the file.
    public func seekData(_ n: InodeNumber, _ offset: UInt64) throws -> UInt64 {
        let size = try sizeForSeek(n, offset)
        let blockSize = UInt64(core.geometry.blockSize)
        var block = offset / blockSize
        while true {
            let found = try extents(n, from: block, limit: 256)
            for extent in found where extent.state == .written {
                let start = max(extent.offset * blockSize, offset)
                guard start < size else { break }
                return start
            }
            guard found.count == 256, let last = found.last else {
                throw VolumeError.noSuchOffset("data of inode \(n) at or after \(offset)")
            }
            block = last.offsetEnd
        }
    }

    /// lseek(2) with `SEEK_HOLE`: the first byte at or after `offset` that is not written,
    /// or the end of the file.
    /// - Throws: `noSuchOffset` where `offset` is not below the end of the file.
    public func seekHole(_ n: InodeNumber, _ offset: UInt64) throws -> UInt64 {
        let size = try sizeForSeek(n, offset)
        let blockSize = UInt64(core.geometry.blockSize)
        var block = offset / blockSize
        while block * blockSize < size {
            let found = try extents(n, from: block, limit: 256)
            for extent in found {
                guard extent.state == .written, extent.offset <= block else { break }
                block = extent.offsetEnd
            }
            guard found.count == 256, block == found[255].offsetEnd else { break }
        }
        return min(max(block * blockSize, offset), size)
    }

    private func sizeForSeek(_ n: InodeNumber, _ offset: UInt64) throws -> UInt64 {
        let inode = try existing(n)
        if inode.type == .directory { throw VolumeError.isDirectory("inode \(n)") }
        guard inode.type == .regular else {
            throw VolumeError.invalid("inode \(n): a \(inode.type) has no contents")
        }
        guard offset < inode.size else {
            throw VolumeError.noSuchOffset("inode \(n) of \(inode.size) bytes, at \(offset)")
        }
        return inode.size
    }
}

// MARK: From blocks to owners

public struct OwnerReport: Hashable, Sendable {
    /// Every entry of the reverse map that covers one of the blocks, in the order of their
    /// starts. `inode` is `.volume` for the volume's own areas.
    public internal(set) var owners: [ExtentRecord] = []
    /// Entries of the range that can't be decoded, in words.
    public internal(set) var damaged: [String] = []
    /// Whether entries that begin so far ahead that they were not looked at could reach the
    /// blocks: only a damaged reverse map has such.
    public internal(set) var isCut = false
}

extension VolumeSnapshot {
    /// Who owns the blocks, by the live reverse map.
    ///
    /// An entry that begins before the blocks may reach them. Where the map is right, entries
    /// don't overlap and only the one before can. Where it is damaged, or a block has two
    /// owners, others may lie in between: `lookBack` entries are looked at.
    public func owners(
        ofBlock block: UInt64, length: UInt64 = 1, lookBack: Int = 4096
    ) throws -> OwnerReport {
        precondition(length > 0, "no blocks to look for")
        let (sum, overflow) = block.addingReportingOverflow(length)
        let end = overflow ? UInt64.max : sum
        var report = OwnerReport()
        var cursor = try transaction.cursor(try activeTable(of: VolumeSnapshot.rmapSlot))
        // Backwards: what begins before the blocks.
        let start = FreeRecord.key(start: block)
        var isThere = try cursor.seek(start.span)
        isThere = isThere ? try cursor.previous() : try cursor.last()
        var steps = 0
        while isThere {
            guard cursor.key.byteCount >= 8 else { break }
            // No extent is longer than a length can say.
            let first: UInt64 = cursor.key.integer(at: 0)
            if block - min(first, block) > UInt64(ExtentRecord.maximumLength) { break }
            guard steps < lookBack else {
                report.isCut = true
                break
            }
            steps += 1
            add(cursor.key, cursor.value, block..<end, &report)
            isThere = try cursor.previous()
        }
        report.owners.reverse()
        // Forwards: what begins in them.
        isThere = try cursor.seek(start.span)
        while isThere,
            cursor.key.byteCount < 8 || cursor.key.integer(at: 0, as: UInt64.self) < end
        {
            add(cursor.key, cursor.value, block..<end, &report)
            isThere = try cursor.next()
        }
        return report
    }

    private func add(
        _ key: RawSpan, _ value: RawSpan, _ blocks: Range<UInt64>, _ report: inout OwnerReport
    ) {
        guard let payload = try? value.verified(key: key),
            let extent = ReverseMap.extent(key: key, value: payload),
            !extent.start.addingReportingOverflow(UInt64(extent.length)).overflow
        else {
            let text = ReverseMap().fields(key: key, value: RawSpan())
            report.damaged.append(text.map(\.value).joined(separator: " "))
            return
        }
        if extent.start < blocks.upperBound, extent.startEnd > blocks.lowerBound {
            report.owners.append(extent)
        }
    }
}
