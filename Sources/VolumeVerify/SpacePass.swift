// The third pass: extents in the order of their blocks, beside the free space and the live
// reverse map. One sweep over the volume from its first block to its last: every block has
// one owner, or is free.

internal import Bytes
internal import LMDB
internal import VolumeFormat

struct SpacePass: ~Copyable {
    /// One extent, in the reverse map's order.
    struct Owned {
        var start, inode, offset: UInt64
        var length: UInt32
        var fork, state: UInt8

        static let filler = Owned(start: 0, inode: 0, offset: 0, length: 0, fork: 0, state: 0)
        var end: UInt64 { start + UInt64(length) }

        var fields: [Finding.Field] { extentFields(inode: inode, fork: fork, offset: offset) }

        static func precedes(_ a: Owned, _ b: Owned) -> Bool {
            if a.start != b.start { return a.start < b.start }
            if a.inode != b.inode { return a.inode < b.inode }
            if a.fork != b.fork { return a.fork < b.fork }
            return a.offset < b.offset
        }
    }

    let findings: Findings
    let live: LiveIndex?
    /// nil where the geometry is not known: then there is no end of the volume.
    let end: UInt64?
    var free: TableWalk

    // The sweep. Every block before `covered` was judged.
    var covered: UInt64 = 0
    /// The owned extent that reaches furthest, and where it ends.
    var owner = Owned.filler
    var ownedEnd: UInt64 = 0
    var freeEnd: UInt64 = 0
    var freeBlocks: UInt64 = 0

    init(
        _ transaction: borrowing ReadTransaction, _ tables: PrimaryTables, _ live: LiveIndex?,
        _ records: SuperRecords, _ findings: Findings
    ) throws {
        self.findings = findings
        self.live = live
        end = records.geometry?.blocks
        free = try TableWalk.start(transaction, tables.free, findings)
    }

    mutating func run(
        _ transaction: borrowing ReadTransaction, _ extents: Table, _ blocks: Buckets,
        _ counters: Counters?, budget: Int, _ progress: inout Progress
    ) throws {
        for slice in blocks.slices(budget: budget) {
            var records = SliceRecords(slice, of: blocks, filler: Owned.filler)
            var walk = try TableWalk.start(transaction, extents, nil)
            while !walk.isAtEnd {
                gather(walk, into: &records, blocks)
                try walk.advance()
                try progress.report(done: walk.passed)
            }
            for index in records.filled {
                for extent in records[index].sorted(by: Owned.precedes) {
                    while !free.isAtEnd, free.number <= extent.start { try takeFree() }
                    try take(extent)
                }
            }
        }
        while !free.isAtEnd { try takeFree() }
        if let end { judgeGap(upTo: end) }
        try live?.finish()
        judgeCounter(counters)
    }

    private func gather(
        _ walk: borrowing TableWalk, into records: inout SliceRecords<Owned>, _ blocks: Buckets
    ) {
        // The block first: most extents are of other slices and need not be decoded.
        guard walk.value.byteCount == ExtentRecord.valueSize else { return }
        let bucket = blocks.bucket(of: walk.value.integer(at: 0))
        guard records.slice.contains(bucket) else { return }
        do throws(RecordDamage) {
            let extent = try ExtentRecord(key: walk.key, value: walk.value)
            records.place(
                Owned(
                    start: extent.start, inode: extent.inode, offset: extent.offset,
                    length: extent.length, fork: extent.fork.rawValue,
                    state: extent.state.rawValue),
                bucket: bucket)
        } catch {
            // Reported by the first pass.
        }
    }

    private mutating func take(_ extent: Owned) throws {
        judgeGap(upTo: extent.start)
        if extent.start < ownedEnd {
            defect(.extentOverlap, extent, "blocks of inode \(owner.inode)", against: owner)
        }
        if extent.start < freeEnd { defect(.extentOverFree, extent, "blocks that are not free") }
        if let end, extent.end > end { defect(.extentBeyondVolume, extent, "blocks below \(end)") }
        if extent.end > ownedEnd {
            ownedEnd = extent.end
            owner = extent
        }
        covered = max(covered, extent.end)
        guard let live else { return }
        var key = FixedBytes<25>()
        key.store(extent.start, at: 0)
        key.store(extent.inode, at: 8)
        key.store(extent.fork, at: 16)
        key.store(extent.offset, at: 17)
        var payload = FixedBytes<5>()
        payload.store(extent.length, at: 0)
        payload.store(extent.state, at: 4)
        try live.expect(key: key.span, payload: payload.span)
    }

    private mutating func takeFree() throws {
        do throws(RecordDamage) {
            let run = try FreeRecord(key: free.key, value: free.value)
            judgeGap(upTo: run.start)
            judge(run)
            freeBlocks &+= run.length
            freeEnd = max(freeEnd, run.end)
            covered = max(covered, run.end)
        } catch {
            free.damaged(error)
        }
        try free.advance()
    }

    private func judge(_ run: FreeRecord) {
        if run.start < ownedEnd { defect(.extentOverFree, owner, "blocks that are not free") }
        if run.start < freeEnd {
            defect(.freeOverlap, run, "free space from \(freeEnd) on")
        } else if run.start == freeEnd, freeEnd > 0 {
            defect(.freeNotMerged, run, "one run with the one before")
        }
        if let end, run.end > end { defect(.freeBeyondVolume, run, "blocks below \(end)") }
    }

    /// Blocks that nothing has claimed so far, before `block`.
    private func judgeGap(upTo block: UInt64) {
        let limit = min(block, end ?? block)
        guard limit > covered else { return }
        findings.defect(
            .leakedBlocks, in: TableName.free,
            key: [.init("block", covered), .init("length", limit - covered)], found: nil,
            expected: "an owner, or free space")
    }

    private func judgeCounter(_ counters: Counters?) {
        guard let counters, counters.freeBlocks != freeBlocks else { return }
        findings.defect(
            .counterFreeBlocks, in: TableName.superblock, key: [.init("record", "counters")],
            found: "\(counters.freeBlocks) free blocks", expected: "\(freeBlocks) free blocks",
            difference: freeBlocks &- counters.freeBlocks)
    }

    private func defect(
        _ kind: PrimaryDefect, _ extent: Owned, _ expected: String, against other: Owned? = nil
    ) {
        findings.defect(
            kind, in: TableName.extents, key: extent.fields,
            found: "blocks \(extent.start) to \(extent.end)", expected: expected,
            other: other?.fields ?? [])
    }

    private func defect(_ kind: PrimaryDefect, _ run: FreeRecord, _ expected: String) {
        findings.defect(
            kind, in: TableName.free, key: [.init("block", run.start)],
            found: "blocks \(run.start) to \(run.end)", expected: expected)
    }
}
