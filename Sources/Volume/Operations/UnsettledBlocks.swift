// Blocks that were freed since the last durable point: a write to them has to wait for the next
// (BlockGuard.swift).
//
// Ranges by place, none over another, each with the commit that freed it last. When there are
// too many, they are no longer told apart, until all commits so far are durable.

struct UnsettledBlocks {
    private struct Freed {
        var range: BlockRange
        let commit: UInt64
    }

    private var freed: [Freed] = []
    /// Any block may have been freed by a commit up to this one; 0: by none.
    private var anyUpTo: UInt64 = 0
    /// What was freed by commits up to this one has been dropped.
    private var settledUpTo: UInt64 = 0
    /// Ranges told apart at the most: less than half a mebibyte of memory.
    static let most = 16384
    /// Fewer blocks than wanted are taken if there are so many.
    private static let worthAnExtent: UInt64 = 16

    /// Whether any block may be one of them.
    var isAnything: Bool { anyUpTo > 0 }
    var isEmpty: Bool { freed.isEmpty && !isAnything }

    /// `commit` frees `range`.
    mutating func insert(_ range: BlockRange, commit: UInt64) {
        if freed.count >= UnsettledBlocks.most {
            freed.removeAll(keepingCapacity: true)
            anyUpTo = commit
        }
        var first = index(of: range.start), new = [Freed(range: range, commit: commit)]
        if first > 0, freed[first - 1].range.end == range.start, freed[first - 1].commit == commit {
            first -= 1
            new[0].range.start = freed[first].range.start
        }
        var after = first
        while after < freed.count, freed[after].range.start < range.end {
            let old = freed[after]
            if old.range.start < new[0].range.start {
                let left = BlockRange(start: old.range.start, end: range.start)
                new.insert(Freed(range: left, commit: old.commit), at: 0)
            }
            if old.range.end > range.end {
                let right = BlockRange(start: range.end, end: old.range.end)
                new.append(Freed(range: right, commit: old.commit))
            }
            after += 1
        }
        freed.replaceSubrange(first..<after, with: new)
    }

    /// All commits up to `durable` survive any failure.
    mutating func settle(durable: UInt64) {
        guard durable > settledUpTo else { return }
        settledUpTo = durable
        if anyUpTo <= durable { anyUpTo = 0 }
        freed.removeAll { $0.commit <= durable }
    }

    func overlaps(_ range: BlockRange) -> Bool {
        if isAnything { return true }
        let next = index(of: range.start)
        return next < freed.count && freed[next].range.start < range.end
    }

    /// The first `wanted` blocks of `range` in one piece that are none of them, else the longest
    /// piece there is; nil where all of them are.
    func settledPart(of range: BlockRange, _ wanted: UInt64) -> BlockRange? {
        guard !isAnything else { return nil }
        var best: BlockRange?
        var from = range.start, next = index(of: range.start)
        while from < range.end {
            let isLast = next == freed.count || freed[next].range.start >= range.end
            let end = isLast ? range.end : max(from, freed[next].range.start)
            let piece = BlockRange(start: from, end: from + min(wanted, end - from))
            if piece.length == wanted { return piece }
            if piece.length > best?.length ?? 0 { best = piece }
            if isLast { break }
            from = freed[next].range.end
            next += 1
        }
        return best
    }

    /// The settled part of `range`, if it has as many blocks as wanted or is worth an extent.
    func worthwhilePart(of range: BlockRange, _ wanted: UInt64) -> BlockRange? {
        let enough = min(wanted, range.length, UnsettledBlocks.worthAnExtent)
        return settledPart(of: range, wanted).flatMap { $0.length >= enough ? $0 : nil }
    }

    /// The first range that ends behind `start`.
    private func index(of start: UInt64) -> Int {
        var lower = 0, upper = freed.count
        while lower < upper {
            let middle = (lower + upper) / 2
            if freed[middle].range.end <= start { lower = middle + 1 } else { upper = middle }
        }
        return lower
    }
}
