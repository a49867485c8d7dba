// Every way to ruin primary records, each with what it may cost.

import Bytes
import Testing
import VolumeFormat
import VolumeVerify

/// One ruin of a volume that `ScrubVolume` has made.
struct Ruin: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// The kinds of which a survey must tell at least one.
    let kinds: Set<PrimaryDefect>
    /// Paths that may be different afterwards, or gone.
    let cost: Set<String>
    /// Paths that may be there afterwards and were not before.
    let gain: Set<String>
    let body: @Sendable (inout Editor) -> Void

    init(
        _ name: String, _ kinds: Set<PrimaryDefect>, cost: Set<String> = [],
        gain: Set<String> = [], _ body: @escaping @Sendable (inout Editor) -> Void
    ) {
        testDescription = name
        self.kinds = kinds
        self.cost = cost
        self.gain = gain
        self.body = body
    }

    static let file = "/dir0/file1"
    /// Both its names.
    static let file1: Set<String> = ["/dir0/file1", "/dir0/below/hard1"]
    static let home = "/lost+found"

    static let all: [Ruin] = names + directories + space + owners + small + numbers + damaged

    static let names: [Ruin] = [
        Ruin("both names of a file are lost", [.orphanInode]) { editor in
            for path in Ruin.file1 { editor.remove(TableName.dirents, editor.entry(path).key) }
        },
        Ruin("one of two names is lost", [.linkCount]) { editor in
            editor.remove(TableName.dirents, editor.entry(Ruin.file).key)
        },
        Ruin("the only name of a fifo and its parent pointer are lost", [.orphanInode],
            cost: ["/dir0/below/pipe"], gain: [home]
        ) { editor in
            let (key, target) = editor.entry("/dir0/below/pipe")
            editor.remove(TableName.dirents, key)
            let child = InodeRecord.key(target.child).span.array
            editor.remove("parents.g1", child + key)
        },
        Ruin("the name of a directory is lost", [.orphanInode]) { editor in
            editor.remove(TableName.dirents, editor.entry("/dir1").key)
        },
        Ruin("a name leads to a number that is free", [.danglingEntry]) { editor in
            editor.putEntry(
                editor.inode("/dir0"), "ghost",
                DirentTarget(
                    child: editor.freeNumbers[0], generation: 3, type: .regular))
        },
        Ruin("a name leads elsewhere, and its file has no name", [.danglingEntry]) { editor in
            let (key, target) = editor.entry("/dir0/below/pipe")
            var wrong = target
            wrong.child = 1 << 40
            editor.put(TableName.dirents, key, wrong.value(key: key.rawSpan).span.array)
        },
        Ruin("the inode of a file is lost", [.danglingEntry], cost: file1) { editor in
            let n = editor.inode(Ruin.file)
            editor.remove(TableName.inodes, InodeRecord.key(n).span.array)
        },
        Ruin("the inode of a symlink is lost", [.danglingEntry], cost: ["/dir0/below/link1"]) {
            let n = $0.inode("/dir0/below/link1")
            $0.remove(TableName.inodes, InodeRecord.key(n).span.array)
        },
        Ruin("the inode of a directory is lost", [.danglingEntry], cost: ["/dir0/below"]) {
            let n = $0.inode("/dir0/below")
            $0.remove(TableName.inodes, InodeRecord.key(n).span.array)
        },
        Ruin("an entry has another type", [.entryType]) { editor in
            let (key, target) = editor.entry(Ruin.file)
            var wrong = target
            wrong.type = .fifo
            editor.put(TableName.dirents, key, wrong.value(key: key.rawSpan).span.array)
        },
        Ruin("an inode has another type", [.entryType]) { editor in
            editor.change(Ruin.file) { $0.type = .socket }
        },
        Ruin("an entry has another generation", [.entryGeneration]) { editor in
            let (key, target) = editor.entry("/dir0/below/pipe")
            var wrong = target
            wrong.generation += 77
            editor.put(TableName.dirents, key, wrong.value(key: key.rawSpan).span.array)
        },
        Ruin("an inode has another generation", [.entryGeneration]) { editor in
            editor.change("/dir0/below/pipe") { $0.generation += 77 }
        },
        Ruin("a stale name leads to an inode that was made since", [.entryGeneration]) { editor in
            var target = editor.entry("/dir0/below/pipe").target
            target.generation -= 1
            editor.putEntry(editor.inode("/dir0"), "stale", target)
        },
        Ruin("an entry is below a file", [.entryWithoutDirectory], gain: [home]) { editor in
            let target = editor.entry("/dir0/below/pipe").target
            editor.putEntry(editor.inode(Ruin.file), "in", target)
        },
        Ruin("a file has too many links", [.linkCount]) { editor in
            editor.change(Ruin.file) { $0.links = 9 }
        },
        Ruin("a file has too few links", [.linkCount]) { editor in
            editor.change(Ruin.file) { $0.links = 1 }
        },
        Ruin("a file with names has no links", [.linkCount]) { editor in
            editor.change(Ruin.file) { $0.links = 0 }
        },
    ]

    static let directories: [Ruin] = [
        Ruin("a directory has another parent", [.directoryParent]) { editor in
            let wrong = editor.inode("/dir1")
            editor.change("/dir0/below") { $0.parent = wrong }
        },
        Ruin("a directory has no name, and one above it has itself for its parent",
            [.orphanInode, .directoryParent]
        ) { editor in
            editor.remove(TableName.dirents, editor.entry("/dir0/below").key)
            let wrong = editor.inode("/dir0")
            editor.change("/dir0") { $0.parent = wrong }
        },
        Ruin("a directory has no name, and has what it was in for a parent's parent",
            [.orphanInode, .directoryParent]
        ) { editor in
            let n = editor.inode("/dir0/below")
            editor.remove(TableName.dirents, editor.entry("/dir0/below").key)
            editor.change("/dir0") { $0.parent = n }
        },
        Ruin("a directory has a second name", [.directoryNames]) { editor in
            let target = editor.entry("/dir0/below").target
            editor.putEntry(editor.inode("/dir1"), "second", target)
        },
        Ruin("the root has a name", [.directoryNames]) { editor in
            let root = editor.record(.root)
            editor.putEntry(
                editor.inode("/dir1"), "root",
                DirentTarget(child: .root, generation: root.generation, type: .directory))
        },
        Ruin("a directory has another size", [.directorySize]) { editor in
            editor.change("/dir0") { $0.size += 5 }
        },
        Ruin("a directory has other links", [.linkCount]) { editor in
            editor.change("/dir0") { $0.links = 2 }
        },
        Ruin("a directory is inside itself", [.directoryLoop]) { editor in
            let (key, target) = editor.entry("/dir0")
            let below = editor.inode("/dir0/below")
            editor.remove(TableName.dirents, key)
            editor.putEntry(below, "up", target)
            var record = editor.record(target.child)
            record.parent = below
            editor.put(record, target.child)
        },
    ]

    static let space: [Ruin] = [
        Ruin("blocks of a file are free", [.extentOverFree]) { editor in
            let extent = editor.extents(editor.inode(Ruin.file))[0]
            editor.put(FreeRecord(start: extent.start, length: 1))
        },
        Ruin("blocks are leaked", [.leakedBlocks]) { editor in
            guard let run = editor.freeRuns.last else { return }
            editor.remove(run)
        },
        Ruin("a free run is only by start", [.freeTables]) { editor in
            guard let run = editor.freeRuns.last else { return }
            editor.remove(run, byStart: false)
        },
        Ruin("a free run is only by length", [.freeTables]) { editor in
            guard let run = editor.freeRuns.last else { return }
            editor.remove(run, byLength: false)
        },
        Ruin("free runs overlap", [.freeOverlap]) { editor in
            guard let run = editor.freeRuns.last else { return }
            editor.put(FreeRecord(start: run.start + 3, length: 2))
        },
        Ruin("free runs touch", [.freeNotMerged]) { editor in
            guard let run = editor.freeRuns.last else { return }
            editor.remove(run)
            editor.put(FreeRecord(start: run.start, length: 3))
            editor.put(FreeRecord(start: run.start + 3, length: run.length - 3))
        },
        Ruin("free space goes beyond the end", [.freeBeyondVolume]) { editor in
            editor.put(FreeRecord(start: 1 << 30, length: 7))
        },
        Ruin("free space goes far beyond the end", [.freeBeyondVolume]) { editor in
            editor.put(FreeRecord(start: 1 << 30, length: 1 << 40))
        },
        Ruin("all extents of files are lost, and a link count is wrong", [.leakedBlocks]) {
            editor in
            for place in 0..<4 {
                for extent in editor.extents(editor.inode("/dir0/file\(place)")) {
                    editor.remove(TableName.extents, extent.key.span.array)
                }
            }
            editor.change("/dir1/file1") { $0.links += 1 }
        },
        Ruin("an entry is below a number that was never given out", [.entryWithoutDirectory]) {
            editor in
            let target = editor.entry(Ruin.file).target
            editor.putEntry(1 << 40, "stray", target)
        },
        Ruin("the reserved area is lost", [.reservedArea]) { editor in
            guard let area = editor.extents(.volume).first else { return }
            editor.remove(TableName.extents, area.key.span.array)
        },
    ]

    static let owners: [Ruin] = [
        Ruin("an extent is lost, and its mapping is not", [.leakedBlocks]) { editor in
            let extent = editor.extents(editor.inode(Ruin.file))[0]
            editor.remove(TableName.extents, extent.key.span.array)
        },
        Ruin("an extent leads to blocks beyond the end", [.extentBeyondVolume]) { editor in
            var extent = editor.extents(editor.inode(Ruin.file))[0]
            extent.start = 1 << 40
            editor.put(extent)
        },
        Ruin("an extent leads to another file's blocks", [.extentOverlap]) { editor in
            var extent = editor.extents(editor.inode(Ruin.file))[0]
            extent.start = editor.extents(editor.inode("/dir1/file1"))[0].start
            editor.put(extent)
        },
        Ruin("two files have the same blocks, and mappings too", [.extentOverlap],
            cost: file1
        ) { editor in
            let old = editor.extents(editor.inode(Ruin.file))[0]
            var extent = old
            extent.start = editor.extents(editor.inode("/dir1/file1"))[0].start
            editor.put(extent)
            func mapping(_ e: ExtentRecord) -> [UInt8] {
                var key = FixedBytes<25>()
                key.store(e.start, at: 0)
                key.store(e.inode, at: 8)
                key.store(e.fork.rawValue, at: 16)
                key.store(e.offset, at: 17)
                return key.span.array
            }
            editor.remove("rmap.g1", mapping(old))
            var body = FixedBytes<5>()
            body.store(extent.length, at: 0)
            body.store(extent.state.rawValue, at: 4)
            let key = mapping(extent)
            editor.put(
                "rmap.g1", key, sealedValue(key: key.rawSpan, body: body.span.array))
        },
        Ruin("a file offset has two extents", [.extentOffsetOverlap]) { editor in
            let n = editor.inode(Ruin.file)
            guard let run = editor.freeRuns.last else { return }
            editor.remove(run)
            editor.put(FreeRecord(start: run.start + 1, length: run.length - 1))
            editor.put(
                ExtentRecord(
                    inode: n, fork: .data, offset: 1, start: run.start, length: 1,
                    state: .written))
        },
        Ruin("an extent is of an inode whose number is free", [.extentWithoutInode]) { editor in
            guard let run = editor.freeRuns.last else { return }
            editor.remove(run)
            editor.put(FreeRecord(start: run.start + 1, length: run.length - 1))
            editor.put(
                ExtentRecord(
                    inode: editor.freeNumbers[0], fork: .data, offset: 0, start: run.start,
                    length: 1, state: .written))
        },
        Ruin("a fifo has contents", [.extentOfWrongType]) { editor in
            guard let run = editor.freeRuns.last else { return }
            editor.remove(run)
            editor.put(FreeRecord(start: run.start + 1, length: run.length - 1))
            editor.put(
                ExtentRecord(
                    inode: editor.inode("/dir0/below/pipe"), fork: .data, offset: 0,
                    start: run.start, length: 1, state: .written))
        },
        Ruin("an inode has other blocks", [.inodeBlocks]) { editor in
            editor.change(Ruin.file) { $0.blocks += 100 }
        },
    ]

    static let small: [Ruin] = [
        Ruin("an attribute is of an inode whose number is free", [.attributeWithoutInode]) {
            let record = AttributeRecord(
                inode: $0.freeNumbers[0], name: Array("user.x".utf8), content: .inline([1]))
            let key = AttributeRecord.key(record.inode, record.name.rawSpan)
            $0.put(TableName.xattrs, key.span.array, record.value)
        },
        Ruin("the blocks of a large attribute are lost", [.attributeBlocks], cost: file1) {
            for extent in $0.extents($0.inode(Ruin.file), .attributes) {
                $0.remove(TableName.extents, extent.key.span.array)
                $0.remove(
                    "rmap.g1",
                    $0.records["rmap.g1"]?.keys.first {
                        $0.starts(with: extent.value.span.array[0..<8])
                    } ?? [])
            }
        },
        Ruin("a large attribute is lost, and its blocks are not", [.attributeBlocksUnused],
            cost: file1
        ) { editor in
            let key = AttributeRecord.key(
                editor.inode(Ruin.file), Array("user.large".utf8).rawSpan)
            editor.remove(TableName.xattrs, key.span.array)
        },
        Ruin("a symlink has no target", [.symlinkWithoutTarget], cost: ["/dir0/below/link1"]) {
            let n = $0.inode("/dir0/below/link1")
            $0.remove(TableName.symlinks, InodeRecord.key(n).span.array)
        },
        Ruin("a symlink has another size", [.symlinkSize]) { editor in
            editor.change("/dir0/below/link1") { $0.size += 1 }
        },
        Ruin("a fifo has a target", [.symlinkWithoutInode]) { editor in
            let n = editor.inode("/dir0/below/pipe")
            editor.put(
                TableName.symlinks, InodeRecord.key(n).span.array,
                SymlinkRecord.value(inode: n, target: Array("x".utf8)))
        },
    ]

    static let numbers: [Ruin] = [
        Ruin("free numbers are lost", [.lostInodeNumbers]) { editor in
            let n = editor.freeNumbers[0]
            editor.remove(TableName.freeInodes, InodeRecord.key(n).span.array)
        },
        Ruin("the next number is far too high", [.lostInodeNumbers]) { editor in
            editor.counters.nextInode += 1 << 50
        },
        Ruin("a number in use is free", [.freeInodeInUse]) { editor in
            let n = editor.inode(Ruin.file)
            editor.put(
                TableName.freeInodes, InodeRecord.key(n).span.array,
                FreeInodeRecord.value(inode: n).span.array)
        },
        Ruin("the next number is one that is in use", [.counterNextInode]) { editor in
            editor.counters.nextInode = editor.inode("/dir2/file1")
        },
        Ruin("an inode that is gone is to be reclaimed", [.reclaimWithoutInode]) { editor in
            let n = editor.freeNumbers[0]
            editor.put(
                TableName.reclaim, InodeRecord.key(n).span.array,
                ReclaimRecord(inode: n, from: 0).value.span.array)
        },
        Ruin("contents of a file with names are to be reclaimed", [.reclaimInUse]) { editor in
            let n = editor.inode(Ruin.file)
            editor.put(
                TableName.reclaim, InodeRecord.key(n).span.array,
                ReclaimRecord(inode: n, from: 0).value.span.array)
        },
        Ruin("an unlinked inode is not to be reclaimed", [.unlinkedNotInReclaim]) { editor in
            let n = editor.freeNumbers[0]
            var record = editor.record(editor.inode("/dir0/below/pipe"))
            record.links = 0
            record.type = .regular
            editor.remove(TableName.freeInodes, InodeRecord.key(n).span.array)
            editor.put(record, n)
        },
        Ruin("the counter of inodes is wrong", [.counterInodes]) { editor in
            editor.counters.inodes += 3
        },
        Ruin("the counter of free blocks is wrong", [.counterFreeBlocks]) { editor in
            editor.counters.freeBlocks -= 3
        },
    ]

    static let damaged: [Ruin] = [
        Ruin("an inode can't be decoded", [.damagedRecord], cost: file1) { editor in
            editor.spoil(
                TableName.inodes, InodeRecord.key(editor.inode(Ruin.file)).span.array)
        },
        Ruin("an entry can't be decoded", [.damagedRecord]) { editor in
            editor.spoil(TableName.dirents, editor.entry("/dir0/below/pipe").key)
        },
        Ruin("an extent can't be decoded", [.damagedRecord]) { editor in
            let extent = editor.extents(editor.inode(Ruin.file))[0]
            editor.spoil(TableName.extents, extent.key.span.array)
        },
        Ruin("an attribute can't be decoded", [.damagedRecord], cost: file1) { editor in
            let key = AttributeRecord.key(
                editor.inode(Ruin.file), Array("user.small".utf8).rawSpan)
            editor.spoil(TableName.xattrs, key.span.array)
        },
        Ruin("a target can't be decoded", [.damagedRecord], cost: ["/dir0/below/link1"]) {
            let n = $0.inode("/dir0/below/link1")
            $0.spoil(TableName.symlinks, InodeRecord.key(n).span.array)
        },
        Ruin("free runs can't be decoded", [.damagedRecord]) { editor in
            guard let run = editor.freeRuns.last else { return }
            editor.spoil(TableName.free, FreeRecord.key(start: run.start).span.array)
        },
        Ruin("free runs by length can't be decoded", [.damagedRecord]) { editor in
            guard let run = editor.freeRuns.last else { return }
            editor.spoil(
                TableName.freeByLength,
                FreeRecord.lengthKey(length: run.length, start: run.start).span.array)
        },
        Ruin("a free number can't be decoded", [.damagedRecord]) { editor in
            editor.spoil(
                TableName.freeInodes, InodeRecord.key(editor.freeNumbers[0]).span.array)
        },
    ]
}
