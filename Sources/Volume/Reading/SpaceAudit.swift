// The audit of the reverse map: extents in the order of their blocks, as the shadow has them,
// beside the free space of the same commit. Two extents over one block, an extent over free
// space, free space twice, blocks that nobody has: of such records no index can be right.
//
// The kinds are called as `verify` calls them, which judges the same by other code.

internal import Bytes
internal import LMDB
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

/// Defects of space, by the names that reports have for them.
enum SpaceDefect: String {
    case extentOverlap, extentOverFree, extentBeyondVolume
    case freeOverlap, freeBeyondVolume, leakedBlocks, damagedRecord
}

final class SpaceAudit: EntryAudit {
    /// Keeps the cursor's transaction.
    private let snapshot: VolumeSnapshot
    private var free: FreeWalk
    /// The part's end: a block, and as a key. nil: there is nothing beyond it.
    private let bound: UInt64?
    private let upper: KeyBytes?
    private var sweep: SpaceSweep
    /// Beyond the part: the sweep that the next part's audit has begun.
    private var next: SpaceSweep?
    private(set) var isDone = false
    private(set) var findings = AuditFindings()

    init(_ snapshot: VolumeSnapshot, over range: KeyRange) throws {
        precondition(
            [0, 8].contains(range.lower.count) && (range.upper?.count ?? 8) == 8,
            "the reverse map is divided between blocks")
        self.snapshot = snapshot
        upper = range.upper
        bound = range.upper.map { $0.span.integer(at: 0) }
        free = try FreeWalk(
            snapshot.transaction.cursor(snapshot.core.tables.free), from: range.lower)
        sweep = SpaceSweep(
            from: range.lower.count == 0 ? 0 : range.lower.span.integer(at: 0),
            volumeEnd: snapshot.core.geometry.blocks)
    }

    // MARK: Extents

    func take(_ entries: EntryBatch) throws {
        var position = entries.startPosition
        if next == nil { position = try takePart(entries) }
        while position < entries.endPosition, !isDone {
            let key = entries.key(at: position), value = entries.value(at: position)
            if let extent = SweptExtent(key, value) { try takeBeyond(extent) }
            position = entries.position(after: position)
        }
    }

    /// Takes the entries of the part.
    /// - Returns: the place of the first entry beyond it.
    private func takePart(_ entries: EntryBatch) throws -> Int {
        var position = entries.startPosition
        while position < entries.endPosition {
            position = takeSound(entries, from: position)
            guard position < entries.endPosition else { break }
            let key = entries.key(at: position), value = entries.value(at: position)
            // The comparison itself refuses what can be no entry.
            if let extent = SweptExtent(key, value) {
                if let bound, extent.start >= bound { break }
                if free.isThere, free.number <= extent.start {
                    repeat { try takeFree() } while free.isThere && free.number <= extent.start
                    continue
                }
                try take(extent)
            }
            position = entries.position(after: position)
        }
        return position
    }

    /// Takes extents with which nothing is wrong and before which nothing is free, which nearly
    /// all are: the hot loop of an audit.
    /// - Returns: the place of the first that it does not take.
    private func takeSound(_ entries: EntryBatch, from position: Int) -> Int {
        // Locals: a property would be checked for exclusive access at every use.
        var sweep = sweep
        let limit = min(free.number, bound ?? .max)
        defer { self.sweep = sweep }
        return entries.forEach(from: position) { key, value in
            guard let extent = SweptExtent(key, value), extent.start < limit,
                sweep.judge(extent.start, extent.end).isEmpty
            else { return false }
            sweep.pass(extent: extent.end, of: extent.inode)
            return true
        }
    }

    private func take(_ extent: SweptExtent) throws {
        while free.isThere, free.number <= extent.start { try takeFree() }
        compare {
            $0.judge(extent.start, extent.end)
        } telling: {
            words($0, of: extent, $1)
        } passing: {
            $0.pass(extent: extent.end, of: extent.inode)
        }
    }

    // MARK: Beyond the part

    /// Both sweeps take the extent, and what only one of them finds is told.
    private func takeBeyond(_ extent: SweptExtent) throws {
        if next == nil { try cross() }
        let start = free.isThere ? min(free.number, extent.start) : extent.start
        guard let next, !next.isLike(sweep, from: start) else { return isDone = true }
        try take(extent)
    }

    /// To the end of the part: what is free before it is the part's, too.
    private func cross() throws {
        guard let upper, let bound else { preconditionFailure("nothing is beyond the last part") }
        while free.isThere, free.isBefore(upper) { try takeFree() }
        next = SpaceSweep(from: bound, volumeEnd: sweep.volumeEnd)
    }

    func end() throws {
        guard !isDone else { return }
        isDone = true
        if bound != nil, next == nil { try cross() }
        while free.isThere { try takeFree() }
        let volumeEnd = sweep.volumeEnd
        compare {
            $0.gap(before: volumeEnd)
        } telling: {
            gap($0, $1, upTo: volumeEnd)
        } passing: { _ in
        }
    }

    /// Lets both sweeps, or the one where there is only one, judge and pass the same, and tells
    /// what only one of them finds.
    private func compare(
        _ judge: (SpaceSweep) -> SpaceSweep.Found,
        telling words: (SpaceSweep.Found, SpaceSweep) -> [PrimaryDefect],
        passing pass: (inout SpaceSweep) -> Void
    ) {
        let found = judge(sweep), known = next.map(judge) ?? []
        if !found.isEmpty || !known.isEmpty {
            let mine = words(found, sweep), others = next.map { words(known, $0) } ?? []
            for defect in mine where !others.contains(defect) { findings.add(defect) }
            for defect in others where !mine.contains(defect) { findings.takeBack(defect) }
        }
        pass(&sweep)
        guard var next else { return }
        pass(&next)
        self.next = next
    }

