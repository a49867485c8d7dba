// Extents and free space in the tree in memory: as
// Sources/Volume/Operations/Operations+{Extents,FreeSpace,DataAllocate,Inodes}.swift have them.
// Offsets and lengths count blocks.

internal import Bytes
internal import Volume
internal import VolumeFormat

extension MemoryOperations {
    // MARK: Operations

    mutating func map(
        _ mapping: Operation.Mapping, _ number: InodeNumber, _ offset: UInt64, _ length: UInt64
    ) throws(VolumeError) {
        var inode = try existing(number)
        try checkRegular(inode)
        // On a volume too, where a write of nothing would be possible.
        guard length > 0 else { throw .invalid("a mapping of 0 blocks of inode \(number)") }
        let end = try checkedEnd(number, offset, length)
        if mapping != .punch {
            try fill(number, offset..<end, mapping == .write ? .written : .unwritten)
            inode.size = max(inode.size, end)
        }
        switch mapping {
        case .write, .allocate: break
        case .punch: punch(number, offset..<end)
        case .zero: convert(number, offset..<end, .unwritten)
        }
        put(inode)
    }

    mutating func truncate(_ number: InodeNumber, _ size: UInt64) throws(VolumeError) {
        var inode = try existing(number)
        try checkRegular(inode)
        _ = try checkedEnd(number, 0, size)
        if size <= inode.size {
            if mutants.have(.truncateNotReported) { isSilent = true }
            freeExtents(number, from: size)
            if mutants.have(.truncateNotReported) { isSilent = false }
        }
        inode.size = size
        put(inode)
    }

    private func checkRegular(_ inode: MemoryInode) throws(VolumeError) {
        if inode.type == .directory { throw .isDirectory("inode \(inode.number)") }
        guard inode.type == .regular else {
            throw .invalid("inode \(inode.number): a \(inode.type) has no contents")
        }
    }

    private func checkedEnd(
        _ number: InodeNumber, _ offset: UInt64, _ length: UInt64
    ) throws(VolumeError) -> UInt64 {
        let (end, overflow) = offset.addingReportingOverflow(length)
        guard !overflow, end <= UInt64(Int64.max) / UInt64(TreeLayout.blockSize) else {
            throw .tooLarge("inode \(number)")
        }
        return end
    }

    // MARK: Maps

    /// The extents that overlap blocks `[from, to)` of the file, in order.
    func extents(_ number: InodeNumber, from: UInt64, to: UInt64) -> [ExtentRecord] {
        guard from < to else { return [] }
        let start = PrimaryKey.extent(TreeLayout.probe(number, from))
        var place = state.records.firstPlace(atOrAbove: start.span)
        if place > 0, let before = state.records[place - 1].extent,
            before.inode == number, before.offsetEnd > from
        {
            place -= 1
        }
        var result: [ExtentRecord] = []
        while place < state.records.count, let extent = state.records[place].extent,
            extent.inode == number, extent.offset < to
        {
            result.append(extent)
            place += 1
        }
        return result
    }

    /// The extents that lie in the range or touch it.
    private func extents(_ number: InodeNumber, around range: Range<UInt64>) -> [ExtentRecord] {
        extents(number, from: max(range.lowerBound, 1) - 1, to: range.upperBound + 1)
    }

    /// Replaces the records `old` by `new`; neighbours in `new` are joined.
    private mutating func remap(_ old: [ExtentRecord], _ new: [ExtentRecord]) {
        let new = FileMap.normalized(new)
        for extent in old where !new.contains(where: { $0.offset == extent.offset }) {
            removeExtent(extent)
        }
        for extent in new where !old.contains(extent) { putExtent(extent) }
    }

