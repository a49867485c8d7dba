// What the first pass learns of one inode, and its judgement.

internal import VolumeFormat

struct InodeFacts {
    let number: InodeNumber
    var presence = Presence.absent
    var isInReclaim = false
    /// The block of the data fork from which on it is reclaimed.
    var reclaimedFrom: UInt64?

    /// As a directory. A damaged entry counts, but nothing is known of what it names.
    var entries: UInt64 = 0
    var subdirectories: UInt64 = 0

    /// Blocks of both forks.
    var blocks: UInt64 = 0
    /// Ranges of the attribute fork that have blocks, and those that attributes need.
    var attributeExtents: [OffsetRange] = []
    var remoteAttributes: [OffsetRange] = []

    var isAttributeDamaged = false

    /// Bytes of the symlink's target.
    var target: Int?

    init(number: InodeNumber) { self.number = number }

    var key: [Finding.Field] { [.init("inode", number)] }

    var record: InodeRecord? {
        if case .readable(let record) = presence { record } else { nil }
    }

    var isAbsent: Bool {
        if case .absent = presence { true } else { false }
    }

    /// Whether there may be entries under this number; unknown is yes.
    var mayHoldEntries: Bool {
        switch presence {
        case .absent: false
        case .damaged: true
        case .readable(let record): record.type == .directory && record.links > 0
        }
    }

    func may(be type: FileType) -> Bool {
        switch presence {
        case .absent: false
        case .damaged: true
        case .readable(let record): record.type == type
        }
    }

    var description: String {
        switch presence {
        case .absent: "no inode"
        case .damaged: "a damaged inode"
        case .readable(let record):
            record.links == 0 ? "an unlinked \(record.type)" : "a \(record.type)"
        }
    }
}

/// Offsets `start..<end` of a fork, in blocks.
struct OffsetRange {
    let start, end: UInt64
}

extension InodePass {
    /// What the record says against what the other tables say. Names are judged later.
    func judge(_ inode: InodeFacts) {
        if inode.isInReclaim, inode.isAbsent {
            findings.defect(
                .reclaimWithoutInode, in: TableName.reclaim, key: inode.key, found: nil,
                expected: "an inode")
        }
        guard let record = inode.record else { return }
        if record.blocks != inode.blocks {
            findings.defect(
                .inodeBlocks, in: TableName.inodes, key: inode.key,
                found: "\(record.blocks) blocks", expected: "\(inode.blocks) blocks",
                difference: inode.blocks &- record.blocks)
        }
        if record.links == 0, !inode.isInReclaim {
            findings.defect(
                .unlinkedNotInReclaim, in: TableName.reclaim, key: inode.key, found: nil,
                expected: "a record")
        }
        judgeReclaim(inode, record)
        if record.type == .directory { judgeDirectory(inode, record) }
        // What is being reclaimed loses its parts one by one.
        guard record.links > 0 else { return }
        judgeAttributes(inode)
        if record.type == .symlink { judgeSymlink(inode, record) }
    }

    /// Of what has names only blocks behind its end are reclaimed.
    private func judgeReclaim(_ inode: InodeFacts, _ record: InodeRecord) {
        guard record.links > 0, let from = inode.reclaimedFrom, let geometry = records.geometry
        else { return }
        let end = record.endBlock(blockSize: geometry.blockSize)
        guard record.type != .regular || from < end else { return }
        findings.defect(
            .reclaimInUse, in: TableName.reclaim, key: inode.key, found: "from block \(from)",
            expected: record.type == .regular ? "from block \(end)" : nil)
    }

    private func judgeDirectory(_ inode: InodeFacts, _ record: InodeRecord) {
        if record.size != inode.entries {
            findings.defect(
                .directorySize, in: TableName.inodes, key: inode.key,
                found: "size \(record.size)", expected: "\(inode.entries) entries",
                difference: inode.entries &- record.size)
        }
        let links = 2 + inode.subdirectories
        // The root is never unlinked.
        if record.links > 0 || inode.number == .root, UInt64(record.links) != links {
            findings.defect(
                .linkCount, in: TableName.inodes, key: inode.key,
                found: "\(record.links) links", expected: "\(links) links")
        }
    }

    private func judgeSymlink(_ inode: InodeFacts, _ record: InodeRecord) {
        guard let target = inode.target else {
            findings.defect(
                .symlinkWithoutTarget, in: TableName.symlinks, key: inode.key, found: nil,
                expected: "a target")
            return
        }
        if record.size != UInt64(target) {
            findings.defect(
                .symlinkSize, in: TableName.inodes, key: inode.key,
                found: "size \(record.size)", expected: "\(target) bytes")
        }
    }

    /// Whether inode 1 may be a root; a damaged one may.
    func judgeRoot(_ inode: InodeFacts) -> Bool {
        guard let record = inode.record else { return !inode.isAbsent }
        guard record.type == .directory, record.links > 0 else { return false }
        if record.parent != .root {
            findings.defect(
                .directoryParent, in: TableName.inodes, key: inode.key,
                found: "parent \(record.parent)", expected: "parent \(InodeNumber.root)")
        }
        return true
    }
}
