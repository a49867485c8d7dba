// The map of a fork, from file offsets to blocks, as plain values: gaps, parts and merges.
// Everything counts blocks. Nothing here reads or writes a table.

package import VolumeFormat

extension ExtentRecord {
    /// The part of the extent that lies in `range`, if any.
    package func clipped(to range: Range<UInt64>) -> ExtentRecord? {
        let lower = max(offset, range.lowerBound)
        let upper = min(offsetEnd, range.upperBound)
        guard lower < upper else { return nil }
        var part = self
        part.offset = lower
        part.start = start + (lower - offset)
        part.length = UInt32(upper - lower)
        return part
    }

    /// The extent that both make together, where they lie side by side in the file and on the
    /// volume, in one state, and one length can say it.
    package func joined(with next: ExtentRecord) -> ExtentRecord? {
        guard inode == next.inode, fork == next.fork, state == next.state,
            offsetEnd == next.offset, startEnd == next.start
        else { return nil }
        let (sum, overflow) = length.addingReportingOverflow(next.length)
        guard !overflow else { return nil }
        var whole = self
        whole.length = sum
        return whole
    }

    var blocks: BlockRange { BlockRange(start: start, end: startEnd) }
}

/// Bytes of a file that lie in one piece on the volume.
struct FilePart {
    let offset: UInt64
    let place: UInt64
    let count: UInt64
}

package enum FileMap {
    /// `extents` in the order of their offsets, neighbours joined where they can be.
    package static func normalized(_ extents: [ExtentRecord]) -> [ExtentRecord] {
        var result: [ExtentRecord] = []
        result.reserveCapacity(extents.count)
        for extent in extents.sorted(by: { $0.offset < $1.offset }) {
            if let last = result.last, let joined = last.joined(with: extent) {
                result[result.count - 1] = joined
            } else {
                result.append(extent)
            }
        }
        return result
    }

    /// The parts inside `range`, in order.
    package static func inside(_ extents: [ExtentRecord], _ range: Range<UInt64>) -> [ExtentRecord]
    {
        extents.compactMap { $0.clipped(to: range) }
    }

    /// The parts outside `range`, in order.
    package static func outside(_ extents: [ExtentRecord], _ range: Range<UInt64>) -> [ExtentRecord]
    {
        extents.flatMap { extent in
            [0..<range.lowerBound, range.upperBound..<UInt64.max]
                .compactMap { extent.clipped(to: $0) }
        }
    }

    /// What of `range` no extent covers. `extents` are in order.
    package static func gaps(_ extents: [ExtentRecord], _ range: Range<UInt64>) -> [Range<UInt64>] {
        var gaps: [Range<UInt64>] = []
        var from = range.lowerBound
        for extent in extents where extent.offsetEnd > from {
            guard extent.offset < range.upperBound else { break }
            if extent.offset > from { gaps.append(from..<extent.offset) }
            from = extent.offsetEnd
        }
        if from < range.upperBound { gaps.append(from..<range.upperBound) }
        return gaps
    }

    /// The bytes of `[offset, offset + count)` that `extents` cover, in order.
    static func parts(
        _ extents: [ExtentRecord], from offset: UInt64, _ count: UInt64, _ blockSize: UInt64
    ) -> some Sequence<FilePart> {
        extents.lazy.compactMap { extent in
            let first = extent.offset * blockSize
            let lower = max(first, offset)
            let upper = min(extent.offsetEnd * blockSize, offset + count)
            guard lower < upper else { return nil }
            return FilePart(
                offset: lower, place: extent.start * blockSize + (lower - first),
                count: upper - lower)
        }
    }

    /// The blocks that `[offset, offset + count)`, in bytes, touches.
    package static func blocks(_ offset: UInt64, _ count: UInt64, _ blockSize: UInt64) -> Range<
        UInt64
    > {
        guard count > 0 else { return 0..<0 }
        return (offset / blockSize)..<((offset + count - 1) / blockSize + 1)
    }

    /// The blocks that lie wholly in `[offset, offset + count)`, in bytes.
    package static func wholeBlocks(
        _ offset: UInt64, _ count: UInt64, _ blockSize: UInt64
    ) -> Range<UInt64> {
        let lower = (offset + blockSize - 1) / blockSize
        let upper = (offset + count) / blockSize
        return lower..<max(lower, upper)
    }
}