    /// Gives every block of `range` that has no place one, in `state`.
    private mutating func fill(
        _ number: InodeNumber, _ range: Range<UInt64>, _ extentState: ExtentState
    ) throws(VolumeError) {
        guard !range.isEmpty else { return }
        let around = extents(number, around: range)
        let gaps = FileMap.gaps(around, range)
        let missing = gaps.reduce(0) { $0 + UInt64($1.count) }
        guard missing <= state.freeBlocks else {
            throw .noSpace("\(missing) blocks wanted, \(state.freeBlocks) of \(blocks) free")
        }
        guard missing > 0 else { return }
        var taken: [ExtentRecord] = []
        for gap in gaps {
            var from = gap.lowerBound
            var near = around.last { $0.offsetEnd == from }?.startEnd
            while from < gap.upperBound {
                let wanted = min(gap.upperBound - from, UInt64(ExtentRecord.maximumLength))
                let run = takeFree(wanted, near: near)
                taken.append(
                    ExtentRecord(
                        inode: number, fork: .data, offset: from, start: run.start,
                        length: UInt32(run.length), state: extentState))
                from += run.length
                near = run.end
            }
        }
        remap(around, around + taken)
    }

    private mutating func punch(_ number: InodeNumber, _ range: Range<UInt64>) {
        let around = extents(number, around: range)
        let parts = FileMap.inside(around, range)
        guard !parts.isEmpty else { return }
        for part in parts { giveBack(part) }
        remap(around, FileMap.outside(around, range))
    }

    private mutating func convert(
        _ number: InodeNumber, _ range: Range<UInt64>, _ extentState: ExtentState
    ) {
        let around = extents(number, around: range)
        var parts = FileMap.inside(around, range)
        guard parts.contains(where: { $0.state != extentState }) else { return }
        for index in parts.indices { parts[index].state = extentState }
        remap(around, FileMap.outside(around, range) + parts)
    }

    /// Gives back the blocks from offset `from` on.
    mutating func freeExtents(_ number: InodeNumber, from: UInt64) {
        for extent in extents(number, from: from, to: .max) {
            guard let part = extent.clipped(to: from..<UInt64.max) else { continue }
            giveBack(part)
            if let rest = extent.clipped(to: 0..<from) {
                putExtent(rest)
            } else {
                removeExtent(extent)
            }
        }
    }

    // MARK: Free space

    /// Takes up to `wanted` blocks in one piece: from the run that starts exactly at `near`,
    /// else from the shortest that is long enough, else the longest there is; of equal ones
    /// the lowest where it is long enough, else the highest: the order of a table by length.
    private mutating func takeFree(_ wanted: UInt64, near: UInt64?) -> FreeRecord {
        var best: Int?
        for (place, run) in state.free.enumerated() {
            if run.start == near {
                best = place
                break
            }
            guard let known = best else {
                best = place
                continue
            }
            let length = state.free[known].length
            if length >= wanted {
                if run.length >= wanted, run.length < length { best = place }
            } else if run.length >= length {
                best = place
            }
        }
        guard let best else { preconditionFailure("free blocks are counted before") }
        let run = state.free[best]
        let taken = FreeRecord(start: run.start, length: min(wanted, run.length))
        if taken.length < run.length {
            state.free[best] = FreeRecord(start: taken.end, length: run.length - taken.length)
        } else {
            state.free.remove(at: best)
        }
        state.freeBlocks -= taken.length
        return taken
    }

    /// Frees the blocks of an extent, merging them with their neighbours.
    private mutating func giveBack(_ extent: ExtentRecord) {
        let place = state.free.firstIndex { $0.start > extent.start } ?? state.free.count
        var run = FreeRecord(start: extent.start, length: UInt64(extent.length))
        let hasBefore = place > 0 && state.free[place - 1].end == run.start
        let hasAfter = place < state.free.count && state.free[place].start == run.end
        precondition(
            place == 0 || state.free[place - 1].end <= run.start, "blocks are freed once")
        if hasAfter { run.length += state.free[place].length }
        if hasBefore {
            run = FreeRecord(
                start: state.free[place - 1].start,
                length: state.free[place - 1].length + run.length)
        }
        state.free.replaceSubrange(
            (hasBefore ? place - 1 : place)..<(hasAfter ? place + 1 : place), with: [run])
        state.freeBlocks += UInt64(extent.length)
    }
}

extension TreeLayout {
    /// An extent with a place in a file and nothing else, to look for one there.
    static func probe(_ inode: InodeNumber, _ offset: UInt64) -> ExtentRecord {
        ExtentRecord(
            inode: inode, fork: .data, offset: offset, start: 0, length: 1, state: .written)
    }
}
