// fallocate(2): blocks ahead of their use, holes, and zeroes.

public import VolumeFormat

public enum AllocationMode: Hashable, Sendable {
    /// Every block of the range gets a place on the volume and reads as before.
    case reserve(keepSize: Bool)
    /// The range reads as zeroes; its blocks are given back.
    case punchHole
    /// The range reads as zeroes and keeps, or gets, its blocks.
    case zeroRange(keepSize: Bool)

    var keepsSize: Bool {
        switch self {
        case .reserve(let keepSize), .zeroRange(let keepSize): keepSize
        case .punchHole: true
        }
    }
}

extension Operations {
    /// fallocate(2) for `count` bytes from `offset`.
    public mutating func allocate(
        _ n: InodeNumber, _ offset: UInt64, _ count: UInt64, _ mode: AllocationMode
    ) throws {
        try begin(growing: mode != .punchHole)
        var inode = try existing(n)
        try checkRegular(n, inode)
        guard count > 0 else { throw VolumeError.invalid("allocation of 0 bytes for inode \(n)") }
        try checkEnd(n, offset, count)
        if mode != .punchHole { try finishReclaim(n, &inode) }
        let grows = !mode.keepsSize && offset + count > inode.size
        if grows { try prepareGrowth(n, &inode) }
        if mode != .punchHole {
            try fill(n, &inode, .data, FileMap.blocks(offset, count, blockSize), .unwritten)
        }
        let whole = FileMap.wholeBlocks(offset, count, blockSize)
        switch mode {
        case .reserve: break
        case .punchHole:
            // Reads all of the map first: damage is met before anything has changed.
            _ = try mappedBlocks(n, .data, FileMap.blocks(offset, count, blockSize))
            try zeroEdges(n, offset, count)
            try punch(n, &inode, .data, whole)
        case .zeroRange:
            try zeroEdges(n, offset, count)
            try convert(n, &inode, .data, whole, .unwritten)
        }
        if grows { inode.size = offset + count }
        if case .reserve = mode { inode.changed = now } else { inode.touch(now) }
        try put(inode, n)
        note(.allocated(n, offset: offset, count: count, mode))
    }

    /// Gives each of `ranges`, in bytes and not overlapping, its blocks in `state`, and makes
    /// the file at least `size` bytes long, without a byte of content: what an import of
    /// metadata needs. What a range in state `written` then reads as is what the data file
    /// holds there.
    public mutating func reserve(
        _ n: InodeNumber, _ ranges: [Range<UInt64>], _ state: ExtentState, size: UInt64
    ) throws {
        try begin(growing: true)
        var inode = try existing(n)
        try checkRegular(n, inode)
        try checkEnd(n, 0, size)
        for range in ranges {
            try checkEnd(n, range.lowerBound, range.upperBound - range.lowerBound)
        }
        let blocks = ranges.filter { !$0.isEmpty }.map {
            ($0.lowerBound / blockSize)..<(($0.upperBound - 1) / blockSize + 1)
        }
        var missing = blocks.reduce(0) { $0 + UInt64($1.count) }
        if missing > counters.freeBlocks {
            for range in blocks { missing -= try mappedBlocks(n, .data, range) }
            guard missing <= counters.freeBlocks else { throw noSpace(missing) }
        }
        if size > inode.size { try prepareGrowth(n, &inode) }
        for (index, range) in blocks.enumerated() {
            if index > 0, index % Operations.mapPiece == 0 {
                try put(inode, n)
                try pause(changes: Operations.mapPiece)
            }
            try fill(n, &inode, .data, range, state)
        }
        inode.size = max(inode.size, size)
        inode.touch(now)
        try put(inode, n)
    }

    /// Writes zeroes to the bytes of the range that share a block with others.
    private func zeroEdges(_ n: InodeNumber, _ offset: UInt64, _ count: UInt64) throws {
        let end = offset + count
        let whole = FileMap.wholeBlocks(offset, count, blockSize)
        var edges: [Range<UInt64>] = []
        if whole.isEmpty, offset / blockSize == (end - 1) / blockSize {
            edges = [offset..<end]
        } else {
            edges = [
                offset..<(whole.lowerBound * blockSize), (whole.upperBound * blockSize)..<end,
            ]
        }
        for edge in edges where !edge.isEmpty {
            let block = edge.lowerBound / blockSize
            for extent in try extents(n, .data, from: block, to: block + 1, limit: 1) {
                guard let part = extent.clipped(to: block..<(block + 1)), part.state == .written
                else { continue }
                try core.data.writeZeroes(
                    at: part.start * blockSize + edge.lowerBound % blockSize,
                    count: edge.upperBound - edge.lowerBound)
            }
        }
    }
}