    // MARK: Free space

    private func takeFree() throws {
        do throws(RecordDamage) {
            let run = try free.record()
            if next == nil, sweep.judge(run.start, run.end).isEmpty {
                sweep.pass(free: run)
            } else {
                take(run)
            }
        } catch {
            // Beyond the part the next one's audit tells of it.
            if next == nil {
                findings.add(
                    PrimaryDefect(
                        kind: SpaceDefect.damagedRecord.rawValue, object: free.object,
                        problem: error.description, blocks: "knowing what is free there"))
            }
        }
        try free.advance()
    }

    private func take(_ run: FreeRecord) {
        compare {
            $0.judge(run.start, run.end)
        } telling: {
            words($0, of: run, $1)
        } passing: {
            $0.pass(free: run)
        }
    }

    // MARK: Words

    private func words(
        _ found: SpaceSweep.Found, of extent: SweptExtent, _ before: SpaceSweep
    ) -> [PrimaryDefect] {
        var defects = gap(found, before, upTo: extent.start)
        func tell(_ kind: SpaceDefect, _ problem: String, _ blocks: String) {
            defects.append(
                PrimaryDefect(
                    kind: kind.rawValue, object: extent.object,
                    problem: "blocks \(extent.start) to \(extent.end) \(problem)", blocks: blocks))
        }
        if found.contains(.inOwned) {
            tell(
                .extentOverlap, "overlap blocks of inode \(before.owner)",
                "writing to either: the other would change")
        }
        if found.contains(.inFree) {
            tell(.extentOverFree, "are free, too", "allocating there: they would be overwritten")
        }
        if found.contains(.beyond) {
            tell(
                .extentBeyondVolume, "end beyond the volume's \(before.volumeEnd)",
                "reading and writing it")
        }
        return defects
    }

    private func words(
        _ found: SpaceSweep.Found, of run: FreeRecord, _ before: SpaceSweep
    ) -> [PrimaryDefect] {
        var defects = gap(found, before, upTo: run.start)
        func tell(_ kind: SpaceDefect, _ problem: String, _ blocks: String) {
            defects.append(
                PrimaryDefect(
                    kind: kind.rawValue, object: "free space at block \(run.start)",
                    problem: "blocks \(run.start) to \(run.end) \(problem)", blocks: blocks))
        }
        if found.contains(.inOwned) {
            tell(
                .extentOverFree, "overlap blocks of inode \(before.owner)",
                "allocating there: they would be overwritten")
        }
        if found.contains(.inFree) {
            tell(
                .freeOverlap, "overlap free space up to block \(before.freeEnd)",
                "allocating there: blocks would be given out twice")
        }
        if found.contains(.beyond) {
            tell(
                .freeBeyondVolume, "end beyond the volume's \(before.volumeEnd)",
                "allocating there")
        }
        return defects
    }

    private func gap(
        _ found: SpaceSweep.Found, _ before: SpaceSweep, upTo block: UInt64
    ) -> [PrimaryDefect] {
        guard found.contains(.gap) else { return [] }
        let end = min(block, before.volumeEnd)
        return [
            PrimaryDefect(
                kind: SpaceDefect.leakedBlocks.rawValue,
                object: "blocks \(before.covered) to \(end)",
                problem: "neither free nor of any file", blocks: "using them")
        ]
    }
}

/// An entry of the reverse map as a sweep needs it. nil where the bytes can be none: the
/// comparison itself refuses those.
private struct SweptExtent {
    let start, end: UInt64
    let inode: InodeNumber
    private let offset: UInt64
    private let fork: UInt8

    @inline(__always)
    init?(_ key: RawSpan, _ value: RawSpan) {
        guard key.byteCount == ReverseMap.keySize, value.byteCount == ReverseMap.valueSize
        else { return nil }
        start = key.integer(at: 0)
        inode = key.integer(at: 8)
        fork = key.integer(at: 16)
        offset = key.integer(at: 17)
        let (end, overflow) = start.addingReportingOverflow(
            UInt64(value.integer(at: 0, as: UInt32.self)))
        self.end = overflow ? .max : end
    }

    var object: String {
        "extent of inode \(inode), " + (fork == Fork.data.rawValue ? "" : "attribute fork, ")
            + "offset \(offset)"
    }
}

/// A walk along the table of free space.
private struct FreeWalk: ~Copyable {
    private var cursor: Cursor
    private(set) var isThere: Bool
    /// The block of the next record, as far as its key says one; .max at the end.
    private(set) var number: UInt64 = .max

    init(_ cursor: consuming Cursor, from key: KeyBytes) throws {
        self.cursor = cursor
        isThere = key.count == 0 ? try self.cursor.first() : try self.cursor.seek(key.span)
        settle()
    }

    mutating func advance() throws {
        isThere = try cursor.next()
        settle()
    }

    private mutating func settle() {
        guard isThere else { return number = .max }
        let key = cursor.key
        guard key.byteCount < 8 else { return number = key.integer(at: 0) }
        number = 0
        for index in 0..<key.byteCount {
            number |= UInt64(key.integer(at: index, as: UInt8.self)) << UInt64(56 - 8 * index)
        }
    }

    func isBefore(_ key: KeyBytes) -> Bool { compareBytes(cursor.key, key.span) < 0 }

    func record() throws(RecordDamage) -> FreeRecord {
        try FreeRecord(key: cursor.key, value: cursor.value)
    }

    var object: String {
        cursor.key.byteCount == 8
            ? "free space at block \(number)"
            : "free space with a key of \(cursor.key.byteCount) bytes"
    }
}
