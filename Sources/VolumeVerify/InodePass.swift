// The first pass: every table whose key starts with an inode number, walked side by side.
// Inode by inode it judges what belongs together: the record, its entries as a directory,
// its extents, its attributes, its target, and whether its number is free or in use.
//
// It also counts entries by child and extents by block, for the passes after it.

internal import Bytes
internal import LMDB
internal import VolumeFormat

struct InodePass: ~Copyable {
    let records: SuperRecords
    let findings: Findings
    var inodes, dirents, extents, xattrs, symlinks, reclaim, freeInodes: TableWalk
    var children: Buckets
    var blocks: Buckets
    /// Inode records, the damaged ones too.
    var inodeCount: UInt64 = 0
    var readableInodes: UInt64 = 0
    var usage = Usage()
    /// The highest number that is in use or free: all below it were accounted for.
    var highestInode: UInt64 = 0

    init(
        _ transaction: borrowing ReadTransaction, _ tables: PrimaryTables,
        _ records: SuperRecords, _ findings: Findings
    ) throws {
        // All that can fail comes first: a value that can't be copied is made at once.
        let inodes = try TableWalk.start(transaction, tables.inodes, findings)
        let dirents = try TableWalk.start(transaction, tables.dirents, findings)
        let extents = try TableWalk.start(transaction, tables.extents, findings)
        let xattrs = try TableWalk.start(transaction, tables.xattrs, findings)
        let symlinks = try TableWalk.start(transaction, tables.symlinks, findings)
        let reclaim = try TableWalk.start(transaction, tables.reclaim, findings)
        let freeInodes = try TableWalk.start(transaction, tables.freeInodes, findings)
        var last = try transaction.cursor(tables.inodes)
        let highest: UInt64 =
            try last.last() && last.key.byteCount >= 8 ? last.key.integer(at: 0) : 0
        let entries = try transaction.statistics(tables.dirents).entries
        let extentCount = try transaction.statistics(tables.extents).entries
        self.records = records
        self.findings = findings
        self.inodes = inodes
        self.dirents = dirents
        self.extents = extents
        self.xattrs = xattrs
        self.symlinks = symlinks
        self.reclaim = reclaim
        self.freeInodes = freeInodes
        children = Buckets(records: entries, highest: highest)
        blocks = Buckets(records: extentCount, highest: records.geometry?.blocks ?? 0)
    }

    /// The lowest inode number that any table has at its cursor.
    private var lowest: UInt64? {
        var lowest: UInt64?
        func consider(_ walk: borrowing TableWalk) {
            if !walk.isAtEnd, walk.number <= lowest ?? .max { lowest = walk.number }
        }
        consider(inodes)
        consider(dirents)
        consider(extents)
        consider(xattrs)
        consider(symlinks)
        consider(reclaim)
        consider(freeInodes)
        return lowest
    }

    mutating func run(_ progress: inout Progress) throws {
        var isRootThere = false
        if lowest != .volume { for area in reservedAreas { missing(area) } }
        while let number = lowest {
            var inode = InodeFacts(number: number)
            try takeRecord(&inode)
            try takeReclaim(&inode)
            try takeFreeNumber(inode)
            try takeEntries(&inode)
            try takeExtents(&inode)
            try takeAttributes(&inode)
            try takeSymlink(&inode)
            judge(inode)
            if number == .root { isRootThere = judgeRoot(inode) }
            try progress.report(done: inodes.passed + dirents.passed + extents.passed)
        }
        if !isRootThere {
            findings.defect(
                .missingRoot, in: TableName.inodes, key: [.init("inode", InodeNumber.root)],
                found: nil, expected: "a directory")
        }
        judgeCounters()
    }

    private mutating func takeRecord(_ inode: inout InodeFacts) throws {
        guard !inodes.isAtEnd, inodes.number == inode.number else { return }
        inode.presence = inodes.inode()
        inodeCount += 1
        if let record = inode.record {
            readableInodes += 1
            usage.add(record)
        }
        account(for: inode.number)
        try inodes.advance()
    }

    private mutating func takeReclaim(_ inode: inout InodeFacts) throws {
        while !reclaim.isAtEnd, reclaim.number == inode.number {
            do throws(RecordDamage) {
                inode.reclaimedFrom = try ReclaimRecord(
                    key: reclaim.key, value: reclaim.value).from
                inode.isInReclaim = true
            } catch {
                reclaim.damaged(error)
            }
            try reclaim.advance()
        }
    }

    private mutating func takeFreeNumber(_ inode: InodeFacts) throws {
        while !freeInodes.isAtEnd, freeInodes.number == inode.number {
            account(for: inode.number)
            do throws(RecordDamage) {
                _ = try FreeInodeRecord.inode(key: freeInodes.key, value: freeInodes.value)
                if !inode.isAbsent || inode.number <= .root {
                    findings.defect(
                        .freeInodeInUse, in: freeInodes.name, key: inode.key,
                        found: "a free number", expected: nil)
                }
            } catch {
                freeInodes.damaged(error)
            }
            try freeInodes.advance()
        }
    }

    private mutating func takeEntries(_ inode: inout InodeFacts) throws {
        let isDirectory = inode.mayHoldEntries
        while !dirents.isAtEnd, dirents.number == inode.number {
            inode.entries += 1
            do throws(RecordDamage) {
                try DirentRecord.check(key: dirents.key)
                let target = try DirentTarget(key: dirents.key, value: dirents.value)
                children.count(target.child)
                if target.type == .directory { inode.subdirectories += 1 }
                if !isDirectory {
                    let name = dirents.key.extracting(droppingFirst: 8)
                    findings.defect(
                        .entryWithoutDirectory, in: dirents.name,
                        key: entryFields(directory: inode.number, name: name),
                        found: inode.description, expected: "a directory")
                }
            } catch {
                dirents.damaged(error)
            }
            try dirents.advance()
        }
    }

    /// Numbers are in use, or free, or were never used.
    private mutating func account(for number: InodeNumber) {
        guard number > highestInode else { return }
        judgeLost(upTo: min(number, records.counters?.nextInode ?? 0))
        highestInode = number
    }

    private func judgeLost(upTo end: InodeNumber) {
        guard end > highestInode, end - highestInode > 1 else { return }
        findings.defect(
            .lostInodeNumbers, in: TableName.freeInodes,
            key: [.init("inode", highestInode + 1), .init("count", end - highestInode - 1)],
            found: nil, expected: "an inode, or a free number")
    }

    private func judgeCounters() {
        guard let counters = records.counters else { return }
        judgeLost(upTo: counters.nextInode)
        if counters.inodes != inodeCount {
            findings.defect(
                .counterInodes, in: TableName.superblock, key: [.init("record", "counters")],
                found: "\(counters.inodes) inodes", expected: "\(inodeCount) inodes")
        }
        if counters.nextInode <= highestInode {
            findings.defect(
                .counterNextInode, in: TableName.superblock, key: [.init("record", "counters")],
                found: "next inode \(counters.nextInode)", expected: "above \(highestInode)")
        }
    }
}
