// The second pass: directory entries in the order of what they name, beside the inodes and
// the live parent pointers. It judges each inode by all of its names.

internal import Bytes
internal import LMDB
internal import VolumeFormat

struct NamePass: ~Copyable {
    /// One directory entry; the name is in `names` from `offset` on.
    struct Name {
        var child, parent: InodeNumber
        var generation: UInt32
        var type: FileType
        var length: UInt8
        var offset: Int

        static let filler = Name(
            child: 0, parent: 0, generation: 0, type: .regular, length: 0, offset: 0)
    }

    /// A directory and the one that names it.
    struct Link {
        let directory, parent: InodeNumber
    }

    let findings: Findings
    let live: LiveIndex?
    var inodes: TableWalk
    /// The names of the slice, one behind the other.
    var names = ByteArena(capacity: 1 << 16)
    /// Every directory but the root, in ascending order: what grows with the volume, 16
    /// bytes for each.
    var links: [Link] = []

    init(
        _ transaction: borrowing ReadTransaction, _ tables: PrimaryTables, _ live: LiveIndex?,
        _ findings: Findings
    ) throws {
        self.findings = findings
        self.live = live
        inodes = try TableWalk.start(transaction, tables.inodes, nil)
    }

    mutating func run(
        _ transaction: borrowing ReadTransaction, _ dirents: Table, _ children: Buckets,
        budget: Int, _ progress: inout Progress
    ) throws {
        for slice in children.slices(budget: budget) {
            var records = SliceRecords(slice, of: children, filler: Name.filler)
            names.removeAll()
            var walk = try TableWalk.start(transaction, dirents, nil)
            while !walk.isAtEnd {
                gather(walk, into: &records, children)
                try walk.advance()
                try progress.report(done: walk.passed)
            }
            try take(records)
        }
        while !inodes.isAtEnd { try takeNameless() }
        try live?.finish()
        judgeLoops()
    }

    private mutating func gather(
        _ walk: borrowing TableWalk, into records: inout SliceRecords<Name>, _ children: Buckets
    ) {
        // The child first: most entries are of other slices and need not be decoded.
        guard walk.value.byteCount == DirentRecord.valueSize else { return }
        let bucket = children.bucket(of: walk.value.integer(at: 0))
        guard records.slice.contains(bucket) else { return }
        do throws(RecordDamage) {
            try DirentRecord.check(key: walk.key)
            let target = try DirentTarget(key: walk.key, value: walk.value)
            let bytes = walk.key.extracting(droppingFirst: 8)
            records.place(
                Name(
                    child: target.child, parent: walk.number, generation: target.generation,
                    type: target.type, length: UInt8(bytes.byteCount), offset: names.count),
                bucket: bucket)
            names.append(bytes)
        } catch {
            // Reported by the first pass.
        }
    }

    private mutating func take(_ records: SliceRecords<Name>) throws {
        for index in records.filled {
            var bucket = records[index]
            bucket.sort { precedes($0, $1) }
            var start = 0
            while start < bucket.count {
                var end = start + 1
                while end < bucket.count, bucket[end].child == bucket[start].child { end += 1 }
                while !inodes.isAtEnd, inodes.number < bucket[start].child { try takeNameless() }
                try takeNamed(bucket, start..<end)
                start = end
            }
        }
    }

    /// The order of the parent pointers' keys.
    private func precedes(_ a: Name, _ b: Name) -> Bool {
        if a.child != b.child { return a.child < b.child }
        if a.parent != b.parent { return a.parent < b.parent }
        return compareBytes(bytes(a), bytes(b)) < 0
    }

    @_lifetime(borrow self)
    private func bytes(_ name: Name) -> RawSpan {
        names.bytes(at: name.offset, Int(name.length))
    }

    /// The inode at the cursor, to which no entry leads.
    private mutating func takeNameless() throws {
        if case .readable(let record) = inodes.inode(), record.links > 0, inodes.number != .root {
            findings.defect(
                .orphanInode, in: TableName.inodes, key: [.init("inode", inodes.number)],
                found: "a \(record.type) with \(record.links) links", expected: "a name")
        }
        try inodes.advance()
    }

    /// All the entries that lead to one inode.
    private mutating func takeNamed(_ names: [Name], _ range: Range<Int>) throws {
        let child = names[range.lowerBound].child
        var presence = Presence.absent
        if !inodes.isAtEnd, inodes.number == child {
            presence = inodes.inode()
            try inodes.advance()
        }
        for index in range {
            let name = names[index]
            judge(name, presence)
            guard let live else { continue }
            var key = KeyBytes()
            key.append(name.child)
            key.append(name.parent)
            key.append(bytes(name))
            var payload = FixedBytes<4>()
            payload.store(name.generation, at: 0)
            try live.expect(key: key.span, payload: payload.span)
        }
        guard case .readable(let record) = presence else { return }
        if record.type == .directory {
            judgeDirectory(names, range, record)
        } else if UInt64(record.links) != UInt64(range.count) {
            findings.defect(
                .linkCount, in: TableName.inodes, key: [.init("inode", child)],
                found: "\(record.links) links", expected: "\(range.count) links")
        }
    }

    private func judge(_ name: Name, _ presence: Presence) {
        switch presence {
        case .damaged: break
        case .absent: defect(.danglingEntry, name, "inode \(name.child)", nil)
        case .readable(let inode):
            if inode.generation != name.generation {
                defect(
                    .entryGeneration, name, "generation \(name.generation)",
                    "generation \(inode.generation)")
            }
            if inode.type != name.type {
                defect(.entryType, name, "\(name.type)", "\(inode.type)")
            }
        }
    }

    private func defect(
        _ kind: PrimaryDefect, _ name: Name, _ found: String?, _ expected: String?
    ) {
        findings.defect(
            kind, in: TableName.dirents,
            key: entryFields(directory: name.parent, name: bytes(name)), found: found,
            expected: expected)
    }
}
