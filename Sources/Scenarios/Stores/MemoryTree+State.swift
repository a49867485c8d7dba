// The state of the tree in memory: a value that snapshots share.
//
// What can be many lies in sorted arrays of small immutable objects. A transaction copies an
// array that it changes, which for the few records of a scenario costs less than anything
// cleverer. Each part carries the sum of its elements' hashes, maintained with every change, so
// that two states are told apart in a few operations however they came about.

internal import Bytes
internal import Tidemark
internal import Volume
internal import VolumeFormat
internal import VolumeIndexes

/// What the hashes of states are made of: a chain of SplitMix64's finalizer. Sums of finished
/// hashes don't depend on the order of what is summed.
struct StateHash {
    private(set) var value: UInt64

    @inline(__always)
    init(_ salt: UInt64) { value = StateHash.mix(salt &+ 0x9e37_79b9_7f4a_7c15) }

    @inline(__always)
    mutating func add(_ number: UInt64) {
        value = StateHash.mix((value ^ number) &+ 0x9e37_79b9_7f4a_7c15)
    }

    /// Of bytes their number, and then the bytes.
    mutating func add(_ bytes: [UInt8]) {
        add(UInt64(bytes.count))
        var word: UInt64 = 0
        for (index, byte) in bytes.enumerated() {
            word = word << 8 | UInt64(byte)
            if index & 7 == 7 { add(word) }
        }
        if bytes.count & 7 != 0 { add(word) }
    }

    @inline(__always)
    static func mix(_ number: UInt64) -> UInt64 {
        var x = number
        x = (x ^ (x >> 30)) &* 0xbf58_476d_1ce4_e5b9
        x = (x ^ (x >> 27)) &* 0x94d0_49bb_1331_11eb
        return x ^ (x >> 31)
    }
}

// MARK: Elements

/// An entry of an index.
final class MemoryEntry: MemoryElement, Sendable {
    let key: [UInt8]
    let value: [UInt8]
    let hash: UInt64

    init(key: [UInt8], value: [UInt8]) {
        self.key = key
        self.value = value
        var hash = StateHash(1)
        hash.add(key)
        hash.add(value)
        self.hash = hash.value
    }
}

/// A primary record that an index is derived from, with the entries that it derives.
final class MemoryRecord: MemoryElement, @unchecked Sendable {
    enum Content: Sendable {
        /// Of an inode only what it takes, and whose it is: see `MemoryInode` for the rest.
        case inode(QuotaShare)
        case dirent(DirentTarget)
        case extent(ExtentRecord)
    }

    /// The primary key.
    let key: [UInt8]
    let content: Content
    let slot: IndexSlot
    let entry: MemoryEntry
    /// Of a name: what link counts are folded from besides.
    let links: [MemoryEntry]
    let hash: UInt64
    /// What `MemoryStage` derives of the record, by code of its own; nil before it is first
    /// asked for.
    var plain: Entry?

    init(_ directory: InodeNumber, _ name: [UInt8], _ target: DirentTarget) {
        key = PrimaryKey.dirent(directory, name.rawSpan).span.array
        content = .dirent(target)
        slot = VolumeSlots.parents
        let derived = ParentPointers.key(
            child: target.child, parent: directory, name: name.rawSpan)
        let value = ParentPointers.value(generation: target.generation)
        entry = MemoryEntry(key: derived.span.array, value: value.span.array)
        links = MemoryRecord.links(directory, name, target)
        hash = MemoryRecord.hash(key, entry, UInt64(target.type.rawValue))
    }

    private static func links(
        _ directory: InodeNumber, _ name: [UInt8], _ target: DirentTarget
    ) -> [MemoryEntry] {
        guard target.type != .regular else { return [] }
        let type = LinkIndex.typeValue(target.type)
        let own = LinkIndex.typeKey(child: target.child, parent: directory, name: name.rawSpan)
        let typed = MemoryEntry(key: own.span.array, value: type.span.array)
        guard target.type == .directory else { return [typed] }
        let back = LinkIndex.childKey(parent: directory, name: name.rawSpan)
        let child = LinkIndex.childValue(target.child)
        return [typed, MemoryEntry(key: back.span.array, value: child.span.array)]
    }

    init(_ inode: InodeNumber, _ share: QuotaShare) {
        key = PrimaryKey.inode(inode).span.array
        content = .inode(share)
        slot = VolumeSlots.quota
        let derived = InodeRecord.key(inode), value = share.bytes
        entry = MemoryEntry(key: derived.span.array, value: value.span.array)
        links = []
        hash = MemoryRecord.hash(key, entry, 0)
    }

    init(_ extent: ExtentRecord) {
        let primary = PrimaryKey.extent(extent)
        key = primary.span.array
        content = .extent(extent)
        slot = VolumeSlots.rmap
        let derived = ReverseMap.key(extent), value = ReverseMap.value(extent)
        entry = MemoryEntry(key: derived.span.array, value: value.span.array)
        links = []
        hash = MemoryRecord.hash(key, entry, 0)
    }

    /// The entry says everything of a record but the type of what a name leads to.
    private static func hash(_ key: [UInt8], _ entry: MemoryEntry, _ type: UInt64) -> UInt64 {
        var hash = StateHash(2)
        hash.add(key)
        hash.add(entry.hash)
        hash.add(type)
        return hash.value
    }

    var target: DirentTarget? {
        if case .dirent(let target) = content { return target }
        return nil
    }

    var extent: ExtentRecord? {
        if case .extent(let extent) = content { return extent }
        return nil
    }

    var share: QuotaShare? {
        if case .inode(let share) = content { return share }
        return nil
    }

    /// The first part of the primary key.
    var inode: InodeNumber {
        switch content {
        case .extent(let extent): return extent.inode
        case .inode, .dirent:
            let key = key
            return key.rawSpan.integer(at: 0)
        }
    }

    /// The primary keys of this record alone.
    var range: KeyRange {
        let lower = KeyBytes(key)
        var upper = lower
        upper.append(0 as UInt8)
        return KeyRange(lower: lower, upper: upper)
    }
}

// MARK: The state

/// An inode. Times are not kept: nothing here depends on them.
struct MemoryInode {
    let number: InodeNumber
    let type: FileType
    var permissions: UInt16
    var uid: UInt32 = 0, gid: UInt32 = 0, project: UInt32 = 0
    var links: UInt32
    let generation: UInt32
    /// Blocks of a file, up to its end.
    var size: UInt64 = 0
    /// As in `InodeRecord`.
    var parent: InodeNumber

    var hash: UInt64 {
        var hash = StateHash(3)
        hash.add(number)
        hash.add(UInt64(type.rawValue) << 48 | UInt64(permissions) << 32 | UInt64(links))
        hash.add(UInt64(generation) << 32 | UInt64(project))
        hash.add(UInt64(uid) << 32 | UInt64(gid))
        hash.add(size)
        hash.add(parent)
        return hash.value
    }
}

/// An inode that is kept until it is closed.
struct MemoryOpen {
    /// By which it was opened and will be closed.
    let path: Path
    let inode: InodeNumber

    var hash: UInt64 {
        var hash = StateHash(4)
        hash.add(inode)
        hash.add(path.base ?? 0)
        for name in path.names { hash.add(Array(name.utf8)) }
        return hash.value
    }
}

struct MemoryState {
    /// A generation that is to be deleted.
    struct Retired {
        let slot: IndexSlot
        var generation: MemoryGeneration
        /// By a mistake made on purpose nobody will delete it.
        var isForgotten = false
    }

    /// The number of the last commit. Not part of what a state is.
    var commit: UInt64 = 1
    var records = MemoryTable<MemoryRecord>()
    /// In the order of their numbers.
    private(set) var inodes: [MemoryInode] = []
    private var inodeSum: UInt64 = 0
    // What follows from the inodes and `nextInode` (free numbers) or from the extents (free
    // blocks) is kept for speed, and not hashed.
    var freeInodes: [InodeNumber] = []
    var nextInode: InodeNumber = .root + 1
    var nextGeneration: UInt32 = 2
    /// Runs of free blocks by place, neighbours joined.
    var free: [FreeRecord] = []
    var freeBlocks: UInt64 = 0
    var opens: [MemoryOpen] = []
    var rmap = MemoryIndex(VolumeSlots.rmap)
    var parents = MemoryIndex(VolumeSlots.parents)
    var quota = MemoryIndex(VolumeSlots.quota)
    /// Link counts stand in the inodes: of their index there is one generation for good, and
    /// nothing in it.
    private var links = MemoryIndex(VolumeSlots.links)
    /// What all inodes take, as the store counts it for itself.
    var usage = QuotaUsage.zero
    /// In the order in which they were retired, of any index.
    var retired: [Retired] = []
    /// Transactions since the last one that was reported as voids.
    var sinceVoid = 0
    /// Every run that is remembered, by number. Records and log are no part of the fingerprint:
    /// see `describeRuns`.
    var runs: [RunRecord] = []
    var log = MemoryLog()

    subscript(slot: IndexSlot) -> MemoryIndex {
        get {
            switch slot {
            case VolumeSlots.rmap: rmap
            case VolumeSlots.parents: parents
            case VolumeSlots.quota: quota
            default: links
            }
        }
        _modify {
            switch slot {
            case VolumeSlots.rmap: yield &rmap
            case VolumeSlots.parents: yield &parents
            case VolumeSlots.quota: yield &quota
            default: yield &links
            }
        }
    }

    /// Every index that has generations.
    static let slots = VolumeSlots.withGenerations.map(\.slot)

    /// All of the state but the number of its last commit.
    var fingerprint: UInt64 {
        var hash = StateHash(5)
        hash.add(records.sum)
        hash.add(inodeSum)
        hash.add(nextInode)
        hash.add(UInt64(nextGeneration) << 32 | UInt64(sinceVoid))
        hash.add(opens.reduce(0) { $0 &+ $1.hash })
        rmap.add(to: &hash)
        parents.add(to: &hash)
        quota.add(to: &hash)
        hash.add(usage.blocks)
        hash.add(usage.inodes)
        for generation in retired {
            hash.add(UInt64(generation.slot.rawValue) << 1 | (generation.isForgotten ? 1 : 0))
            generation.generation.add(to: &hash)
        }
        return hash.value
    }

    // MARK: Inodes

    func inode(_ number: InodeNumber) -> MemoryInode? {
        let place = firstInode(atOrAbove: number)
        return place < inodes.count && inodes[place].number == number ? inodes[place] : nil
    }

    mutating func put(_ inode: MemoryInode) {
        let place = firstInode(atOrAbove: inode.number)
        inodeSum &+= inode.hash
        if place < inodes.count, inodes[place].number == inode.number {
            inodeSum &-= inodes[place].hash
            inodes[place] = inode
        } else {
            inodes.insert(inode, at: place)
        }
    }

    mutating func deleteInode(_ number: InodeNumber) {
        let place = firstInode(atOrAbove: number)
        precondition(
            place < inodes.count && inodes[place].number == number, "an inode is deleted once")
        inodeSum &-= inodes.remove(at: place).hash
    }

    private func firstInode(atOrAbove number: InodeNumber) -> Int {
        var low = 0, high = inodes.count
        while low < high {
            let middle = (low + high) / 2
            if inodes[middle].number < number { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
